"""Files of ``torch.save``: tensors and plain containers; of everything else nothing is made, and nothing runs."""

import warnings
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from transferscope.errors import WeightsError
from transferscope.networks.weight_formats import damaged, unreadable


class _Ignored:
    """Stands for a harmless value beside the weights: whatever it was made from is forgotten."""

    def __new__(cls, *_: object, **__: object) -> "_Ignored":
        return object.__new__(cls)

    def __setstate__(self, state: object) -> None:
        del state


class _PlainDict:
    """Stands for other dictionaries: an empty plain one, which the file then fills."""

    def __new__(cls, *_: object) -> Any:
        return {}


class _PlainList:
    """Stands for other lists: an empty plain one, which the file then fills."""

    def __new__(cls, *_: object) -> Any:
        return []


_VALUES = """
    argparse.Namespace types.SimpleNamespace uuid.UUID decimal.Decimal fractions.Fraction
    datetime.datetime datetime.date datetime.time datetime.timedelta datetime.timezone
    builtins.int builtins.float builtins.str builtins.bool builtins.bytes builtins.tuple builtins.frozenset
    builtins.object builtins.range builtins.slice builtins.type
    torch.torch_version.TorchVersion
    fastcore.foundation.L mmengine.logging.history_buffer.HistoryBuffer
"""
_PATHS = "PosixPath WindowsPath Path PurePath PurePosixPath PureWindowsPath"
_NUMPY = """
    dtype ndarray bool bool_ int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 longdouble
    complex64 complex128 str_ bytes_ datetime64 timedelta64
"""
_NUMPY_DTYPES = """
    Bool Int8 Int16 Int32 Int64 UInt8 UInt16 UInt32 UInt64 Float16 Float32 Float64 Complex64 Complex128 Str Bytes
    Object DateTime64 TimeDelta64
"""
_DICTS = """
    builtins.dict collections.defaultdict
    lightning.fabric.utilities.data.AttributeDict lightning_fabric.utilities.data.AttributeDict
    lightning.pytorch.utilities.parsing.AttributeDict pytorch_lightning.utilities.parsing.AttributeDict
"""
_LISTS = "builtins.list collections.deque"

# Names that files of weights are full of, each replaced by one of the three classes above: the things named are
# never imported, called or filled. NumPy's own would not do: a hostile dtype makes it read any memory.
_HARMLESS: list[tuple[type, str]] = [
    *((_Ignored, name) for name in _VALUES.split()),
    *((_Ignored, f"{module}.{name}") for module in ("pathlib", "pathlib._local") for name in _PATHS.split()),
    *((_Ignored, f"numpy.{name}") for name in _NUMPY.split()),
    *((_Ignored, f"numpy.dtypes.{name}DType") for name in _NUMPY_DTYPES.split()),
    *(
        (_Ignored, f"numpy.{core}.multiarray.{name}")
        for core in ("core", "_core")
        for name in ("scalar", "_reconstruct")
    ),
    *((_PlainDict, name) for name in _DICTS.split()),
    *((_PlainList, name) for name in _LISTS.split()),
]


def read_pickle(path: Path, *, mapped: bool = False) -> object:
    """What a file of ``torch.save`` holds, on the CPU; read by ``torch.load(weights_only=True)`` and nothing else.

    Numbers, texts, paths, dates, settings and NumPy values beside the tensors come as placeholders.

    Args:
        mapped: leave values in the file until they are read; files written before PyTorch 1.6 (no zip) are read whole.
    """
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(list(_HARMLESS)):
            warnings.simplefilter("ignore")  # of torch, on pickle protocols: either it is read or the error tells
            mapped = mapped and zipfile.is_zipfile(path)
            return torch.load(path, weights_only=True, map_location="cpu", mmap=mapped)
    except OSError as error:
        raise unreadable(path, error) from error
    except UnpicklingError as error:
        raise WeightsError(
            f"the weights file {path} holds more than tensors, or is damaged, and was not opened",
            expected="tensors, numbers, texts and plain containers: for safety nothing else is unpickled",
            got=_first_line(error),
            hint="where you trust its origin, save its state_dict alone: "
            "safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')",
        ) from error
    except Exception as error:  # pickle, zip and tensor readers raise almost anything on damaged files
        raise damaged(path, f"{type(error).__name__}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # torch explains itself at length; the line that names the global is the one to show.
    named = [line for line in lines if "GLOBAL" in line or "Unsupported" in line]
    return (named or lines or [type(error).__name__])[0][:300]
