"""What scripts have heard, kept over restarts: in memory what is not written yet, the rest on disk.

Where the disk refuses to take it, the events that it does not have are told again after a restart.
"""

import contextlib
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec

from mfc_dbus.dispatcher.events import Event, Kind, Thing, Value, is_whole

log = logging.getLogger(__name__)

_FILE = "heard.sqlite"
_VERSION = 1
_TABLES = """
CREATE TABLE heard(kind TEXT, key TEXT, value TEXT, PRIMARY KEY (kind, key)) WITHOUT ROWID;
CREATE TABLE last(number INTEGER, boot TEXT, id TEXT);
INSERT INTO last VALUES (0, '', lower(hex(randomblob(16))));
"""
# What a boot ends: interfaces are seen anew, and nothing is up. The service is another process.
_REBOOTED = """
DELETE FROM heard WHERE kind = 'interface';
UPDATE heard SET value = json_set(value, '$.state', '')
    WHERE json_extract(value, '$.state') IN ('active', 'joined');
"""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_encode = msgspec.json.Encoder(order="sorted").encode


class Heard:
    """By thing, the value that scripts have heard of last.

    number: of the last event that is over. life: identifies this database since this boot: numbers
    of events are of one life.
    """

    def __init__(self, directory: Path, *, boot: str = "") -> None:
        """Open what is kept in a directory. Raises OSError, where it cannot be used.

        boot: identifies when the machine was booted, for tests.
        """
        self._unwritten: dict[Thing, Value | None] = {}
        self._failed = False
        self._path = directory / _FILE
        boot = boot or _BOOT_ID.read_text().strip()
        try:
            self._database = _open(self._path, boot)
        except sqlite3.DatabaseError as error:
            if not _is_damaged(error):
                raise OSError(f"{self._path} cannot be used: {error}") from error
            log.error("What scripts have heard is lost: %s: %s", self._path, error)
            for name in (_FILE, f"{_FILE}-wal", f"{_FILE}-shm"):
                (directory / name).unlink(missing_ok=True)
            self._database = _open(self._path, boot)
        self.number, id_ = self._database.execute("SELECT number, id FROM last").fetchone()
        self.life = f"{id_} {boot}"

    def close(self) -> None:
        self.commit()
        self._database.close()

    def things(self, kind: Kind) -> list[Thing]:
        rows = self._database.execute("SELECT key FROM heard WHERE kind = ?", [kind])
        there = dict.fromkeys(Thing(kind, _key(key)) for (key,) in rows)
        for thing, value in self._unwritten.items():
            if thing.kind is kind:
                there.pop(thing, None) if value is None else there.setdefault(thing)
        return [*there]

    def get(self, thing: Thing) -> Value | None:
        if thing in self._unwritten:
            return self._unwritten[thing]
        value = self._read(thing)
        return None if value is None else _value(thing.kind, value)

    def _read(self, thing: Thing) -> str | None:
        found = self._database.execute(
            "SELECT value FROM heard WHERE kind = ? AND key = ?", [thing.kind, _text(thing)]
        ).fetchone()
        return found[0] if found else None

    def finish(self, event: Event, number: int) -> None:
        """Note that an event is over."""
        self.number = number
        if event.thing is not None and event.left is not None:
            self._unwritten[event.thing] = event.left
        elif event.thing is not None:
            self.forget(event.thing)

    def forget(self, thing: Thing) -> None:
        if self._failed and self._read(thing) is None:
            # What came and goes while nothing can be written leaves nothing, so this has an end.
            self._unwritten.pop(thing, None)
        else:
            self._unwritten[thing] = None

    def commit(self) -> None:
        """Write what is not written. A failure is logged, and it is tried again the next time."""
        try:
            with self._database:
                self._database.executemany(
                    "REPLACE INTO heard VALUES (?, ?, ?)", list(self._rows())
                )
                self._database.executemany(
                    "DELETE FROM heard WHERE kind = ? AND key = ?",
                    [(each.kind, _text(each)) for each, value in self._items() if value is None],
                )
                self._database.execute("UPDATE last SET number = ?", [self.number])
        except sqlite3.Error as error:
            if not self._failed:
                log.error("What scripts have heard cannot be kept: %s: %s", self._path, error)
            self._failed = True
            return
        self._failed = False
        self._unwritten.clear()

    def _items(self) -> Iterator[tuple[Thing, Value | None]]:
        return iter(self._unwritten.items())

    def _rows(self) -> Iterator[tuple[str, str, str]]:
        for thing, value in self._items():
            if value is not None:
                yield thing.kind, _text(thing), _encode(value).decode()


class Imagined(Heard):
    """What scripts have heard, to try what they would hear: nothing of it is kept."""

    def __init__(self, directory: Path) -> None:
        """Read what is kept in a directory, if there is something."""
        self._path = directory / _FILE
        self._database = sqlite3.connect(":memory:")
        self._database.executescript(_TABLES)
        self._unwritten, self._failed = {}, True
        if self._path.exists():
            with contextlib.suppress(sqlite3.Error), closing(sqlite3.connect(self._path)) as kept:
                for kind, key, value in kept.execute("SELECT kind, key, value FROM heard"):
                    thing = Thing(Kind(kind), _key(key))
                    self._unwritten[thing] = _value(thing.kind, value)
        self.number, self.life = 0, ""

    def commit(self) -> None:
        """Keep nothing."""


def _open(path: Path, boot: str) -> sqlite3.Connection:
    database = sqlite3.connect(path)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version == 0:
            database.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {_VERSION}; COMMIT;")
        before, _ = database.execute("SELECT boot, id FROM last").fetchone()
        if before != boot:
            database.executescript(f"BEGIN; {_REBOOTED} COMMIT;")
            with database:
                database.execute("UPDATE last SET boot = ?", [boot])
        database.execute("SELECT count(value) FROM heard").fetchone()  # reads every page
    except BaseException:
        database.close()
        raise
    return database


def _is_damaged(error: sqlite3.DatabaseError) -> bool:
    return error.sqlite_errorcode & 0xFF in (
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_ERROR,  # no such table: another program's database
    )


def _text(thing: Thing) -> str:
    return _encode(thing.key).decode()


def _key(text: str) -> tuple[str, ...]:
    return msgspec.json.decode(text, type=tuple[str, ...])


def _value(kind: Kind, text: str) -> Value | None:
    """Read a value; None where it is none that events can be made of."""
    with contextlib.suppress(msgspec.DecodeError):
        value = msgspec.json.decode(text, type=dict[str, object])
        return value if is_whole(kind, value) else None
    return None
