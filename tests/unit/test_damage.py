"""What is read from disk may be anything: what is good is read, what is not is kept aside."""

import json
import logging
import os
import shutil
import sqlite3
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest
from lab.caller import acting_as
from lab.privileges import NOBODY

from mfc_dbus.model.desired import Desired, Edit
from mfc_dbus.model.errors import StoreError
from mfc_dbus.model.membership import parse_membership
from mfc_dbus.model.route import parse_route
from mfc_dbus.storage import rows
from mfc_dbus.storage.keeper import Keeper
from mfc_dbus.storage.rows import Row
from mfc_dbus.storage.store import Store

LIFE = "0123456789abcdef"
GOOD: list[Desired] = [
    *(
        parse_route("10.0.0.1", f"239.1.1.{n}", "eth0", ["eth1"], comment=f"route {n}")
        for n in range(38)
    ),
    parse_route("*", "ff05::/32", "eth*", [f"{n:02}" + 60 * "?" + "*" for n in range(31)]),
    parse_membership("239.1.1.1", "*", "eth0"),
]
FLIPS, MANY_FLIPS = 300, 5000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with 40 entries, one of them larger than a page's part for a row."""
    with Store(tmp_path / "routes.db", LIFE) as store:
        store.write({each.key: each for each in GOOD})
    return tmp_path / "routes.db"


def read(path: Path) -> set[Desired]:
    with Store(path, LIFE) as store:
        return {*store.read()}


def asides(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.name}*.damaged-*"))


# Rows


def row(**changes: Any) -> Sequence[Any]:
    """A row that is right but for these, and its checksum."""
    key, section, entry, expires, life, _ = rows.write(
        parse_route("10.0.0.2", "239.2.2.2", "eth0", ["eth1"], {"eth1": 2}), LIFE
    ).values()
    fields = {"key": key, "section": section, "entry": entry, "expires": expires, "life": life}
    checksum = changes.pop("checksum", None)
    key, section, entry, expires, life = (fields | changes).values()
    parts = [section, entry, expires, life, key]
    data = [each if isinstance(each, bytes) else str(each).encode() for each in parts]
    if checksum is None:
        checksum = zlib.crc32(b"\0".join(data))
    return key, section, entry, expires, life, checksum


def entry(**changes: Any) -> Sequence[Any]:
    """A row with another entry, and all that belongs to it."""
    fields = {"source": "10.0.0.2", "group": "239.2.2.2", "iif": "eth0", "oifs": ["eth1"]}
    return row(entry=json.dumps(fields | changes))


ODD_ROWS = {
    "another checksum": row(checksum=1),
    "a checksum of text": row(checksum="sum"),
    "an empty key": row(key=b""),
    "a key of text": row(key="key"),
    "a key that is a number": row(key=7),
    "the key of another": row(key=rows.pack(GOOD[0].key)[:-1] + b"\x07"),
    "another section": row(section="rule"),
    "a membership's section": row(section="membership"),
    "no JSON": row(entry="{"),
    "an array": row(entry="[]"),
    "no text": row(entry=b"\xff\xfe"),
    "a number": row(entry=3),
    "deep": row(entry="[" * 100_000),
    "much": row(entry="x" * 3_000_000),
    "a life": row(life=LIFE),
    "a time": row(expires=5),
    "a time of text": row(expires="never"),
    "a time before": row(expires=-1, life=LIFE),
    "empty source": entry(source="x"),
    "a group of 3 bytes": entry(group="239.1.1"),
    "no group": entry(group="10.0.0.1"),
    "a NUL in the comment": entry(comment="a\0b"),
    "a long comment": entry(comment="x" * 1000),
    "TTL threshold 999": entry(ttls={"eth1": 999}),
    "table -1": entry(table=-1),
    "a huge table": entry(table=1 << 63),
    "an unknown option": entry(colour="red"),
    "an iif of another kind": entry(iif="a/b"),
    "too many oifs": entry(oifs=[f"eth{n}" for n in range(1, 40)]),
    "a number as oif": entry(oifs=[7]),
    "transient for ever": entry(persistent=False),
    "a lone surrogate": entry(comment="\ud800"),
}


@pytest.mark.parametrize("odd", ODD_ROWS.values(), ids=ODD_ROWS)
def test_a_row_that_is_no_valid_one_is_kept_aside(
    path: Path, odd: Sequence[Any], caplog: pytest.LogCaptureFixture
) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("INSERT INTO kept VALUES (?, ?, ?, ?, ?, ?)", odd)
    assert read(path) == {*GOOD}
    (record,) = caplog.records
    assert "1 rows are no valid routes or memberships" in record.getMessage()
    assert record.getMessage().isprintable()
    caplog.clear()
    assert read(path) == {*GOOD}
    assert not caplog.records, "it is said once"
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM damaged").fetchone() == (1,)
    assert not asides(path)


def test_a_row_that_was_changed_by_hand_is_left_out_and_kept(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(
            "UPDATE kept SET entry = replace(entry, 'eth0', 'eth7') WHERE key = ?",
            [rows.pack(GOOD[0].key)],
        )
    assert read(path) == {*GOOD[1:]}
    with closing(sqlite3.connect(path)) as database:
        ((reason, kept),) = database.execute("SELECT reason, row FROM damaged")
    assert reason == "Its checksum is wrong"
    assert "eth7" in kept


# Bits


def flip(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.slow
def test_a_bit_that_flips_costs_one_row_at_most_and_makes_no_other_route(
    path: Path, thorough: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL + 1)
    content = path.read_bytes()
    random = Random(10)
    lost: Counter[int] = Counter()
    for _ in range(MANY_FLIPS if thorough else FLIPS):
        for each in path.parent.iterdir():
            each.unlink()
        bit = random.randrange(8 * len(content))
        path.write_bytes(flip(content, bit))
        found = read(path)
        assert found <= {*GOOD}, f"bit {bit}"
        lost[len(GOOD) - len(found)] += 1
    print(f"flipped bits by how many of {len(GOOD)} rows they cost: {dict(lost)}")
    assert max(lost) <= 1


@pytest.mark.slow
def test_a_flipped_bit_of_a_large_database_costs_a_row_and_not_its_page(tmp_path: Path) -> None:
    path = tmp_path / "routes.db"
    routes = {
        parse_route("10.0.0.1", f"239.1.{n >> 8}.{n & 255}", "eth0", ["eth1"]) for n in range(2000)
    }
    with Store(path, LIFE) as store:
        store.write({route.key: route for route in routes})
    content = path.read_bytes()
    random = Random(11)
    for _ in range(10):
        path.write_bytes(flip(content, random.randrange(8 * len(content))))
        found = read(path)
        assert found <= routes
        assert len(found) >= len(routes) - 1


@pytest.mark.parametrize("size", [0, 1, 100, 512, 4095, 4096, 5000, 9000, 12288])
def test_of_a_file_that_is_cut_off_the_rows_that_are_left_are_read(path: Path, size: int) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:size])
    found = read(path)
    assert found <= {*GOOD}
    for aside in asides(path):
        assert aside.read_bytes() == content[:size]
    assert read(path) == found


# The write-ahead log


@pytest.fixture
def crashed(path: Path) -> Path:
    """The same after a crash, with one route more in each of ten commits of the log."""
    home = path.with_name("crashed")
    home.mkdir()
    with Store(path, LIFE) as store:
        for each in LOGGED:
            store.write({each.key: each})
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", home)
    return home / path.name


LOGGED = [parse_route("10.0.0.3", f"239.3.3.{n}", "eth0", ["eth1"]) for n in range(10)]


def test_what_the_log_has_is_read_after_a_crash(
    crashed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert read(crashed) == {*GOOD, *LOGGED}
    assert not caplog.records


@pytest.mark.slow
def test_what_is_lost_with_a_damaged_log_is_said(
    crashed: Path, thorough: bool, caplog: pytest.LogCaptureFixture
) -> None:
    log = crashed.with_name(crashed.name + "-wal")
    content, rest = crashed.read_bytes(), log.read_bytes()
    random = Random(12)
    for _ in range(1000 if thorough else 100):
        for each in crashed.parent.iterdir():
            each.unlink()
        caplog.clear()
        crashed.write_bytes(content)
        bit = random.randrange(8 * len(rest))
        log.write_bytes(flip(rest, bit))
        found = read(crashed)
        assert {*GOOD} <= found <= {*GOOD, *LOGGED}
        if len(found) < len(GOOD) + len(LOGGED):
            assert "cannot be read" in caplog.text, f"bit {bit}"
            (aside,) = asides(crashed)
            assert aside.read_bytes() == flip(rest, bit)


@pytest.mark.parametrize("damage", [b"no log, " * 4096, bytes(32768)], ids=["garbage", "zeros"])
def test_a_log_that_is_none_is_said_and_no_harm(
    crashed: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    crashed.with_name(crashed.name + "-wal").write_bytes(damage)
    assert read(crashed) >= {*GOOD}
    assert "cannot be read" in caplog.text or not any(damage)


def test_the_log_of_a_damaged_database_is_read_too(crashed: Path) -> None:
    content = crashed.read_bytes()
    crashed.write_bytes(b"no database" + content[11:])
    assert read(crashed) == {*GOOD, *LOGGED}


# Files that are none


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_directory(path: Path) -> None:
    path.mkdir()
    (path / "file").touch()


def make_endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_terminal(path: Path) -> None:
    path.symlink_to("/dev/tty")


def make_loop(path: Path) -> None:
    path.symlink_to(path.name)


def make_empty(path: Path) -> None:
    path.touch()


def make_huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


ODD_FILES: Sequence[Callable[[Path], None]] = [
    make_fifo,
    make_directory,
    make_endless,
    make_terminal,
    make_loop,
    make_empty,
    make_huge,
]


@pytest.mark.parametrize("make", ODD_FILES)
@pytest.mark.parametrize(
    "name", ["routes.db", "routes.db-wal", "routes.db-shm", "routes.db-journal"]
)
def test_what_is_no_file_is_no_reason_to_wait(
    path: Path, name: str, make: Callable[[Path], None]
) -> None:
    odd = path.with_name(name)
    odd.unlink(missing_ok=True)
    make(odd)
    expected = set() if odd == path else {*GOOD}
    with Store(path, LIFE) as store:
        assert {*store.read()} == expected
        store.write({GOOD[0].key: GOOD[0]})
    assert read(path) == expected | {GOOD[0]}
    assert bool(asides(path)) == (make is not make_empty)


@pytest.mark.parametrize("make", ODD_FILES)
@pytest.mark.parametrize("name", ["runtime/life", "runtime/life.new", "runtime/routes.db"])
def test_what_is_no_file_in_the_runtime_directory_does_no_harm(
    tmp_path: Path, name: str, make: Callable[[Path], None]
) -> None:
    state, runtime = tmp_path / "state", tmp_path / "runtime"
    state.mkdir()
    runtime.mkdir()
    make(tmp_path / name)
    transient = rows.read(Row(*rows.write(parse_route("*", "239.1.1.1", "eth0", []), LIFE)))[0]
    with Keeper(state, runtime) as keeper:
        assert keeper.read() == []
        keeper._write({transient.key: Edit(None, transient)})
    with Keeper(state, runtime) as keeper:
        assert keeper.read() == [transient]


def test_a_file_that_may_not_be_read_stays_as_it_is() -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "routes.db")
        Store(path, LIFE).close()
        path.chmod(0)
        try:
            os.chown(directory, NOBODY, NOBODY)
            with acting_as(NOBODY), pytest.raises(StoreError, match="unable to open"):
                Store(path, LIFE)
        except OSError as error:
            pytest.skip(f"this user namespace has no other user: {error}")
        assert not asides(path)
