"""Memberships: joined while their interface is there, and stored or taken back."""

import asyncio
import errno
import re
import socket
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from lab.fake import FakeGroups, FakeKeeper, FakeKernel, FakeLinks, just
from lab.parts import pausing_everywhere
from msgspec.structs import replace

from mfc_dbus.config.settings import Settings
from mfc_dbus.control.controller import Controller
from mfc_dbus.control.membership_changes import MembershipChange
from mfc_dbus.kernel.links import Missed
from mfc_dbus.loop.slices import Slices
from mfc_dbus.memberships.joins import Joins
from mfc_dbus.memberships.memberships import Memberships
from mfc_dbus.model.errors import (
    KernelError,
    LimitExceeded,
    MembershipExists,
    NoSuchInterface,
    NoSuchMembership,
    RequestError,
    StoreError,
)
from mfc_dbus.model.membership import (
    Membership,
    MembershipKey,
    MembershipRange,
    parse_membership,
    parse_memberships,
)
from mfc_dbus.model.route import TableId, parse_route
from mfc_dbus.routing.table import Table

T = TypeVar("T")
GROUP = "239.1.1.1"


def run(change: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(change)


class Ground:
    """A controller over fake sockets, and how often it told of its memberships."""

    def __init__(self, *interfaces: str) -> None:
        self.links = FakeLinks(*interfaces, silent=("lo",))
        self.kernel = FakeKernel(self.links)
        self.keeper = FakeKeeper()
        self.groups = FakeGroups()
        self.begin()

    def begin(self) -> None:
        """Start with what was kept, and with sockets of its own."""
        self.groups.sockets.clear()
        self.told = 0
        self.kernel.clear()
        self.links.begin_anew()
        self.memberships = Memberships(Joins(self.groups.open, self.groups.held))
        self.controller = Controller(
            [Table(TableId(socket.AF_INET), self.kernel)],
            self.links,
            self.keeper,
            memberships=self.memberships,
        )
        self.controller.membership_changes.listen(self._listen)
        self.controller.takeover.restore([*self.keeper.memberships.values()])

    def join(
        self, group: str = GROUP, source: str = "*", interface: str = "eth0", *, wait: bool = False
    ) -> Membership:
        membership = parse_membership(group, source, interface)
        run(self.controller.joining.join([membership], wait=wait))
        return membership

    def leave(self, group: str = GROUP, source: str = "*", interface: str = "eth0") -> None:
        run(self.controller.joining.leave(parse_memberships(group, source, interface)))

    @property
    def states(self) -> dict[str, str]:
        return {str(membership): state for membership, state, _ in self.memberships}

    @property
    def joined(self) -> set[MembershipKey]:
        return self.groups.joined(self.links.links)

    def _listen(self, _: MembershipChange) -> None:
        self.told += 1


@pytest.fixture
def ground() -> Ground:
    return Ground("eth0", "eth1")


def test_a_membership_is_joined_stored_and_told(ground: Ground) -> None:
    membership = ground.join()
    assert ground.joined == {membership.key}
    assert ground.keeper.memberships == {membership.key: membership}
    assert ground.states == {"(*, 239.1.1.1) on 'eth0'": "joined"}
    assert ground.told == 1


def test_of_many_memberships_no_more_than_100_are_told_before_others_are_served(
    ground: Ground,
) -> None:
    wanted = parse_memberships("239.1.1.0/24", "*", "eth0").memberships()
    told: list[int] = []
    pauses = 0

    async def pause(_: Slices) -> None:
        nonlocal pauses
        pauses += len(told) in (1, 2)
        await asyncio.sleep(0)

    ground.controller.membership_changes.listen(lambda change: told.append(len(change.added)))
    with pausing_everywhere(pause):
        run(ground.controller.joining.join(wanted))
    assert told == [100, 100, 56]
    assert pauses == 2


def test_what_was_left_is_neither_joined_nor_stored(ground: Ground) -> None:
    ground.join()
    ground.leave()
    assert ground.joined == set()
    assert ground.keeper.memberships == {}
    assert ground.states == {}
    assert ground.told == 2


def test_one_group_may_be_joined_from_any_source_from_one_and_on_another_interface(
    ground: Ground,
) -> None:
    joined = [ground.join(), ground.join(source="10.0.0.1"), ground.join(interface="eth1")]
    assert ground.joined == {membership.key for membership in joined}
    ground.leave()
    assert ground.joined == {membership.key for membership in joined[1:]}


def test_what_cannot_be_is_refused_and_changes_nothing(ground: Ground) -> None:
    membership = ground.join()
    with pytest.raises(MembershipExists):
        ground.controller.joining.check_join([membership])
    with pytest.raises(MembershipExists, match=r"\(\*, 239.1.1.1\) on 'eth0' exists already"):
        ground.join()
    with pytest.raises(NoSuchInterface, match="'eth9' not found"):
        ground.join(interface="eth9")
    with pytest.raises(NoSuchMembership, match=r"\(10.0.0.1, 239.1.1.1\) on 'eth0'"):
        ground.leave(source="10.0.0.1")
    assert ground.joined == {membership.key}
    assert ground.told == 1


def test_there_are_no_more_than_the_configuration_allows(ground: Ground) -> None:
    run(ground.controller.documents.configure(Settings(max_memberships=1)))
    ground.join()
    with pytest.raises(LimitExceeded, match="There are 1 memberships"):
        ground.join(source="10.0.0.1")
    ground.leave()
    ground.join(source="10.0.0.1")


# Ranges


def test_a_range_is_joined_and_left_by_one_change(ground: Ground) -> None:
    ground.join(source="10.0.0.1")
    run(
        ground.controller.joining.join(parse_memberships("239.1.1.0/30", "*", "eth0").memberships())
    )
    assert sorted(ground.states) == [
        "(*, 239.1.1.0) on 'eth0'",
        "(*, 239.1.1.1) on 'eth0'",
        "(*, 239.1.1.2) on 'eth0'",
        "(*, 239.1.1.3) on 'eth0'",
        "(10.0.0.1, 239.1.1.1) on 'eth0'",
    ]
    assert len(ground.joined) == 5
    assert ground.told == ground.keeper.writes == 2
    ground.leave("239.0.0.0/8")
    assert [*ground.states] == ["(10.0.0.1, 239.1.1.1) on 'eth0'"]
    assert ground.told == ground.keeper.writes == 3
    with pytest.raises(NoSuchMembership, match=r"\(\*, 239.0.0.0/8\) on 'eth0'"):
        ground.leave("239.0.0.0/8")
    ground.leave(source="10.0.0.0/24")
    assert ground.joined == set()


def test_of_a_range_what_is_joined_stays_as_it_is(ground: Ground) -> None:
    ground.join()
    wanted = parse_memberships("239.1.1.0/30", "*", "eth0").memberships("others")
    run(ground.controller.joining.join(wanted))
    comments = {each.key.group[-1]: each.comment for each in ground.keeper.memberships.values()}
    assert comments == {0: "others", 1: "", 2: "others", 3: "others"}
    assert ground.groups.leaves == 0
    with pytest.raises(MembershipExists, match=r"239.1.1.0.* and 3 more exist already"):
        run(ground.controller.joining.join(wanted))


def test_a_range_is_joined_whole_or_not_at_all(ground: Ground) -> None:
    membership = ground.join()
    wanted = parse_memberships("239.1.1.0/28", "*", "eth0").memberships()
    for refused_after in range(15):
        ground.groups.fail_in = refused_after
        with pytest.raises(KernelError):
            run(ground.controller.joining.join(wanted))
        assert ground.joined == {membership.key}
        assert ground.keeper.memberships == {membership.key: membership}
    ground.groups.fail_in = None
    run(ground.controller.documents.configure(Settings(max_memberships=15)))
    with pytest.raises(LimitExceeded, match="There are 1 memberships"):
        run(ground.controller.joining.join(wanted))
    assert ground.joined == {membership.key}


# Interfaces


def test_a_membership_waits_for_its_interface_and_follows_it(ground: Ground) -> None:
    membership = ground.join(interface="new", wait=True)
    assert ground.states == {str(membership): "waiting"}
    for _ in range(2):  # each time it has another ifindex
        ground.links.add("new")
        ground.controller.follow()
        assert ground.states == {str(membership): "joined"}
        assert ground.joined == {membership.key}
        ground.links.remove("new")
        ground.controller.follow()
        assert ground.states == {str(membership): "waiting"}
        assert ground.joined == set()
    assert ground.told == 5


def test_what_waits_can_be_left(ground: Ground) -> None:
    ground.join(interface="new", wait=True)
    ground.leave(interface="new")
    ground.links.add("new")
    ground.controller.follow()
    assert ground.joined == set()


def test_a_membership_follows_the_name(ground: Ground) -> None:
    membership = ground.join()
    ground.links.rename("eth0", "wan0")
    ground.controller.follow()
    assert ground.joined == set()
    ground.links.rename("eth1", "eth0")
    ground.controller.follow()
    assert ground.joined == {membership.key}


def test_a_change_of_other_interfaces_is_none_of_the_memberships(ground: Ground) -> None:
    ground.join()
    ground.links.remove("eth1")
    ground.links.add("eth2")
    ground.controller.follow()
    assert ground.told == 1


def test_where_events_were_lost_what_the_kernel_has_not_is_joined_again(ground: Ground) -> None:
    membership = ground.join()
    other = ground.join(interface="eth1")
    # It went and came back under its ifindex, unseen: the socket has what the kernel has not.
    ground.groups.lost = {(membership.group, ground.links.links["eth0"].ifindex)}
    ground.links._events = [Missed()]
    before = ground.groups.leaves
    ground.controller.follow()
    assert ground.groups.leaves == before + 1
    assert ground.joined == {membership.key, other.key}
    assert set(ground.states.values()) == {"joined"}


# The kernel refuses


def test_what_the_kernel_refuses_is_an_error_for_the_caller(ground: Ground) -> None:
    ground.groups.refuse(errno.ENOBUFS)
    with pytest.raises(KernelError, match="The kernel refused: No buffer space available"):
        ground.join()
    assert ground.states == {}
    assert ground.keeper.memberships == {}


def test_what_the_kernel_refuses_later_fails_with_a_reason_until_it_does_not(
    ground: Ground, caplog: pytest.LogCaptureFixture
) -> None:
    membership = ground.join()
    ground.groups.refuse(errno.ENODEV)
    ground.begin()
    assert [*ground.memberships] == [(membership, "failed", "No such device")]
    for _ in range(3):
        run(ground.controller.retry_refused())
    assert len(caplog.messages) == 1
    assert ground.told == 0
    ground.groups.refuse(None)
    run(ground.controller.retry_refused())
    assert [*ground.memberships] == [(membership, "joined", "")]
    assert ground.told == 1


def test_what_failed_waits_when_its_interface_goes(ground: Ground) -> None:
    membership = ground.join()
    ground.groups.refuse(errno.ENODEV)
    ground.begin()
    ground.links.remove("eth0")
    ground.controller.follow()
    assert [*ground.memberships] == [(membership, "waiting", "")]
    run(ground.controller.retry_refused())


# The store


def test_what_cannot_be_stored_is_taken_back(ground: Ground) -> None:
    kept = ground.join(source="10.0.0.1")
    ground.keeper.broken = True
    with pytest.raises(StoreError):
        ground.join()
    assert ground.groups.leaves == 1
    with pytest.raises(StoreError):
        ground.leave(source="10.0.0.1")
    assert ground.groups.leaves == 1  # a switch would have heard it
    assert ground.joined == {kept.key}
    assert ground.states == {str(kept): "joined"}
    ground.keeper.broken = False
    ground.leave(source="10.0.0.1")
    assert ground.joined == set()


# A kernel that refuses to leave


def test_what_the_kernel_refuses_to_leave_is_left_all_the_same(ground: Ground) -> None:
    kept, left = ground.join("239.1.1.2"), ground.join()
    ground.groups.refuse_leaves(errno.EIO)
    ground.leave()
    assert ground.joined == {kept.key}
    assert ground.states == {str(kept): "joined"}
    assert ground.join() == left
    assert ground.joined == {kept.key, left.key}


def refuse_all(ground: Ground) -> None:
    ground.groups.refuse(errno.ENOMEM)
    ground.groups.refuse_leaves(errno.EIO)


def test_what_cannot_be_left_is_an_error_and_shown_until_it_is_left(ground: Ground) -> None:
    kept, left = ground.join("239.1.1.2"), ground.join()
    refuse_all(ground)
    told = ground.told
    with pytest.raises(KernelError, match="the kernel refused to leave it: Cannot allocate memory"):
        ground.leave()
    assert ground.states == {str(kept): "joined", str(left): "failed"}
    assert ground.joined == {kept.key, left.key}
    assert ground.told == told + 1
    run(ground.controller.retry_refused())
    assert ground.states == {str(kept): "joined", str(left): "failed"}
    ground.groups.refuse_leaves(None)
    run(ground.controller.retry_refused())
    assert ground.states == {str(kept): "joined"}
    assert ground.joined == {kept.key}
    assert ground.told == told + 2


def test_a_second_leave_of_what_cannot_be_left_says_the_same(ground: Ground) -> None:
    left = ground.join()
    ground.join("239.1.1.2")
    refuse_all(ground)
    refusal = f"Membership {left} is no more, but the kernel refused to leave it: Cannot allocate"
    for _ in range(2):
        with pytest.raises(KernelError, match=re.escape(refusal)):
            ground.leave()
    ground.groups.refuse_leaves(None)
    run(ground.controller.retry_refused())
    with pytest.raises(NoSuchMembership):
        ground.leave()


def test_what_could_not_be_left_can_be_joined_again(ground: Ground) -> None:
    left = ground.join()
    ground.join("239.1.1.2")
    refuse_all(ground)
    with pytest.raises(KernelError):
        ground.leave()
    ground.join()
    assert ground.states[str(left)] == "joined"
    ground.groups.refuse(None)
    ground.groups.refuse_leaves(None)
    run(ground.controller.retry_refused())
    assert left.key in ground.joined
    ground.leave()
    assert left.key not in ground.joined


def test_a_document_that_leaves_what_the_kernel_does_not_says_so(ground: Ground) -> None:
    kept, left = ground.join("239.1.1.2"), ground.join()
    refuse_all(ground)
    with pytest.raises(KernelError, match="is no more, but the kernel refused to leave it"):
        run(ground.controller.documents.apply([], [kept]))
    assert ground.states == {str(kept): "joined", str(left): "failed"}


def test_what_is_taken_back_and_cannot_be_left_is_shown_until_it_is_left(ground: Ground) -> None:
    kept = ground.join("239.1.1.9")
    range_ = parse_memberships("239.1.1.0/30", "*", "eth0")
    ground.groups.fail_in = 2
    ground.groups.refuse_leaves(errno.EIO)
    ground.groups.refuse_new(errno.ENOMEM)
    with pytest.raises(KernelError, match="refused: "):
        run(ground.controller.joining.join(range_.memberships()))
    assert ground.states == {
        str(kept): "joined",
        "(*, 239.1.1.0) on 'eth0'": "failed",
        "(*, 239.1.1.1) on 'eth0'": "failed",
    }
    assert ground.keeper.memberships.keys() == {kept.key}
    ground.groups.refuse_leaves(None)
    run(ground.controller.retry_refused())
    assert ground.states == {str(kept): "joined"}
    assert ground.joined == {kept.key}


def test_what_cannot_be_stored_and_cannot_be_left_is_shown_until_it_is_left(
    ground: Ground,
) -> None:
    kept = ground.join("239.1.1.9")
    ground.groups.refuse_leaves(errno.EIO)
    ground.groups.refuse_new(errno.ENOMEM)
    ground.keeper.broken = True
    with pytest.raises(StoreError):
        ground.join()
    assert ground.states == {str(kept): "joined", "(*, 239.1.1.1) on 'eth0'": "failed"}
    ground.groups.refuse_leaves(None)
    run(ground.controller.retry_refused())
    assert ground.states == {str(kept): "joined"}


def test_what_is_left_and_joined_again_before_it_is_stored_stays_joined(ground: Ground) -> None:
    membership = ground.join()

    async def change() -> None:
        await asyncio.gather(
            ground.controller.joining.leave(just(membership)),
            ground.controller.joining.join([membership]),
        )

    run(change())
    assert ground.groups.leaves == 0
    assert ground.joined == {membership.key}


def test_an_interface_that_goes_and_comes_while_a_leave_is_stored_is_left_and_joined_anew(
    ground: Ground,
) -> None:
    membership = ground.join()
    ground.keeper.broken = True

    async def leave() -> None:
        leaving = asyncio.ensure_future(ground.controller.joining.leave(just(membership)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert ground.states == {}
        ground.links.add("eth0")
        ground.controller.follow()
        with pytest.raises(StoreError):
            await leaving

    run(leave())
    assert ground.joined == {membership.key}
    assert ground.states == {str(membership): "joined"}


def test_what_is_left_twice_in_one_commit_is_left_on_both_devices_of_the_name(
    ground: Ground,
) -> None:
    membership = ground.join()
    controller = ground.controller

    async def flap() -> None:
        await controller._queue.run(lambda: ground.links.add("eth0"))

    async def change() -> None:
        await asyncio.gather(
            controller.joining.leave(just(membership)),
            flap(),
            controller.joining.join([membership]),
            controller.joining.leave(just(membership)),
        )

    run(change())
    assert ground.groups.leaves == 2
    assert [sock.joined for sock in ground.groups.sockets] == [{}] * len(ground.groups.sockets)


def test_routes_and_memberships_that_wait_together_share_a_commit(ground: Ground) -> None:
    routes = [parse_route("10.0.0.1", f"239.1.1.{n}", "eth0", ["eth1"]) for n in range(5)]
    memberships = [parse_membership(f"239.1.1.{n}", "*", "eth0") for n in range(5)]

    async def change() -> None:
        await asyncio.gather(
            *map(ground.controller.add, routes),
            *(ground.controller.joining.join([membership]) for membership in memberships),
        )

    run(change())
    assert ground.keeper.writes == 1
    assert len(ground.keeper.routes) == len(ground.keeper.memberships) == 5


def test_of_changes_that_wait_together_only_the_one_that_cannot_be_stored_fails(
    ground: Ground,
) -> None:
    route = parse_route("10.0.0.1", GROUP, "eth0", ["eth1"])
    membership = parse_membership(GROUP, "*", "eth0")
    ground.keeper.refused = {membership.key}

    async def change() -> Sequence[BaseException | None]:
        return await asyncio.gather(
            ground.controller.add(route),
            ground.controller.joining.join([membership]),
            return_exceptions=True,
        )

    added, joined = asyncio.run(change())
    assert added is None
    assert isinstance(joined, StoreError)
    assert ground.keeper.routes.keys() == {route.key}
    assert ground.joined == set()


class Machine(RuleBasedStateMachine):
    """Whatever happens in whatever order, what is joined is what a simple model says."""

    def __init__(self) -> None:
        super().__init__()
        self.ground = Ground("eth0")
        self.model: dict[MembershipKey, Membership] = {}
        self.refusing = False

    memberships = st.builds(
        parse_membership,
        st.sampled_from([GROUP, "239.1.1.2", "ff05::1"]),
        st.just("*"),
        st.sampled_from(["eth0", "eth1", "eth2"]),
    ) | st.builds(
        parse_membership,
        st.just(GROUP),
        st.sampled_from(["10.0.0.1", "10.0.0.2"]),
        st.sampled_from(["eth0", "eth1", "eth2"]),
    )

    ranges = st.builds(
        parse_memberships,
        st.sampled_from([GROUP, "239.1.1.2", "239.1.1.0/30", "ff05::1"]),
        st.just("*"),
        st.sampled_from(["eth0", "eth1", "eth2"]),
    ) | st.builds(
        parse_memberships,
        st.sampled_from([GROUP, "239.1.1.0/30"]),
        st.sampled_from(["10.0.0.1", "10.0.0.0/30"]),
        st.sampled_from(["eth0", "eth1", "eth2"]),
    )

    @rule(range_=ranges, wait=st.booleans(), refused_after=st.none() | st.integers(0, 4))
    def join(self, range_: MembershipRange, wait: bool, refused_after: int | None) -> None:
        possible = wait or range_.interface in self.ground.links.links
        wanted = {each.key: each for each in range_.memberships()}
        self.ground.groups.fail_in = None if self.refusing else refused_after
        try:
            run(self.ground.controller.joining.join([*wanted.values()], wait=wait))
        except StoreError:
            assert self.ground.keeper.broken
        except KernelError:
            assert refused_after is not None
        except RequestError:
            assert wanted.keys() <= self.model.keys() or not possible
        else:
            assert not wanted.keys() <= self.model.keys()
            self.model = wanted | self.model
        self.ground.groups.fail_in = None

    @rule(range_=ranges)
    def leave(self, range_: MembershipRange) -> None:
        found = {key for key in self.model if range_.covers(key)}
        try:
            run(self.ground.controller.joining.leave(range_))
        except StoreError:
            assert self.ground.keeper.broken
        except NoSuchMembership:
            assert not found
        else:
            assert found
            self.model = {key: each for key, each in self.model.items() if key not in found}

    @rule(
        several=st.lists(memberships, unique_by=lambda each: each.key, max_size=6),
        comment=st.sampled_from(["", "other"]),
        merge=st.booleans(),
        dry_run=st.booleans(),
        refused_after=st.none() | st.integers(0, 4),
    )
    def apply(
        self,
        several: list[Membership],
        comment: str,
        merge: bool,
        dry_run: bool,
        refused_after: int | None,
    ) -> None:
        wanted = {each.key: replace(each, comment=comment) for each in several}
        after = self.model | wanted if merge else wanted
        leaves = self.ground.groups.leaves
        self.ground.groups.fail_in = None if self.refusing else refused_after
        try:
            counts = run(
                self.ground.controller.documents.apply(
                    [], [*wanted.values()], merge=merge, wait=True, dry_run=dry_run
                )
            )
        except StoreError:
            assert self.ground.keeper.broken
        except KernelError:
            assert refused_after is not None
        else:
            same = self.model.keys() & after.keys()
            gone = self.model.keys() - after.keys()
            changed = [key for key in same if self.model[key] != after[key]]
            assert counts == [len(after) - len(same), len(changed), len(gone)]
            if not dry_run:
                self.model = after
                assert self.ground.groups.leaves - leaves <= len(gone)
        self.ground.groups.fail_in = None

    @rule(name=st.sampled_from(["eth0", "eth1", "eth2"]))
    def add_or_remove_an_interface(self, name: str) -> None:
        if name in self.ground.links.links:
            self.ground.links.remove(name)
        else:
            self.ground.links.add(name)

    @rule(name=st.sampled_from(["eth0", "eth1", "eth2"]))
    def replace_an_interface(self, name: str) -> None:
        self.ground.links.add(name)

    @rule(one=st.sampled_from(["eth0", "eth1"]))
    def rename(self, one: str) -> None:
        if one in self.ground.links.links and "eth2" not in self.ground.links.links:
            self.ground.links.rename(one, "eth2")

    @rule()
    def break_or_mend_the_store(self) -> None:
        self.ground.keeper.broken = not self.ground.keeper.broken

    @rule()
    def refuse_leaves_or_not(self) -> None:
        """While leaves are refused no join is: the socket of a leave can be closed."""
        self.refusing = not self.refusing
        self.ground.groups.refuse_leaves(errno.EIO if self.refusing else None)

    @rule()
    def start_anew(self) -> None:
        self.ground.begin()

    @invariant()
    def what_is_joined_is_what_can_be(self) -> None:
        self.ground.controller.follow()
        assert self.ground.keeper.memberships == self.model
        assert {each.membership for each in self.ground.memberships} == {*self.model.values()}
        present = {key for key in self.model if key.interface in self.ground.links.links}
        assert self.ground.joined == present
        states = {m.key: state for m, state, _ in self.ground.memberships}
        assert states == {key: "joined" if key in present else "waiting" for key in self.model}


TestMachine = Machine.TestCase
