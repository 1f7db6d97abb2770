"""Errors and Ctrl-C at the command line: one message, one exit code, no traceback unless asked for."""

import re
import shlex
import traceback
from typing import Any

import typer
from typer.core import TyperGroup

from transferscope.errors import (
    ArchitectureError,
    DataError,
    LoaderError,
    ModuleNameError,
    OptionError,
    StopRequested,
    StoreError,
    StudyError,
    TransferscopeError,
    WeightsError,
    WorkerError,
)
from transferscope.streams import lost_output, told

FAILED = 1
"""Exit code: something went wrong, or the user stopped."""
INVALID = 2
"""Exit code: the command, study, data, network or weights given are wrong, and can be corrected."""
GATE = 3
"""Exit code: all went well, and the condition of a gate holds, or the answer is no."""

_INVALID = (StudyError, ArchitectureError, WeightsError, ModuleNameError, DataError, LoaderError, OptionError)
_RESUMABLE = ("demo", "run")
_CHANGED_BY_SET = dict.fromkeys(("demo", "init", "plan", "run", "status", "report", "export"), ".") | dict.fromkeys(
    ("average", "compare", "modules"), r"target\.data\."
)
"""What the settings of a command's ``--set`` begin with, as a regular expression."""
_ARGUMENTS = "transferscope.arguments"
_DEBUG = "transferscope.debug"


def command_line(context: typer.Context) -> str:
    """The command as typed, to be run again: ``transferscope run study.yaml --store runs``."""
    return shlex.join(["transferscope", *context.find_root().meta.get(_ARGUMENTS, [])])


class ReportingGroup(TyperGroup):
    """The commands, told what to do with errors.

    ``--debug`` is understood before and after the name of a command.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Notes the command line before it is parsed."""
        options = args[: args.index("--")] if "--" in args else args
        ctx.meta[_DEBUG] = "--debug" in options
        args = [word for index, word in enumerate(args) if word != "--debug" or index >= len(options)]
        ctx.meta[_ARGUMENTS] = list(args)
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed

    def invoke(self, ctx: Any) -> Any:
        """Runs a command; turns what a user can meet into a message and an exit code."""
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, StopRequested) as error:
            self._trace(ctx)
            raise typer.Exit(_stopped(ctx, error)) from error
        except TransferscopeError as error:
            raise self._ended(ctx, error) from error
        except BrokenPipeError:
            raise  # `transferscope list | head`: the reader has gone, and typer ends without a word
        except OSError as error:
            from transferscope.store.system_errors import system_error

            raise self._ended(ctx, lost_output() or system_error(error)) from error

    def _ended(self, ctx: Any, error: TransferscopeError) -> typer.Exit:
        """One message for the user, and the exit code."""
        self._trace(ctx)
        words = ctx.find_root().meta.get(_ARGUMENTS, [])
        settings = "" if "--" in words else _CHANGED_BY_SET.get(next(iter(words), ""), "")
        if error.hint and settings:
            error.hint = with_command(error.hint, command_line(ctx), settings)
        told(f"error: {error}")
        if isinstance(error, (StoreError, WorkerError)) and _resumable(ctx):
            told(f"go on with: {command_line(ctx)}")
        return typer.Exit(INVALID if isinstance(error, _INVALID) else FAILED)

    @staticmethod
    def _trace(ctx: Any) -> None:
        if ctx.meta.get(_DEBUG):
            traceback.print_exc()


def with_command(hint: str, command: str, settings: str = ".") -> str:
    """A hint whose ``--set NAME=VALUE`` are whole commands: the one that was typed, with the setting behind it.

    Args:
        hint: settings that stand in a command already stay there.
        command: as typed, quoted.
        settings: the beginning of those that the command takes, a regular expression; others stay as they are.

    >>> with_command("leave it out: --set target.on_unreadable=skip", "transferscope plan a.yaml")
    'leave it out: transferscope plan a.yaml --set target.on_unreadable=skip'
    """
    setting = re.compile(rf"(transferscope [^`();\n]*)?--set (?='?(?:{settings}))")
    return setting.sub(lambda found: found[0] if found[1] else f"{command} --set ", hint)


def _stopped(ctx: Any, error: BaseException) -> int:
    if _resumable(ctx):
        told(f"stopped; what was finished is kept; go on with: {command_line(ctx)}")
    else:
        told(str(error) or "stopped")
    return FAILED


def _resumable(ctx: Any) -> bool:
    return next(iter(ctx.meta.get(_ARGUMENTS, [])), "") in _RESUMABLE
