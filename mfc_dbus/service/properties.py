"""The properties of the D-Bus object, and the signal that they changed."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from mfc_dbus.bus.backend import Body, Variant, encode
from mfc_dbus.bus.connection import Connection
from mfc_dbus.bus.errors import BusError
from mfc_dbus.bus.names import ERROR, PROPERTIES
from mfc_dbus.control.view import View
from mfc_dbus.loop.slices import in_slices
from mfc_dbus.model import members
from mfc_dbus.model.addresses import FAMILY_NAMES, format_address, format_source, source_prefix
from mfc_dbus.model.options import MEMBERSHIP, said_of_membership, signatures
from mfc_dbus.model.quoting import quote
from mfc_dbus.model.status import InterfaceStatus, MembershipStatus, TableStatus
from mfc_dbus.names import INTERFACE, OBJECT_PATH
from mfc_dbus.service.encoded_routes import EncodedRoutes
from mfc_dbus.version import VERSION

_SIGNATURES = signatures(MEMBERSHIP)
_COALESCE = 0.1  # seconds from a change to the signal that tells of it and of what came after it


class Properties:
    """The properties, all read-only. `Routes` is kept encoded, since it may be long."""

    interface = INTERFACE

    def __init__(self, connection: Connection, view: View) -> None:
        self.generation = 0
        self._connection = connection
        self._view = view
        self.routes = EncodedRoutes()
        for status in view.routes.values():
            self.routes.put(status)
        self._invalid: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._read_plain: Mapping[str, Callable[[], Any]] = {
            "Interfaces": self._interfaces,
            "Tables": self._tables,
            "Memberships": self._memberships,
            "Version": lambda: VERSION,
            "Generation": lambda: self.generation,
        }

    def get(self, name: str) -> Body:
        """Return a property's value as a body, that is, as a variant. Raises BusError."""
        self._check(name)
        return self.routes.as_variant() if name == "Routes" else [self._read(name)]

    def get_all(self) -> Body:
        """Return all values as a body; `Routes` is left out where it is too long for a message."""
        plain = encode("a{sv}", [{name: self._read(name) for name in self._read_plain}])
        return plain if self.routes.too_long else self.routes.added_to(plain)

    def prepare_set(self, name: str, _value: Variant) -> NoReturn:
        """Raise the error for a property that is unknown, or cannot be set."""
        self._check(name)
        raise BusError(f"{ERROR}.PropertyReadOnly", f"Property {quote(name)} is read-only")

    def changed(self, *names: str) -> None:
        """Have a signal name these properties soon; it comes at most ten times a second."""
        self._invalid.update(names)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_COALESCE, self._emit)

    async def read_anew(self) -> None:
        """Encode all routes anew, in slices, and have everyone see that no signal told of some
        change. No other change is told meanwhile.
        """
        routes = EncodedRoutes()
        async for status in in_slices(self._view.routes.values()):
            routes.put(status)
        before, self.routes = self.routes, routes
        self.generation += 1
        self.changed("Routes", "Interfaces", "Tables")
        await before.let_go()

    def _emit(self) -> None:
        self._timer = None
        body = [INTERFACE, {"Generation": self._read("Generation")}, sorted(self._invalid)]
        self._invalid.clear()
        signature = members.SIGNALS[f"{PROPERTIES}.PropertiesChanged"]
        self._connection.emit(OBJECT_PATH, PROPERTIES, "PropertiesChanged", signature, body)

    def _check(self, name: str) -> None:
        if name not in members.PROPERTIES:
            raise BusError(f"{ERROR}.UnknownProperty", f"There is no property {quote(name)}")

    def _read(self, name: str) -> Variant:
        return Variant(members.PROPERTIES[name].signature, self._read_plain[name]())

    def _interfaces(self) -> list[dict[str, Variant]]:
        return [_interface(status) for status in self._view.interfaces]

    def _tables(self) -> list[dict[str, Variant]]:
        return [_table(status) for status in self._view.tables]

    def _memberships(self) -> list[dict[str, Variant]]:
        return [describe_membership(status) for status in self._view.memberships]


def _interface(status: InterfaceStatus) -> dict[str, Variant]:
    described = {
        "name": Variant("s", status.name),
        "family": Variant("s", FAMILY_NAMES[status.table.family]),
        "table": Variant("u", status.table.number),
        "vif": Variant("u", status.vif),
        "ifindex": Variant("u", status.ifindex),
        "references": Variant("u", status.references),
        "state": Variant("s", status.state),
    }
    if status.counters is not None:
        described["packets-in"] = Variant("t", status.counters.packets_in)
        described["packets-out"] = Variant("t", status.counters.packets_out)
        described["bytes-in"] = Variant("t", status.counters.bytes_in)
        described["bytes-out"] = Variant("t", status.counters.bytes_out)
    return described


def _table(status: TableStatus) -> dict[str, Variant]:
    described = {
        "family": Variant("s", FAMILY_NAMES[status.id.family]),
        "table": Variant("u", status.id.number),
        "state": Variant("s", status.state),
        "routes": Variant("u", status.routes),
        "interfaces": Variant("u", status.interfaces),
    }
    if status.reason:
        described["reason"] = Variant("s", status.reason)
    return described


def describe_membership(status: MembershipStatus) -> dict[str, Variant]:
    """Return a membership as the property has it."""
    membership, state, reason = status
    described = {
        "group": Variant("s", format_address(membership.group)),
        "source": Variant("s", format_source(source_prefix(membership.source))),
        "interface": Variant("s", membership.interface),
        "state": Variant("s", state),
    }
    if reason:
        described["reason"] = Variant("s", reason)
    for name, value in said_of_membership(membership).items():
        described[name] = Variant(_SIGNATURES[name], value)
    if membership.origin != "bus":
        described["origin"] = Variant("s", membership.origin)
    return described
