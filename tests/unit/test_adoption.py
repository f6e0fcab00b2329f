"""An earlier process left more than is read at a start: the rest is found while we serve.

In these kernels nothing of it is read, unless a test says so: the routes are known, and all that
is not a route's is unseen until the first look.
"""

import errno
import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from unittest import mock

import pytest
from lab.fake import FakeKernel
from lab.ground import Ground, expected, run
from lab.parts import pausing_everywhere

from mfc_dbus.config.settings import Settings
from mfc_dbus.control import reconciler
from mfc_dbus.kernel.abi import IGMPMSG_WRONGVIF, Upcall
from mfc_dbus.kernel.dump import HeldEntry
from mfc_dbus.kernel.mfc_events import EntryChange
from mfc_dbus.kernel.mroute import MFCEntry
from mfc_dbus.loop.slices import Slices
from mfc_dbus.model.addresses import FAMILIES, parse_stream
from mfc_dbus.model.errors import KernelError
from mfc_dbus.model.route import TableId

IPV4 = FAMILIES[0]
TABLE = TableId(IPV4)
STREAM = "10.0.0.1", "239.1.1.1"
OTHER = "10.0.0.2", "239.2.2.2"
UNSEEN = "No interface is taken up until all that an earlier process has left is found"


class Successors(Ground):
    """A ground whose controllers die, and know little of what the earlier ones did."""

    @property
    def kernel(self) -> FakeKernel:
        return self.kernels[IPV4]

    def succeed(self, read: int = 0, settings: Settings | None = None) -> None:
        """Start another controller."""
        self.links.begin_anew()
        self.kernel.changes.clear()  # nobody listens meanwhile
        self.begin([*self.routes()], kept_sockets=True, read=read, settings=settings)

    @property
    def learned(self) -> set[tuple[str, str, str]]:
        """Source, group and iif of what is learned."""
        learned = self.controller.tables[TABLE].learned
        return {(str(each.source), str(each.group), each.iif) for each in learned}

    def write(self, source: str, group: str, parent: int, *oifs: int) -> MFCEntry:
        """Write an entry that is no route's."""
        sources, groups = parse_stream(source, group)
        ttls = tuple((number, 1) for number in oifs)
        entry = MFCEntry(sources.address, groups.address, parent, ttls)
        self.kernel.add_mfc(entry)
        return entry

    def leaves(self, stream: tuple[str, str], iif: str = "eth0") -> set[str] | None:
        """The interfaces by which the kernel forwards a stream that arrives; None: it asks."""
        sources, groups = parse_stream(*stream)
        oifs = self.kernel.decide(sources.address, groups.address, iif).oifs
        return None if oifs is None else {name for name, _ in oifs}


@pytest.fixture
def ground() -> Iterator[Successors]:
    with mock.patch.object(reconciler, "_PATIENCE", 0.0):
        yield Successors()


@pytest.mark.parametrize("read", range(4))
def test_whatever_is_read_at_the_start_all_is_found(
    ground: Successors, read: int, caplog: pytest.LogCaptureFixture
) -> None:
    ground.add("*", "239.1.0.0/16", "eth0", "eth1")
    ground.add(*OTHER, "eth2", "eth1")
    ground.add("*", "239.3.3.3", "eth2", "eth0")
    assert ground.arrive(*STREAM) == frozenset({("eth1", 1)})
    held = ground.held()
    ground.write("10.0.0.7", "239.7.7.7", 0, 1)
    ground.write("*", "239.7.7.7", 0, 1)
    ground.write("10.0.0.7", "239.1.7.7", 1, 0)  # where the route does not expect it
    vifs = dict(ground.kernel.vifs)
    ground.succeed(read=read)
    assert ground.held() >= held
    ground.verify()
    assert (ground.held(), ground.kernel.vifs) == (held, vifs)
    assert ground.learned == {(*STREAM, "eth0")}
    assert {*ground.states().values()} == {"active"}
    assert caplog.text == ""


def test_routes_have_their_entries_at_once(ground: Successors) -> None:
    route = ground.add(*STREAM, "eth0", "eth1")
    any_source = ground.add("*", "239.3.3.3", "eth2", "eth0")
    ground.write(*STREAM, 1, 2)  # what an uncommitted change has made of it
    ground.kernel.del_mfc(MFCEntry(bytes(4), any_source.group.address, 2, ()))
    ground.succeed()
    assert ground.held() == {expected(route), expected(any_source)}


def test_a_start_does_a_step_for_each_route_whatever_the_kernel_holds(ground: Successors) -> None:
    for n in range(50):
        ground.add("10.0.0.1", f"239.1.1.{n}")
    for n in range(50):
        ground.write("10.0.0.1", f"239.7.7.{n}", 0, 1)
    before = ground.kernel.calls
    ground.succeed()
    assert ground.kernel.calls - before == 50


def test_a_stream_that_was_learned_stays_as_long_as_packets_use_it(ground: Successors) -> None:
    ground.add("*", "239.1.0.0/16", "eth0", "eth1")
    ground.arrive(*STREAM)
    ground.succeed()
    ground.arrive(*STREAM)
    ground.verify()
    assert ground.controller.next_due is not None
    ground.delete("*", "239.1.0.0/16")
    assert ground.held() == set()


def test_a_stream_that_was_learned_does_not_move_before_it_is_found(ground: Successors) -> None:
    """It arrives on two interfaces: which of them is used is not to change for a restart."""
    ground.add("*", "239.1.0.0/16", "eth[02]", "eth1")
    ground.arrive(*STREAM)
    ground.succeed()
    held = ground.held()
    packed = [prefix.address for prefix in parse_stream(*STREAM)]
    (vif,) = (v.number for v in ground.controller.tables[TABLE].vifs if v.name == "eth2")
    ground.kernel.waiting.append(Upcall(IGMPMSG_WRONGVIF, vif, packed[0], packed[1]))
    ground.controller.read_upcalls(TABLE)
    assert ground.held() == held
    ground.verify()
    assert ground.learned == {(*STREAM, "eth0")}


def test_a_stream_that_waits_unresolved_is_answered(ground: Successors) -> None:
    ground.add("*", "239.1.0.0/16", "eth0", "eth1")
    packed = [prefix.address for prefix in parse_stream(*STREAM)]
    ground.kernel.arrive(packed[0], packed[1], "eth0")
    ground.kernel.waiting.clear()  # the earlier process has read it, and the kernel asks once
    ground.succeed()
    assert ground.leaves(STREAM) is None
    ground.verify()
    assert ground.learned == {(*STREAM, "eth0")}


# Until all is found


def test_no_interface_gets_the_number_of_one_that_went_meanwhile(ground: Successors) -> None:
    """Streams that the earlier process learned still have it."""
    ground.add("*", "239.1.0.0/16", "eth0", "eth1 eth2")
    ground.arrive(*STREAM)
    ground.links.remove("eth2")
    ground.succeed()
    assert ground.leaves(STREAM) == {"eth1"}
    with pytest.raises(KernelError, match=UNSEEN):
        ground.add(*OTHER, "eth0", "eth3")
    assert ground.leaves(STREAM) == {"eth1"}
    ground.verify()
    ground.add(*OTHER, "eth0", "eth3")
    assert ground.leaves(STREAM) == {"eth1"}
    assert ground.leaves(OTHER) == {"eth3"}


@pytest.mark.parametrize("how", ["deleted", "gone"])
def test_no_interface_gets_a_number_that_becomes_free_meanwhile(
    ground: Successors, how: str
) -> None:
    ground.add("*", "239.1.0.0/16", "eth0", "eth1 eth2")
    ground.arrive(*STREAM)
    ground.succeed()
    if how == "deleted":
        ground.delete("*", "239.1.0.0/16")
    else:
        ground.links.remove("eth2")
        ground.controller.follow()
    with pytest.raises(KernelError, match=UNSEEN):
        ground.add(*OTHER, "eth4", "eth3")
    assert ground.leaves(STREAM) in (None, {"eth1"})
    ground.verify()
    ground.add(*OTHER, "eth4", "eth3")
    assert ground.leaves(STREAM) == (None if how == "deleted" else {"eth1"})
    assert ground.leaves(OTHER, "eth4") == {"eth3"}


def test_a_route_waits_for_interfaces_that_have_no_vif_yet_and_says_why(
    ground: Successors,
) -> None:
    ground.add(*STREAM, "eth0", "eth1")
    part = ground.add(*OTHER, "eth2", "eth3 new", wait=True)
    none = ground.add("10.0.0.3", "239.3.3.3", "new", "eth1", wait=True)
    ground.links.add("new")
    ground.succeed()
    statuses = ground.controller.view.routes.values()
    states = {str(route): (state, why) for route, state, why in statuses}
    assert states[str(part)] == ("partial", UNSEEN)
    assert states[str(none)] == ("waiting", UNSEEN)
    assert ground.leaves(STREAM) == {"eth1"}
    assert ground.leaves(OTHER, "eth2") == {"eth3"}
    ground.links.turn("new", up=False)
    ground.links.turn("new", up=True)
    ground.controller.follow()
    assert ground.leaves(OTHER, "eth2") == {"eth3"}
    ground.verify()
    assert {*ground.states().values()} == {"active"}
    assert ground.leaves(OTHER, "eth2") == {"eth3", "new"}


def test_an_interface_that_comes_meanwhile_is_used_when_all_is_found(ground: Successors) -> None:
    ground.add(*STREAM, "eth0", "eth1 new", wait=True)
    ground.succeed()
    ground.links.add("new")
    ground.controller.follow()
    assert ground.leaves(STREAM) == {"eth1"}
    ground.verify()
    assert ground.leaves(STREAM) == {"eth1", "new"}


def test_no_interface_is_watched_before_all_is_found(ground: Successors) -> None:
    ground.add(*STREAM, "eth0", "eth1")
    ground.succeed(settings=Settings(discovery_interfaces=("eth*",)))
    assert len(ground.kernel.vifs) == 2
    ground.links.add("eth9")
    ground.controller.follow()
    assert len(ground.kernel.vifs) == 2
    ground.verify()
    assert len(ground.kernel.vifs) == 7


def test_a_route_follows_an_interface_that_goes_meanwhile(ground: Successors) -> None:
    ground.add(*STREAM, "eth0", "eth1 eth2")
    ground.succeed()
    ground.links.remove("eth2")
    ground.controller.follow()
    assert {*ground.states().values()} == {"partial"}
    ground.verify()
    ground.links.add("eth2")
    ground.controller.follow()
    assert ground.leaves(STREAM) == {"eth1", "eth2"}


# When it does not go well


def test_what_is_found_after_another_death_is_the_same(ground: Successors) -> None:
    ground.add("*", "239.1.0.0/16", "eth0", "eth1")
    ground.arrive(*STREAM)
    held = ground.held()
    ground.write("10.0.0.7", "239.7.7.7", 0, 1)
    for _ in range(20):
        ground.succeed()
        assert ground.leaves(STREAM) == {"eth1"}
    ground.verify()
    assert ground.held() == held


def test_a_table_that_cannot_be_read_now_is_read_later(ground: Successors) -> None:
    ground.add(*STREAM, "eth0", "eth1")
    held = ground.held()
    ground.write("10.0.0.7", "239.7.7.7", 0, 1)
    ground.succeed()
    ground.reader.errors = [OSError(errno.EBUSY, "devices come and go")]
    ground.verify()
    assert ground.held() != held
    with pytest.raises(KernelError, match=UNSEEN):
        ground.add(*OTHER, "eth0", "eth3")
    ground.verify()
    assert ground.held() == held
    ground.add(*OTHER, "eth0", "eth3")


@pytest.mark.parametrize("fails_in", range(3))
def test_what_the_kernel_refuses_is_done_later(ground: Successors, fails_in: int) -> None:
    ground.add("*", "239.1.0.0/16", "eth0", "eth1")
    ground.arrive(*STREAM)
    strange = ("10.0.0.7", "239.7.7.7")
    ground.write(*strange, 0, 1)
    ground.succeed()
    ground.kernel.fail_in = fails_in
    ground.verify()
    ground.kernel.fail_in = None
    if ground.leaves(strange) is not None:
        with pytest.raises(KernelError, match=UNSEEN):
            ground.add(*OTHER, "eth0", "eth3")
    ground.verify()
    assert ground.leaves(strange) is None
    ground.arrive(*STREAM)
    assert ground.learned == {(*STREAM, "eth0")}
    ground.add(*OTHER, "eth0", "eth3")


def test_what_is_lost_while_all_is_looked_at_is_looked_at_again(ground: Successors) -> None:
    """With the notifications went what was known of what is to be deleted."""
    ground.add(*STREAM, "eth0", "eth1")
    held = ground.held()
    ground.write("10.0.0.7", "239.7.7.7", 0, 1)
    ground.succeed()
    repair = ground.drift._repair

    async def lose() -> None:
        ground.kernel.changes.append(None)
        await ground.drift._hear()
        await repair()

    with mock.patch.object(ground.drift, "_repair", lose):
        ground.verify()
    with pytest.raises(KernelError, match=UNSEEN):
        ground.add(*OTHER, "eth0", "eth3")
    ground.verify()
    assert ground.held() == held
    ground.add(*OTHER, "eth0", "eth3")


class Skipping:
    """A reader that does not see an entry, since others are deleted while it looks."""

    def __init__(self, ground: Successors, group: bytes) -> None:
        self.looks = 0
        self._ground = ground
        self._group = group
        self._read = ground.reader.read_entries

    async def read_entries(self, id_: TableId) -> AsyncIterator[Sequence[HeldEntry]]:
        async for some in self._read(id_):
            yield [each for each in some if each.group != self._group]
        self.looks += 1
        gone = HeldEntry(bytes((10, 9, 9, 9)), bytes((239, 8, 8, 8)), 1, {1: 1}, 0)
        self._ground.kernel.changes.append(EntryChange(gone, True))


def test_what_looks_have_skipped_since_others_went_is_found_before_that_ends(
    ground: Successors,
) -> None:
    ground.add(*STREAM, "eth0", "eth1")
    held = ground.held()
    strange = ground.write("10.0.0.7", "239.7.7.7", 0, 1)
    ground.succeed()
    skipping = Skipping(ground, strange.group)
    with mock.patch.object(ground.reader, "read_entries", skipping.read_entries):
        ground.verify()
    assert skipping.looks > 1
    with pytest.raises(KernelError, match=UNSEEN):
        ground.add(*OTHER, "eth0", "eth3")
    ground.verify()
    assert ground.held() == held
    ground.add(*OTHER, "eth0", "eth3")


def test_where_others_go_without_an_end_the_looks_have_one(ground: Successors) -> None:
    ground.add(*STREAM, "eth0", "eth1")
    ground.succeed()
    skipping = Skipping(ground, b"")
    with mock.patch.object(ground.reader, "read_entries", skipping.read_entries):
        for _ in range(10):
            with pytest.raises(KernelError, match=UNSEEN):
                ground.add(*OTHER, "eth0", "eth3")
            ground.verify()
    ground.add(*OTHER, "eth0", "eth3")


def test_a_table_that_is_given_up_meanwhile_begins_anew(ground: Successors) -> None:
    ground.add(*STREAM, "eth0", "eth1")
    ground.write("10.0.0.7", "239.7.7.7", 0, 1)
    ground.succeed()
    ground.configure(FAMILIES[1])
    ground.configure(*FAMILIES)
    ground.add(*OTHER, "eth0", "eth3")
    ground.verify()
    assert ground.held() == {expected(route) for route in ground.routes()}


def test_others_are_served_while_much_is_found(ground: Successors) -> None:
    ground.add("*", "239.1.0.0/16", "eth0", "eth1")
    for n in range(200):
        ground.arrive("10.0.0.1", f"239.1.1.{n}")
    for n in range(200):
        ground.write("10.0.0.1", f"239.7.7.{n}", 0, 1)
    ground.add(*OTHER, "eth0", "new", wait=True)
    ground.links.add("new")
    ground.succeed()
    calls: list[int] = []

    async def pause(_: Slices) -> None:
        calls.append(ground.kernel.calls)

    with pausing_everywhere(pause):
        run(ground.drift.verify())
    calls.append(ground.kernel.calls)
    assert max(after - before for before, after in itertools.pairwise(calls)) <= 60
    assert len(ground.learned) == 200
    assert len(ground.held()) == 201
    assert ground.leaves(OTHER) == {"new"}
