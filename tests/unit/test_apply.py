"""Routes and memberships of a document together: by the smallest change, or not at all."""

import asyncio
import socket
from collections.abc import Sequence

import pytest
from lab.fake import FakeGroups, FakeKeeper, FakeKernel, FakeLinks, just
from msgspec import structs

from mfc_dbus.config.settings import Settings
from mfc_dbus.control.controller import Controller
from mfc_dbus.control.membership_changes import MembershipChange
from mfc_dbus.memberships.joins import Joins
from mfc_dbus.memberships.memberships import Memberships
from mfc_dbus.model.addresses import FAMILIES
from mfc_dbus.model.desired import Desired
from mfc_dbus.model.errors import (
    AccessDenied,
    ConfigError,
    KernelError,
    LimitExceeded,
    MembershipConfigured,
    MembershipExists,
    NoSuchInterface,
    StoreError,
)
from mfc_dbus.model.membership import Membership, parse_membership
from mfc_dbus.model.route import Route, TableId, parse_route
from mfc_dbus.routing.table import Table

ONE = parse_membership("239.1.1.1", "*", "eth0")
TWO = parse_membership("232.1.1.1", "10.0.0.1", "eth0", "two")
THREE = parse_membership("ff3e::1", "*", "eth1")
FOUR = parse_membership("239.1.1.4", "*", "eth1")
ROUTE = parse_route("10.0.0.1", "239.1.1.1", "eth0", ["eth1"])
OTHER = parse_route("fd00::1", "ff3e::1", "eth0", ["eth1", "eth2"])
FILE = "/etc/mfc-dbus/routes.d/a.toml"


def replaced(membership: Membership) -> Membership:
    """One of the same key."""
    return structs.replace(membership, comment="other", persistent=not membership.persistent)


def of_file(membership: Membership) -> Membership:
    return structs.replace(membership, file=FILE)


class Ground:
    """A controller over fake kernels and sockets, with a document applied."""

    def __init__(
        self, routes: Sequence[Route] = (), memberships: Sequence[Membership] = ()
    ) -> None:
        self.links = FakeLinks("eth0", "eth1", "eth2", silent=("lo",))
        self.kernels = {family: FakeKernel(self.links) for family in FAMILIES}
        self.keeper = FakeKeeper()
        self.groups = FakeGroups()
        self.told = 0
        memberships_there = Memberships(Joins(self.groups.open, self.groups.held))
        self.controller = Controller(
            [Table(TableId(family), kernel) for family, kernel in self.kernels.items()],
            self.links,
            self.keeper,
            memberships=memberships_there,
        )
        self.controller.takeover.restore([])
        self.controller.membership_changes.listen(self._listen)
        self.apply(*routes, *memberships)

    def apply(self, *wanted: Desired, joining: bool = True, **options: bool) -> list[int]:
        routes = [each for each in wanted if isinstance(each, Route)]
        memberships = [each for each in wanted if isinstance(each, Membership)]
        counts = asyncio.run(
            self.controller.documents.apply(
                routes,
                memberships,
                joining=joining,
                merge=options.get("merge", False),
                wait=options.get("wait", False),
                dry_run=options.get("dry_run", False),
            )
        )
        return [*counts]

    def configure(self, *memberships: Membership, limit: int = 1000) -> None:
        settings = Settings(max_memberships=limit)
        asyncio.run(self.controller.documents.configure(settings, memberships=memberships))

    @property
    def memberships(self) -> set[Membership]:
        return {membership for membership, _, _ in self.controller.memberships}

    def check_joined(self, *expected: Membership) -> None:
        """These are the memberships, and joined; kept are those that no file has."""
        assert self.memberships == set(expected)
        assert self.groups.joined(self.links.links) == {each.key for each in expected}
        assert {state for _, state, _ in self.controller.memberships} <= {"joined"}
        by_bus = {each.key: each for each in expected if not each.file}
        assert self.keeper.memberships == by_bus
        self.controller.memberships.check_count(1000 - len(expected))
        with pytest.raises(LimitExceeded):
            self.controller.memberships.check_count(1001 - len(expected))

    def snapshot(self) -> tuple[object, ...]:
        """All that there is, to be compared later."""
        tables = self.controller.tables.values()
        return (
            [(dict(kernel.vifs), kernel.entries) for kernel in self.kernels.values()],
            {route for table in tables for route in table.routes},
            dict(self.controller.view.routes),
            self.memberships,
            self.groups.joined(self.links.links),
            dict(self.keeper.routes),
            dict(self.keeper.memberships),
        )

    def _listen(self, _: MembershipChange) -> None:
        self.told += 1


def test_memberships_become_those_of_the_document_by_the_smallest_change() -> None:
    ground = Ground([ROUTE], [ONE, TWO])
    ground.check_joined(ONE, TWO)
    assert ground.apply(ROUTE, replaced(TWO), THREE) == [1, 1, 1]
    ground.check_joined(replaced(TWO), THREE)
    assert ground.groups.leaves == 1
    told = ground.told
    assert ground.apply(ROUTE, THREE, replaced(TWO)) == [0, 0, 0]
    assert ground.told == told
    assert ground.groups.leaves == 1
    assert ground.apply(ROUTE) == [0, 0, 2]
    ground.check_joined()


def test_merge_leaves_nothing_and_dry_run_does_nothing() -> None:
    ground = Ground([], [ONE, TWO])
    before = ground.snapshot()
    assert ground.apply(ROUTE, replaced(TWO), THREE, dry_run=True) == [2, 1, 1]
    assert ground.apply(ROUTE, replaced(TWO), THREE, merge=True, dry_run=True) == [2, 1, 0]
    assert ground.snapshot() == before
    assert ground.apply(replaced(TWO), THREE, merge=True) == [1, 1, 0]
    ground.check_joined(ONE, replaced(TWO), THREE)
    assert ground.groups.leaves == 0


def test_all_that_forbids_a_document_is_told_at_once() -> None:
    ground = Ground([], [ONE])
    before = ground.snapshot()
    missing = parse_route("*", "239.1.1.7", "eth7", ["eth1"])
    nowhere = parse_membership("239.1.1.1", "*", "eth8")
    elsewhere = parse_membership("239.1.1.1", "*", "eth9")
    with pytest.raises(NoSuchInterface) as caught:
        ground.apply(missing, ONE, nowhere, elsewhere)
    assert str(caught.value).splitlines() == [
        "route[0]: Interface 'eth7' not found",
        "membership[1]: Interface 'eth8' not found",
        "membership[2]: Interface 'eth9' not found",
    ]
    assert ground.snapshot() == before
    assert ground.apply(ONE, nowhere, wait=True) == [1, 0, 0]
    assert ground.apply(ONE, nowhere) == [0, 0, 0]
    # What only waits may get another comment all the same.
    assert ground.apply(ONE, replaced(nowhere)) == [0, 1, 0]
    ground.links.add("eth8")
    ground.controller.follow()
    ground.check_joined(ONE, replaced(nowhere))


def test_there_are_no_more_than_the_settings_allow() -> None:
    ground = Ground([], [ONE, TWO])
    ground.configure(limit=2)
    before = ground.snapshot()
    with pytest.raises(LimitExceeded, match="There are 2 memberships"):
        ground.apply(ROUTE, ONE, THREE, FOUR)
    with pytest.raises(LimitExceeded, match="There are 2 memberships"):
        ground.apply(THREE, merge=True)
    for merge in (False, True):
        with pytest.raises(LimitExceeded):
            ground.controller.documents.changes_memberships([ONE, THREE, FOUR], merge=merge)
    assert ground.snapshot() == before
    ground.configure(limit=1)
    assert not ground.controller.documents.changes_memberships([ONE, TWO], merge=False)
    assert ground.apply(ONE, replaced(TWO)) == [0, 1, 0]
    assert ground.apply(THREE, FOUR) == [2, 0, 2]


def test_whatever_fails_leaves_everything_as_it_was() -> None:
    """Each join, each step in the kernel, and the store, in turn."""

    def fail_join(ground: Ground, number: int) -> None:
        ground.groups.fail_in = number

    def fail_ipv4(ground: Ground, number: int) -> None:
        ground.kernels[FAMILIES[0]].fail_in = number

    def fail_ipv6(ground: Ground, number: int) -> None:
        ground.kernels[FAMILIES[1]].fail_in = number

    moved = structs.replace(ROUTE, iif="eth2")
    expected = {fail_join: 2, fail_ipv4: 2, fail_ipv6: 4}
    for fail, at_least in expected.items():
        failures = 0
        while True:
            ground = Ground([ROUTE], [ONE, TWO])
            before = ground.snapshot()
            fail(ground, failures)
            try:
                counts = ground.apply(moved, OTHER, replaced(TWO), THREE, FOUR)
            except KernelError:
                assert ground.snapshot() == before
                # Nothing was left that had been joined before.
                assert ground.groups.leaves <= 2
                ground.check_joined(ONE, TWO)
                failures += 1
            else:
                assert counts == [3, 2, 1]
                break
        assert failures >= at_least

    ground = Ground([ROUTE], [ONE, TWO])
    before = ground.snapshot()
    ground.keeper.broken = True
    with pytest.raises(StoreError):
        ground.apply(moved, OTHER, replaced(TWO), THREE, FOUR)
    # VIFs may have other numbers.
    assert ground.snapshot()[1:] == before[1:]
    assert ground.groups.leaves == 2
    ground.check_joined(ONE, TWO)


def test_what_fails_undoes_only_its_own_part_of_what_waits_for_the_same_commit() -> None:
    ground = Ground([], [ONE])

    async def leave_and_apply() -> Sequence[object]:
        return await asyncio.gather(
            ground.controller.joining.leave(just(ONE)),
            ground.controller.documents.apply([ROUTE], [replaced(ONE), THREE]),
            return_exceptions=True,
        )

    ground.kernels[FAMILIES[0]].fail_in = 0
    left, applied = asyncio.run(leave_and_apply())
    assert left is None
    assert isinstance(applied, KernelError)
    ground.check_joined()
    assert not ground.keeper.routes


def test_who_may_not_join_changes_no_membership() -> None:
    ground = Ground([], [ONE])
    before = ground.snapshot()
    assert not ground.controller.documents.changes_memberships([ONE], merge=False)
    assert not ground.controller.documents.changes_memberships([], merge=True)
    for wanted in ([], [ONE, TWO], [replaced(ONE)]):
        assert ground.controller.documents.changes_memberships(wanted, merge=False)
        with pytest.raises(AccessDenied, match="changed meanwhile"):
            ground.apply(ROUTE, *wanted, joining=False)
        assert ground.snapshot() == before
    assert ground.apply(ROUTE, ONE, joining=False) == [1, 0, 0]


# Files


def test_memberships_of_files_are_joined_by_their_difference_and_never_stored() -> None:
    ground = Ground([], [ONE])
    ground.configure(of_file(TWO), of_file(THREE))
    ground.check_joined(ONE, of_file(TWO), of_file(THREE))
    ground.configure(of_file(THREE), of_file(FOUR))
    ground.check_joined(ONE, of_file(THREE), of_file(FOUR))
    assert ground.groups.leaves == 1
    ground.configure()
    ground.check_joined(ONE)


def test_only_the_file_changes_its_membership() -> None:
    ground = Ground()
    ground.configure(of_file(ONE))
    with pytest.raises(MembershipExists):
        asyncio.run(ground.controller.joining.join([ONE]))
    with pytest.raises(MembershipConfigured, match=f"'eth0' comes from {FILE}"):
        asyncio.run(ground.controller.joining.leave(just(ONE)))
    for wanted in (ONE, replaced(ONE)):
        with pytest.raises(MembershipConfigured, match=r"^membership\[0\]: Membership"):
            ground.apply(wanted)
    assert ground.apply() == [0, 0, 0]
    ground.check_joined(of_file(ONE))


def test_a_file_takes_the_place_of_what_was_joined_over_the_bus() -> None:
    ground = Ground([], [ONE, TWO])
    ground.configure(of_file(ONE))
    ground.check_joined(of_file(ONE), TWO)
    assert ground.groups.leaves == 0


@pytest.mark.parametrize("kept", [FAMILIES, FAMILIES[:1]], ids=["same-tables", "fewer-tables"])
def test_a_reload_that_fails_leaves_the_settings_as_they_were(
    kept: Sequence[socket.AddressFamily],
) -> None:
    ground = Ground([ROUTE, OTHER], [ONE])
    before = ground.snapshot()
    settings = Settings(tuple(map(TableId, kept)), max_routes=3)
    route = structs.replace(parse_route("*", "239.1.1.2", "eth0", ["eth1"]), file=FILE)
    instead = structs.replace(ROUTE, file=FILE)  # of one that is stored

    def reload() -> None:
        asyncio.run(ground.controller.documents.configure(settings, [route, instead]))

    ground.kernels[FAMILIES[0]].fail_in = 0
    with pytest.raises(KernelError):
        reload()
    assert ground.snapshot() == before
    ground.keeper.broken = True
    with pytest.raises(StoreError):
        reload()
    assert ground.snapshot() == before
    ground.keeper.broken = False
    more = [parse_route("*", f"ff3e::{number}", "eth0", ["eth1"]) for number in range(2)]
    assert ground.apply(*more, merge=True) == [2, 0, 0]
    assert all(kernel.owner is not None for kernel in ground.kernels.values())


def test_reloads_that_cannot_be_stored_together_with_others_leave_the_settings() -> None:
    ground = Ground()
    controller = ground.controller
    ground.keeper.broken = True
    added = [parse_route("10.0.0.1", f"239.1.1.{n}", "eth0", ["eth1"]) for n in range(2)]

    async def all_at_once() -> list[object]:
        first = asyncio.ensure_future(controller.add(added[0]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        file = structs.replace(ROUTE, file=FILE)
        others = (
            controller.add(added[1]),
            controller.documents.configure(Settings(max_routes=1), [file]),
            controller.documents.configure(Settings(max_routes=2), [file]),
        )
        return [*await asyncio.gather(first, *others, return_exceptions=True)]

    results = asyncio.run(all_at_once())
    assert {type(each) for each in results} == {StoreError}
    ground.keeper.broken = False
    assert ground.apply(*added, ROUTE) == [3, 0, 0]


def test_a_reload_that_fails_leaves_everything_as_it_was() -> None:
    ground = Ground([], [ONE, TWO])
    ground.configure(of_file(FOUR))
    before = ground.snapshot()
    ground.links.name_otherwise("eth2", "lan")
    ground.controller.follow()
    otherwise = of_file(parse_membership("239.1.1.1", "*", "lan"))
    with pytest.raises(ConfigError, match=r"^membership\[1\]: 'lan' is an alternative name"):
        ground.configure(of_file(ONE), otherwise)
    assert ground.snapshot() == before
    ground.groups.fail_in = 0
    with pytest.raises(KernelError, match=r"Membership .* The kernel refused"):
        ground.configure(of_file(ONE), of_file(THREE))
    assert ground.snapshot() == before
    ground.keeper.broken = True
    with pytest.raises(StoreError):
        ground.configure(of_file(ONE), of_file(THREE))
    assert ground.snapshot() == before
    ground.keeper.broken = False
    ground.check_joined(ONE, TWO, of_file(FOUR))
    waits = of_file(parse_membership("239.1.1.1", "*", "eth9"))
    ground.configure(waits)
    assert waits in ground.memberships
