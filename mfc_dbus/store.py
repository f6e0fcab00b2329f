"""Durable state: the routes and memberships that have to outlive the process, in SQLite.

What may be lost is decided by where a store lies: under $STATE_DIRECTORY a route survives power
loss and reboot, under $RUNTIME_DIRECTORY only the process.
"""

import ast
import fcntl
import logging
import os
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from sys import intern
from typing import Any, NamedTuple, Self

from mfc_dbus.addresses import Prefix
from mfc_dbus.errors import StoreError
from mfc_dbus.model import Desired, Key, Membership, Oif, Route, RouteKey

log = logging.getLogger(__name__)

_APPLICATION_ID = 0x6D666364  # "mfcd"
_ROUTES = """
CREATE TABLE route (
    source BLOB NOT NULL,       -- a prefix: the packed address, and its length in one byte more
    "group" BLOB NOT NULL,      -- a prefix
    key_iif TEXT NOT NULL,      -- empty where both are one address, and otherwise the iif
    "table" INTEGER NOT NULL,   -- number; 0: the default table
    iif TEXT NOT NULL,
    oifs TEXT NOT NULL,         -- name/threshold, separated by spaces
    comment TEXT NOT NULL,
    persistent INTEGER NOT NULL,
    expires INTEGER NOT NULL,   -- CLOCK_BOOTTIME, nanoseconds; 0: never
    PRIMARY KEY (source, "group", key_iif, "table")
) WITHOUT ROWID;
-- What a change that is committed here has still to do in another store.
CREATE TABLE rest (
    kind TEXT NOT NULL,         -- of the statement
    row TEXT NOT NULL           -- its parameters, as a literal of Python
);
CREATE TABLE this (
    identity TEXT NOT NULL,     -- of this store, never of another
    rest TEXT NOT NULL,         -- name of the rest that it has, which begins with whose it is
    done TEXT NOT NULL          -- name of the rest that was done here last
);
INSERT INTO this VALUES (lower(hex(randomblob(8))), '', '')
"""
_MEMBERSHIPS = """
CREATE TABLE membership (
    "group" BLOB NOT NULL,      -- packed
    source BLOB NOT NULL,       -- packed; zeros: any source
    interface TEXT NOT NULL,
    comment TEXT NOT NULL,
    persistent INTEGER NOT NULL,
    PRIMARY KEY ("group", source, interface)
) WITHOUT ROWID
"""
# What takes a database from each schema version to the next; a new file has version 0.
_MIGRATIONS = (_ROUTES, _MEMBERSHIPS)
_VERSION = len(_MIGRATIONS)
_GET_ROUTES = 'SELECT source, "group", "table", iif, oifs, comment, persistent, expires FROM route'
_GET_MEMBERSHIPS = 'SELECT "group", source, interface, comment, persistent FROM membership'
# By the name of the type of what is put, or of the key of what is deleted.
_WRITE = {
    "Route": "INSERT OR REPLACE INTO route VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    "Membership": "INSERT OR REPLACE INTO membership VALUES (?, ?, ?, ?, ?)",
    "RouteKey": 'DELETE FROM route WHERE (source, "group", key_iif, "table") = (?, ?, ?, ?)',
    "MembershipKey": 'DELETE FROM membership WHERE "group" = ? AND source = ? AND interface = ?',
}

# Routes and memberships to put, and None for those to delete.
Changes = Mapping[Key, Desired | None]
_Row = tuple[object, ...]


class Rest(NamedTuple):
    """What of a change is for another store; done there once, whoever crashes in between."""

    name: str
    rows: Sequence[tuple[str, _Row]]  # each with its name in _WRITE


class Store:
    """One database. `write` may be called from any thread, one call at a time."""

    def __init__(self, path: Path) -> None:
        """Open or make it; a file that is damaged or another program's is set aside.

        Where nothing can be written it is read all the same. Raises StoreError.
        """
        self.path = path
        with ExitStack() as stack:
            try:
                _lock(stack, path.parent)
                self._database = stack.enter_context(closing(_open_some_way(path)))
                self._identity, self._done = self._read_this("identity"), self._read_this("done")
            except (sqlite3.Error, OSError, _NotOurs) as error:
                raise StoreError(f"Cannot open {path}: {error}") from error
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def read(self) -> list[Desired]:
        """Read all routes and memberships. Raises StoreError."""
        try:
            known: dict[str, tuple[Oif, ...]] = {}
            routes = [_from_row(row, known) for row in self._database.execute(_GET_ROUTES)]
            return [*routes, *self._memberships()]
        except (sqlite3.Error, ValueError) as error:
            raise StoreError(f"Cannot read {self.path}: {error}") from error

    def read_rest(self) -> Rest:
        """Read the rest that was left here last. Raises StoreError."""
        try:
            rows = self._database.execute("SELECT kind, row FROM rest").fetchall()
            return Rest(
                self._read_this("rest"), [(kind, ast.literal_eval(row)) for kind, row in rows]
            )
        except (sqlite3.Error, ValueError) as error:
            raise StoreError(f"Cannot read {self.path}: {error}") from error

    def rest(self, changes: Changes) -> Rest:
        """Make of changes a rest for this store."""
        return Rest(f"{self._identity}-{secrets.token_hex(8)}", list(_rows(changes)))

    def write(self, changes: Changes, *, leaving: Rest | None = None) -> None:
        """Put and delete routes; return when it is on disk.

        leaving: the rest of the same change. Raises StoreError; then nothing was changed.
        """
        with self._transaction():
            self._write(_rows(changes))
            if leaving:
                rows = [(kind, repr(row)) for kind, row in leaving.rows]
                self._database.execute("DELETE FROM rest")
                self._database.executemany("INSERT INTO rest VALUES (?, ?)", rows)
                self._database.execute("UPDATE this SET rest = ?", [leaving.name])

    def finish(self, rest: Rest) -> None:
        """Do what another store has as our rest, if it is ours and not done. Raises StoreError."""
        if not rest.name.startswith(self._identity) or rest.name == self._done:
            return
        with self._transaction():
            self._write(rest.rows)
            self._database.execute("UPDATE this SET done = ?", [rest.name])
        self._done = rest.name

    def _read_this(self, column: str) -> str:
        return str(self._database.execute(f"SELECT {column} FROM this").fetchone()[0])

    def _write(self, rows: Iterable[tuple[str, _Row]]) -> None:
        by_kind: dict[str, list[_Row]] = {kind: [] for kind in _WRITE}
        for kind, row in rows:
            by_kind[kind].append(row)
        for kind, of_kind in by_kind.items():
            self._database.executemany(_WRITE[kind], of_kind)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            with self._database:  # committed, or rolled back
                yield
        except sqlite3.Error as error:
            raise StoreError(f"Cannot write {self.path}: {error}") from error

    def _memberships(self) -> Iterator[Membership]:
        if _pragma(self._database, "user_version") < _MIGRATIONS.index(_MEMBERSHIPS) + 1:
            return  # a disk that cannot be written kept it from being brought up to date
        for row in self._database.execute(_GET_MEMBERSHIPS):
            group, source, interface, comment, persistent = row
            yield Membership(group, source, interface, comment, bool(persistent))


class _NotOurs(Exception):
    """The file is damaged, or another program's database."""


def _lock(stack: ExitStack, directory: Path) -> None:
    """Let no other process have a store there; SQLite's own lock would let nobody copy it."""
    fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    stack.callback(os.close, fd)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _open_some_way(path: Path) -> sqlite3.Connection:
    try:
        return _open(path)
    except _NotOurs as error:
        _set_aside(path, error)
        return _open(path)
    except sqlite3.OperationalError as error:
        if not (path.exists() and _says_read_only(error)):
            raise
        database = _open_read_only(path)
        log.error("%s can be read, and not written: %s", path, error)
        return database


def _open(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=1, check_same_thread=False)
    try:
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
    if version > _VERSION:
        raise sqlite3.OperationalError(
            f"it has schema version {version}, and this program knows {_VERSION}"
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
    for suffix in ("-wal", "-shm", "-journal"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))


def _rows(changes: Changes) -> Iterator[tuple[str, _Row]]:
    for key, desired in changes.items():
        yield type(key if desired is None else desired).__name__, _to_row(key, desired)


def _to_row(key: Key, desired: Desired | None) -> _Row:
    if isinstance(key, RouteKey):
        packed: _Row = (_blob(key.source), _blob(key.group), key.iif, key.table)
    else:
        packed = (key.group, key.source, key.interface)
    match desired:
        case Route():
            oifs = " ".join(f"{oif.name}/{oif.ttl}" for oif in desired.oifs)
            rest = (desired.iif, oifs, desired.comment, desired.persistent, desired.expires)
            return (*packed, *rest)
        case Membership():
            return (*packed, desired.comment, desired.persistent)
    return packed


def _blob(prefix: Prefix) -> bytes:
    return prefix.address + bytes((prefix.length,))


def _prefix(blob: bytes) -> Prefix:
    return Prefix(blob[:-1], blob[-1])


def _from_row(row: tuple[Any, ...], known: dict[str, tuple[Oif, ...]]) -> Route:
    """known: the oifs that were read, since many routes have the same."""
    source, group, table, iif, text, comment, persistent, expires = row
    oifs = known.get(text)
    if oifs is None:
        pairs = (each.rpartition("/") for each in text.split())
        oifs = known[text] = tuple(Oif(intern(name), int(ttl)) for name, _, ttl in pairs)
    return Route(
        _prefix(source),
        _prefix(group),
        intern(iif),
        oifs,
        comment,
        bool(persistent),
        expires,
        table=table,
    )
