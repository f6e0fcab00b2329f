"""The store: what was written is there, what is damaged is set aside, what fails is an error."""

import dataclasses
import sqlite3
from pathlib import Path
from unittest import mock

import pytest

from mfc_dbus.errors import StoreError
from mfc_dbus.keeper import Keeper
from mfc_dbus.model import Desired, Edit, Key, parse_membership, parse_route
from mfc_dbus.store import Store

ROUTES = [
    parse_route("10.0.0.1", "239.1.1.1", "eth0", ["eth1", "eth2"], {"eth2": 16}, "ein Kommentar"),
    parse_route("*", "239.1.1.1", "eth0", ["eth1"]),
    parse_route("*", "239.1.1.1", "eth3", ["eth1"]),
    parse_route("fd00::1", "ff05::1", "eth0", ["eth1"]),
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
    with Store(tmp_path / "routes.db") as store:
        store.write(put(*ROUTES))
    with Store(tmp_path / "routes.db") as store:
        assert {*store.read()} == {*ROUTES}
        store.write({ROUTES[1].key: None, ROUTES[5].key: None})
        store.write(put(dataclasses.replace(ROUTES[0], comment="another")))
    with Store(tmp_path / "routes.db") as store:
        assert {*store.read()} == {
            dataclasses.replace(ROUTES[0], comment="another"),
            *ROUTES[2:5],
        }


def test_memberships_are_read_as_they_were_written(tmp_path: Path) -> None:
    with Store(tmp_path / "routes.db") as store:
        store.write(put(*EVERYTHING))
        store.write({MEMBERSHIPS[1].key: None, ROUTES[1].key: None})
    with Store(tmp_path / "routes.db") as store:
        assert {*store.read()} == {*MEMBERSHIPS, *ROUTES} - {MEMBERSHIPS[1], ROUTES[1]}


def test_a_route_and_a_membership_that_cannot_be_written_both_are_not_written(
    tmp_path: Path,
) -> None:
    with Store(tmp_path / "routes.db") as store:
        store._database.execute("DROP TABLE membership")
        with pytest.raises(StoreError, match="no such table"):
            store.write(put(ROUTES[0], MEMBERSHIPS[0]))
        assert store._database.execute("SELECT count(*) FROM route").fetchone() == (0,)


def test_a_database_of_the_first_version_keeps_its_routes(tmp_path: Path) -> None:
    with Store(tmp_path / "routes.db") as store:
        store.write(put(*ROUTES))
        store._database.executescript("DROP TABLE membership; PRAGMA user_version = 1")
    with Store(tmp_path / "routes.db") as store:
        assert {*store.read()} == {*ROUTES}
        store.write(put(*MEMBERSHIPS))
        assert {*store.read()} == {*EVERYTHING}


def test_a_commit_is_on_disk_before_write_returns(tmp_path: Path) -> None:
    with Store(tmp_path / "routes.db") as store:
        assert store._database.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
        assert store._database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"this is no database at all, " * 100),
        lambda path: path.write_bytes(path.read_bytes()[:-100] + bytes(100)),
        lambda path: path.write_bytes(path.read_bytes()[:3000]),
    ],
    ids=["another format", "zeros at the end", "cut off"],
)
def test_a_damaged_file_is_set_aside_and_not_overwritten(tmp_path: Path, damage: object) -> None:
    path = tmp_path / "routes.db"
    with Store(path) as store:
        store.write(put(*EVERYTHING))
    assert callable(damage)
    damage(path)
    content = path.read_bytes()
    with Store(path) as store:
        assert store.read() == []
        store.write(put(ROUTES[0]))
    (aside,) = asides(tmp_path)
    assert aside.read_bytes() == content


def test_the_database_of_another_program_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "routes.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE theirs (content TEXT)")
    other.close()
    with Store(path) as store:
        assert store.read() == []
    (aside,) = asides(tmp_path)
    other = sqlite3.connect(aside)
    assert other.execute("SELECT count(*) FROM theirs").fetchone() == (0,)
    other.close()


def test_the_database_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "routes.db"
    Store(path).__exit__()
    newer = sqlite3.connect(path)
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(StoreError, match="schema version 99, and this program knows 2"):
        Store(path)
    assert asides(tmp_path) == []


def test_two_processes_cannot_have_the_same_store(tmp_path: Path) -> None:
    with Store(tmp_path / "routes.db"), pytest.raises(StoreError, match="unavailable"):
        Store(tmp_path / "routes.db")


def test_a_directory_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file"):
        Store(tmp_path / "missing" / "routes.db")


def test_it_can_be_copied_while_it_is_in_use(tmp_path: Path) -> None:
    with Store(tmp_path / "routes.db") as store:
        store.write(put(*ROUTES))
        used = sqlite3.connect(tmp_path / "routes.db")
        (tmp_path / "backup").mkdir()
        copy = sqlite3.connect(tmp_path / "backup" / "routes.db")
        used.backup(copy)
        copy.close()
        used.close()
        store.write({ROUTES[0].key: None})
    with Store(tmp_path / "backup" / "routes.db") as store:
        assert {*store.read()} == {*ROUTES}


class _Crash(BaseException):
    pass


class TestKeeper:
    """Each route and membership in the store of its kind."""

    @pytest.fixture
    def directories(self, tmp_path: Path) -> tuple[Path, Path]:
        state, runtime = tmp_path / "state", tmp_path / "runtime"
        state.mkdir()
        runtime.mkdir()
        return state, runtime

    def edit(self, keeper: Keeper, *edits: tuple[Desired | None, Desired | None]) -> None:
        keeper._write({(old or new).key: Edit(old, new) for old, new in edits})  # type: ignore[union-attr]

    def test_only_what_is_durable_outlives_the_runtime_directory(
        self, directories: tuple[Path, Path], tmp_path: Path
    ) -> None:
        with Keeper(*directories) as keeper:
            self.edit(keeper, *((None, desired) for desired in EVERYTHING))
        with Keeper(*directories) as keeper:
            assert {*keeper.read()} == {*EVERYTHING}
        with Keeper(directories[0], tmp_path) as keeper:
            assert {*keeper.read()} == {*ROUTES[:4], *MEMBERSHIPS[:4]}

    def test_a_route_that_becomes_transient_is_in_one_store_only(
        self, directories: tuple[Path, Path], tmp_path: Path
    ) -> None:
        transient = dataclasses.replace(ROUTES[0], persistent=False)
        with Keeper(*directories) as keeper:
            self.edit(keeper, (None, ROUTES[0]))
            self.edit(keeper, (ROUTES[0], transient))
            assert keeper.read() == [transient]
            self.edit(keeper, (transient, None))
            assert keeper.read() == []

    def crash_between_the_stores(
        self, directories: tuple[Path, Path], *edits: tuple[Desired | None, Desired | None]
    ) -> None:
        """Do a change, and come no further than the first commit."""
        with Keeper(*directories) as keeper:
            crashing = mock.patch.object(keeper._stores[False], "finish", side_effect=_Crash)
            with crashing, pytest.raises(_Crash):
                self.edit(keeper, *edits)

    def test_a_change_of_both_stores_is_whole_after_a_crash_between_them(
        self, directories: tuple[Path, Path]
    ) -> None:
        transient = dataclasses.replace(ROUTES[0], persistent=False)
        with Keeper(*directories) as keeper:
            self.edit(keeper, *((None, route) for route in ROUTES))
        self.crash_between_the_stores(
            directories, (ROUTES[0], transient), (ROUTES[1], None), (ROUTES[4], None)
        )
        for _ in range(2):
            with Keeper(*directories) as keeper:
                assert {*keeper.read()} == {transient, *ROUTES[2:4], ROUTES[5]}

    def test_what_was_finished_after_a_crash_is_not_done_again(
        self, directories: tuple[Path, Path]
    ) -> None:
        transient = dataclasses.replace(ROUTES[0], persistent=False)
        joined = dataclasses.replace(
            parse_membership("239.1.1.1", "10.0.0.1", "eth0"), persistent=False
        )
        edits = [(None, each) for each in (transient, joined, ROUTES[1])]
        self.crash_between_the_stores(directories, *edits)
        with Keeper(*directories) as keeper:
            assert {*keeper.read()} == {transient, joined, ROUTES[1]}
            self.edit(keeper, (transient, None), (joined, None))
        with Keeper(*directories) as keeper:
            assert keeper.read() == [ROUTES[1]]

    def test_what_a_crash_left_for_a_runtime_directory_ends_with_it(
        self, directories: tuple[Path, Path], tmp_path: Path
    ) -> None:
        transient = dataclasses.replace(ROUTES[0], persistent=False)
        self.crash_between_the_stores(directories, (None, transient), (None, ROUTES[1]))
        with Keeper(directories[0], tmp_path) as keeper:
            assert keeper.read() == [ROUTES[1]]

    def test_a_store_that_cannot_be_opened_fails_its_own_routes_and_no_others(
        self, directories: tuple[Path, Path], tmp_path: Path
    ) -> None:
        with Keeper(tmp_path / "missing", directories[1]) as keeper:
            assert keeper.read() == []
            with pytest.raises(StoreError, match="missing"):
                self.edit(keeper, (None, ROUTES[0]))
            self.edit(keeper, (None, ROUTES[4]))
            assert keeper.read() == [ROUTES[4]]

    def test_a_failure_in_the_second_store_takes_back_the_first(
        self, directories: tuple[Path, Path]
    ) -> None:
        transient = dataclasses.replace(ROUTES[0], persistent=False)
        with Keeper(*directories) as keeper:
            self.edit(keeper, (None, ROUTES[0]), (None, ROUTES[4]))
            failing = mock.patch.object(
                keeper._stores[False], "finish", side_effect=StoreError("disk full")
            )
            with failing, pytest.raises(StoreError, match="disk full"):
                self.edit(keeper, (ROUTES[0], transient), (ROUTES[4], None), (None, ROUTES[1]))
            assert {*keeper.read()} == {ROUTES[0], ROUTES[4]}
        with Keeper(*directories) as keeper:
            assert {*keeper.read()} == {ROUTES[0], ROUTES[4]}
