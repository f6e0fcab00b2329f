"""Follows the service over the bus, and tells each change of its routes once."""

from collections.abc import Callable

from mfc_dbus.bus.connection import Signal
from mfc_dbus.bus.names import BUS, PROPERTIES
from mfc_dbus.client.info import (
    ClientError,
    Event,
    RouteEvent,
    RouteInfo,
    RouteKey,
    ServiceEvent,
    bad_reply,
    route_info,
)
from mfc_dbus.client.remote import GONE, Remote
from mfc_dbus.names import BUS_NAME

CHANGES = ("RoutesAdded", "RoutesChanged", "RoutesRemoved", "PropertiesChanged")


class Follower:
    """What is known of the service and its routes, and what is new in a signal.

    A comparison may know more than the signals that still wait behind it: what these tell again
    is left out, and what they tell of states before leads to the same end.
    """

    def __init__(self, remote: Remote, waiting: Callable[[], int]) -> None:
        """waiting: how many signals wait to be followed."""
        self._remote = remote
        self._waiting = waiting
        self._owner = ""
        self._routes: dict[RouteKey, RouteInfo] = {}
        self._generation: int | None = None  # None: compare when the next one is told
        self._heard = 0  # signals of routes since that generation: at least one a change

    async def start(self) -> Event:
        self._owner = await self._remote.owner()
        if self._owner:
            await self._compare()
        return ServiceEvent(running=bool(self._owner))

    async def follow(self, signal: Signal) -> list[Event]:
        with bad_reply():
            if signal.sender == BUS:
                name, _, owner = signal.body
                return await self._follow_owner(owner) if name == BUS_NAME else []
            if signal.sender != self._owner:
                return []
            if signal.interface == PROPERTIES:
                _, changed, _ = signal.body
                return await self._follow_generation(changed["Generation"].value)
            (routes,) = signal.body
            self._heard += 1
            events = [self._follow_route(signal.member, route_info(fields)) for fields in routes]
            return [event for event in events if event is not None]

    async def _follow_owner(self, owner: str) -> list[Event]:
        if owner == self._owner:
            return []
        events: list[Event] = [ServiceEvent(running=False)] if self._owner else []
        self._owner, self._generation = owner, None
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

    def _follow_route(self, member: str, route: RouteInfo) -> Event | None:
        known = self._routes.get(route.key)
        if member == "RoutesRemoved":
            return RouteEvent("removed", route) if self._routes.pop(route.key, None) else None
        if route == known:
            return None
        self._routes[route.key] = route
        return RouteEvent("changed" if known else "added", route)

    async def _compare(self) -> list[Event]:
        """Read the routes again, and tell what is different."""
        try:
            routes, generation = await self._remote.snapshot()
        except ClientError as error:
            # It has gone again, or hangs and will: the bus tells when there is another.
            if error.name not in (*GONE, "Timeout"):
                raise
            self._generation = None
            return []
        if self._generation is None and not self._waiting():
            # Of signals that wait it is not known which changes they tell: count from the next on.
            self._generation, self._heard = generation, 0
        present = {route.key for route in routes}
        removed = [route for key, route in self._routes.items() if key not in present]
        events = [self._follow_route("RoutesRemoved", route) for route in removed]
        events += [self._follow_route("RoutesAdded", route) for route in routes]
        return [event for event in events if event is not None]
