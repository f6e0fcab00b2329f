"""A bus that exists in memory only, with the service behind it."""

import asyncio
from collections.abc import Callable, Sequence
from copy import copy
from typing import Any

from mfc_dbus.bus.backend import Variant, decode
from mfc_dbus.bus.connection import Signal
from mfc_dbus.bus.errors import BusError
from mfc_dbus.bus.names import BUS, BUS_PATH, ERROR, PROPERTIES
from mfc_dbus.names import BUS_NAME, INTERFACE, OBJECT_PATH

ROUTES = "a(sssasa{sv})"


class FakeBus:
    """A connection, the bus, and the service behind it.

    failures: what the next calls fail with. heard: whose signals reach the handlers, which they do
    at once, beside those of the bus.
    """

    def __init__(self) -> None:
        self.owner = ""
        self.heard = ""
        self.too_many = False  # routes for one message
        self.generation = 0
        self.routes: dict[str, list[Any]] = {}
        self.memberships: dict[str, dict[str, Variant]] = {}
        self.properties: dict[str, Any] = {
            "Version": Variant("s", "1.2.3"),
            "Memberships": Variant("aa{sv}", []),
        }
        self.returns: list[Any] = []
        self.calls: list[tuple[Any, ...]] = []
        self.options: list[tuple[float, bool]] = []
        self.failures: list[Exception] = []
        self.handlers: list[Callable[[Signal], None]] = []
        self.closed = asyncio.Event()
        self._owners = 0

    # The connection

    async def call(
        self,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str,
        body: bytes,
        *,
        timeout: float,
        interactive: bool,
        activate: bool,
        returns: str,
    ) -> list[Any]:
        assert (destination, path) == (BUS_NAME, OBJECT_PATH)
        await asyncio.sleep(0)
        arguments = decode(signature, body)
        self.calls.append((member, signature, *arguments))
        self.options.append((timeout, interactive))
        if self.failures:
            raise self.failures.pop(0)
        if interface == INTERFACE:
            return self.returns
        if not self.owner:
            raise BusError(f"{ERROR}.ServiceUnknown", "not provided by any .service files")
        properties = {
            "Routes": Variant(ROUTES, [list(route) for route in self.routes.values()]),
            "Generation": Variant("t", self.generation),
        } | self.properties
        if self.too_many:
            del properties["Routes"]
        return [properties] if member == "GetAll" else [properties[arguments[1]]]

    async def call_bus(self, member: str, signature: str, body: Sequence[Any]) -> list[Any]:
        assert (member, signature, body) == ("GetNameOwner", "s", [BUS_NAME])
        if not self.owner:
            raise BusError(f"{ERROR}.NameHasNoOwner", "")
        return [self.owner]

    async def subscribe(self, rule: str, handler: Callable[[Signal], None]) -> None:
        self.handlers.append(handler)

    def unsubscribe(self, rule: str, handler: Callable[[Signal], None]) -> None:
        self.handlers.remove(handler)

    async def wait_closed(self) -> None:
        await self.closed.wait()

    # The service

    def start(self) -> None:
        self._owners += 1
        self.generation = 0
        self._own(f":1.{self._owners}")

    def stop(self) -> None:
        self._own("")

    def put(self, group: str, oif: str, state: str = "active", *, heard: bool = True) -> None:
        member = "RoutesChanged" if group in self.routes else "RoutesAdded"
        self.routes[group] = ["*", group, "eth1", [oif], {"state": Variant("s", state)}]
        self._changed(member, self.routes[group], heard=heard)

    def remove(self, group: str, *, heard: bool = True) -> None:
        if group in self.routes:
            self._changed("RoutesRemoved", self.routes.pop(group), heard=heard)

    def join(self, group: str, state: str, *, heard: bool = True) -> None:
        known = self.memberships.get(group)
        fields = {"source": "*", "group": group, "interface": "eth1", "state": state}
        self.memberships[group] = {name: Variant("s", value) for name, value in fields.items()}
        if known == self.memberships[group]:
            return
        self.properties["Memberships"] = Variant("aa{sv}", [*self.memberships.values()])
        member = "MembershipsChanged" if known else "MembershipsAdded"
        self._changed(member, self.memberships[group], heard=heard)

    def leave(self, group: str) -> None:
        gone = self.memberships.pop(group)
        self.properties["Memberships"] = Variant("aa{sv}", [*self.memberships.values()])
        self._changed("MembershipsRemoved", gone, heard=True)

    def cause(self, **fields: str) -> None:
        """Tell of who or what makes the next changes."""
        told = {name: Variant("s", value) for name, value in fields.items()}
        self.send(Signal(self.owner, OBJECT_PATH, INTERFACE, "ChangeCaused", [told]))

    def tell(self, invalid: str = "Routes") -> None:
        """Send the signal that comes after changes, some or many."""
        changed = {"Generation": Variant("t", self.generation)}
        body = [INTERFACE, changed, [invalid]]
        self.send(Signal(self.owner, OBJECT_PATH, PROPERTIES, "PropertiesChanged", body))

    def send(self, signal: Signal) -> None:
        for handler in self.handlers if signal.sender in (BUS, self.heard) else ():
            handler(signal)

    def _own(self, owner: str) -> None:
        before, self.owner = self.owner, owner
        body = [BUS_NAME, before, owner]
        self.send(Signal(BUS, BUS_PATH, BUS, "NameOwnerChanged", body))

    def _changed(self, member: str, told: Any, *, heard: bool) -> None:
        if self.owner:
            self.generation += 1
            if heard:
                self.send(Signal(self.owner, OBJECT_PATH, INTERFACE, member, [[copy(told)]]))
