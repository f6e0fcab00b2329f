"""Reads files that somebody else wrote: only regular files, and only up to a limit.

A fifo or a device may have no end, or never begin, and would hold up its reader.
"""

import codecs
import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

from mfc_dbus.model.errors import InvalidArgs

MAX_BYTES = 64 * 1024 * 1024  # more than twice what a message on the bus has room for

_KINDS: dict[Callable[[int], bool], str] = {
    stat.S_ISDIR: "directory",
    stat.S_ISFIFO: "fifo",
    stat.S_ISCHR: "device",
    stat.S_ISBLK: "device",
    stat.S_ISSOCK: "socket",
}
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read(path: Path, limit: int = MAX_BYTES) -> bytes:
    """Read a regular file. Raises OSError, also for any other file and for one above the limit."""
    # Without O_NONBLOCK the opening of a fifo waits for somebody who writes.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode):
            kind = next((name for holds, name in _KINDS.items() if holds(mode)), "special file")
            raise OSError(errno.EINVAL, f"Is a {kind}, and no regular file", str(path))
        return read_descriptor(fd, str(path), limit)
    finally:
        os.close(fd)


def read_descriptor(fd: int, name: str, limit: int = MAX_BYTES) -> bytes:
    """Read to the end of an open file or pipe. Raises OSError, also for more than the limit.

    name: that of the file, for the error.
    """
    try:
        with open(fd, "rb", closefd=False) as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise OSError(error.errno, error.strerror, name) from error
    if data is None:  # the kernel's log, for one, is a regular file by its mode
        raise OSError(errno.EAGAIN, "Has nothing to be read now, and no end", name)
    if len(data) > limit:
        size = f"{limit >> 20} MiB" if limit >= 1 << 20 else f"{limit} bytes"
        raise OSError(errno.EFBIG, f"Is larger than {size}", name)
    return data


def decode(data: bytes) -> str:
    """Decode UTF-8, with or without a byte order mark. Raises InvalidArgs, which names the line."""
    if data.startswith(_UTF_16):
        raise InvalidArgs("line 1: This is UTF-16; write it as UTF-8")
    try:
        return data.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidArgs(f"line {line}: This is not valid UTF-8") from None
