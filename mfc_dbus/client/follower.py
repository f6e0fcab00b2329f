"""Follows the service over the bus, and makes an event of each change that it tells of, once."""

from collections.abc import Callable, Iterable
from typing import Any, Literal

from mfc_dbus.bus.connection import Signal
from mfc_dbus.bus.names import BUS, PROPERTIES
from mfc_dbus.client.errors import ClientError, bad_reply
from mfc_dbus.client.info import (
    CauseInfo,
    Event,
    MembershipEvent,
    MembershipInfo,
    MembershipKey,
    RouteEvent,
    RouteInfo,
    RouteKey,
    ServiceEvent,
    info,
    route_info,
)
from mfc_dbus.client.remote import GONE, Remote
from mfc_dbus.names import BUS_NAME

CHANGES = (
    "ChangeCaused",
    "RoutesAdded",
    "RoutesChanged",
    "RoutesRemoved",
    "MembershipsAdded",
    "MembershipsChanged",
    "MembershipsRemoved",
    "PropertiesChanged",
)


class Follower:
    """Keeps the known routes and memberships, and finds what is new in a signal.

    A comparison may be newer than signals that still wait. A signal that repeats what is known is
    no event; signals of earlier states are, and end in the same state.

    owner: of the service's name, empty where it does not run. routes, memberships: as they are
    known. compared: whether they were read from this owner, and not only from an earlier one.
    """

    def __init__(self, remote: Remote, waiting: Callable[[], int]) -> None:
        """waiting: returns how many signals wait to be followed."""
        self._remote = remote
        self._waiting = waiting
        self.owner = ""
        self.routes: dict[RouteKey, RouteInfo] = {}
        self.memberships: dict[MembershipKey, MembershipInfo] = {}
        self.compared = False
        self._cause: CauseInfo | None = None  # of the changes that the next signals tell of
        self._generation: int | None = None  # None: the next one that is signalled makes us compare
        self._heard = 0  # signals of changes since that generation: at least one a change

    @property
    def generation(self) -> int | None:
        """The service's Generation with the last signal that was followed; None: not known."""
        return None if self._generation is None else self._generation + self._heard

    async def start(self, owner: str) -> None:
        """owner: of the service's name, empty where it does not run."""
        self.owner = owner
        if self.owner:
            await self._compare()

    async def follow(self, signal: Signal) -> list[Event]:
        with bad_reply():
            if signal.sender == BUS:
                name, _, owner = signal.body
                return await self._follow_owner(owner) if name == BUS_NAME else []
            if signal.sender != self.owner:
                return []
            if signal.interface == PROPERTIES:
                _, changed, _ = signal.body
                return await self._follow_generation(changed["Generation"].value)
            (told,) = signal.body
            if signal.member == "ChangeCaused":
                self._cause = info(CauseInfo, told)
                return []
            self._heard += 1
            return self._follow_change(signal.member, told)

    async def _follow_owner(self, owner: str) -> list[Event]:
        if owner == self.owner:
            return []
        events: list[Event] = [ServiceEvent(running=False)] if self.owner else []
        self.owner, self._generation, self.compared = owner, None, False
        if owner:
            events += [ServiceEvent(running=True), *await self._compare()]
        return events

    async def _follow_generation(self, generation: int) -> list[Event]:
        before = self._generation
        if before is not None and generation <= before:
            return []
        missed = before is None or generation - before > self._heard
        self._generation, self._heard = generation, 0
        return await self._compare() if missed else []

    def _follow_change(self, member: str, told: Iterable[Any]) -> list[Event]:
        events: list[Event | None]
        if member.startswith("Routes"):
            events = [self._follow_route(member, route_info(each)) for each in told]
        else:
            found = (info(MembershipInfo, each) for each in told)
            events = [self._follow_membership(member, each) for each in found]
        return [event for event in events if event is not None]

    def _follow_route(self, member: str, route: RouteInfo) -> Event | None:
        known = self.routes.get(route.key)
        if member == "RoutesRemoved":
            gone = self.routes.pop(route.key, None)
            return RouteEvent("removed", route, self._cause, gone) if gone else None
        if route == known:
            return None
        self.routes[route.key] = route
        return RouteEvent("changed" if known else "added", route, self._cause, known)

    def _follow_membership(self, member: str, membership: MembershipInfo) -> Event | None:
        known = self.memberships.get(membership.key)
        if member == "MembershipsRemoved":
            gone = self.memberships.pop(membership.key, None)
            if gone is None:
                return None
            return MembershipEvent("membership-removed", membership, self._cause, gone)
        if membership == known:
            return None
        self.memberships[membership.key] = membership
        event: Literal["membership-added", "membership-changed"]
        event = "membership-changed" if known else "membership-added"
        return MembershipEvent(event, membership, self._cause, known)

    async def _compare(self) -> list[Event]:
        """Read all routes again, and return the differences as events."""
        try:
            routes, memberships, generation = await self._remote.snapshot()
        except ClientError as error:
            # The service has gone again, or hangs and will go: the bus signals the next one.
            if error.name not in (*GONE, "Timeout"):
                raise
            self._generation = None
            return []
        self.compared = True
        if self._generation is None and not self._waiting():
            # Waiting signals may be of changes before or after this: then nothing can be counted.
            self._generation, self._heard = generation, 0
        self._cause = None  # nobody knows it of what was missed
        removed: list[Event | None] = []
        present = {route.key for route in routes}
        for route in [each for key, each in self.routes.items() if key not in present]:
            removed.append(self._follow_route("RoutesRemoved", route))
        joined = {membership.key for membership in memberships}
        for membership in [each for key, each in self.memberships.items() if key not in joined]:
            removed.append(self._follow_membership("MembershipsRemoved", membership))
        added = [self._follow_route("RoutesAdded", route) for route in routes]
        joins = [self._follow_membership("MembershipsAdded", each) for each in memberships]
        return [event for event in (*removed, *added, *joins) if event is not None]
