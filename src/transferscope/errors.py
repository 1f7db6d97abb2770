"""Every error a user can meet.

::

    TransferscopeError
    ├── StudyError            the settings of a study do not hold together (lists all problems at once)
    ├── ArchitectureError     an unknown architecture, or a factory that cannot be imported or called
    ├── WeightsError          weights that are missing, damaged, unsafe or of another architecture
    ├── ModuleNameError       a module the network does not have
    ├── DataError             images or labels that are missing, damaged or do not fit
    ├── LoaderError           a data loader that does not repeat itself, or is too small
    ├── MeasureError          tensors a measure is not defined for
    ├── ActivationError       a module without a usable output
    ├── AlignmentError        a network whose hidden units cannot be matched, and the operation that stands in the way
    ├── StoreError            a store that cannot be read or written
    │   ├── CorruptEntryError     a stored file does not match its manifest
    │   ├── MissingEntryError     a network or epoch that was not trained, or not kept
    │   └── StoreBusyError        another process holds the lock
    ├── OptionError           an option of a command that cannot be
    ├── AnalysisError         an analysis whose result breaks its own contract
    ├── WorkerError           a worker process that died, or work that cannot be sent to one
    ├── StopRequested         Ctrl-C: state is kept, the message says how to go on
    └── MissingExtraError     an optional dependency, with its install line
"""

import difflib
import re
from collections.abc import Iterable

__all__ = [
    "ActivationError",
    "AlignmentError",
    "AnalysisError",
    "ArchitectureError",
    "CorruptEntryError",
    "DataError",
    "LoaderError",
    "MeasureError",
    "MissingEntryError",
    "MissingExtraError",
    "ModuleNameError",
    "OptionError",
    "StopRequested",
    "StoreBusyError",
    "StoreError",
    "StudyError",
    "TransferscopeError",
    "WeightsError",
    "WorkerError",
    "counted",
    "near",
    "nearest",
    "printable",
]

_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef"
    + "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
    + "]"
)
"""Control characters, what turns the direction of text, half a surrogate pair (a file name that is not UTF-8), and
what Unicode calls no characters: a terminal obeys them, and XML and UTF-8 cannot hold them."""


class TransferscopeError(Exception):
    """Base of all errors of this package.

    The message says what was expected, what came and what to do.

    Args:
        what: one sentence: what went wrong, naming the setting or file.
        expected: what would have been right.
        got: what came instead.
        hint: what to do.
    """

    def __init__(
        self, what: str, *, expected: str | None = None, got: str | None = None, hint: str | None = None
    ) -> None:
        self.what, self.expected, self.got, self.hint = what, expected, got, hint
        super().__init__(what, expected, got, hint)

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword arguments would be lost when a worker process sends the error to its parent.
        return _rebuild, (type(self), self.what, self.expected, self.got, self.hint), self.__dict__

    def __str__(self) -> str:
        lines = [self.what]
        if self.expected:
            lines.append(f"  expected: {self.expected}")
        if self.got:
            lines.append(f"  got:      {self.got}")
        if self.hint:
            lines.append(f"  do:       {self.hint}")
        # Names of files and classes stand in messages.
        return printable("\n".join(lines), keep="\n\t")


def _rebuild(
    kind: type[TransferscopeError], what: str, expected: str | None, got: str | None, hint: str | None
) -> TransferscopeError:
    error = kind.__new__(kind)
    TransferscopeError.__init__(error, what, expected=expected, got=got, hint=hint)
    return error


class StudyError(TransferscopeError):
    """The settings of a study do not hold together."""


class ArchitectureError(TransferscopeError):
    """An architecture is unknown, or its factory cannot be used."""


class WeightsError(TransferscopeError):
    """Weights are missing, damaged, unsafe, or belong to another architecture."""


class ModuleNameError(TransferscopeError):
    """The network has no module of that name."""


class DataError(TransferscopeError):
    """Images or labels are missing, damaged, or do not fit the settings."""


class LoaderError(TransferscopeError):
    """A data loader does not give the same batches twice, or gives too few examples."""


class MeasureError(TransferscopeError):
    """A measure is not defined for these tensors."""


class ActivationError(TransferscopeError):
    """A module gave no output that can be compared."""


class AlignmentError(TransferscopeError):
    """The hidden units of two networks cannot be matched."""


class StoreError(TransferscopeError):
    """The store cannot be read or written."""


class CorruptEntryError(StoreError):
    """A stored file does not match its manifest.

    Attributes:
        entry: kind and key of the damaged entry, which can be set aside and made anew; None where it is none.
    """

    entry: tuple[str, str] | None = None


class MissingEntryError(StoreError):
    """A network, or an epoch of one, is not in the store: it was not trained, not kept, or was removed."""


class StoreBusyError(StoreError):
    """Another process holds the lock."""


class OptionError(TransferscopeError):
    """An option of a command has a value that cannot be."""


class AnalysisError(TransferscopeError):
    """An analysis gave a result that breaks its own contract."""


class WorkerError(TransferscopeError):
    """A worker process died, or work could not be sent to one."""


class StopRequested(TransferscopeError):  # noqa: N818 - a request of the user, not a failure
    """The user asked to stop; what was finished is kept."""


class MissingExtraError(TransferscopeError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        self.package, self.extra = package, extra
        super().__init__(
            f"the package {package!r} is not installed", hint=f"in a clone of transferscope: pip install '.[{extra}]'"
        )


def counted(number: int, thing: str) -> str:
    """A number of things, as in a sentence.

    >>> counted(1, "file"), counted(1200, "file")
    ('1 file', '1,200 files')
    """
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def near(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The known names that ``name`` may be a misspelling of, the nearest first; empty where none is near."""
    return difflib.get_close_matches(name, sorted(set(known)), n=count, cutoff=0.5)


def nearest(name: str, known: Iterable[str], count: int = 3) -> str:
    """A sentence that offers the known names nearest to ``name``.

    Returns:
        ``"did you mean 'a' or 'b'?"``, or the list of all names where none is near and they are few.
    """
    names = sorted(set(known))
    if close := near(name, names, count):
        return "did you mean " + " or ".join(repr(item) for item in close) + "?"
    if not names:
        return "there are none"
    shown = ", ".join(names[:12])
    return f"there are: {shown}" + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def printable(text: str, keep: str = "") -> str:
    """``text`` as it can be shown, drawn and stored everywhere; text from outside passes here before it is kept.

    Args:
        keep: characters that stay although they control something: those of several lines, say.

    Returns:
        The same text where it was printable, else what was not as escapes, as Python writes them.

    Example:
        >>> print(printable("a\\x1b[2Jb"), printable("caf\\udce9"), printable("café"))
        a\\x1b[2Jb caf\\xe9 café
    """
    return _UNPRINTABLE.sub(lambda match: match[0] if match[0] in keep else _escaped(ord(match[0])), text)


def _escaped(code: int) -> str:
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"  # the byte, as os.fsdecode hid it
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
