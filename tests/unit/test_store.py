"""The store: what was written is there, what is damaged is set aside, what fails is an error."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from unittest import mock

import pytest
from msgspec import structs

from mfc_dbus.model.desired import Desired, Key
from mfc_dbus.model.errors import StoreError
from mfc_dbus.model.membership import parse_membership
from mfc_dbus.model.route import parse_route
from mfc_dbus.storage import database
from mfc_dbus.storage.store import Store

LIFE = "0123456789abcdef"
ROUTES = [
    parse_route("10.0.0.1", "239.1.1.1", "eth0", ["eth1", "eth2"], {"eth2": 16}, "ein Kommentar"),
    parse_route("*", "239.1.1.1", "eth0", ["eth1"]),
    parse_route("*", "239.1.1.1", "eth3", ["eth1"]),
    parse_route("fd00::1", "ff05::1", "eth0", ["eth1", "eth0"], hairpin=True),
    structs.replace(parse_route("*", "ff05::2", "eth0", ["eth1"]), persistent=False),
    structs.replace(parse_route("*", "ff05::3", "eth0", ["eth1"]), expires=2**62),
]
MEMBERSHIPS = [
    parse_membership("239.1.1.1", "*", "eth0", "ein Kommentar"),
    parse_membership("239.1.1.1", "10.0.0.1", "eth0"),
    parse_membership("239.1.1.1", "*", "eth1"),
    parse_membership("ff05::1", "fd00::1", "eth0"),
    structs.replace(parse_membership("ff05::1", "*", "eth0"), persistent=False),
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
        store.write(put(structs.replace(ROUTES[0], comment="another")))
    with Store(tmp_path / "routes.db", LIFE) as store:
        assert {*store.read()} == {
            structs.replace(ROUTES[0], comment="another"),
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
        assert {*store.read()} == {each for each in EVERYTHING if each.survives_reboot}
    with Store(tmp_path / "routes.db", LIFE) as store:
        assert {*store.read()} == {each for each in EVERYTHING if each.survives_reboot}


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
    path = tmp_path / "routes.db"
    with Store(path, LIFE), pytest.raises(StoreError) as caught:
        Store(path, LIFE)
    assert str(caught.value) == f"Cannot open {path}: another mfc-dbusd uses it"


def test_a_directory_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file"):
        Store(tmp_path / "missing" / "routes.db", LIFE)


# Others who open the file


_READING = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], timeout=0)
try:
    print(*database.execute("SELECT count(*) FROM kept").fetchone())
except sqlite3.OperationalError as error:
    print(error)
if sys.argv[2:]:
    print(flush=True)
    sys.stdin.readline()
"""


def read_elsewhere(path: Path) -> str:
    """What another program gets that wants to know how many rows there are."""
    command = [sys.executable, "-c", _READING, str(path)]
    return subprocess.check_output(command, text=True).strip()


@contextmanager
def reader(path: Path) -> Iterator[None]:
    """Another program that has the database open."""
    command = [sys.executable, "-c", _READING, str(path), "stay"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdin
        assert process.stdout.readline().strip().isdecimal()
        yield
        process.stdin.close()


def test_nobody_else_opens_it_while_it_is_in_use(tmp_path: Path) -> None:
    path = tmp_path / "routes.db"
    with Store(path, LIFE) as store:
        store.write(put(*ROUTES))
        assert read_elsewhere(path) == "database is locked"
        assert not path.with_name("routes.db-shm").exists()
    assert read_elsewhere(path) == str(len(ROUTES))


def test_one_that_somebody_looks_into_is_used_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "routes.db"
    with Store(path, LIFE) as store:
        store.write(put(ROUTES[0]))
    with reader(path), Store(path, LIFE) as store:
        assert not store.refusal
        assert store.read() == [ROUTES[0]]
        store.write(put(ROUTES[1]))
    with Store(path, LIFE) as store:
        assert {*store.read()} == {*ROUTES[:2]}


# Opening what could not be written once more


@pytest.fixture
def refusing(tmp_path: Path) -> Iterator[Store]:
    """A store with a route, that can be read only."""
    path = tmp_path / "routes.db"
    with Store(path, LIFE) as store:
        store.write(put(ROUTES[0]))
    error = sqlite3.OperationalError("attempt to write a readonly database")
    error.sqlite_errorcode = sqlite3.SQLITE_READONLY
    with mock.patch("mfc_dbus.storage.opening.open_or_make", side_effect=error):
        store = Store(path, LIFE)
    with store:
        assert "readonly" in store.refusal
        yield store


def test_one_that_is_opened_again_is_written_and_nobody_elses(refusing: Store) -> None:
    refusing.open_again()
    refusing.write(put(ROUTES[1]))
    assert {*refusing.read()} == {*ROUTES[:2]}
    assert read_elsewhere(refusing.path) == "database is locked"


@pytest.mark.parametrize("failing", ["open_or_make", "the header", "os.fsync"])
def test_one_that_cannot_be_opened_again_stays_refused_until_it_can(
    refusing: Store, failing: str
) -> None:
    def with_a_bad_header(path: Path, life: str) -> sqlite3.Connection:
        opened = database.open_or_make(path, life)
        opened.set_authorizer(
            lambda _, name, *__: sqlite3.SQLITE_DENY if name == "header" else sqlite3.SQLITE_OK
        )
        return opened

    failures: dict[str, AbstractContextManager[object]] = {
        "open_or_make": mock.patch(
            "mfc_dbus.storage.opening.open_or_make",
            side_effect=sqlite3.OperationalError("no memory"),
        ),
        "the header": mock.patch("mfc_dbus.storage.opening.open_or_make", with_a_bad_header),
        "os.fsync": mock.patch("os.fsync", side_effect=OSError(5, "I/O error")),
    }
    with failures[failing]:
        for _ in range(2):
            with pytest.raises(StoreError):
                refusing.open_again()
            with pytest.raises(StoreError):
                refusing.write(put(ROUTES[1]))
    refusing.open_again()
    refusing.write(put(ROUTES[1]))
    assert {*refusing.read()} == {*ROUTES[:2]}
