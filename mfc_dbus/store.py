"""Durable state: the routes that have to outlive the process, in SQLite.

What may be lost is decided by where a store lies: under $STATE_DIRECTORY a route survives power
loss and reboot, under $RUNTIME_DIRECTORY only the process.
"""

import logging
import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from sys import intern
from typing import Any, Self

from mfc_dbus.errors import StoreError
from mfc_dbus.model import Oif, Route, RouteKey

log = logging.getLogger(__name__)

_APPLICATION_ID = 0x6D666364  # "mfcd"
_SCHEMA = """
CREATE TABLE route (
    source BLOB NOT NULL,       -- packed; zeros: any source
    "group" BLOB NOT NULL,      -- packed
    key_iif TEXT NOT NULL,      -- the iif, of a route from any source; otherwise empty
    iif TEXT NOT NULL,
    oifs TEXT NOT NULL,         -- name/threshold, separated by spaces
    comment TEXT NOT NULL,
    persistent INTEGER NOT NULL,
    expires INTEGER NOT NULL,   -- CLOCK_BOOTTIME, nanoseconds; 0: never
    PRIMARY KEY (source, "group", key_iif)
) WITHOUT ROWID
"""
# What takes a database from each schema version to the next; a new file has version 0.
_MIGRATIONS = (_SCHEMA,)
_PUT = "INSERT OR REPLACE INTO route VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_DELETE = 'DELETE FROM route WHERE source = ? AND "group" = ? AND key_iif = ?'
_GET = 'SELECT source, "group", iif, oifs, comment, persistent, expires FROM route'


class Store:
    """One database. `write` may be called from any thread, one call at a time."""

    def __init__(self, path: Path) -> None:
        """Open or make it; a file that is damaged or another program's is set aside.

        Where nothing can be written it is read all the same. Raises StoreError.
        """
        self.path = path
        try:
            try:
                self._database = _open(path)
            except _NotOurs as error:
                _set_aside(path, error)
                self._database = _open(path)
            except sqlite3.OperationalError as error:
                if not (path.exists() and _says_read_only(error)):
                    raise
                self._database = _open_read_only(path)
                log.error("%s can be read, and not written: %s", path, error)
        except (sqlite3.Error, OSError, _NotOurs) as error:
            raise StoreError(f"Cannot open {path}: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def read(self) -> list[Route]:
        """Read all routes. Raises StoreError."""
        try:
            known: dict[str, tuple[Oif, ...]] = {}
            return [_from_row(row, known) for row in self._database.execute(_GET)]
        except (sqlite3.Error, ValueError) as error:
            raise StoreError(f"Cannot read {self.path}: {error}") from error

    def write(self, changes: Mapping[RouteKey, Route | None]) -> None:
        """Put routes, or delete those that are None; return when it is on disk.

        Raises StoreError; then nothing was changed.
        """
        gone = [key for key, route in changes.items() if route is None]
        there = [_to_row(key, route) for key, route in changes.items() if route is not None]
        try:
            with self._database:  # committed, or rolled back
                self._database.executemany(_DELETE, gone)
                self._database.executemany(_PUT, there)
        except sqlite3.Error as error:
            raise StoreError(f"Cannot write {self.path}: {error}") from error


class _NotOurs(Exception):
    """The file is damaged, or another program's database."""


def _open(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=1, check_same_thread=False)
    try:
        # Only one process may have it, and so it needs no shared memory beside it.
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        _check(database)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        _migrate(database)
    except sqlite3.OperationalError:
        database.close()
        raise
    except sqlite3.DatabaseError as error:
        database.close()
        raise _NotOurs(str(error)) from error
    except _NotOurs:
        database.close()
        raise
    return database


def _says_read_only(error: sqlite3.Error) -> bool:
    """Whether it may be the disk, and not another process that has the database."""
    primary = getattr(error, "sqlite_errorcode", 0) & 0xFF  # not SQLite's own has none
    return primary in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY)


def _open_read_only(path: Path) -> sqlite3.Connection:
    # A lock would have to be written, and without one of its own SQLite wants the index of the WAL
    # in a file. Nobody else can write either.
    uri = f"{path.absolute().as_uri()}?mode=ro&vfs=unix-none"
    database = sqlite3.connect(uri, uri=True, check_same_thread=False)
    try:
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        _check(database)
    except (sqlite3.Error, _NotOurs):
        database.close()
        raise
    return database


def _check(database: sqlite3.Connection) -> None:
    application = _pragma(database, "application_id")
    tables = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if application != _APPLICATION_ID and (application or tables):
        raise _NotOurs("it is the database of another program")
    damage = _pragma(database, "quick_check")
    if damage != "ok":
        raise _NotOurs(str(damage))


def _migrate(database: sqlite3.Connection) -> None:
    version = _pragma(database, "user_version")
    if version > len(_MIGRATIONS):
        raise sqlite3.OperationalError(
            f"it has schema version {version}, and this program knows {len(_MIGRATIONS)}"
        )
    for number, migration in enumerate(_MIGRATIONS[version:], version + 1):
        database.executescript(
            f"BEGIN; {migration}; PRAGMA application_id = {_APPLICATION_ID};"
            f"PRAGMA user_version = {number}; COMMIT"
        )


def _pragma(database: sqlite3.Connection, name: str) -> Any:
    return database.execute(f"PRAGMA {name}").fetchone()[0]


def _set_aside(path: Path, error: Exception) -> None:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    log.error("%s cannot be used (%s): setting it aside as %s", path, error, aside)
    path.rename(aside)
    for suffix in ("-wal", "-journal"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))


def _to_row(key: RouteKey, route: Route) -> tuple[object, ...]:
    oifs = " ".join(f"{oif.name}/{oif.ttl}" for oif in route.oifs)
    return (*key, route.iif, oifs, route.comment, route.persistent, route.expires)


def _from_row(row: tuple[Any, ...], known: dict[str, tuple[Oif, ...]]) -> Route:
    """known: the oifs that were read, since many routes have the same."""
    source, group, iif, text, comment, persistent, expires = row
    oifs = known.get(text)
    if oifs is None:
        pairs = (each.rpartition("/") for each in text.split())
        oifs = known[text] = tuple(Oif(intern(name), int(ttl)) for name, _, ttl in pairs)
    return Route(source, group, intern(iif), oifs, comment, bool(persistent), expires)
