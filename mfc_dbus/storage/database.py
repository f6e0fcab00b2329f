"""The SQLite database of a store: opens, checks and migrates it."""

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mfc_dbus.model.errors import InvalidArgs
from mfc_dbus.model.journal import Message, logger_of
from mfc_dbus.model.quoting import printable
from mfc_dbus.storage import earlier, past, rows

log = logger_of(__name__, Message.STORE_FAILED)

VERSION = 3
_APPLICATION_ID = 0x6D666364  # "mfcd"
_HEADER = """
CREATE TABLE header (           -- one row
    version INTEGER NOT NULL,   -- of the schema, as user_version is
    identity TEXT NOT NULL,     -- of this database, never of another
    taken TEXT NOT NULL,        -- the name of what was taken in from another database last
    mended INTEGER NOT NULL     -- changed by a commit that takes the place of one that failed
)
"""
_DAMAGED = """
CREATE TABLE damaged (          -- rows that were found, and could not be used; nobody reads them
    found TEXT NOT NULL,        -- when
    reason TEXT NOT NULL,
    row TEXT NOT NULL           -- as Python would write it
)
"""
PUT = "INSERT OR REPLACE INTO kept VALUES (?, ?, ?, ?, ?, ?)"
_MAX_KEPT_ASIDE = 4096  # characters of a row
_MAX_BRIEF = 200  # characters
_TABLES = {"kept": rows.SCHEMA, "header": _HEADER, "damaged": _DAMAGED}
_HISTORY = {"history": past.SCHEMA}


class Unusable(Exception):
    """The file is damaged, or is the database of another program."""


class Newer(Exception):
    """The file was written by a later version of this program."""


def lock(stack: ExitStack, directory: Path) -> int:
    """Lock a directory against the stores of other processes, until the stack closes.

    Returns the directory's file descriptor. Raises OSError.
    """
    fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    stack.callback(os.close, fd)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BlockingIOError(error.errno, "another mfc-dbusd uses it") from error
    return fd


# Primary codes of errors that the disk may cause, and not the contents of the file.
OF_THE_DISK = (
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
)
# Primary codes of errors that tell nothing about the file: another process uses it, or we lack
# memory or a permission.
OF_OTHERS = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
)


def primary_code(error: Exception) -> int:
    """Return SQLite's primary code of an error, 0 for an error that is not SQLite's."""
    code = getattr(error, "sqlite_errorcode", None)
    return code & 0xFF if isinstance(code, int) else 0


def _connect(path: Path | str, *, uri: bool = False) -> sqlite3.Connection:
    database = sqlite3.connect(
        path, timeout=1, check_same_thread=False, isolation_level=None, uri=uri
    )
    database.text_factory = bytes  # text of a damaged file may not be UTF-8
    return database


def open_or_make(path: Path | str, life: str) -> sqlite3.Connection:
    """Open a database, or make it. Raises sqlite3.Error, UnicodeError, Unusable and Newer.

    life: is written into those rows of an earlier version that do not outlive a reboot.
    """
    database = _connect(path)
    try:
        _lock_for_us(database)
        version = _read_version(database)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        # A sync costs twice as much while the log grows as when it is written anew from its start.
        database.execute("PRAGMA wal_autocheckpoint = 100")
        database.execute("PRAGMA cache_spill = OFF")  # nothing is in the log before the commit
        database.execute("PRAGMA secure_delete = ON")  # deleted rows are overwritten
        if version < VERSION:
            _migrate(database, version, life)
        _make_history(database)
    except BaseException:
        database.close()
        raise
    return database


def _lock_for_us(database: sqlite3.Connection) -> None:
    """Lock the database for us alone, so that SQLite keeps the index of its log in memory.

    Otherwise the index is in a file, and where that cannot be read, SQLite has removed the log.
    """
    database.execute("PRAGMA locking_mode = EXCLUSIVE")
    try:
        pragma(database, "schema_version")
    except sqlite3.OperationalError as error:
        if primary_code(error) != sqlite3.SQLITE_BUSY:
            raise
        # Another process reads it; while it does, nobody can remove the log.
        database.execute("PRAGMA locking_mode = NORMAL")


def open_read_only(path: Path) -> sqlite3.Connection:
    """Open a database where nothing can be written, of any version up to ours.

    Raises what `open_or_make` raises.
    """
    # An exclusive lock needs a file that can be written: so this VFS takes none, and nobody can
    # write. Without the exclusive mode SQLite would want the index of the WAL in a file.
    database = _connect(f"{path.absolute().as_uri()}?mode=ro&vfs=unix-none", uri=True)
    try:
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        _read_version(database)
    except BaseException:
        database.close()
        raise
    return database


def _read_version(database: sqlite3.Connection) -> int:
    """Return the version of the schema, 0 for a new file. Raises Unusable and Newer."""
    application, version = pragma(database, "application_id"), pragma(database, "user_version")
    known = {name for (name,) in database.execute("SELECT name FROM sqlite_schema")}
    if application != _APPLICATION_ID and (application or known):
        raise Unusable("it is the database of another program")
    damage = pragma(database, "quick_check")
    if damage != b"ok":
        raise Unusable(damage.decode(errors="replace"))
    if not known:
        return 0
    if b"header" in known:
        headers = database.execute("SELECT version, identity, taken FROM header").fetchmany(2)
        match headers:
            case [(int() as second, bytes(), bytes())] if second == version:
                pass
            case _:
                raise Unusable("its header is damaged")
    elif version not in earlier.VERSIONS:
        raise Unusable("its header is missing")
    if version > VERSION:
        raise Newer(f"it has schema version {version}, and this program knows {VERSION}")
    if version == VERSION and _layout(database) != _expected_layout():
        raise Unusable("its tables are not what they were")
    return int(version)


def _layout(
    database: sqlite3.Connection, tables: Iterable[str] = _TABLES
) -> Sequence[Sequence[Any]]:
    """Return the columns of tables."""
    sql = 'SELECT name, type, "notnull", pk FROM pragma_table_info(?)'
    return [database.execute(sql, [name]).fetchall() for name in tables]


def _expected_layout(tables: Mapping[str, str] = _TABLES) -> Sequence[Sequence[Any]]:
    with closing(_connect(":memory:")) as database:
        for sql in tables.values():
            database.execute(sql)
        return _layout(database, tables)


def _make_history(database: sqlite3.Connection) -> None:
    """Make the table of the history, also anew: it came later, and no route depends on it.

    An earlier program leaves it alone, and what it changes meanwhile is in no history.
    """
    present = _layout(database, _HISTORY)
    if present == _expected_layout(_HISTORY):
        return
    with transaction(database):
        database.execute("DROP TABLE IF EXISTS history")
        for sql in _HISTORY.values():
            database.execute(sql)


def _migrate(database: sqlite3.Connection, version: int, life: str) -> None:
    with transaction(database):
        for sql in _TABLES.values():
            database.execute(sql)
        header = earlier.read_identity(database)
        if version:
            for values in [*earlier.rows(database)]:
                try:
                    row = rows.write(earlier.read(values), life)
                except InvalidArgs as error:
                    put_aside(database, values, str(error))
                    log.error("A row is left out, and kept in the table 'damaged': %s", error)
                else:
                    database.execute(PUT, row.values())
            database.execute("DROP TABLE IF EXISTS route")
            database.execute("DROP TABLE IF EXISTS membership")
        database.execute("INSERT INTO header VALUES (?, ?, ?, 0)", [VERSION, *header])
        database.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        database.execute(f"PRAGMA user_version = {VERSION}")


def put_aside(database: sqlite3.Connection, values: Sequence[Any], reason: str) -> None:
    """Keep an invalid row in the table `damaged`, for the administrator."""
    row = ascii(tuple(values))[:_MAX_KEPT_ASIDE]
    found = datetime.now(UTC).isoformat()
    database.execute("INSERT INTO damaged VALUES (?, ?, ?)", [found, reason, row])


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            with suppress(sqlite3.Error):
                database.execute("ROLLBACK")
        raise


def pragma(database: sqlite3.Connection, name: str) -> Any:
    return database.execute(f"PRAGMA {name}").fetchone()[0]


def brief(error: Exception) -> str:
    """Return the text of an error, printable: it may quote a damaged file."""
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return printable(text[:_MAX_BRIEF])
