"""Joins on the real kernel, with its own lists as the witness.

┌───────────┐
│ namespace │
│  eth1 ─── eth2
└───────────┘
"""

import errno
import os
import socket
from collections.abc import Iterator
from ipaddress import ip_address

import pytest
from lab.igmp import Member, members
from lab.manager import Manager
from lab.netns import Namespace
from lab.privileges import in_child, set_capabilities

from mfc_dbus.daemon.kept_sockets import KeptSockets
from mfc_dbus.daemon.sdnotify import ServiceManager
from mfc_dbus.kernel.groups import GroupSocket, held
from mfc_dbus.memberships.joins import Join, Joins
from mfc_dbus.model.addresses import Family

# What the numbers of groups and sources are counted from.
GROUPS = {socket.AF_INET: ip_address("239.1.0.0"), socket.AF_INET6: ip_address("ff05::1:0")}
SOURCES = {socket.AF_INET: ip_address("10.0.0.0"), socket.AF_INET6: ip_address("fd00::1:0")}
MANY = 130


@pytest.fixture
def ground(namespace: Namespace, family: Family) -> Iterator["Ground"]:
    with Ground(namespace, family) as ground:
        yield ground


class Ground:
    """Joins of one family, on eth1 where nothing else is said."""

    def __init__(self, namespace: Namespace, family: Family) -> None:
        self.namespace = namespace
        self.family = family
        self.sockets: list[GroupSocket] = []
        self.joins = Joins(self.open)
        self.add_devices()

    def __enter__(self) -> "Ground":
        return self

    def __exit__(self, *_: object) -> None:
        self.joins.close()

    def open(self, family: Family) -> GroupSocket:
        with self.namespace:
            self.sockets.append(GroupSocket(family))
        return self.sockets[-1]

    def add_devices(self, ifindex: int = 0) -> None:
        index = f"index {ifindex}" if ifindex else ""
        self.namespace.ip(
            f"link add name eth1 {index} type veth peer name eth2",
            "link set dev eth1 up",
            "link set dev eth2 up",
        )

    def ifindex(self, device: str = "eth1") -> int:
        with self.namespace:
            return socket.if_nametoindex(device)

    def group(self, number: int) -> str:
        return str(GROUPS[self.family] + number)

    def source(self, number: int) -> str:
        return str(SOURCES[self.family] + number)

    def named(self, group: int, source: int | None = None, *, ifindex: int = 0) -> Join:
        packed = socket.inet_pton(self.family, self.group(group))
        from_ = bytes(len(packed))
        if source is not None:
            from_ = socket.inet_pton(self.family, self.source(source))
        return Join(packed, ifindex or self.ifindex(), from_)

    def member(self, group: int, *sources: int, device: str = "eth1") -> Member:
        return Member(device, self.group(group), frozenset(map(self.source, sources)))


def test_many_groups_are_joined_from_any_source_and_left_again(ground: Ground) -> None:
    joins = [ground.named(number) for number in range(1, MANY)]
    for join in joins:
        ground.joins.join(join)
    assert members(ground.namespace) == {ground.member(number) for number in range(1, MANY)}
    if ground.family == socket.AF_INET:
        assert len(ground.sockets) == 7
    for join in joins:
        ground.joins.leave(join)
    assert members(ground.namespace) == set()


def test_many_sources_of_one_group_are_joined_and_left_again(ground: Ground) -> None:
    for number in range(1, MANY):
        ground.joins.join(ground.named(1, number))
    assert members(ground.namespace) == {ground.member(1, *range(1, MANY))}
    assert len(ground.sockets) == {socket.AF_INET: 13, socket.AF_INET6: 3}[ground.family]
    for number in range(2, MANY):
        ground.joins.leave(ground.named(1, number))
    assert members(ground.namespace) == {ground.member(1, 1)}
    ground.joins.leave(ground.named(1, 1))
    assert members(ground.namespace) == set()


def test_any_source_of_a_group_outlives_one_source_of_it(ground: Ground) -> None:
    ground.joins.join(ground.named(1))
    ground.joins.join(ground.named(1, 1))
    ground.joins.leave(ground.named(1, 1))
    assert members(ground.namespace) == {ground.member(1)}


def test_one_socket_with_both_would_lose_any_source(ground: Ground) -> None:
    """Why they are kept apart: the kernel turns one into the other, and says nothing."""
    sock = ground.open(ground.family)
    with sock:
        sock.join(*ground.named(1))
        sock.join(*ground.named(1, 1))
        assert members(ground.namespace) == {ground.member(1, 1)}


def test_a_group_is_joined_on_each_device_by_itself(ground: Ground) -> None:
    other = ground.ifindex("eth2")
    ground.joins.join(ground.named(1))
    ground.joins.join(ground.named(1, ifindex=other))
    assert members(ground.namespace) == {ground.member(1), ground.member(1, device="eth2")}
    ground.joins.leave(ground.named(1))
    assert members(ground.namespace) == {ground.member(1, device="eth2")}


@pytest.mark.parametrize("same_ifindex", [True, False])
def test_a_device_that_was_deleted_takes_no_place_on_a_socket(
    ground: Ground, same_ifindex: bool
) -> None:
    before = ground.ifindex()
    names: list[tuple[int, int | None]] = [(number, None) for number in range(1, 21)]
    names += [(30, number) for number in range(1, 11)]
    for name in names:
        ground.joins.join(ground.named(*name))
    sockets = len(ground.sockets)
    ground.namespace.ip("link delete dev eth1")
    for name in names:
        ground.joins.leave(ground.named(*name, ifindex=before))
    ground.add_devices(before if same_ifindex else before + 100)
    for name in names:
        ground.joins.join(ground.named(*name))
    assert len(ground.sockets) == sockets
    assert members(ground.namespace) == {
        *(ground.member(number) for number in range(1, 21)),
        ground.member(30, *range(1, 11)),
    }


def test_a_device_that_is_not_there_is_an_error_and_nothing_is_joined(ground: Ground) -> None:
    for source in (None, 1):
        with pytest.raises(OSError, match=os.strerror(errno.ENODEV)):
            ground.joins.join(ground.named(1, source, ifindex=999))
    assert members(ground.namespace) == set()


def test_a_join_lives_as_long_as_a_copy_of_its_socket(ground: Ground) -> None:
    ground.joins.join(ground.named(1))
    copy = os.dup(ground.sockets[0].fileno())
    ground.joins.close()
    assert members(ground.namespace) == {ground.member(1)}
    os.close(copy)
    assert members(ground.namespace) == set()


def refuse_leaves(sock: GroupSocket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a socket be as if its kernel had refused."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(sock, "leave", refuse)


@pytest.mark.parametrize("source", [None, 1])
def test_what_is_refused_to_be_left_is_left_by_closing_and_all_else_stays(
    ground: Ground, source: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 4):
        ground.joins.join(ground.named(number, source))
    everything = members(ground.namespace)
    refuse_leaves(ground.sockets[0], monkeypatch)
    ground.joins.leave(ground.named(2, source))
    sources = [] if source is None else [source]
    assert members(ground.namespace) == everything - {ground.member(2, *sources)}
    ground.joins.join(ground.named(2, source))
    assert members(ground.namespace) == everything
    assert len(ground.sockets) == 2


def test_a_socket_that_is_given_up_is_kept_by_nobody(ground: Ground) -> None:
    with (
        Manager() as manager,
        ServiceManager(manager.environment) as service_manager,
        ground.namespace,
    ):
        sockets = KeptSockets(service_manager, [])
        with sockets.open_group(ground.family) as kept:
            group, ifindex, source = ground.named(1)
            kept.join(group, ifindex, source)
            manager.wait_for("groups-0")
            kept.close()
            assert members(ground.namespace) == {ground.member(1)}
        with sockets.open_group(ground.family) as given_up:
            given_up.join(group, ifindex, source)
            manager.wait_for("groups-0", "groups-1")
            given_up.give_up()
            manager.wait_for("groups-0")
        manager.forget("groups-0")
        assert members(ground.namespace) == set()


def test_what_is_held_is_what_the_kernel_has(ground: Ground) -> None:
    joins = [ground.named(1), ground.named(1, 1), ground.named(2, 1)]
    with ground.namespace:
        own = held()
        for join in joins:
            ground.joins.join(join)
        assert held() - own == {(join.group, join.ifindex) for join in joins}


def test_joins_are_lost_with_a_device_that_comes_back_as_it_was(ground: Ground) -> None:
    """And so they are when a socket closes that had them on the first."""
    ifindex = ground.ifindex()
    join, other = ground.named(1), ground.named(2, 1)
    first = ground.open(ground.family)
    first.join(join.group, ifindex, join.source)
    ground.namespace.ip("link delete dev eth1")
    ground.add_devices(ifindex)
    with ground.namespace:
        ground.joins.join(join)
        ground.joins.join(other)
        assert ground.joins.lost() == []
        first.close()
        assert ground.joins.lost() == [join]
        ground.joins.leave(join)
        ground.joins.join(join)
        assert ground.joins.lost() == []
    assert members(ground.namespace) == {ground.member(1), ground.member(2, 1)}


def test_no_capability_is_needed(ground: Ground) -> None:
    join = ground.named(1, 1)

    def child() -> str:
        ground.namespace.enter()
        set_capabilities()
        with GroupSocket(ground.family) as sock:
            sock.join(*join)
        return "joined"

    assert in_child(child) == "joined"
