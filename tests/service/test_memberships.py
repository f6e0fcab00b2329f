"""Groups that the daemon joins, and stays in whatever becomes of it.

The test plays systemd: it keeps the daemon's sockets, and hands them to the next process. What
switches hear is read at the far end of eth1.
"""

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from lab.bus import PrivateBus
from lab.caller import MEMBERSHIP, OWN, STANDARD, Caller, Membership, refused
from lab.daemon import Daemon
from lab.foreign import busctl
from lab.igmp import Member, Reports, groups, members
from lab.installed import eventually
from lab.manager import Manager
from lab.netns import Namespace

DURABLE = MEMBERSHIP
SOURCE_SPECIFIC = Membership("232.1.1.1", "10.1.0.10")
TRANSIENT = Membership("ff3e::123")
JOINED = {
    Member("eth1", "239.1.2.3"),
    Member("eth1", "232.1.1.1", frozenset({"10.1.0.10"})),
    Member("eth1", "ff3e::123"),
}
_SOON = 100  # milliseconds


class Host:
    """A machine on which the daemon dies and is started again."""

    def __init__(self, bus: PrivateBus, network: Namespace, home: Path, library: str) -> None:
        self.bus = bus
        self.network = network
        self.home = home
        self.stack = ExitStack()
        self._library = library

    def start(self, manager: Manager | None = None) -> Daemon:
        """Start it; it is stopped at the end, if it was not before."""
        daemon = Daemon(
            self.bus.address,
            self.network,
            library=self._library,
            home=self.home,
            manager=manager,
        )
        return self.stack.enter_context(daemon)


@pytest.fixture
def host(
    own_bus: PrivateBus, own_network: Namespace, tmp_path: Path, library: str
) -> Iterator[Host]:
    own_network.ip("link set dev eth1 up", "link set dev eth2 up")
    host = Host(own_bus, own_network, tmp_path, library)
    with host.stack:
        yield host


async def join_three(host: Host) -> None:
    async with Caller.at(host.bus.address) as caller:
        await caller.join(DURABLE)
        await caller.join(SOURCE_SPECIFIC, comment="lobby")
        await caller.join(TRANSIENT, persistent=False)


async def shown(host: Host) -> list[object]:
    async with Caller.at(host.bus.address) as caller:
        memberships: list[object] = await caller.get("Memberships")
    return memberships


@contextmanager
def never_without(host: Host, expected: set[Member]) -> Iterator[None]:
    """Look all the time at which groups the kernel has joined."""
    wanted = {(member.device, member.group) for member in expected}
    missing: list[set[tuple[str, str]]] = []
    end = threading.Event()

    def look() -> None:
        while not end.is_set():
            if lost := wanted - groups(host.network):
                missing.append(lost)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
    assert missing == []


# The methods and the property


async def test_a_group_is_joined_and_left(
    bus: PrivateBus, daemon: Daemon, network: Namespace
) -> None:
    async with Caller.at(bus.address) as caller:
        await caller.join()
        assert members(network) == {Member("eth1", "239.1.2.3")}
        await caller.join(Membership(source="10.1.0.10", interface="eth3"))
        assert Member("eth3", "239.1.2.3", frozenset({"10.1.0.10"})) in members(network)
        await caller.leave()
        await caller.leave(Membership(source="10.1.0.10", interface="eth3"))
        assert members(network) == set()


async def test_the_property_tells_what_is_not_the_default(bus: PrivateBus, daemon: Daemon) -> None:
    async with Caller.at(bus.address) as caller:
        await caller.join(Membership("239.1.2.3", "", "eth1"))
        await caller.join(
            Membership("FF3E:0::1", "fd00::1", "new"), wait=True, persistent=False, comment="a b"
        )
        assert await caller.get("Memberships") == [
            {"group": "239.1.2.3", "source": "*", "interface": "eth1", "state": "joined"},
            {
                "group": "ff3e::1",
                "source": "fd00::1",
                "interface": "new",
                "state": "waiting",
                "comment": "a b",
                "persistent": False,
            },
        ]


async def test_a_change_invalidates_the_property_and_is_a_new_generation(
    own_bus: PrivateBus, own_daemon: Daemon
) -> None:
    async with Caller.at(own_bus.address) as caller:
        before = await caller.get("Generation")
        await caller.follow()
        for number in range(10):
            await caller.join(Membership(f"239.1.2.{number}"))
        told = caller.told
        await caller.until(
            lambda: {"Generation": before + 10} in [body[1] for body in told("PropertiesChanged")]
        )
        *_, invalid = caller.told("PropertiesChanged")[-1]
        assert "Memberships" in invalid
        assert "Routes" not in invalid
        assert len(caller.told("PropertiesChanged")) < 10


async def test_a_signal_tells_of_each_change_and_one_before_it_of_its_cause(
    bus: PrivateBus, daemon: Daemon
) -> None:
    async with Caller.at(bus.address) as caller:
        await caller.follow()
        await caller.join(comment="a")
        await caller.leave()
        await caller.until(lambda: len(caller.told("MembershipsRemoved")) == 1)
        joined = {"group": "239.1.2.3", "source": "*", "interface": "eth1", "state": "joined"}
        assert caller.told("MembershipsAdded") == [[[joined | {"comment": "a"}]]]
        assert caller.told("MembershipsRemoved") == [[[joined | {"comment": "a"}]]]
        names = [each.member for each in caller.signals if each.member != "PropertiesChanged"]
        assert names == ["ChangeCaused", "MembershipsAdded", "ChangeCaused", "MembershipsRemoved"]
        ((join,), (leave,)) = caller.told("ChangeCaused")
        assert (join["cause"], join["action"], leave["action"]) == ("call", "join", "leave")
        assert (join["uid"], join["user"], join["pid"]) == (0, "root", os.getpid())
        assert join["sender"] == caller.unique_name
        assert leave["time"] >= join["time"] > 10**15


async def test_what_cannot_be_joined_or_left_is_an_error(bus: PrivateBus, daemon: Daemon) -> None:
    async with Caller.at(bus.address) as caller:
        await caller.join()
        await refused(caller.join(), f"{OWN}.MembershipExists", "(*, 239.1.2.3) on 'eth1'")
        await refused(caller.leave(SOURCE_SPECIFIC), f"{OWN}.NoSuchMembership", "(10.1.0.10, ")
        nowhere = Membership(interface="nope")
        await refused(caller.join(nowhere), f"{OWN}.NoSuchInterface", "'nope'")
        wrong = f"{STANDARD}.InvalidArgs"
        await refused(caller.join(Membership("10.1.0.1")), wrong, "not a multicast address")
        await refused(caller.join(Membership(source="239.1.1.1")), wrong, "multicast address")
        await refused(caller.join(replace=True), wrong, "no option 'replace'")
        await refused(caller.leave(wait=True), wrong, "There is no option 'wait'")


async def test_the_configuration_limits_the_memberships(
    own_bus: PrivateBus, own_daemon: Daemon
) -> None:
    own_daemon.configure("[limits]\nmemberships = 1")
    async with Caller.at(own_bus.address) as caller:
        await caller.reload()
        await caller.join()
        await refused(caller.join(TRANSIENT), f"{OWN}.LimitExceeded", "There are 1 memberships")


def test_it_can_be_typed_into_busctl(bus: PrivateBus, daemon: Daemon, network: Namespace) -> None:
    name = OWN.removesuffix(".Error")
    place = [name, "/" + name.replace(".", "/"), name]
    for member in ("JoinGroup", "LeaveGroup"):
        command = ["call", *place, member, "sssa{sv}", "239.1.2.3", "", "eth1", "0"]
        assert busctl(bus.address, *command) == ""
        assert len(members(network)) == (member == "JoinGroup")


# Interfaces


async def test_a_membership_follows_its_interface(host: Host) -> None:
    host.start()
    async with Caller.at(host.bus.address) as caller:
        await join_three(host)
        await caller.follow()
        host.network.ip("link delete dev eth1")
        await caller.until(lambda: bool(caller.told("PropertiesChanged")))
        assert {one["state"] for one in await caller.get("Memberships")} == {"waiting"}
        told = len(caller.told("PropertiesChanged"))
        host.network.ip("link add name eth1 index 100 type veth peer name eth2")
        await caller.until(lambda: len(caller.told("PropertiesChanged")) > told)
        assert {one["state"] for one in await caller.get("Memberships")} == {"joined"}
        assert members(host.network) == JOINED


# What survives what


async def test_a_device_that_was_replaced_meanwhile_is_joined_also_under_its_old_ifindex(
    host: Host,
) -> None:
    with Manager() as manager:
        daemon = host.start(manager)
        await join_three(host)
        manager.wait_for("mroute-ipv4", "mroute-ipv6", *(f"groups-{n}" for n in range(3)))
        daemon.kill()
        (link,) = host.network.ip_json("link show dev eth1")
        host.network.ip(
            "link delete dev eth1",
            f"link add name eth1 index {link['ifindex']} type veth peer name eth2",
        )
        assert members(host.network) == set()
        daemon = host.start(manager)
        # The old sockets close after the new ones have joined, and take the groups with them.
        manager.wait_for("mroute-ipv4", "mroute-ipv6", *(f"groups-{n}" for n in range(3, 6)))
        eventually(lambda: members(host.network) == JOINED)
        daemon.kill()


async def test_what_was_acknowledged_is_there_after_kill_9(host: Host) -> None:
    daemon = host.start()
    await join_three(host)
    before = await shown(host)
    daemon.kill()
    assert members(host.network) == set()
    host.start()
    assert members(host.network) == JOINED
    assert sorted(map(repr, await shown(host))) == sorted(map(repr, before))


async def test_what_was_left_does_not_come_back_and_what_is_transient_ends_with_its_directory(
    host: Host,
) -> None:
    daemon = host.start()
    await join_three(host)
    async with Caller.at(host.bus.address) as caller:
        await caller.leave(SOURCE_SPECIFIC)
    daemon.stop()
    shutil.rmtree(host.home / "runtime")
    host.start()
    assert members(host.network) == {Member("eth1", "239.1.2.3")}


@pytest.mark.parametrize("ends", ["killed", "stopped"])
async def test_a_restart_leaves_no_group_for_a_moment_and_tells_no_switch_so(
    host: Host, ends: str
) -> None:
    # The old versions of the protocols say at once that a group was left.
    host.network.sysctl("ipv4/conf/all/force_igmp_version", 2)
    host.network.sysctl("ipv6/conf/all/force_mld_version", 1)
    host.network.sysctl("ipv4/conf/eth1/igmpv2_unsolicited_report_interval", _SOON)
    host.network.sysctl("ipv6/conf/eth1/mldv1_unsolicited_report_interval", _SOON)
    host.network.wait_until_up(["eth1", "eth2"])
    with Manager() as manager, Reports(host.network, "eth2") as reports:
        daemon = host.start(manager)
        await join_three(host)
        many = [Membership(f"239.2.2.{number}") for number in range(100)]
        async with Caller.at(host.bus.address) as caller:
            for membership in many:
                await caller.join(membership)
        reports.until(*(("joined", member.group) for member in JOINED))
        expected = JOINED | {Member("eth1", membership.group) for membership in many}
        with never_without(host, expected):
            for _ in range(3):
                (daemon.kill if ends == "killed" else daemon.stop)()
                daemon = host.start(manager)
        # In pools of 20: any source of IPv4, one source of IPv4, and any source of IPv6.
        sockets = [f"groups-{number}" for number in range(8, 16)]
        manager.wait_for("mroute-ipv4", "mroute-ipv6", *sockets)
        assert members(host.network) == expected
        # The first that are told of as left are those that now are.
        async with Caller.at(host.bus.address) as caller:
            await caller.leave(DURABLE)
            await caller.leave(TRANSIENT)
        left = [group for kind, group in reports.until(("left", TRANSIENT.group)) if kind == "left"]
        assert sorted(left) == sorted([DURABLE.group, TRANSIENT.group])
        daemon.stop()
        assert members(host.network) == expected - {
            Member("eth1", DURABLE.group),
            Member("eth1", TRANSIENT.group),
        }
        manager.forget_all()
        assert members(host.network) == set()
