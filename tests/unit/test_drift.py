"""What others do to our tables is found out and undone, and nothing of ours is taken for theirs."""

import asyncio
import errno
import itertools
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from unittest import mock

import pytest
from lab.fake import FakeKernel
from lab.ground import Ground, expected, run
from lab.parts import pausing_everywhere
from msgspec import structs

from mfc_dbus.config.settings import Settings
from mfc_dbus.control.drift import DriftDetector
from mfc_dbus.kernel.dump import HeldEntry
from mfc_dbus.kernel.mfc_events import EntryChange
from mfc_dbus.kernel.mroute import MFCEntry
from mfc_dbus.loop.slices import Slices
from mfc_dbus.model.addresses import FAMILIES, format_source
from mfc_dbus.model.errors import StoreError
from mfc_dbus.model.route import Route, RouteName, TableId, parse_route

IPV4 = FAMILIES[0]
TABLE = TableId(IPV4)
WORD = "Somebody else changed"
SOURCES = ["10.0.0.1", "*"]


class Witnessed(Ground):
    """A ground whose kernels are looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel: FakeKernel = self.kernels[IPV4]

    def entry(self, route: Route, *oifs: int) -> MFCEntry:
        """An entry that a stranger writes in place of a route's."""
        iif = self.links.links[route.iif].ifindex
        parent = next(vif for vif, ifindex in self.kernel.vifs.items() if ifindex == iif)
        ttls = tuple((vif, 1) for vif in oifs)
        return MFCEntry(route.source.address, route.group.address, parent, ttls)


@pytest.fixture
def ground() -> Witnessed:
    return Witnessed()


@pytest.mark.parametrize("missed", [False, True])
@pytest.mark.parametrize("source", SOURCES)
def test_what_somebody_else_does_is_undone_and_logged(
    ground: Witnessed, source: str, missed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    route = ground.add(source, "239.1.1.1")
    strange = parse_route(source, "239.1.1.2", "eth0", ["eth1"])
    ground.verify()
    held = ground.held()
    acts = [
        (ground.kernel.del_mfc, ground.entry(route)),
        (ground.kernel.add_mfc, ground.entry(route)),
        (ground.kernel.add_mfc, ground.entry(strange, 1)),
    ]
    for number, (act, entry) in enumerate(acts):
        act(entry)
        assert ground.held() != held
        if missed:
            ground.kernel.changes[:] = [None]
        ground.verify()
        assert ground.held() == held
        assert caplog.text.count(WORD) == number + 1
    assert ground.reader.looks == (len(FAMILIES) * len(acts) if missed else 0)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("between", [False, True])
def test_what_the_service_and_vanished_devices_do_is_nobody_elses(
    ground: Witnessed, source: str, between: bool, caplog: pytest.LogCaptureFixture
) -> None:
    ground.add(source, "239.1.1.1", "eth2", "eth1 eth3")
    for name in ("eth1", "eth2"):
        if between:
            ground.verify()
        ground.links.remove(name)
        ground.controller.follow()
    ground.verify()
    ground.links.add("eth1")
    ground.links.add("eth2")
    ground.verify()
    ground.verify(TABLE)
    assert WORD not in caplog.text
    assert {*ground.states().values()} == {"active"}


@pytest.mark.parametrize("source", SOURCES)
def test_a_device_that_has_gone_and_nobody_has_heard_of_it_is_nobody_elses_doing(
    ground: Witnessed, source: str, caplog: pytest.LogCaptureFixture
) -> None:
    route = ground.add(source, "239.1.1.1", "eth0", "eth1 eth2")
    ground.verify()
    ground.links.remove("eth2")
    ground.kernel.add_mfc(ground.entry(route, 1, 2))
    run(ground.drift.verify([TABLE]))
    assert WORD not in caplog.text


def test_what_a_look_does_not_show_is_asked_for_and_not_forgotten(
    ground: Witnessed, caplog: pytest.LogCaptureFixture
) -> None:
    ground.add("*", "239.0.0.0/8")
    ground.add("*", "238.1.1.1")
    ground.add("10.0.0.1", "238.1.1.2")
    ground.arrive("10.0.0.1", "239.1.1.1")
    ground.arrive("10.0.0.1", "239.1.1.2")
    held = ground.held()

    async def nothing(_: TableId) -> AsyncIterator[Sequence[HeldEntry]]:
        yield []

    with mock.patch.object(ground.reader, "read_entries", nothing):
        ground.verify(TABLE)
        assert ground.held() == held
        assert WORD not in caplog.text
        lost = next(entry for entry in ground.kernel.entries if entry.group[-1] == 2)
        ground.kernel.del_mfc(lost)
        ground.kernel.changes.clear()
        ground.verify(TABLE)
    assert ground.held() == held
    assert caplog.text.count(WORD) == 1
    assert len(ground.controller.tables[TABLE].learned) == 2


def test_a_change_of_ours_during_a_look_is_nobody_elses(
    ground: Witnessed, caplog: pytest.LogCaptureFixture
) -> None:
    routes = [ground.add("10.0.0.1", f"239.1.1.{n}") for n in range(8)]

    async def change() -> None:
        for route in routes[::2]:
            await ground.controller.delete(RouteName(route.source, route.group))
        for route in routes[1::2]:
            other = parse_route("10.0.0.1", str(route)[11:-1], "eth0", ["eth2"])
            await ground.controller.add(other, replace=True)

    async def look() -> None:
        await asyncio.gather(ground.drift.verify([TABLE]), change())

    run(look())
    assert ground.held() == {expected(route) for route in ground.routes()}
    assert WORD not in caplog.text


@pytest.mark.parametrize("heard", [1, 3])
@pytest.mark.parametrize("source", SOURCES)
def test_a_change_of_ours_that_is_lost_during_a_look_is_nobody_elses(
    ground: Witnessed, source: str, heard: int, caplog: pytest.LogCaptureFixture
) -> None:
    """What a dump has shown may be older than what was lost, also where it is judged after that."""
    routes = [ground.add(source, f"239.1.1.{n}") for n in range(8)]
    ground.verify()
    whole = ground.reader.read_entries

    async def lose() -> None:
        for route in routes[1:]:
            await ground.controller.delete(RouteName(route.source, route.group))
        ground.kernel.changes[:] = [None]

    async def read_entries(id_: TableId) -> AsyncIterator[Sequence[HeldEntry]]:
        count = 0
        async for some in whole(id_):
            yield some
            count += 1
            if count == heard and len(ground.routes()) > 1:
                await lose()

    with mock.patch.object(ground.reader, "read_entries", read_entries):
        ground.verify(TABLE)
        for _ in range(2):
            ground.verify()
    assert ground.held() == {expected(routes[0])}
    assert WORD not in caplog.text


@pytest.mark.parametrize("stranger", ["removes", "replaces", "adds"])
def test_vifs_that_somebody_else_changes_are_restored(
    ground: Witnessed, stranger: str, caplog: pytest.LogCaptureFixture
) -> None:
    route = ground.add("10.0.0.1", "239.1.1.1", "eth0", "eth1")
    vifs, held = dict(ground.kernel.vifs), ground.held()
    if stranger != "adds":
        ground.kernel.del_vif(1)
        ground.kernel.add_mfc(ground.entry(route, 1))
    if stranger != "removes":
        ground.kernel.add_vif(7 if stranger == "adds" else 1, ground.links.links["eth5"].ifindex)
    ground.verify(TABLE)
    assert ground.kernel.vifs == vifs
    assert ground.held() == held
    assert f"{WORD} the VIFs of the ipv4 table" in caplog.text


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("source", ["10.0.0.1", "10.0.0.0/8", "*"])
@pytest.mark.parametrize("group", ["239.1.1.1", "239.1.0.0/16"])
def test_what_was_learned_is_ours_whatever_its_route_names(
    ground: Witnessed, source: str, group: str, whole: bool, caplog: pytest.LogCaptureFixture
) -> None:
    ground.add(source, group, "eth[02]", "eth1")
    assert ground.arrive("10.0.0.1", "239.1.1.1", "eth2")
    held = ground.held()
    ground.verify(*([TABLE] if whole else []))
    assert ground.held() == held
    assert WORD not in caplog.text
    ground.kernel.del_mfc(next(iter(ground.kernel.entries)))
    ground.verify(*([TABLE] if whole else []))
    assert ground.held() == held


CHANGES: dict[str, Callable[[Ground, Route], object]] = {
    "delete": lambda ground, route: ground.delete(format_source(route.source), str(route.group)),
    "flush": lambda ground, _: ground.flush(),
    "apply": lambda ground, _: ground.apply(parse_route("*", "239.9.9.9", "eth0", ["eth1"])),
    "iif": lambda ground, route: ground.apply(structs.replace(route, iif="eth3")),
    "gone": lambda ground, _: ground.links.remove("eth0"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("source", SOURCES)
def test_what_somebody_else_has_deleted_can_be_changed_before_it_is_found_out(
    ground: Witnessed, source: str, change: str
) -> None:
    route = ground.add(source, "239.1.1.1")
    ground.kernel.del_mfc(ground.entry(route))
    CHANGES[change](ground, route)
    ground.verify()
    assert ground.held() == {
        expected(each) for each in ground.routes() if each.iif in ground.links.links
    }


@pytest.mark.parametrize("source", SOURCES)
def test_what_somebody_else_has_deleted_can_be_taken_back_before_it_is_found_out(
    ground: Witnessed, source: str, caplog: pytest.LogCaptureFixture
) -> None:
    other = ground.add("10.0.0.9", "239.1.1.9")
    route = parse_route(source, "239.1.1.1", "eth0", ["eth1"])

    async def lose(*_: object) -> None:
        ground.kernel.del_mfc(ground.entry(route))
        raise StoreError("the disk is full")

    with mock.patch.object(ground.keeper, "write", lose), pytest.raises(StoreError):
        run(ground.controller.add(route))
    ground.verify()
    assert ground.routes() == {other}
    assert ground.held() == {expected(other)}
    assert "taken back" not in caplog.text


def test_who_asks_for_a_look_waits_for_it_though_another_goes_on(ground: Witnessed) -> None:
    route = ground.add("10.0.0.1", "239.1.1.1")
    ground.kernel.del_mfc(ground.entry(route))
    ground.kernel.changes.clear()

    async def test() -> None:
        other = asyncio.create_task(ground.drift.verify([TableId(FAMILIES[1])]))
        await asyncio.sleep(0)
        await ground.drift.verify([TABLE])
        assert ground.held() == {expected(route)}
        await other

    run(test())


def test_what_could_not_be_looked_at_is_looked_at_again(ground: Witnessed) -> None:
    route = ground.add("10.0.0.1", "239.1.1.1")
    ground.kernel.del_mfc(ground.entry(route))  # somebody else
    ground.kernel.changes.clear()
    ground.reader.errors = [OSError(errno.EBUSY, "devices come and go")] * 2
    for _ in range(2):
        ground.verify(TABLE)
        assert ground.held() == set()
    ground.verify()
    assert ground.held() == {expected(route)}


def test_what_cannot_be_restored_now_is_restored_later(ground: Witnessed) -> None:
    route = ground.add("10.0.0.1", "239.1.1.1")
    ground.verify()
    ground.kernel.del_mfc(ground.entry(route))
    ground.kernel.fail_in = 0
    ground.verify()
    assert ground.held() == set()
    ground.verify()
    assert ground.held() == {expected(route)}


def test_nothing_is_taken_for_others_doing_while_newer_notifications_wait(
    ground: Witnessed, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mfc_dbus.control.drift._MAX_HEARD", 1)
    for oif in ("eth1", "eth2", "eth3", "eth4"):
        ground.add("10.0.0.1", "239.1.1.1", "eth0", oif, replace=True)
    while ground.kernel.changes:
        ground.verify()
    assert WORD not in caplog.text
    (entry,) = ground.kernel.entries
    ground.kernel.del_mfc(entry)
    ground.verify()
    ground.verify()
    assert caplog.text.count(WORD) == 1
    assert entry in ground.kernel.entries


def test_a_table_that_was_given_up_meanwhile_is_looked_at_no_more(ground: Witnessed) -> None:
    ground.reader.errors = [OSError(errno.EBUSY, "")]
    ground.verify(TABLE)
    ground.configure(FAMILIES[1])
    ground.verify()
    assert ground.reader.looks == 1


def test_so_many_of_our_own_that_some_are_lost_are_looked_at_once_it_is_quiet(
    ground: Witnessed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mfc_dbus.control.drift._MANY", 100)
    ground.add("*", "239.0.0.0/8")
    ground.verify()
    for burst in range(2):
        for n in range(150):
            ground.kernel.arrive(bytes((10, burst, n >> 8, n & 255)), bytes((239, 1, 1, 1)), "eth0")
        while ground.kernel.waiting:
            ground.controller.read_upcalls(TABLE)
        lost = next(iter(ground.kernel.entries))
        ground.kernel.del_mfc(lost)  # somebody else, and nobody hears of it
        ground.kernel.changes[:] = [None]
        ground.verify()
        assert ground.reader.looks == 0
    ground.verify()
    assert ground.reader.looks == len(FAMILIES)
    assert lost in ground.kernel.entries
    ground.verify()
    assert ground.reader.looks == len(FAMILIES)


def test_our_own_changes_without_an_end_put_a_look_off_but_not_for_ever(ground: Witnessed) -> None:
    ground.add("10.0.0.1", "239.1.1.1")
    (lost,) = ground.kernel.entries
    ground.verify()
    ground.kernel.del_mfc(lost)  # somebody else, and nobody hears of it
    ground.kernel.changes[:] = [None]
    table = ground.controller.tables[TABLE]
    waits = 0
    while not ground.reader.looks:
        assert waits < 100
        waits += 1
        table.written += 1500  # streams are learned, as fast as strangers send them
        ground.verify()
    assert waits > 10
    assert lost in ground.kernel.entries
    ground.kernel.changes[:] = [None]
    table.written += 1500
    ground.verify()
    assert ground.reader.looks == len(FAMILIES)


def test_what_others_write_without_an_end_in_tables_of_their_own_keeps_nobody_waiting(
    ground: Witnessed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mfc_dbus.control.drift._MAX_HEARD", 200)

    def changes() -> Iterator[EntryChange]:
        for n in range(1000):
            yield EntryChange(
                HeldEntry(bytes(4), bytes((239, 1, 1, 1)), 1, {}, table=7), bool(n % 2)
            )
        raise AssertionError("it reads on and on")

    route = ground.add("10.0.0.1", "239.1.1.1")
    controller = ground.controller
    reader = ground.reader
    drift = DriftDetector(
        controller.tables, controller.present, reader, reader, controller.takeover
    )
    with mock.patch.object(reader, "read", changes):
        run(drift.verify([TABLE]))
        ground.kernel.del_mfc(ground.entry(route))
        run(drift.verify([TABLE]))
    assert ground.held() == {expected(route)}


def test_what_was_written_anew_after_a_deletion_is_nobody_elses_though_only_that_was_heard(
    ground: Witnessed, caplog: pytest.LogCaptureFixture
) -> None:
    changes = ground.kernel.changes
    route = ground.add("10.0.0.1", "239.1.1.1")
    run(ground.controller.delete(RouteName(route.source, route.group)))
    ground.add("10.0.0.1", "239.1.1.1")
    changes[:] = [change for change in changes if change is not None and change.deleted]
    assert changes
    calls = ground.kernel.calls
    ground.verify()
    assert ground.kernel.calls == calls  # nothing was written
    assert WORD not in caplog.text
    ground.kernel.del_mfc(ground.entry(route))
    ground.verify()
    assert ground.held() == {expected(route)}
    assert caplog.text.count(WORD) == 1


@pytest.mark.parametrize("count", [1, 1500])
@pytest.mark.parametrize("source", SOURCES)
def test_what_was_told_before_something_was_lost_makes_nothing_of_ours_somebody_elses(
    ground: Witnessed, source: str, count: int, caplog: pytest.LogCaptureFixture
) -> None:
    run(ground.controller.documents.configure(Settings(max_routes=2000)))
    changes = ground.kernel.changes
    routes = [
        parse_route(source, f"239.1.{n >> 8}.{n & 255}", "eth0", ["eth1"]) for n in range(count)
    ]
    ground.apply(*routes)
    told = list(changes)
    ground.apply()
    changes[:] = [*told, None]
    for _ in range(2):
        ground.verify()
    assert ground.reader.looks == len(FAMILIES)
    assert WORD not in caplog.text


@pytest.mark.parametrize("whole", [False, True])
def test_however_much_it_is_others_are_served_in_between(ground: Witnessed, whole: bool) -> None:
    run(ground.controller.documents.configure(Settings(max_routes=1000)))
    ground.apply(*(parse_route("10.0.0.1", f"239.1.1.{n}", "eth0", ["eth1"]) for n in range(250)))
    ground.verify()
    for entry in ground.kernel.entries:
        ground.kernel.del_mfc(entry)
    if whole:
        ground.kernel.changes[:] = [None]
    calls: list[int] = []

    async def pause(_: Slices) -> None:
        calls.append(ground.kernel.calls)

    with pausing_everywhere(pause):
        ground.verify()
    assert max(after - before for before, after in itertools.pairwise(calls)) <= 60
    assert ground.held() == {expected(route) for route in ground.routes()}
