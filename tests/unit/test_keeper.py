"""The keeper: what is durable outlives a reboot, the rest does not, and all of it is one commit."""

import asyncio
import sqlite3
from contextlib import AbstractContextManager, closing
from pathlib import Path
from unittest import mock

import pytest
from lab import earlier
from msgspec import structs

from mfc_dbus.model.desired import Desired, Edit
from mfc_dbus.model.errors import StoreError
from mfc_dbus.model.membership import parse_membership
from mfc_dbus.model.route import parse_route
from mfc_dbus.storage import database, set_aside
from mfc_dbus.storage.keeper import Keeper
from mfc_dbus.storage.store import Store

DURABLE: list[Desired] = [
    parse_route("10.0.0.1", "239.1.1.1", "eth0", ["eth1", "eth2"], {"eth2": 16}, "ein Kommentar"),
    parse_route("*", "239.1.1.1", "eth0", ["eth1"]),
    parse_membership("ff05::1", "fd00::1", "eth0"),
]
ROUTE = DURABLE[0]
TRANSIENT = structs.replace(parse_route("*", "ff05::2", "eth0", ["eth1"]), persistent=False)
PASSING: list[Desired] = [
    TRANSIENT,
    structs.replace(parse_route("*", "ff05::3", "eth0", ["eth1"]), expires=2**62),
    structs.replace(parse_membership("ff05::1", "*", "eth0"), persistent=False),
]
EVERYTHING = [*DURABLE, *PASSING]


class Home:
    """The directories of a keeper."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state, self.runtime = path / "state", path / "runtime"
        for directory in (self.state, self.runtime):
            directory.mkdir(exist_ok=True)

    def keeper(self) -> Keeper:
        return Keeper(self.state, self.runtime)

    def read(self) -> set[Desired]:
        with self.keeper() as keeper:
            return {*keeper.read()}

    def reboot(self) -> None:
        for each in self.runtime.iterdir():
            each.unlink()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def edit(keeper: Keeper, *edits: tuple[Desired | None, Desired | None]) -> None:
    keeper._write({(old or new).key: Edit(old, new) for old, new in edits})  # type: ignore[union-attr]


def put(home: Home, *desired: Desired) -> None:
    with home.keeper() as keeper:
        keeper.read()
        edit(keeper, *((None, each) for each in desired))


def read_only(home: Home, name: str = "state") -> AbstractContextManager[object]:
    """Let nothing be written to the database of one directory."""

    def refuse(path: Path | str, life: str) -> sqlite3.Connection:
        if isinstance(path, Path) and path.parent.name == name:
            error = sqlite3.OperationalError("attempt to write a readonly database")
            error.sqlite_errorcode = sqlite3.SQLITE_READONLY
            raise error
        return database.open_or_make(path, life)

    return mock.patch("mfc_dbus.storage.opening.open_or_make", refuse)


# What outlives what


def test_only_what_is_durable_outlives_the_runtime_directory(home: Home) -> None:
    put(home, *EVERYTHING)
    assert home.read() == {*EVERYTHING}
    home.reboot()
    assert home.read() == {*DURABLE}


def test_a_route_that_becomes_transient_is_there_once(home: Home) -> None:
    transient = structs.replace(ROUTE, persistent=False)
    put(home, ROUTE)
    with home.keeper() as keeper:
        keeper.read()
        edit(keeper, (ROUTE, transient))
    with home.keeper() as keeper:
        assert keeper.read() == [transient]
    home.reboot()
    assert home.read() == set()


def test_all_that_is_kept_is_in_one_database(home: Home) -> None:
    put(home, *EVERYTHING)
    assert [each.name for each in home.runtime.iterdir()] == ["life"]


@pytest.mark.parametrize("name", ["", "x" * 16, "0123456789ABCDEF", "0" * 17])
def test_a_life_with_a_strange_name_is_a_new_one(home: Home, name: str) -> None:
    put(home, *EVERYTHING)
    (home.runtime / "life").write_text(name)
    assert home.read() == {*DURABLE}
    assert (home.runtime / "life").read_text() != name


def test_without_directories_it_goes_on_and_keeps_nothing() -> None:
    with Keeper(None, None) as keeper:
        assert keeper.read() == []
        edit(keeper, *((None, each) for each in EVERYTHING))


def test_without_a_runtime_directory_what_ends_with_a_reboot_ends_with_the_process(
    home: Home,
) -> None:
    with Keeper(home.state, None) as keeper:
        keeper.read()
        edit(keeper, *((None, each) for each in EVERYTHING))
    with Keeper(home.state, None) as keeper:
        assert {*keeper.read()} == {*DURABLE}


def test_without_a_state_directory_only_what_is_transient_is_kept(home: Home) -> None:
    with Keeper(None, home.runtime) as keeper:
        keeper.read()
        edit(keeper, *((None, each) for each in EVERYTHING))
        edit(keeper, (PASSING[1], None), (PASSING[0], None), (None, PASSING[0]))
    with Keeper(None, home.runtime) as keeper:
        assert {*keeper.read()} == {PASSING[0], PASSING[2]}


# While the state directory cannot be written


def test_what_is_transient_is_kept_also_where_the_state_directory_is_missing(home: Home) -> None:
    with Keeper(home.path / "missing", home.runtime) as keeper:
        assert keeper.read() == []
        with pytest.raises(StoreError, match="missing"):
            edit(keeper, (None, ROUTE))
        with pytest.raises(StoreError, match="missing"):
            edit(keeper, (None, TRANSIENT), (None, ROUTE))
        edit(keeper, (None, TRANSIENT))
    with Keeper(home.path / "missing", home.runtime) as keeper:
        assert keeper.read() == [TRANSIENT]


def test_of_a_read_only_state_directory_all_is_read_and_what_is_transient_changes(
    home: Home,
) -> None:
    put(home, *EVERYTHING)
    another = structs.replace(TRANSIENT, comment="another")
    with read_only(home):
        with home.keeper() as keeper:
            assert {*keeper.read()} == {*EVERYTHING}
            with pytest.raises(StoreError, match="readonly"):
                edit(keeper, (ROUTE, None))
            edit(keeper, (TRANSIENT, another), (PASSING[1], None))
        expected = {*DURABLE, another, PASSING[2]}
        assert home.read() == expected
    assert home.read() == expected
    assert [each.name for each in home.runtime.iterdir()] == ["life"]
    assert home.read() == expected
    home.reboot()
    assert home.read() == {*DURABLE}


def test_when_the_state_directory_can_be_written_again_it_is(home: Home) -> None:
    put(home, *DURABLE)
    with read_only(home):
        keeper = home.keeper()
        keeper.read()
        edit(keeper, (None, TRANSIENT))
        with pytest.raises(StoreError, match="readonly"):
            edit(keeper, (ROUTE, None))
    with keeper:
        edit(keeper, (ROUTE, None), (None, PASSING[1]))
        edit(keeper, (None, PASSING[2]))
    expected = {*DURABLE[1:], *PASSING}
    assert [each.name for each in home.runtime.iterdir()] == ["life"]
    assert home.read() == expected


def test_what_could_not_be_read_is_not_written_either(home: Home) -> None:
    put(home, *EVERYTHING)
    failing = mock.patch.object(Store, "read", side_effect=StoreError("disk I/O error"))
    with failing:
        keeper = home.keeper()
        assert keeper.read() == []
    with keeper, pytest.raises(StoreError, match="I/O error"):
        edit(keeper, (None, parse_route("*", "239.7.7.7", "eth0", [])))
    assert home.read() == {*EVERYTHING}


def test_what_was_taken_in_is_not_taken_in_again(home: Home) -> None:
    """The file in the runtime directory could not be removed."""
    with read_only(home), home.keeper() as keeper:
        keeper.read()
        edit(keeper, (None, TRANSIENT))
    with mock.patch.object(Path, "unlink", side_effect=OSError(5, "I/O error")):
        with home.keeper() as keeper:
            assert keeper.read() == [TRANSIENT]
            edit(keeper, (TRANSIENT, None), (None, PASSING[1]))
        with home.keeper() as keeper:
            assert keeper.read() == [PASSING[1]]
    assert home.read() == {PASSING[1]}
    assert [each.name for each in home.runtime.iterdir()] == ["life"]


def test_what_failed_is_mended_without_another_change(home: Home) -> None:
    async def fail_and_wait() -> None:
        with home.keeper() as keeper:
            keeper.read()
            assert keeper._store
            mended = asyncio.Event()
            loop = asyncio.get_running_loop()
            real, sync = set_aside.write_anew, mock.Mock(side_effect=OSError(5, "I/O error"))

            def sync_at_last(path: Path) -> None:
                if sync.call_count < 3:
                    sync(path)
                real(path)
                loop.call_soon_threadsafe(mended.set)

            keeper._store._doubtful = True
            with (
                mock.patch.object(set_aside, "write_anew", sync_at_last),
                mock.patch("mfc_dbus.storage.keeper._LAST_WAIT", 0.01),
                mock.patch.object(keeper, "_wait", 0.01),
            ):
                for _ in range(2):
                    with pytest.raises(StoreError, match="I/O error"):
                        await keeper.write({ROUTE.key: Edit(None, ROUTE)})
                await mended.wait()
            await keeper.write({ROUTE.key: Edit(None, ROUTE)})
            assert not keeper._store.doubtful

    asyncio.run(fail_and_wait())
    assert home.read() == {ROUTE}


# What an earlier version left


def test_both_files_of_an_earlier_version_are_read_and_their_rest_is_done(home: Home) -> None:
    earlier.make_both(home.path)
    for _ in range(2):
        assert home.read() == {*earlier.DURABLE, *earlier.PASSING}
    assert not (home.runtime / "routes.db").exists()
    home.reboot()
    assert home.read() == {*earlier.DURABLE}


def test_a_rest_that_was_done_is_not_done_again(home: Home) -> None:
    earlier.make_both(home.path)
    with closing(sqlite3.connect(home.runtime / "routes.db")) as other, other:
        other.execute("UPDATE this SET done = '38322c677dcc0467-958b2895300cb718'")
    assert home.read() == {*earlier.DURABLE, *earlier.BEFORE_THE_REST}


def test_a_rest_for_a_runtime_directory_that_has_gone_is_not_done(home: Home) -> None:
    earlier.make(home.state / "routes.db", earlier.STATE)
    assert home.read() == {*earlier.DURABLE}
    assert home.read() == {*earlier.DURABLE}


def test_files_of_an_earlier_version_are_read_where_they_cannot_be_written(home: Home) -> None:
    earlier.make_both(home.path)
    with read_only(home):
        for _ in range(2):
            assert home.read() == {*earlier.DURABLE, *earlier.PASSING}
    for _ in range(2):
        assert home.read() == {*earlier.DURABLE, *earlier.PASSING}


def test_a_database_of_the_first_version_keeps_its_routes(home: Home) -> None:
    first = f"{earlier.STATE} DROP TABLE membership; PRAGMA user_version = 1"
    earlier.make(home.state / "routes.db", first)
    for _ in range(2):
        assert home.read() == {each for each in earlier.DURABLE if hasattr(each, "iif")}


class _Crash(BaseException):
    pass


@pytest.mark.parametrize("step", range(4))
def test_a_crash_while_an_earlier_version_is_taken_over_loses_nothing(
    home: Home, step: int
) -> None:
    earlier.make_both(home.path)
    real, left = Store._commit, step

    def crash(store: Store, change: object) -> None:
        nonlocal left
        real(store, change)  # type: ignore[arg-type]
        left -= 1
        if left < 0:
            raise _Crash

    with mock.patch.object(Store, "_commit", crash):
        try:
            with home.keeper() as keeper:
                keeper.read()
        except _Crash:
            pass
    for _ in range(2):
        assert home.read() == {*earlier.DURABLE, *earlier.PASSING}


ODD_RESTS = {
    "no literal": "INSERT INTO rest VALUES ('Route', 'import os')",
    "code": "INSERT INTO rest VALUES ('Route', '__import__(\"os\").abort()')",
    "too few": "INSERT INTO rest VALUES ('Route', '(1,)')",
    "no tuple": "INSERT INTO rest VALUES ('Route', '7')",
    "bytes": "INSERT INTO rest VALUES ('Route', X'FF00')",
    "a number": "INSERT INTO rest VALUES (7, 7)",
    "another kind": "INSERT INTO rest VALUES ('Rule', '(1, 2)')",
    "deep": f"INSERT INTO rest VALUES ('Route', '{'(' * 5000}')",
    "no name": "UPDATE this SET rest = X'FF'",
    "no table": "DROP TABLE rest",
    "nothing": "DELETE FROM this",
}


@pytest.mark.parametrize("odd", ODD_RESTS.values(), ids=ODD_RESTS)
def test_a_rest_that_cannot_be_read_does_no_harm(home: Home, odd: str) -> None:
    earlier.make(home.state / "routes.db", earlier.STATE + odd)
    earlier.make(home.runtime / "routes.db", earlier.RUNTIME)
    found = home.read()
    assert {*earlier.DURABLE} <= found
    assert {*earlier.DURABLE, *earlier.BEFORE_THE_REST} == found
    assert home.read() == found


ODD_ROUTES = {
    "an empty source": "(X'', X'EF02020220', '', 0, 'eth0', 'eth1/1', '', 1, 0)",
    "text for a blob": "('10.0.0.1', X'EF02020220', '', 0, 'eth0', 'eth1/1', '', 1, 0)",
    "a number for a blob": "(10, X'EF02020220', '', 0, 'eth0', 'eth1/1', '', 1, 0)",
    "a NUL": "(X'0A00000120', X'EF02020220', '', 0, 'eth0', 'eth1/1', 'a'||char(0), 1, 0)",
    "no UTF-8": "(X'0A00000120', X'EF02020220', '', 0, 'eth0', 'eth1/1', X'FFFE', 1, 0)",
    "TTL 999": "(X'0A00000120', X'EF02020220', '', 0, 'eth0', 'eth1/999', '', 1, 0)",
    "no TTL": "(X'0A00000120', X'EF02020220', '', 0, 'eth0', 'eth1', '', 1, 0)",
    "table -1": "(X'0A00000120', X'EF02020220', '', -1, 'eth0', 'eth1/1', '', 1, 0)",
    "3 bytes": "(X'0A00000120', X'EF020220', '', 0, 'eth0', 'eth1/1', '', 1, 0)",
    "33 bits": "(X'0A00000121', X'EF02020220', '', 0, 'eth0', 'eth1/1', '', 1, 0)",
    "mixed": f"(X'0A00000120', X'FF05{'00' * 13}0180', '', 0, 'a', 'b/1', '', 1, 0)",
    "numbers": "(1, 2, 3, 4, 5, 6, 7, 8, 9)",
    "a time": "(X'0A00000120', X'EF02020220', '', 0, 'eth0', 'eth1/1', '', 1, -5)",
    "a float": "(X'0A00000120', X'EF02020220', '', 0.5, 'eth0', 'eth1/1', '', 1.5, 0)",
    "no group": "(X'0A00000120', X'0A00000220', '', 0, 'eth0', 'eth1/1', '', 1, 0)",
}


@pytest.mark.parametrize("odd", ODD_ROUTES.values(), ids=ODD_ROUTES)
def test_an_odd_row_of_an_earlier_version_is_left_out(home: Home, odd: str) -> None:
    earlier.make(home.state / "routes.db", f"{earlier.STATE}INSERT INTO route VALUES {odd};")
    for _ in range(2):
        assert home.read() == {*earlier.DURABLE}
    with closing(sqlite3.connect(home.state / "routes.db")) as other:
        assert other.execute("SELECT count(*) FROM damaged").fetchone() == (1,)
