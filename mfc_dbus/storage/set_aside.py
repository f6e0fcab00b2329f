"""Files that are not what they should be: set aside, under a name that says so."""

import logging
import os
import stat
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

log = logging.getLogger(__name__)

# What SQLite has beside a database, by the end of its name.
COMPANIONS = ("-wal", "-shm", "-journal")
MAX_BYTES = 1 << 30  # of a million routes it is an eighth
_MAX_COPIED = 64 << 20
_BLOCK = 1 << 20


def set_aside_unless_regular(path: Path) -> None:
    """Keep a fifo, a device or a file without end from being opened, which might never end.

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
    """Rename a database, with what SQLite has beside it. Raises OSError."""
    aside = _aside(path)
    for suffix in (*COMPANIONS, ""):  # no other database may come to lie beside this one's
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return aside


def copy_aside(path: Path) -> None:
    """Copy a file of which a part cannot be used, if there is room."""
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
    """Write a file over with what it has, and sync it. Raises OSError.

    After a sync that failed, Linux takes the pages for written, and the next sync does not try.
    """
    with suppress(FileNotFoundError), path.open("r+b", buffering=0) as file:
        fd, at = file.fileno(), 0
        while data := os.pread(fd, _BLOCK, at):
            at += os.pwrite(fd, data, at)
        os.fdatasync(fd)


def _aside(path: Path) -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
    return path.with_name(f"{path.name}.damaged-{stamp}")
