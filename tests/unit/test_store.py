"""The store: what was written is there, what is damaged is set aside, what fails is an error."""

import dataclasses
import sqlite3
from pathlib import Path

import pytest

from mfc_dbus.model.errors import StoreError
from mfc_dbus.model.route import Desired, Key, parse_membership, parse_route
from mfc_dbus.storage.store import Store

LIFE = "0123456789abcdef"
ROUTES = [
    parse_route("10.0.0.1", "239.1.1.1", "eth0", ["eth1", "eth2"], {"eth2": 16}, "ein Kommentar"),
    parse_route("*", "239.1.1.1", "eth0", ["eth1"]),
    parse_route("*", "239.1.1.1", "eth3", ["eth1"]),
    parse_route("fd00::1", "ff05::1", "eth0", ["eth1", "eth0"], hairpin=True),
    dataclasses.replace(parse_route("*", "ff05::2", "eth0", ["eth1"]), persistent=False),
    dataclasses.replace(parse_route("*", "ff05::3", "eth0", ["eth1"]), expires=2**62),
]
MEMBERSHIPS = [
    parse_membership("239.1.1.1", "*", "eth0", "ein Kommentar"),
    parse_membership("239.1.1.1", "10.0.0.1", "eth0"),
    parse_membership("239.1.1.1", "*", "eth1"),
    parse_membership("ff05::1", "fd00::1", "eth0"),
    dataclasses.replace(parse_membership("ff05::1", "*", "eth0"), persistent=False),
]
EVERYTHING: list[Desired] = [*ROUTES, *MEMBERSHIPS]


def put(*desired: Desired) -> dict[Key, Desired | None]:
    return {each.key: each for each in desired}


def asides(directory: Path) -> list[Path]:
    return [path for path in directory.iterdir() if ".damaged-" in path.name]


def test_routes_are_read_as_they_were_written(tmp_path: Path) -> None:
    with Store(tmp_path / "routes.db", LIFE) as store:
        store.write(put(*ROUTES))
    with Store(tmp_path / "routes.db", LIFE) as store:
        assert {*store.read()} == {*ROUTES}
        store.write({ROUTES[1].key: None, ROUTES[5].key: None})
        store.write(put(dataclasses.replace(ROUTES[0], comment="another")))
    with Store(tmp_path / "routes.db", LIFE) as store:
        assert {*store.read()} == {
            dataclasses.replace(ROUTES[0], comment="another"),
            *ROUTES[2:5],
        }


def test_memberships_are_read_as_they_were_written(tmp_path: Path) -> None:
    with Store(tmp_path / "routes.db", LIFE) as store:
        store.write(put(*EVERYTHING))
        store.write({MEMBERSHIPS[1].key: None, ROUTES[1].key: None})
    with Store(tmp_path / "routes.db", LIFE) as store:
        assert {*store.read()} == {*MEMBERSHIPS, *ROUTES} - {MEMBERSHIPS[1], ROUTES[1]}


def test_a_change_that_cannot_be_written_whole_is_not_written(tmp_path: Path) -> None:
    with Store(tmp_path / "routes.db", LIFE) as store:
        store.write(put(ROUTES[0]))
        store._database.execute(
            "CREATE TEMP TRIGGER full BEFORE INSERT ON kept WHEN new.section = 'membership' "
            "BEGIN SELECT RAISE(ABORT, 'no more'); END"
        )
        with pytest.raises(StoreError, match="no more"):
            store.write({ROUTES[0].key: None, **put(ROUTES[1], MEMBERSHIPS[0])})
        assert store.read() == [ROUTES[0]]


def test_what_is_not_durable_ends_with_its_life(tmp_path: Path) -> None:
    with Store(tmp_path / "routes.db", LIFE) as store:
        store.write(put(*EVERYTHING))
    with Store(tmp_path / "routes.db", "another") as store:
        assert {*store.read()} == {each for each in EVERYTHING if each.durable}
    with Store(tmp_path / "routes.db", LIFE) as store:
        assert {*store.read()} == {each for each in EVERYTHING if each.durable}


def test_a_commit_is_on_disk_before_write_returns(tmp_path: Path) -> None:
    with Store(tmp_path / "routes.db", LIFE) as store:
        assert store._database.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
        assert store._database.execute("PRAGMA journal_mode").fetchone() == (b"wal",)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"this is no database at all, " * 100),
        lambda path: path.write_bytes(path.read_bytes()[:4096] + bytes(4096)),
        lambda path: path.write_bytes(path.read_bytes()[:3000]),
    ],
    ids=["another format", "zeros", "cut off"],
)
def test_a_damaged_file_is_set_aside_and_not_overwritten(tmp_path: Path, damage: object) -> None:
    path = tmp_path / "routes.db"
    with Store(path, LIFE) as store:
        store.write(put(*EVERYTHING))
    assert callable(damage)
    damage(path)
    content = path.read_bytes()
    with Store(path, LIFE) as store:
        assert {*store.read()} <= {*EVERYTHING}
        store.write(put(ROUTES[0]))
    (aside,) = asides(tmp_path)
    assert aside.read_bytes() == content


def test_the_database_of_another_program_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "routes.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE theirs (content TEXT)")
    other.close()
    with Store(path, LIFE) as store:
        assert store.read() == []
    (aside,) = asides(tmp_path)
    other = sqlite3.connect(aside)
    assert other.execute("SELECT count(*) FROM theirs").fetchone() == (0,)
    other.close()


def test_the_database_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "routes.db"
    Store(path, LIFE).__exit__()
    newer = sqlite3.connect(path)
    newer.executescript("UPDATE header SET version = 99; PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(StoreError, match="schema version 99, and this program knows 3"):
        Store(path, LIFE)
    assert asides(tmp_path) == []


def test_two_processes_cannot_have_the_same_store(tmp_path: Path) -> None:
    with Store(tmp_path / "routes.db", LIFE), pytest.raises(StoreError, match="unavailable"):
        Store(tmp_path / "routes.db", LIFE)


def test_a_directory_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file"):
        Store(tmp_path / "missing" / "routes.db", LIFE)


def test_it_can_be_copied_while_it_is_in_use(tmp_path: Path) -> None:
    with Store(tmp_path / "routes.db", LIFE) as store:
        store.write(put(*ROUTES))
        used = sqlite3.connect(tmp_path / "routes.db")
        (tmp_path / "backup").mkdir()
        copy = sqlite3.connect(tmp_path / "backup" / "routes.db")
        used.backup(copy)
        copy.close()
        used.close()
        store.write({ROUTES[0].key: None})
    with Store(tmp_path / "backup" / "routes.db", LIFE) as store:
        assert {*store.read()} == {*ROUTES}
