"""Keeps routes and memberships in one SQLite database: a commit is there whole, or not at all.

Rows that do not outlive a reboot carry the name of a life of the machine, and end with it. Any file
may be found: invalid rows are put into a table of their own, and an unusable file is renamed.
"""

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, Self

from mfc_dbus.model.desired import Desired, Key
from mfc_dbus.model.errors import InvalidArgs, StoreError
from mfc_dbus.model.history import HistoryUpdate, PastChange
from mfc_dbus.model.journal import Message, logger_of
from mfc_dbus.model.quoting import printable
from mfc_dbus.storage import earlier, past, rows, salvage, set_aside
from mfc_dbus.storage.database import (
    PUT,
    Newer,
    Unusable,
    brief,
    lock,
    pragma,
    put_aside,
    transaction,
)
from mfc_dbus.storage.earlier import Handoff
from mfc_dbus.storage.opening import open_whatever

log = logger_of(__name__, Message.STORE_FAILED)

_DELETE = "DELETE FROM kept WHERE key = ?"
_UNUSABLE = (sqlite3.Error, OSError, ValueError, Unusable, Newer)
_MAX_TOLD = 5
_TRIES = 3
_FORGOTTEN_TOGETHER = 8  # changes of the history: each time costs a page of the log

# The routes and memberships to put, by key; None for a key to delete.
Changes = Mapping[Key, Desired | None]
_Values = Sequence[Any]


class _Damaged(NamedTuple):
    values: _Values
    reason: str


class Store:
    """One database. `write` may be called from any thread, one call at a time.

    life: the name in rows that do not outlive a reboot; rows with another name have ended.
    refusal: why nothing can be written, or empty; reading still works. identity: the name of this
    database. taken: the name of what it took in last: a database's identity, or a rest's name.
    """

    def __init__(self, path: Path, life: str) -> None:
        """Open the database, or make it. Raises StoreError."""
        self.path = path
        self.refusal = self._told = ""
        self._life = life
        self._doubtful = False
        with ExitStack() as stack:
            try:
                self._directory = lock(stack, path.parent)
                self._database = self._open()
                stack.callback(self._close_database)
                self._begin()
            except _UNUSABLE as error:
                raise StoreError(f"Cannot open {path}: {brief(error)}") from error
            self._stack = stack.pop_all()

    def open_again(self) -> None:
        """Try once more to open the database for writing. Raises StoreError."""
        before, self.refusal = self.refusal, ""
        self._close_database()  # first: closing a file ends all locks that a process has on it
        try:
            self._database = self._open()
            self._begin()
        except _UNUSABLE as error:
            self.refusal = before
            raise StoreError(before) from error
        if self.refusal:
            raise StoreError(self.refusal)

    def _close_database(self) -> None:
        """Close the database that is open at that time: `open_again` replaces it."""
        self._database.close()

    def _begin(self) -> None:
        # Of the history: the number of the change that was written last, and of the first one that
        # is there. Nobody knows them yet.
        self._latest = self._oldest = -_FORGOTTEN_TOGETHER
        if not self.refusal:
            os.fsync(self._directory)  # the file may be new there
        self._read_header()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._stack.close()

    # Reading

    def read(self) -> list[Desired]:
        """Return all routes and memberships that have not ended. Raises StoreError.

        Damaged rows are put aside, and rows that have ended are deleted.
        """
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
            raise StoreError(f"Cannot read {self.path}: {brief(error)}") from error
        if damaged:
            self._log_damage(damaged)
        if (damaged or ended) and not self.refusal:
            self._clean(damaged)
        return found

    def read_history(self) -> list[PastChange]:
        """Return what is known of the last changes; what cannot be read is left out."""
        try:
            if not self._has("history"):
                return []
            found = self._database.execute("SELECT id, content, checksum FROM history ORDER BY id")
            changes, damaged = past.read(found, self._life)
        except sqlite3.Error as error:
            log.error("The history in %s cannot be read: %s", self.path, brief(error))
            return []
        if damaged:
            log.error("%s: %d rows of the history are damaged, and left out", self.path, damaged)
        return changes

    def read_handoff(self) -> Handoff | None:
        """Return the rest of a change that an earlier version has left here. Raises StoreError."""
        try:
            return earlier.read_handoff(self._database) if self._has("rest") else None
        except (sqlite3.Error, InvalidArgs) as error:
            raise StoreError(f"Cannot read {self.path}: {brief(error)}") from error

    def _values(self) -> Iterator[_Values]:
        if self._current:
            return self._database.execute("SELECT * FROM kept")
        return earlier.rows(self._database)

    def _read_row(self, values: _Values) -> tuple[Desired, str]:
        if self._current:
            return rows.read(values)
        desired = earlier.read(values)
        return desired, "" if desired.survives_reboot else self._life

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

    def _log_damage(self, damaged: Sequence[_Damaged]) -> None:
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

    def write(self, changes: Changes, history: HistoryUpdate | None = None) -> None:
        """Put and delete; return when the commit is on disk.

        history: what it is about, in the same commit.
        Raises StoreError; then nothing was changed, and nothing will be after a crash, as far as
        the disk lets us: see `mend`.
        """
        put = [rows.write(each, self._life).values() for each in changes.values() if each]
        delete = [[rows.pack(key)] for key, each in changes.items() if each is None]

        def change(database: sqlite3.Connection) -> None:
            if delete:
                database.executemany(_DELETE, delete)
            database.executemany(PUT, put)
            if history:
                self._add_to_history(database, history)

        self._commit(change)
        if history:
            self._latest = history.added[-1].number

    def _add_to_history(self, database: sqlite3.Connection, history: HistoryUpdate) -> None:
        first, oldest = history.added[0].number, history.oldest
        if first != self._latest + 1:
            # A change that could not be read may have had this number.
            database.execute(past.DELETE_FROM, [past.first_row(first)])
        added = (past.write(each, self._life) for each in history.added)
        database.executemany(past.PUT, chain.from_iterable(added))
        if oldest < self._oldest or oldest >= self._oldest + _FORGOTTEN_TOGETHER:
            database.execute(past.DELETE_BEFORE, [past.first_row(oldest)])
            self._oldest = oldest

    def take_in(self, desired: Iterable[Desired], name: str) -> None:
        """Replace all rows that do not outlive a reboot by these. Raises StoreError.

        name: of the database or rest that they come from, which is `taken` from now on.
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
        """Whether a commit failed that the next process might still find in the log."""
        return self._doubtful

    def mend(self) -> None:
        """Make sure that a failed commit will not be found. Raises StoreError.

        When a sync of SQLite's log fails, the log has all of the commit already, and the next
        process that opens the database believes it.
        """
        if self._doubtful:
            try:
                self._take_back()
                self._sync_anew()
            except (sqlite3.Error, OSError) as error:
                raise StoreError(f"Cannot write {self.path}: {error}") from error

    def _take_back(self) -> None:
        """Write another commit over the failed one in the log. Raises sqlite3.Error.

        The log behind it is void then, since checksums there continue the old ones. The commit is
        not synced: a new process would find it all the same.
        """
        database = self._database
        pages = int(pragma(database, "wal_autocheckpoint"))
        database.execute("PRAGMA synchronous = OFF")
        database.execute("PRAGMA wal_autocheckpoint = 0")  # a checkpoint would not sync either
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
        """Sync the whole log, which now holds valid commits only. Raises OSError."""
        set_aside.write_anew(salvage.log_of(self.path))
        self._doubtful = False
        with suppress(sqlite3.Error):  # an empty log has no void commits that would seem lost
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
        except OverflowError as error:  # of a number that SQLite does not have
            raise StoreError(f"Cannot write {self.path}: {error}") from error
        except sqlite3.Error as error:
            sentence = f"Cannot write {self.path}: {error}"
            if self._doubtful:
                sentence += self._try_to_mend(error)
            raise StoreError(sentence) from error

    def _try_to_mend(self, failure: sqlite3.Error) -> str:
        """Take back the failed commit. Return the end of the error's sentence."""
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
        """Put damaged rows aside, and delete those that have ended."""
        keys = [[each.values[0]] for each in damaged]

        def change(database: sqlite3.Connection) -> None:
            for values, reason in damaged:
                put_aside(database, values, reason)
            database.executemany("DELETE FROM kept WHERE key IS ?", keys)
            # A damaged key may be text, which equals no blob.
            database.executemany("DELETE FROM kept WHERE key IS CAST(? AS TEXT)", keys)
            database.execute("DELETE FROM kept WHERE life NOT IN ('', ?)", [self._life])

        try:
            self._commit(change)
        except StoreError as error:
            log.error("%s", error)

    # Opening

    def _open(self) -> sqlite3.Connection:
        database, refusal, doubtful = open_whatever(self.path, self._life)
        if refusal is not None:
            self._refuse(refusal)
        self._doubtful = self._doubtful or doubtful
        return database

    def _refuse(self, error: Exception) -> None:
        before, self.refusal = self._told, f"Cannot write {self.path}: {brief(error)}"
        if self.refusal != before:
            log.error("%s can be read, and not written: %s", self.path, brief(error))
            self._told = self.refusal
