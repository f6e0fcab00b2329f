"""The states of routes, interfaces, tables and memberships (pure).

The bus and documents have the value of a state, as the contract lists it.
"""

from enum import StrEnum


class RouteState(StrEnum):
    """How much of a route is forwarded."""

    ACTIVE = "active"  # streams leave by all oifs; or are stopped, where the route has no oifs
    PARTIAL = "partial"  # they leave by some of the oifs
    WAITING = "waiting"  # nothing is forwarded: its iif or all oifs are missing or down
    UNAVAILABLE = "unavailable"  # nothing is forwarded, since the kernel's table is not ours
    DISABLED = "disabled"  # it was switched off: other routes decide, as if it were not there


class InterfaceState(StrEnum):
    """Whether packets can pass an interface that has a VIF."""

    ACTIVE = "active"
    DOWN = "down"  # or it has no carrier
    MISSING = "missing"  # the device has gone, and took its VIF with it


class TableState(StrEnum):
    """Whether one of the kernel's routing tables is ours."""

    ACTIVE = "active"
    UNAVAILABLE = "unavailable"


class MembershipState(StrEnum):
    """Whether the kernel has joined a group."""

    JOINED = "joined"
    WAITING = "waiting"  # for its interface, which is missing
    FAILED = "failed"  # the kernel refuses to join the group, or to leave it when it is deleted
