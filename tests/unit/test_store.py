"""The store: what was written is there, what is damaged is set aside, what fails is an error."""

import dataclasses
import sqlite3
from pathlib import Path

import pytest

from mfc_dbus.errors import StoreError
from mfc_dbus.keeper import Keeper
from mfc_dbus.model import Edit, Route, RouteKey, parse_route
from mfc_dbus.store import Store

ROUTES = [
    parse_route("10.0.0.1", "239.1.1.1", "eth0", ["eth1", "eth2"], {"eth2": 16}, "ein Kommentar"),
    parse_route("*", "239.1.1.1", "eth0", ["eth1"]),
    parse_route("*", "239.1.1.1", "eth3", ["eth1"]),
    parse_route("fd00::1", "ff05::1", "eth0", ["eth1"]),
    dataclasses.replace(parse_route("*", "ff05::2", "eth0", ["eth1"]), persistent=False),
    dataclasses.replace(parse_route("*", "ff05::3", "eth0", ["eth1"]), expires=2**62),
]


def put(*routes: Route) -> dict[RouteKey, Route | None]:
    return {route.key: route for route in routes}


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
        store.write(put(*ROUTES))
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
    with pytest.raises(StoreError, match="schema version 99, and this program knows 1"):
        Store(path)
    assert asides(tmp_path) == []


def test_two_processes_cannot_have_the_same_store(tmp_path: Path) -> None:
    with Store(tmp_path / "routes.db"), pytest.raises(StoreError, match="locked"):
        Store(tmp_path / "routes.db")


def test_a_directory_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="unable to open"):
        Store(tmp_path / "missing" / "routes.db")


class TestKeeper:
    """Each route in the store of its kind."""

    @pytest.fixture
    def directories(self, tmp_path: Path) -> tuple[Path, Path]:
        state, runtime = tmp_path / "state", tmp_path / "runtime"
        state.mkdir()
        runtime.mkdir()
        return state, runtime

    def edit(self, keeper: Keeper, *edits: tuple[Route | None, Route | None]) -> None:
        keeper._write({(old or new).key: Edit(old, new) for old, new in edits})  # type: ignore[union-attr]

    def test_only_what_is_durable_outlives_the_runtime_directory(
        self, directories: tuple[Path, Path], tmp_path: Path
    ) -> None:
        with Keeper(*directories) as keeper:
            self.edit(keeper, *((None, route) for route in ROUTES))
        with Keeper(*directories) as keeper:
            assert {*keeper.read()} == {*ROUTES}
        with Keeper(directories[0], tmp_path) as keeper:
            assert {*keeper.read()} == {*ROUTES[:4]}

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

    def test_a_crash_between_the_stores_leaves_the_route_whole(
        self, directories: tuple[Path, Path]
    ) -> None:
        transient = dataclasses.replace(ROUTES[0], persistent=False)
        with Keeper(*directories) as keeper:
            self.edit(keeper, (None, ROUTES[0]))
            keeper._write_to(False, put(transient))
        with Keeper(*directories) as keeper:
            assert keeper.read() == [ROUTES[0]]
            self.edit(keeper, (ROUTES[0], None))
        with Keeper(*directories) as keeper:
            assert keeper.read() == []

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
            self.edit(keeper, (None, ROUTES[0]))
            durable = keeper._stores[True]
            keeper._stores[True] = StoreError("disk full")
            with pytest.raises(StoreError, match="disk full"):
                self.edit(keeper, (ROUTES[0], transient))
            keeper._stores[True] = durable
            assert keeper.read() == [ROUTES[0]]
