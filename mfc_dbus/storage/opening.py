"""Opens the database of a store, whatever is found at its path, so that the service can start.

What is no regular file or cannot be used is set aside, and its rows are salvaged; what cannot be
written is read.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

from mfc_dbus.model.errors import InvalidArgs
from mfc_dbus.model.journal import Message, logger_of
from mfc_dbus.storage import earlier, rows, salvage, set_aside
from mfc_dbus.storage.database import (
    OF_OTHERS,
    OF_THE_DISK,
    PUT,
    Unusable,
    brief,
    open_or_make,
    open_read_only,
    primary_code,
    transaction,
)
from mfc_dbus.storage.salvage import Frames

log = logger_of(__name__, Message.STORE_FAILED)

_Values = Sequence[Any]


class Opened(NamedTuple):
    """A database that was opened.

    refusal: why it cannot be written, None where it can.
    doubtful: its log cannot be synced, so that it may hold a commit that failed.
    """

    database: sqlite3.Connection
    refusal: Exception | None = None
    doubtful: bool = False


def open_whatever(path: Path, life: str) -> Opened:
    """Open the database at this path, or make it where there is none.

    life: see `Store`. Raises OSError, Newer, and for what is no fault of the file sqlite3.Error.
    """
    for suffix in ("", *set_aside.COMPANIONS):
        set_aside.set_aside_unless_regular(path.with_name(path.name + suffix))
    if _salvaged(path).exists():  # a crash came before it replaced the damaged file
        _replace(path)
    if path.exists() and not os.access(path, os.W_OK):
        return _open_read_only(path, life, PermissionError("attempt to write a readonly database"))
    frames = salvage.frames(path)
    try:
        database = open_or_make(path, life)
    except (sqlite3.Error, UnicodeError, Unusable) as error:
        if primary_code(error) in OF_THE_DISK and path.exists():
            return _open_read_only(path, life, error)
        return _rebuild(path, life, error)
    return Opened(database, doubtful=not _begin_log(path, database, frames))


def _open_read_only(path: Path, life: str, error: Exception) -> Opened:
    try:
        database = open_read_only(path)
    except (sqlite3.Error, UnicodeError, Unusable) as second:
        return _rebuild(path, life, second)
    return Opened(database, error)


def _begin_log(path: Path, database: sqlite3.Connection, frames: Frames) -> bool:
    """Empty the write-ahead log, and log how many commits of it cannot be read.

    The process before may have ended while the log could not be synced. Returns whether it is now.
    """
    try:
        set_aside.write_anew(salvage.log_of(path))
    except OSError as error:
        log.error("%s cannot be synced: %s", path, error.strerror)
        return False
    with suppress(sqlite3.Error):  # SQLite checkpoints again later
        _, valid, _ = database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if lost := frames.lost(valid):
            log.error(
                "%s: %d commits at the end of its log cannot be read. They are lost, or of "
                "changes that were not finished",
                path,
                lost,
            )
            set_aside.copy_aside(salvage.log_of(path))
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return True


def _salvaged(path: Path) -> Path:
    """Return the path of the database that is to replace a damaged one."""
    return path.with_name(path.name + ".salvaged")


def _rebuild(path: Path, life: str, error: Exception) -> Opened:
    """Salvage the rows of an unusable file into a new one, and set the file aside.

    Where no new one can be written, the rows are in memory. Errors of OF_OTHERS are raised.
    """
    if primary_code(error) in OF_OTHERS:
        raise error
    found = list(_salvage(path, life))
    log.error(
        "%s cannot be used (%s). %d routes and memberships were read from it",
        path,
        brief(error),
        len(found),
    )
    try:
        _write_salvaged(path, life, found)
        _replace(path)
        return Opened(open_or_make(path, life))
    except (sqlite3.Error, OSError) as second:
        database = open_or_make(":memory:", life)
        _put(database, found)
        return Opened(database, second)


def _write_salvaged(path: Path, life: str, found: Sequence[_Values]) -> None:
    """Write a new database, which gets the name `_salvaged` when it is whole."""
    unfinished = path.with_name(path.name + ".unfinished")
    for suffix in ("", *set_aside.COMPANIONS):
        unfinished.with_name(unfinished.name + suffix).unlink(missing_ok=True)
    with closing(open_or_make(unfinished, life)) as database:
        _put(database, found)
        # Closing would checkpoint, too, but fails silently.
        busy, _, _ = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise sqlite3.OperationalError("database is locked")
    unfinished.rename(_salvaged(path))


def _replace(path: Path) -> None:
    if path.exists():
        log.error("%s is kept as %s", path, set_aside.set_aside(path))
    _salvaged(path).rename(path)


def _salvage(path: Path, life: str) -> Iterator[_Values]:
    for values in salvage.rows(path):
        with suppress(InvalidArgs):
            if len(values) == rows.COLUMNS:
                rows.read(values)
                yield rows.Row(*values).values()
            else:
                yield rows.write(earlier.read(values), life).values()


def _put(database: sqlite3.Connection, found: Iterable[_Values]) -> None:
    with transaction(database):
        database.executemany(PUT, found)
