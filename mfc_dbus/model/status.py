"""Values that describe the present: of routes, memberships, interfaces, tables, streams (pure)."""

from typing import NamedTuple

from msgspec import Struct

from mfc_dbus.model.addresses import Prefix
from mfc_dbus.model.membership import Membership
from mfc_dbus.model.route import Oif, Route, RouteKey, TableId
from mfc_dbus.model.states import InterfaceState, MembershipState, RouteState, TableState


class Status(NamedTuple):
    """A route, and how much of it is forwarded."""

    route: Route
    state: RouteState
    reason: str = ""  # why it is not active


class RouteCounters(NamedTuple):
    """Packets and bytes that arrived; `wrong_if` of the packets came by another interface."""

    packets: int
    bytes: int
    wrong_if: int


class MembershipStatus(NamedTuple):
    """A membership, and whether it is joined."""

    membership: Membership
    state: MembershipState
    reason: str  # why it failed


class InterfaceCounters(NamedTuple):
    """Multicast that was forwarded from an interface (in) and to it (out)."""

    packets_in: int
    packets_out: int
    bytes_in: int
    bytes_out: int


class InterfaceStatus(NamedTuple):
    """An interface that has a VIF in a table; `references` is the number of routes that use it."""

    name: str
    table: TableId
    vif: int
    ifindex: int
    references: int
    state: InterfaceState
    counters: InterfaceCounters | None  # None where its device has gone


class TableStatus(NamedTuple):
    """One of the kernel's routing tables: how many routes and VIFs it has, and whose it is."""

    id: TableId
    state: TableState
    reason: str  # why it is not ours
    routes: int
    interfaces: int


class Flow(Struct, frozen=True, gc=False):
    """What the kernel has counted of an entry by a look at it, and since the look before.

    packets, bytes: all that were counted, also those that came by another interface: `wrong_if` of
        the packets. read: when, in nanoseconds since boot.
    packets_per_second, bits_per_second: of what came by the iif, since the look before; None where
        there was none.
    seen: the first look that found packets more by the iif than the one before; 0 for none yet.
    """

    packets: int
    bytes: int
    wrong_if: int
    read: int
    packets_per_second: float | None = None
    bits_per_second: float | None = None
    seen: int = 0

    @property
    def arrived(self) -> int:
        """How many packets came by the iif."""
        return self.packets - self.wrong_if

    @property
    def arrived_bytes(self) -> int:
        """Their bytes: the kernel does not tell apart those that came by another interface."""
        return self.bytes * self.arrived // self.packets if self.packets else 0

    @property
    def idle(self) -> float | None:
        """Seconds since packets were seen to come; None where none was, since the first look."""
        return (self.read - self.seen) / 1e9 if self.seen else None


class Stream(NamedTuple):
    """What an entry of the kernel forwards or stops: streams of a route.

    learned: whether the entry was learned for one stream of the route, and is not the route itself.
    route: identifies it. route_iif: its iif, which may be a pattern. comment: that of the route.
    flow: None where the counters cannot be told.
    """

    table: int
    source: Prefix
    group: Prefix
    iif: str
    oifs: tuple[Oif, ...]
    learned: bool
    route: RouteKey
    route_iif: str
    comment: str
    flow: Flow | None

    @property
    def is_silent(self) -> bool:
        """Whether nothing passes though it may: ever, or as far as that is known, lately."""
        if self.flow is None or not self.oifs:
            return False
        return not self.flow.arrived or self.flow.packets_per_second == 0


class StoreCounters(NamedTuple):
    """Commits of changes to the store that were made and that failed, and the time of all."""

    commits: int = 0
    failures: int = 0
    seconds: float = 0.0


class UnroutedStream(NamedTuple):
    """A stream that arrives and that no route covers: packed addresses, interface and table."""

    source: bytes
    group: bytes
    iif: str
    table: int = 0


class Sighting(NamedTuple):
    """A stream that the kernel asked about lately: packed addresses, where it arrived, and how many
    nanoseconds ago the kernel asked last.
    """

    source: bytes
    group: bytes
    iif: str
    ago: int
