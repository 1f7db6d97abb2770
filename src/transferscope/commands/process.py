"""What the command needs of its process: standard streams, signals, how idle threads wait."""

import os
import sys
from collections.abc import Callable

from transferscope import streams
from transferscope.commands.reporting import FAILED, INVALID


def run_command(command: Callable[[], object]) -> None:
    """Run the command as the whole of this process."""
    streams.open_closed()
    streams.stop_signals()
    try:
        os.getcwd()
    except FileNotFoundError:
        # Libraries end the process with words of their own where there is none.
        streams.told("error: the current folder has been deleted\n  do:       cd to one that exists")
        sys.exit(INVALID)
    if os.environ.get("COLUMNS", "").strip() == "0":
        # A terminal of no width would show nothing, errors included.
        del os.environ["COLUMNS"]
    if "OMP_WAIT_POLICY" not in os.environ:
        # Read when torch is loaded. Idle threads that spin take the cores from those that work.
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("KMP_BLOCKTIME", "0")
    try:
        command()
    finally:
        if error := streams.lost_output():
            streams.told(f"error: {error}")
            sys.exit(FAILED)
