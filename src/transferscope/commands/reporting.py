"""Errors and Ctrl-C at the command line: one message, one exit code, no traceback unless asked for."""

import shlex
import sys
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
    StudyError,
    TransferscopeError,
    WeightsError,
    printable,
)

__all__ = ["FAILED", "INVALID", "ReportingGroup", "command_line"]

FAILED = 1
"""Exit code: something went wrong, or the user stopped."""
INVALID = 2
"""Exit code: the command, study, data, network or weights given are wrong, and can be corrected."""

_INVALID = (StudyError, ArchitectureError, WeightsError, ModuleNameError, DataError, LoaderError, OptionError)
_RESUMABLE = ("demo", "run")
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
            self._trace(ctx)
            _say(f"error: {error}")
            raise typer.Exit(INVALID if isinstance(error, _INVALID) else FAILED) from error
        except BrokenPipeError:
            raise  # `transferscope list | head`: the reader has gone, and typer ends without a word
        except OSError as error:
            self._trace(ctx)
            _say(f"error: {error}")
            raise typer.Exit(FAILED) from error

    @staticmethod
    def _trace(ctx: Any) -> None:
        if ctx.meta.get(_DEBUG):
            traceback.print_exc()


def _stopped(ctx: Any, error: BaseException) -> int:
    words = ctx.meta.get(_ARGUMENTS, [])
    if next(iter(words), "") in _RESUMABLE:
        _say(f"stopped; what was finished is kept; go on with: {command_line(ctx)}")
    else:
        _say(str(error) or "stopped")
    return FAILED


def _say(text: str) -> None:
    # Not through rich: paths and names keep their brackets, long lines are not cut.
    print(printable(text, keep="\n\t"), file=sys.stderr)
