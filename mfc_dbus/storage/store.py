"""What has to outlive the process, in one SQLite database: a commit is there whole, or not at all.

Rows that are not durable carry the name of a life of the machine, and end with it. What is read
may be anything: a row that is no valid one is kept aside, a file that cannot be used too.
"""

import logging
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

from mfc_dbus.model.errors import InvalidArgs, StoreError
from mfc_dbus.model.quoting import printable
from mfc_dbus.model.route import Desired, Key
from mfc_dbus.storage import earlier, rows, salvage
from mfc_dbus.storage import set_aside as files
from mfc_dbus.storage.database import (
    OF_OTHERS,
    OF_THE_DISK,
    PUT,
    Newer,
    Unusable,
    lock,
    open_or_make,
    open_read_only,
    pragma,
    primary_code,
    put_aside,
    transaction,
)
from mfc_dbus.storage.earlier import Rest
from mfc_dbus.storage.salvage import Frames

log = logging.getLogger(__name__)

_DELETE = "DELETE FROM kept WHERE key = ?"
_MAX_TOLD = 5
_MAX_BRIEF = 200  # characters
_TRIES = 3

# Routes and memberships to put, and None for those to delete.
Changes = Mapping[Key, Desired | None]
_Values = Sequence[Any]


class _Damaged(NamedTuple):
    values: _Values
    reason: str


class Store:
    """One database. `write` may be called from any thread, one call at a time.

    life: the name that rows carry which are not durable; others than these have ended. refusal: why
    nothing can be written, if so; then it is read all the same. identity: of this database. taken:
    the name of what it has taken in.
    """

    def __init__(self, path: Path, life: str) -> None:
        """Open or make it. Raises StoreError."""
        self.path = path
        self.refusal = self._told = ""
        self._life = life
        self._doubtful = False
        with ExitStack() as stack:
            try:
                directory = lock(stack, path.parent)
                self._database = stack.enter_context(closing(self._open()))
                if not self.refusal:
                    os.fsync(directory)  # the file may be new there
                self._read_header()
            except (sqlite3.Error, OSError, ValueError, Unusable, Newer) as error:
                raise StoreError(f"Cannot open {path}: {_brief(error)}") from error
            self._stack = stack.pop_all()

    def open_again(self) -> None:
        """Open what could not be written once more. Raises StoreError where it still cannot."""
        before, self.refusal = self.refusal, ""
        try:
            database = self._open()
        except (sqlite3.Error, OSError, ValueError, Unusable, Newer) as error:
            self.refusal = before
            raise StoreError(before) from error
        if self.refusal:
            database.close()
            raise StoreError(self.refusal)
        self._database.close()
        self._database = self._stack.enter_context(closing(database))
        self._read_header()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._stack.close()

    # Reading

    def read(self) -> list[Desired]:
        """Read all routes and memberships that have not ended. Raises StoreError."""
        found: list[Desired] = []
        damaged: list[_Damaged] = []
        ended = False
        try:
            for values in self._values():
                try:
                    desired, life = self._read_row(values)
                except InvalidArgs as error:
                    damaged.append(_Damaged(values, str(error)))
                    continue
                if life in ("", self._life):
                    found.append(desired)
                else:
                    ended = True
        except sqlite3.Error as error:
            raise StoreError(f"Cannot read {self.path}: {_brief(error)}") from error
        if damaged:
            self._tell(damaged)
        if (damaged or ended) and not self.refusal:
            self._clean(damaged)
        return found

    def read_rest(self) -> Rest | None:
        """Read what an earlier version has left to be done elsewhere. Raises StoreError."""
        try:
            return earlier.read_rest(self._database) if self._has("rest") else None
        except (sqlite3.Error, InvalidArgs) as error:
            raise StoreError(f"Cannot read {self.path}: {_brief(error)}") from error

    def _values(self) -> Iterator[_Values]:
        if self._current:
            return self._database.execute("SELECT * FROM kept")
        return earlier.rows(self._database)

    def _read_row(self, values: _Values) -> tuple[Desired, str]:
        if self._current:
            return rows.read(values)
        desired = earlier.read(values)
        return desired, "" if desired.durable else self._life

    def _read_header(self) -> None:
        self._current = self._has("header")
        if self._current:
            sql = "SELECT identity, taken FROM header"
            identity, taken = self._database.execute(sql).fetchone()
            self.identity, self.taken = identity.decode(), taken.decode()
        else:
            self.identity, self.taken = earlier.read_identity(self._database)

    def _has(self, table: str) -> bool:
        sql = "SELECT count(*) FROM sqlite_schema WHERE name = ?"
        return bool(self._database.execute(sql, [table]).fetchone()[0])

    def _tell(self, damaged: Sequence[_Damaged]) -> None:
        reasons = "; ".join(printable(each.reason) for each in damaged[:_MAX_TOLD])
        kept = "" if self.refusal else " and kept in its table 'damaged'"
        log.error(
            "%s: %d rows are no valid routes or memberships; they are left out%s. %s",
            self.path,
            len(damaged),
            kept,
            reasons + ("; …" if len(damaged) > _MAX_TOLD else ""),
        )

    # Writing

    def write(self, changes: Changes) -> None:
        """Put and delete; return when it is on disk. Raises StoreError; then nothing was changed.

        Then it is refused also after a crash, as far as the disk lets us: see `mend`.
        """
        put = [rows.write(each, self._life).values() for each in changes.values() if each]
        delete = [[rows.pack(key)] for key, each in changes.items() if each is None]

        def change(database: sqlite3.Connection) -> None:
            database.executemany(_DELETE, delete)
            database.executemany(PUT, put)

        self._commit(change)

    def take_in(self, desired: Iterable[Desired], name: str) -> None:
        """Have these, and no others, of all that is not durable. Raises StoreError.

        name: of where they come from, which is `taken` from now on.
        """
        put = [rows.write(each, self._life).values() for each in desired]

        def change(database: sqlite3.Connection) -> None:
            database.execute("DELETE FROM kept WHERE life <> ''")
            database.executemany(PUT, put)
            database.execute("UPDATE header SET taken = ?", [name])
            database.execute("DROP TABLE IF EXISTS rest")
            database.execute("DROP TABLE IF EXISTS this")

        self._commit(change)
        self.taken = name

    @property
    def doubtful(self) -> bool:
        """Whether a commit failed, and the next process may take it for one that did not."""
        return self._doubtful

    def mend(self) -> None:
        """Make sure that a commit that failed will not be found. Raises StoreError.

        When a sync of SQLite's log fails, the log has all of the commit already, and whoever opens
        it next believes it.
        """
        if self._doubtful:
            try:
                self._take_back()
                self._sync_anew()
            except (sqlite3.Error, OSError) as error:
                raise StoreError(f"Cannot write {self.path}: {error}") from error

    def _take_back(self) -> None:
        """Put another commit in the place of the one that failed. Raises sqlite3.Error.

        What comes after that in the log is void then, since its checksums are of what was before.
        It is not synced: the next process would find it so already.
        """
        database = self._database
        pages = int(pragma(database, "wal_autocheckpoint"))
        database.execute("PRAGMA synchronous = OFF")
        database.execute("PRAGMA wal_autocheckpoint = 0")  # which would sync nothing either
        try:
            for left in reversed(range(_TRIES)):
                try:
                    with transaction(database):
                        database.execute("UPDATE header SET mended = mended + 1")
                    return
                except sqlite3.Error:
                    if not left:
                        raise
        finally:
            database.execute("PRAGMA synchronous = FULL")
            database.execute(f"PRAGMA wal_autocheckpoint = {pages}")

    def _sync_anew(self) -> None:
        """Have all of the log on disk, which now may be believed. Raises OSError."""
        files.write_anew(salvage.log_of(self.path))
        self._doubtful = False
        with suppress(sqlite3.Error):  # what is void is not taken for what was lost then
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _commit(self, change: Callable[[sqlite3.Connection], None]) -> None:
        if self.refusal:
            raise StoreError(self.refusal)
        self.mend()
        try:
            with transaction(self._database):
                change(self._database)
                self._doubtful = True
            self._doubtful = False
        except sqlite3.Error as error:
            sentence = f"Cannot write {self.path}: {error}"
            if self._doubtful:
                sentence += self._try_to_mend(error)
            raise StoreError(sentence) from error

    def _try_to_mend(self, failure: sqlite3.Error) -> str:
        """Take back what has failed; returns how the sentence goes on that tells of the failure."""
        try:
            self._take_back()
        except sqlite3.Error as error:
            log.error("%s: a change that failed cannot be taken back there: %s", self.path, error)
            whole = failure.sqlite_errorcode == sqlite3.SQLITE_IOERR_FSYNC
            return "; it may be found as done after a crash" if whole else ""
        try:
            self._sync_anew()
        except OSError as error:
            log.error(
                "%s: a change that failed was taken back there, and that cannot be synced: %s",
                self.path,
                error.strerror,
            )
        return ""

    def _clean(self, damaged: Sequence[_Damaged]) -> None:
        """Keep aside the rows that are damaged, and remove those that have ended."""
        keys = [[each.values[0]] for each in damaged]

        def change(database: sqlite3.Connection) -> None:
            for values, reason in damaged:
                put_aside(database, values, reason)
            database.executemany("DELETE FROM kept WHERE key IS ?", keys)
            # A key that is text is not the same as one that is a blob.
            database.executemany("DELETE FROM kept WHERE key IS CAST(? AS TEXT)", keys)
            database.execute("DELETE FROM kept WHERE life NOT IN ('', ?)", [self._life])

        try:
            self._commit(change)
        except StoreError as error:
            log.error("%s", error)

    # Opening

    def _open(self) -> sqlite3.Connection:
        for suffix in ("", *files.COMPANIONS):
            files.set_aside_unless_regular(self.path.with_name(self.path.name + suffix))
        if self._salvaged.exists():  # a crash came before it took its place
            self._replace()
        if self.path.exists() and not os.access(self.path, os.W_OK):
            return self._open_read_only(PermissionError("attempt to write a readonly database"))
        frames = salvage.frames(self.path)
        try:
            database = open_or_make(self.path, self._life)
        except (sqlite3.Error, UnicodeError, Unusable) as error:
            if primary_code(error) in OF_THE_DISK and self.path.exists():
                return self._open_read_only(error)
            return self._rebuild(error)
        self._begin_log(database, frames)
        return database

    def _open_read_only(self, error: Exception) -> sqlite3.Connection:
        try:
            database = open_read_only(self.path)
        except (sqlite3.Error, UnicodeError, Unusable) as second:
            return self._rebuild(second)
        self._refuse(error)
        return database

    def _begin_log(self, database: sqlite3.Connection, frames: Frames) -> None:
        """Empty the write-ahead log, and tell what of it cannot be read.

        The process before may have ended while it could not be synced.
        """
        try:
            files.write_anew(salvage.log_of(self.path))
        except OSError as error:
            log.error("%s cannot be synced: %s", self.path, error.strerror)
            self._doubtful = True
            return
        with suppress(sqlite3.Error):  # it is tried again
            _, valid, _ = database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if lost := frames.lost(valid):
                log.error(
                    "%s: %d commits at the end of its log cannot be read. They are lost, or of "
                    "changes that were not finished",
                    self.path,
                    lost,
                )
                files.copy_aside(salvage.log_of(self.path))
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _refuse(self, error: Exception) -> None:
        before, self.refusal = self._told, f"Cannot write {self.path}: {_brief(error)}"
        if self.refusal != before:
            log.error("%s can be read, and not written: %s", self.path, _brief(error))
            self._told = self.refusal

    @property
    def _salvaged(self) -> Path:
        return self.path.with_name(self.path.name + ".salvaged")

    def _rebuild(self, error: Exception) -> sqlite3.Connection:
        """Read what can be read of a file that cannot be used, and set it aside."""
        if primary_code(error) in OF_OTHERS:
            raise error
        found = list(_salvage(self.path, self._life))
        log.error(
            "%s cannot be used (%s). %d routes and memberships were read from it",
            self.path,
            _brief(error),
            len(found),
        )
        try:
            self._write_salvaged(found)
            self._replace()
            return open_or_make(self.path, self._life)
        except (sqlite3.Error, OSError) as second:
            database = open_or_make(":memory:", self._life)
            _put(database, found)
            self._refuse(second)
            return database

    def _write_salvaged(self, found: Sequence[_Values]) -> None:
        """Write a new database, under a name of its own only when it is whole."""
        unfinished = self.path.with_name(self.path.name + ".unfinished")
        for suffix in ("", *files.COMPANIONS):
            unfinished.with_name(unfinished.name + suffix).unlink(missing_ok=True)
        with closing(open_or_make(unfinished, self._life)) as database:
            _put(database, found)
            # What closing does fails without a word.
            busy, _, _ = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if busy:
                raise sqlite3.OperationalError("database is locked")
        unfinished.rename(self._salvaged)

    def _replace(self) -> None:
        if self.path.exists():
            log.error("%s is kept as %s", self.path, files.set_aside(self.path))
        self._salvaged.rename(self.path)


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


def _brief(error: Exception) -> str:
    """Tell an error, which may have in it what a damaged file has."""
    return printable(str(error)[:_MAX_BRIEF])
