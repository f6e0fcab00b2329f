"""Joins, spread over sockets of which each takes only so many."""

import errno
import os
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab.fake import FakeGroupSocket

from mfc_dbus.memberships.joins import Join, Joins
from mfc_dbus.model.addresses import Family

ANY = bytes(4)


def group(number: int) -> bytes:
    return bytes((239, 1, *divmod(number, 256)))


def source(number: int) -> bytes:
    return bytes((10, 0, *divmod(number, 256)))


class Ground:
    """Joins, and the sockets that they opened."""

    def __init__(self, max_groups: int = 20, max_sources: int = 10) -> None:
        self.sockets: list[FakeGroupSocket] = []
        self.families: list[Family] = []
        self.error: int | None = None  # what new sockets meet
        self._limits = (max_groups, max_sources)
        self.joins = Joins(self.open)

    def open(self, family: Family) -> FakeGroupSocket:
        sock = FakeGroupSocket(*self._limits)
        sock.error = self.error
        self.sockets.append(sock)
        self.families.append(family)
        return sock

    @property
    def joined(self) -> list[Join]:
        """What all sockets together have."""
        return sorted(
            Join(group, ifindex, source)
            for sock in self.sockets
            for (group, ifindex), sources in sock.joined.items()
            for source in sources
        )


@pytest.fixture
def ground() -> Ground:
    return Ground()


def test_no_socket_is_opened_before_the_first_join(ground: Ground) -> None:
    assert ground.sockets == []
    ground.joins.join(Join(group(1), 1, ANY))
    assert len(ground.sockets) == 1


def test_a_socket_is_filled_before_the_next_is_opened(ground: Ground) -> None:
    for number in range(100):
        ground.joins.join(Join(group(number), 1, ANY))
    assert [len(sock.joined) for sock in ground.sockets] == [20] * 5


def test_many_sources_of_one_group_are_spread_too(ground: Ground) -> None:
    for number in range(1, 101):
        ground.joins.join(Join(group(1), 1, source(number)))
    assert [len(sock.joined[group(1), 1]) for sock in ground.sockets] == [10] * 10


@pytest.mark.parametrize(
    "joins",
    [
        [Join(group(number), 1, ANY) for number in range(500)],
        [Join(group(1), 1, source(number)) for number in range(1, 501)],
    ],
    ids=["groups", "sources"],
)
def test_what_many_joins_cost_does_not_grow_with_the_number_of_sockets(
    joins: list[Join], ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = 0
    join_socket = FakeGroupSocket.join

    def count(self: FakeGroupSocket, *arguments: Any) -> None:
        nonlocal tried
        tried += 1
        join_socket(self, *arguments)

    monkeypatch.setattr(FakeGroupSocket, "join", count)
    for _ in range(3):  # the second time there are sockets already, of which all are empty
        tried = 0
        for join in joins:
            ground.joins.join(join)
        assert tried <= len(joins) + 2 * len(ground.sockets)
        for join in joins:
            ground.joins.leave(join)


def test_any_source_and_one_source_of_a_group_are_on_different_sockets(ground: Ground) -> None:
    joins = [Join(group(1), 1, source(1)), Join(group(1), 1, ANY), Join(group(1), 1, source(2))]
    for join in joins:
        ground.joins.join(join)
    assert len(ground.sockets) == 2
    ground.joins.leave(joins[1])
    assert ground.joined == sorted([joins[0], joins[2]])


def test_each_family_has_sockets_of_its_own(ground: Ground) -> None:
    ground.joins.join(Join(group(1), 1, ANY))
    ground.joins.join(Join(b"\xff\x05" + bytes(13) + b"\x01", 1, bytes(16)))
    assert ground.families == [socket.AF_INET, socket.AF_INET6]


def test_what_was_left_makes_room_on_its_socket(ground: Ground) -> None:
    for number in range(40):
        ground.joins.join(Join(group(number), 1, ANY))
    for number in range(40):
        ground.joins.leave(Join(group(number), 1, ANY))
        ground.joins.join(Join(group(number), 2, ANY))
    assert [len(sock.joined) for sock in ground.sockets] == [20, 20]


@pytest.mark.parametrize("number", [errno.ENODEV, errno.ENOBUFS])
def test_what_no_socket_takes_is_an_error_and_opens_no_more_than_one(
    ground: Ground, number: int
) -> None:
    ground.error = number
    for _ in range(3):
        with pytest.raises(OSError, match=os.strerror(number)):
            ground.joins.join(Join(group(1), 1, ANY))
    assert len(ground.sockets) == 1
    ground.sockets[0].error = None
    ground.joins.join(Join(group(1), 1, ANY))
    assert ground.joined == [Join(group(1), 1, ANY)]


def test_a_group_whose_source_was_refused_is_not_left_behind() -> None:
    ground = Ground(max_sources=0)
    with pytest.raises(OSError, match=os.strerror(errno.ENOBUFS)):
        ground.joins.join(Join(group(1), 1, source(1)))
    assert [sock.joined for sock in ground.sockets] == [{}]


def test_the_sockets_are_closed_with_it(ground: Ground) -> None:
    with ground.joins:
        for number in range(21):
            ground.joins.join(Join(group(number), 1, ANY))
    assert [sock.closed for sock in ground.sockets] == [True, True]


def test_what_the_kernel_refuses_to_leave_is_left_with_its_socket(ground: Ground) -> None:
    joins = [Join(group(number), 1, ANY) for number in range(3)]
    for join in joins:
        ground.joins.join(join)
    ground.sockets[0].leave_error = errno.EIO
    ground.joins.leave(joins[1])
    assert ground.joined == [joins[0], joins[2]]
    assert [sock.closed for sock in ground.sockets] == [True, False]
    ground.joins.join(joins[1])
    ground.joins.leave(joins[0])
    assert ground.joined == [joins[1], joins[2]]
    assert len(ground.sockets) == 2


def test_what_is_alone_on_its_socket_needs_no_other_to_be_left(ground: Ground) -> None:
    ground.joins.join(Join(group(1), 1, source(1)))
    ground.sockets[0].leave_error = ground.error = errno.ENOMEM
    ground.joins.leave(Join(group(1), 1, source(1)))
    assert [(sock.joined, sock.closed) for sock in ground.sockets] == [({}, True)]


def test_where_the_others_cannot_move_nothing_is_left(ground: Ground) -> None:
    joins = [Join(group(number), 1, ANY) for number in range(3)]
    for join in joins:
        ground.joins.join(join)
    ground.sockets[0].leave_error = ground.error = errno.ENOMEM
    with pytest.raises(OSError, match=os.strerror(errno.ENOMEM)):
        ground.joins.leave(joins[1])
    assert ground.joined == joins
    assert [sock.closed for sock in ground.sockets] == [False, True]
    ground.sockets[0].leave_error = None
    ground.joins.leave(joins[1])
    assert ground.joined == [joins[0], joins[2]]


JOINS = st.builds(
    Join,
    st.integers(0, 5).map(group),
    st.integers(1, 2),
    st.integers(0, 4).map(source) | st.just(ANY),
)


@given(st.lists(JOINS, max_size=60), st.sets(st.integers(0, 59)))
def test_what_is_joined_is_what_was_asked_for(toggled: list[Join], refused: set[int]) -> None:
    """Each join is made, or left if it is there, on sockets that are soon full.

    refused: which of these the kernel refuses to leave.
    """
    ground = Ground(max_groups=3, max_sources=2)
    wanted: set[Join] = set()
    for number, join in enumerate(toggled):
        for sock in ground.sockets:
            sock.leave_error = errno.EIO if number in refused else None
        if join in wanted:
            ground.joins.leave(join)
        else:
            ground.joins.join(join)
        wanted ^= {join}
        assert ground.joined == sorted(wanted)
    # No socket is opened while another has room: each but the last of its kind was full once.
    open_ = [sock for sock in ground.sockets if not sock.closed]
    assert len(open_) <= 2 + len(toggled) // 2
