"""What a file of weights is: told by its content, never by its name."""

import json
import os
import stat
import tarfile
import zipfile
from pathlib import Path
from typing import Literal

from transferscope.errors import WeightsError

Format = Literal["folder", "index", "safetensors", "torch"]

_HEAD_BYTES = 4096
_MAX_HEADER = 32 * 2**20  # of safetensors; the largest published networks need about 1 MiB
_MAX_JSON = 64 * 2**20
_AGAIN = "fetch or copy it again, and compare its size and hash"
_NEW = (
    "where you trust its origin, open it with the program that wrote it and save the tensors alone: "
    "safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"
)
_FOREIGN: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs", "a pointer of Git LFS: the weights themselves were not fetched", "git lfs pull"),
    (b"\x89HDF", "an HDF5 file (of Keras)", "give weights of PyTorch: safetensors or a state_dict"),
    (b"GGUF", "a GGUF file", "give weights of PyTorch: safetensors or a state_dict"),
    (b"\x93NUMPY", "a NumPy array", "give weights of PyTorch: safetensors or a state_dict"),
    (b"\x89PNG", "a PNG picture", "check the path"),
    (b"\xff\xd8\xff", "a JPEG picture", "check the path"),
    (b"%PDF", "a PDF file", "check the path"),
    (b"\x1f\x8b", "compressed by gzip", "unpack it (gunzip, tar) and give the file in it"),
    (b"BZh", "compressed by bzip2", "unpack it and give the file in it"),
    (b"\xfd7zXZ", "compressed by xz", "unpack it and give the file in it"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "unpack it and give the file in it"),
    (b"7z\xbc\xaf", "a 7z archive", "unpack it and give the file in it"),
    (b"Rar!", "a RAR archive", "unpack it and give the file in it"),
)


def format_of(path: Path) -> Format:
    """Tell what lies at a path, and refuse what holds no weights that can be read safely."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            return "folder"
        # A pipe would be waited for, a device read without end.
        if not stat.S_ISREG(status.st_mode):
            raise _other(path, f"no regular file but {_special(status.st_mode)}", "copy the weights into a file")
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
        return _told(path, head, status.st_size)
    except FileNotFoundError as error:
        raise _missing(path) from error
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> WeightsError:
    """The error of a file that the system does not hand over: it may be whole."""
    return WeightsError(
        f"the weights file {path} cannot be read: {error.strerror or error}",
        expected="a file that may be read",
        got=f"{type(error).__name__}, errno {error.errno}",
        hint="check its permissions, its links and the disk; the file itself may be whole",
    )


def damaged(path: Path, reason: str) -> WeightsError:
    """The error of a file that is what it should be, and broken."""
    size = path.stat().st_size
    return WeightsError(f"the weights file {path} is damaged", got=f"{reason} ({size:,} bytes)", hint=_AGAIN)


def _other(path: Path, what: str, hint: str) -> WeightsError:
    return WeightsError(
        f"the weights file {path} is {what}",
        expected="safetensors, or a file written by torch.save; of several parts their folder or index",
        hint=hint,
    )


def _missing(path: Path) -> WeightsError:
    try:
        near = sorted(item.name for item in path.parent.iterdir() if item.suffix in (".safetensors", *_USUAL))[:5]
    except OSError:  # the folder is not there either
        near = []
    return WeightsError(
        f"the weights file {path} does not exist",
        got="nothing there",
        hint=f"in that folder there are: {', '.join(near)}" if near else "check the path",
    )


_USUAL = (".pt", ".pth", ".ckpt", ".bin", ".tar")


def _special(mode: int) -> str:
    kinds = ((stat.S_ISFIFO, "a pipe (FIFO)"), (stat.S_ISSOCK, "a socket"))
    return next((name for test, name in kinds if test(mode)), "a device")


def _told(path: Path, head: bytes, size: int) -> Format:
    if not size:
        raise _other(path, "empty (0 bytes)", _AGAIN)
    length = int.from_bytes(head[:8], "little")
    named = head[8:9] == b"{"  # the header of safetensors: its length, then JSON
    if named and length <= min(size - 8, _MAX_HEADER):
        return "safetensors"
    for magic, what, hint in _FOREIGN:
        if head.startswith(magic):
            raise _other(path, what, hint)
    if head.startswith(b"PK"):
        return _zip(path)
    # Pickles of protocol 2 and later say so in their first byte; torch writes no other.
    if head[:1] == b"\x80":
        return "torch"
    if head[257:262] == b"ustar" or tarfile.is_tarfile(path):
        raise _other(path, "a tar archive: an old format of PyTorch, or packed files", f"unpack it; or, {_NEW}")
    if named and length > size - 8:
        raise damaged(path, f"cut off, or no safetensors: its header should have {length:,} bytes")
    if named:
        raise damaged(path, f"a header of {length:,} bytes, where {_MAX_HEADER:,} are plenty")
    return _text(path, head, size)


def _text(path: Path, head: bytes, size: int) -> Format:
    start = head.lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html", b"<?xml")):
        raise _other(path, "a web page, not what it links to", "fetch the file itself (the link to the raw file)")
    if start.startswith(b"{") and size <= _MAX_JSON:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise damaged(path, f"text that begins like JSON and is none: {error}") from error
        if isinstance(content, dict) and isinstance(content.get("weight_map"), dict):
            return "index"
        raise _other(
            path, "JSON without weights (no `weight_map`)", "give the folder it lies in, or the file of weights"
        )
    if all(byte >= 32 or byte in b"\t\n\r" for byte in head):
        raise _other(path, f"text ({head[:40]!r}…)", _AGAIN)
    raise damaged(path, f"cut off, or of an unknown kind: it begins with {head[:8].hex(' ')}")


def _zip(path: Path) -> Format:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise damaged(path, f"an archive without its end: {error}") from error
    names = [os.path.basename(member.filename) for member in members]
    if "constants.pkl" in names:
        raise _other(
            path,
            "TorchScript, which is a program",
            "save its tensors alone: safetensors.torch.save_file(torch.jit.load(FILE).state_dict(), NEW)",
        )
    if "data.pkl" not in names:
        shown = ", ".join(names[:4]) or "nothing"
        raise _other(
            path,
            f"an archive (zip) that torch.save did not write: it holds {shown}",
            "unpack it and give the file in it",
        )
    # torch.save stores without compression: what unpacks to more than the file is no work of its.
    if sum(member.file_size for member in members) > 2 * path.stat().st_size + _MAX_HEADER:
        raise damaged(path, f"unpacks to {sum(member.file_size for member in members):,} bytes")
    return "torch"
