"""Spreads joins of groups over sockets, since the kernel lets each socket have only so many."""

import errno
import logging
import os
from collections import Counter
from collections.abc import Callable, Container
from contextlib import ExitStack, suppress
from typing import NamedTuple, Protocol, Self

from mfc_dbus.kernel.groups import GroupSocket, held
from mfc_dbus.model.addresses import Family, family_of

log = logging.getLogger(__name__)

_FULL = (errno.ENOBUFS, errno.ENOMEM)


class Socket(Protocol):
    """A socket that holds joins, as kernel/groups.py has it; its methods raise OSError."""

    def join(self, group: bytes, ifindex: int, source: bytes) -> None: ...
    def leave(self, group: bytes, ifindex: int, source: bytes) -> None: ...
    def leave_group(self, group: bytes, ifindex: int) -> None: ...
    def give_up(self) -> None: ...
    def close(self) -> None: ...


class Join(NamedTuple):
    """A join of a group on a device. Addresses are packed; a source of zeros is any source."""

    group: bytes
    ifindex: int
    source: bytes


class _Place:
    """A socket, and the number of its joins by group and ifindex."""

    def __init__(self, sock: Socket) -> None:
        self._socket = sock
        self._sources: Counter[tuple[bytes, int]] = Counter()
        # Groups that were refused another source since something was left; None: another group.
        self._full: set[tuple[bytes, int] | None] = set()

    @property
    def empty(self) -> bool:
        return not self._sources

    def may_have_room(self, join: Join) -> bool:
        """Tell whether it is worth trying to join here."""
        return self._want(join) not in self._full

    def _want(self, join: Join) -> tuple[bytes, int] | None:
        """Return the group that would have a source more, None where it would be another group."""
        group = (join.group, join.ifindex)
        return group if group in self._sources else None

    def join(self, join: Join) -> None:
        group, ifindex, source = join
        try:
            self._socket.join(group, ifindex, source)
        except OSError as error:
            if error.errno in _FULL and not self.empty:
                self._full.add(self._want(join))
            # A refused source may have left the group behind, from no source.
            if any(source) and not self._sources[group, ifindex]:
                with suppress(OSError):
                    self._socket.leave_group(group, ifindex)
            raise
        self._sources[group, ifindex] += 1

    def leave(self, join: Join) -> None:
        group, ifindex, source = join
        self._socket.leave(group, ifindex, source)
        self._sources -= Counter([(group, ifindex)])
        self._full.clear()

    def give_up(self) -> None:
        self._socket.give_up()


class Joins:
    """Holds any number of joins. A socket without joins stays open: it will be filled again."""

    def __init__(
        self,
        opener: Callable[[Family], Socket] = GroupSocket,
        held: Callable[[], Container[tuple[bytes, int]]] = held,
    ) -> None:
        """held: returns the groups that the kernel has joined, each with its ifindex."""
        self._opener = opener
        self._held = held
        self._stack = ExitStack()
        # By family, and whether joins name a source: no socket may have both kinds of one group.
        self._pools: dict[tuple[Family, bool], list[_Place]] = {}
        self._taken: dict[Join, _Place] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._stack.close()

    def join(self, join: Join) -> None:
        """Join a group that is not joined yet. Raises OSError; then nothing was joined."""
        pool = self._pools.setdefault(_kind(join), [])
        for place in reversed(pool):  # the last is the likeliest to have room
            if not place.may_have_room(join):
                continue
            try:
                place.join(join)
            except OSError as error:
                # Where an empty socket refuses, another one would refuse, too.
                if error.errno not in _FULL or place.empty:
                    raise
            else:
                self._taken[join] = place
                return
        pool.append(self._place(join))
        pool[-1].join(join)
        self._taken[join] = pool[-1]

    def leave(self, join: Join) -> None:
        """Leave a group that was joined, also where its device has gone.

        Where the kernel refuses, the socket is closed, which leaves all its groups; its other joins
        move to a new socket before. Raises OSError where that fails, too; then nothing was left.
        """
        place = self._taken[join]
        try:
            place.leave(join)
        except OSError as error:
            self._give_up(place, join)
            reason = os.strerror(error.errno or 0)
            log.warning("The kernel refused to leave a group (%s): its socket is closed", reason)
        del self._taken[join]

    def _give_up(self, place: _Place, leaving: Join) -> None:
        """Leave one join by closing its socket, and keep the others; raises as `leave` does."""
        staying = [join for join, at in self._taken.items() if at is place and join != leaving]
        pool = self._pools[_kind(leaving)]
        if staying:
            fresh = self._place(leaving)
            try:
                for join in staying:
                    fresh.join(join)
            except OSError:
                fresh.give_up()
                raise
            pool.append(fresh)
            self._taken.update(dict.fromkeys(staying, fresh))
        pool.remove(place)
        place.give_up()

    def lost(self) -> list[Join]:
        """Return the joins that our sockets have and the kernel has not. Raises OSError.

        That happens when a device was deleted and came back unseen with the same ifindex; and when
        then a socket closes that had the same join on the first device: the kernel takes the
        second device's join away.
        """
        held = self._held() if self._taken else ()
        return [join for join in self._taken if (join.group, join.ifindex) not in held]

    def _place(self, join: Join) -> _Place:
        """Open a socket for joins of this kind."""
        sock = self._opener(family_of(join.group))
        self._stack.callback(sock.close)
        return _Place(sock)


def _kind(join: Join) -> tuple[Family, bool]:
    return family_of(join.group), any(join.source)
