"""``python -m transferscope``."""

import sys

if __name__ == "__main__":
    # Python puts the current folder first: a file there must not pass for a library, see transferscope.factories.
    if not sys.flags.safe_path:
        del sys.path[0]
    from transferscope.cli import main

    main()
