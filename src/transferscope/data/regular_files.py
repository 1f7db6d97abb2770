"""Files that can be opened without waiting."""

import os
import stat

from transferscope.errors import DataError


def regular_file(path: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """``path`` itself, if a file lies there that can be opened without waiting."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        raise DataError(f"{os.fspath(path)} is no file", expected="a regular file", got=_kind(mode))
    return path


def _kind(mode: int) -> str:
    kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFDIR: "a folder"}
    return kinds.get(stat.S_IFMT(mode), "a device")
