"""The history outlives the process; whatever the disk holds of it, the service starts."""

import asyncio
import json
import sqlite3
import zlib
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from mfc_dbus.model.cause import Act
from mfc_dbus.model.desired import Edit
from mfc_dbus.model.errors import StoreError
from mfc_dbus.model.history import MAX_EDITS_OF_CHANGE, HistoryUpdate, PastChange
from mfc_dbus.model.membership import parse_membership
from mfc_dbus.model.route import parse_route
from mfc_dbus.storage import past
from mfc_dbus.storage.keeper import Keeper
from mfc_dbus.storage.store import Store

LIFE, NEXT_LIFE = "0123456789abcdef", "fedcba9876543210"
ROUTE = parse_route("10.0.0.1", "239.1.1.1", "eth0", ["eth1"], comment="ein Weg")
TIMED = replace(ROUTE, persistent=False, expires=10**15)
MEMBERSHIP = parse_membership("ff05::1", "fd00::1", "eth0")


def change(number: int, *edits: Edit) -> PastChange:
    return PastChange(number, 10**15, 1000, "alice", Act.APPLY, 1, 0, 0, 0, edits)


ADDED = change(1, Edit(None, ROUTE))
SEVERAL = change(2, Edit(ROUTE, None), Edit(None, MEMBERSHIP), Edit(ROUTE, replace(ROUTE, table=7)))
LARGE = change(3)._replace(added=100_000)
UNDONE = change(4, Edit(ROUTE, TIMED))._replace(act=Act.UNDO, undoes=2, user="")
ALL = [ADDED, SEVERAL, LARGE, UNDONE]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with this history."""
    path = tmp_path / "routes.db"
    with Store(path, LIFE) as store:
        for each in ALL:
            store.write({}, HistoryUpdate([each], 1))
    return path


def read(path: Path, life: str = LIFE) -> list[PastChange]:
    with Store(path, life) as store:
        assert store.read() == []
        return [each._replace(edits=tuple(each.edits)) for each in store.read_history()]


def alter(path: Path, sql: str) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        assert database.execute(sql).rowcount


def test_it_is_read_as_it_was_written(path: Path) -> None:
    assert read(path) == ALL


def test_what_is_older_than_the_oldest_goes(path: Path) -> None:
    with Store(path, LIFE) as store:
        store.write({}, HistoryUpdate([change(5, Edit(None, ROUTE))], 3))
    assert [each.number for each in read(path)] == [3, 4, 5]
    with closing(sqlite3.connect(path)) as database:
        ((rows,),) = database.execute("SELECT count(*) FROM history")
    assert rows == 1 + 2 + 2


def test_times_of_an_earlier_life_mean_nothing_and_the_change_is_not_undone(path: Path) -> None:
    assert read(path, NEXT_LIFE) == [*ALL[:3], UNDONE._replace(edits=())]


def test_a_database_of_a_version_without_a_history_gets_one(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("DROP TABLE history")
    assert read(path) == []
    with Store(path, LIFE) as store:
        store.write({}, HistoryUpdate([ADDED], 1))
    assert read(path) == [ADDED]


def test_a_table_that_is_no_history_is_replaced_and_the_routes_stay(path: Path) -> None:
    with Store(path, LIFE) as store:
        store.write({ROUTE.key: ROUTE})
    with closing(sqlite3.connect(path)) as database:
        database.execute("DROP TABLE history")
        database.execute("CREATE TABLE history (x TEXT)")
        database.execute("INSERT INTO history VALUES ('y')")
        database.commit()
    with Store(path, LIFE) as store:
        assert store.read() == [ROUTE]
        assert store.read_history() == []


ODD = {
    "a byte of the entry": "content = replace(content, 'eth0', 'eth7')",
    "no JSON": "content = '{'",
    "a blob": "content = x'ff00'",
    "a number": "content = 7",
    "another checksum": "checksum = checksum + 1",
    "a checksum of text": "checksum = 'x'",
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_of_a_change_with_a_damaged_row_only_the_numbers_are_known(
    path: Path, odd: str, caplog: pytest.LogCaptureFixture
) -> None:
    alter(path, f"UPDATE history SET {odd} WHERE id = {past.first_row(2) + 1}")
    assert read(path) == [ADDED, SEVERAL._replace(edits=()), LARGE, UNDONE]
    (record,) = caplog.records
    assert "1 rows of the history are damaged" in record.getMessage()


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_a_change_whose_own_row_is_damaged_is_left_out(path: Path, odd: str) -> None:
    if "eth7" in odd:
        odd = "content = replace(content, '1000', '0')"
    alter(path, f"UPDATE history SET {odd} WHERE id = {past.first_row(2)}")
    assert read(path) == [ADDED, LARGE, UNDONE]


def test_a_change_of_which_a_row_is_missing_is_not_undone(path: Path) -> None:
    alter(path, f"DELETE FROM history WHERE id = {past.first_row(2) + 2}")
    assert read(path) == [ADDED, SEVERAL._replace(edits=()), LARGE, UNDONE]


@pytest.mark.parametrize("id_", [-1, 0, 1, 4095, 1 << 62])
def test_a_row_of_no_change_is_left_out(path: Path, id_: int) -> None:
    alter(path, f"UPDATE history SET id = {id_} WHERE id = {past.first_row(1) + 1}")
    assert read(path) == [ADDED._replace(edits=()), SEVERAL, LARGE, UNDONE]


def put(path: Path, id_: int, content: str) -> None:
    """Put a row with a valid checksum."""
    checksum = zlib.crc32(b"%d\0%b" % (id_, content.encode()))
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(
            "INSERT OR REPLACE INTO history VALUES (?, ?, ?)", [id_, content, checksum]
        )


HEAD = {
    "when": 10**15,
    "uid": 1000,
    "user": "alice",
    "act": "apply",
    "added": 1,
    "changed": 0,
    "deleted": 0,
    "undoes": 0,
    "edits": 0,
}


@pytest.mark.parametrize(("open_", "close"), [("[", "]"), ('{"a":', "}")])
def test_an_entry_that_is_nested_deeply_is_left_out(path: Path, open_: str, close: str) -> None:
    nested = f"{open_ * 10_000}7{close * 10_000}"
    value = f'{{"section":"route","entry":{nested}}}'
    put(path, past.first_row(2) + 1, f'{{"before":null,"after":{value}}}')
    assert read(path) == [ADDED, SEVERAL._replace(edits=()), LARGE, UNDONE]


@pytest.mark.parametrize("number", [1 << 40, (1 << 51) - 1])
def test_no_number_of_a_change_is_so_large_that_none_can_follow(path: Path, number: int) -> None:
    put(path, past.first_row(number), json.dumps(HEAD))
    assert read(path) == ALL
    with Store(path, LIFE) as store:
        store.write({}, HistoryUpdate([change(5)], 1))
    assert read(path) == [*ALL, change(5)]


def test_a_number_that_the_database_cannot_hold_is_an_error_of_the_store(path: Path) -> None:
    with Store(path, LIFE) as store, pytest.raises(StoreError):
        store.write({}, HistoryUpdate([change(1 << 51)], 1))
    assert read(path) == ALL


@pytest.mark.parametrize(
    "odd",
    [{"when": 1 << 64}, {"when": -1}, {"uid": 1 << 32}, {"added": 1 << 32}, {"undoes": 1 << 64}],
    ids=str,
)
def test_a_change_with_a_number_that_no_caller_could_be_told_is_left_out(
    path: Path, odd: dict[str, int]
) -> None:
    put(path, past.first_row(5), json.dumps({**HEAD, **odd}))
    assert read(path) == ALL


@pytest.mark.parametrize(
    ("name", "shown"), [("a\0b", "a\\x00b"), ("a\x1b[1m", "a\\x1b[1m"), ("x" * 999, "x" * 64)]
)
def test_the_name_of_a_user_is_one_that_can_be_shown(path: Path, name: str, shown: str) -> None:
    put(path, past.first_row(5), json.dumps({**HEAD, "user": name}))
    assert [each.user for each in read(path)][-1] == shown


def test_a_change_that_gets_the_number_of_a_damaged_one_can_be_undone(path: Path) -> None:
    several = SEVERAL._replace(number=5)
    with Store(path, LIFE) as store:
        store.write({}, HistoryUpdate([several], 1))
    alter(path, f"UPDATE history SET content = '{{' WHERE id = {past.first_row(5)}")
    assert read(path) == ALL
    again = change(5, Edit(None, ROUTE))
    with Store(path, LIFE) as store:
        store.write({}, HistoryUpdate([again], 1))
    assert read(path) == [*ALL, again]


def test_an_edit_in_another_place_is_none_of_its_change(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        sql = f"SELECT content FROM history WHERE id = {past.first_row(2) + 3}"
        ((content,),) = database.execute(sql)
        database.execute(f"DELETE FROM history WHERE id = {past.first_row(2) + 3}")
    put(path, past.first_row(2) + 7, content)
    assert read(path) == [ADDED, SEVERAL._replace(edits=()), LARGE, UNDONE]


def test_it_is_in_the_state_directory_and_outlives_a_life(tmp_path: Path) -> None:
    state, runtime = tmp_path / "state", tmp_path / "runtime"
    for directory in (state, runtime):
        directory.mkdir()

    async def write(keeper: Keeper) -> None:
        await keeper.write({ROUTE.key: Edit(None, ROUTE)}, HistoryUpdate([ADDED], 1))

    with Keeper(state, runtime) as keeper:
        assert keeper.read() == []
        asyncio.run(write(keeper))
    (runtime / "life").unlink()
    with Keeper(state, runtime) as keeper:
        assert keeper.read() == [ROUTE]
        (found,) = keeper.read_history()
    assert found._replace(edits=tuple(found.edits)) == ADDED


def test_a_change_of_as_many_as_are_kept_has_room_in_its_numbers() -> None:
    assert MAX_EDITS_OF_CHANGE < past.PLACES
