"""Sets files aside that cannot be used, under a name that says so."""

import os
import stat
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from mfc_dbus.model.journal import Message, logger_of

log = logger_of(__name__, Message.STORE_FAILED)

# Suffixes of the files that SQLite has beside a database.
COMPANIONS = ("-wal", "-shm", "-journal")
MAX_BYTES = 1 << 30  # a million routes take an eighth of it
_MAX_COPIED = 64 << 20
_BLOCK = 1 << 20


def set_aside_unless_regular(path: Path) -> None:
    """Rename a fifo, a device or a huge file, which might never be opened or read to its end.

    Raises OSError.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        return
    except OSError as error:  # such as a link that leads to itself
        if not path.is_symlink():
            raise
        reason = error.strerror or "a link"
    else:
        if not stat.S_ISREG(status.st_mode):
            reason = "no regular file"
        elif status.st_size > MAX_BYTES:
            reason = f"{status.st_size} bytes"
        else:
            return
    aside = _aside(path)
    log.error("%s cannot be used (%s): it is now %s", path, reason, aside)
    path.rename(aside)


def set_aside(path: Path) -> Path:
    """Rename a database with its companions, and return the new path. Raises OSError."""
    aside = _aside(path)
    for suffix in (*COMPANIONS, ""):  # the companions first: none may stay for the next database
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return aside


def copy_aside(path: Path) -> None:
    """Copy a file whose contents can be used in part only, if there is room."""
    aside = _aside(path)
    try:
        with path.open("rb") as old, aside.open("xb") as new:
            new.write(old.read(_MAX_COPIED))
    except OSError as error:
        log.error("%s cannot be copied: %s", path, error.strerror)
        with suppress(OSError):
            aside.unlink(missing_ok=True)
    else:
        log.error("%s is kept as %s", path, aside)


def write_anew(path: Path) -> None:
    """Write a file's contents over themselves, and sync it. Raises OSError.

    After a failed sync Linux counts the pages as written, and another sync alone does not try them.
    """
    with suppress(FileNotFoundError), path.open("r+b", buffering=0) as file:
        fd, at = file.fileno(), 0
        while data := os.pread(fd, _BLOCK, at):
            at += os.pwrite(fd, data, at)
        os.fdatasync(fd)


def _aside(path: Path) -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
    return path.with_name(f"{path.name}.damaged-{stamp}")
