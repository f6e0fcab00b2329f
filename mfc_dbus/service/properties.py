"""The properties of the D-Bus object, and the signal that they changed."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, NoReturn

from mfc_dbus.bus.backend import Body, Variant, encode
from mfc_dbus.bus.connection import Connection
from mfc_dbus.bus.errors import BusError
from mfc_dbus.bus.names import ERROR, PROPERTIES
from mfc_dbus.control.controller import Controller
from mfc_dbus.memberships.memberships import MembershipStatus
from mfc_dbus.model.addresses import FAMILY_NAMES, format_address, format_source, of_source
from mfc_dbus.model.quoting import quote
from mfc_dbus.names import INTERFACE, OBJECT_PATH
from mfc_dbus.routing.table import Table
from mfc_dbus.routing.vifs import Vif
from mfc_dbus.service.encoded_routes import ROUTES, WireRoutes
from mfc_dbus.version import VERSION

_COALESCE = 0.1  # seconds from a change to the signal that tells of it and of what came after it


class Property(NamedTuple):
    """A property: its signature, and what reads it."""

    signature: str
    read: Callable[[], Any]


class Properties:
    """All of them are read-only. `Routes` is kept encoded, since it may be long."""

    interface = INTERFACE

    def __init__(self, connection: Connection, controller: Controller) -> None:
        self.routes = WireRoutes()
        for status in controller.told.values():
            self.routes.put(status)
        self.generation = 0
        self._connection = connection
        self._controller = controller
        self._invalid: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.plain: Mapping[str, Property] = {
            "Interfaces": Property("aa{sv}", self._interfaces),
            "Tables": Property("aa{sv}", self._tables),
            "Memberships": Property("aa{sv}", self._memberships),
            "Version": Property("s", lambda: VERSION),
            "Generation": Property("t", lambda: self.generation),
        }
        self.signatures = {"Routes": ROUTES} | {
            name: each.signature for name, each in self.plain.items()
        }

    def get(self, name: str) -> Body:
        """Encode a property's value, as a variant."""
        self._check(name)
        return self.routes.as_variant() if name == "Routes" else [self._read(name)]

    def get_all(self) -> Body:
        """Encode all values; a property that has none, since it is too long, is left out."""
        if self.routes.too_long:
            return encode("a{sv}", [{name: self._read(name) for name in self.plain}])
        return self.routes.added_to(
            encode("a{sv}", [{name: self._read(name) for name in self.plain}])
        )

    def prepare_set(self, name: str, _value: Variant) -> NoReturn:
        """Refuse: all of them are read-only."""
        self._check(name)
        raise BusError(f"{ERROR}.PropertyReadOnly", f"Property {quote(name)} is read-only")

    def changed(self, *names: str) -> None:
        """Tell of a change soon; however many there are, the signal comes ten times a second."""
        self._invalid.update(names)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_COALESCE, self._emit)

    def _emit(self) -> None:
        self._timer = None
        body = [INTERFACE, {"Generation": self._read("Generation")}, sorted(self._invalid)]
        self._invalid.clear()
        self._connection.emit(OBJECT_PATH, PROPERTIES, "PropertiesChanged", "sa{sv}as", body)

    def _check(self, name: str) -> None:
        if name not in self.signatures:
            raise BusError(f"{ERROR}.UnknownProperty", f"There is no property {quote(name)}")

    def _read(self, name: str) -> Variant:
        found = self.plain[name]
        return Variant(found.signature, found.read())

    def _interfaces(self) -> list[dict[str, Variant]]:
        return [
            _interface(table, vif)
            for table in self._controller.tables.values()
            for vif in sorted(table.vifs)
        ]

    def _tables(self) -> list[dict[str, Variant]]:
        return [_table(table) for table in self._controller.tables.values()]

    def _memberships(self) -> list[dict[str, Variant]]:
        return [_membership(status) for status in self._controller.memberships]


def _interface(table: Table, vif: Vif) -> dict[str, Variant]:
    described = {
        "name": Variant("s", vif.name),
        "family": Variant("s", FAMILY_NAMES[table.id.family]),
        "table": Variant("u", table.id.number),
        "vif": Variant("u", vif.number),
        "ifindex": Variant("u", vif.ifindex),
        "references": Variant("u", vif.references),
    }
    try:
        count = table.kernel.vif_count(vif.number)
    except OSError:  # the device has gone, and took its VIF with it
        return described | {"state": Variant("s", "missing")}
    return described | {
        "state": Variant("s", "active"),
        "packets-in": Variant("t", count.packets_in),
        "packets-out": Variant("t", count.packets_out),
        "bytes-in": Variant("t", count.bytes_in),
        "bytes-out": Variant("t", count.bytes_out),
    }


def _table(table: Table) -> dict[str, Variant]:
    described = {
        "family": Variant("s", FAMILY_NAMES[table.id.family]),
        "table": Variant("u", table.id.number),
        "state": Variant("s", "active" if table.owned else "unavailable"),
        "routes": Variant("u", len(table.routes)),
        "interfaces": Variant("u", len(table.vifs)),
    }
    return described if table.owned else described | {"reason": Variant("s", table.reason)}


def _membership(status: MembershipStatus) -> dict[str, Variant]:
    membership, state, reason = status
    described = {
        "group": Variant("s", format_address(membership.group)),
        "source": Variant("s", format_source(of_source(membership.source))),
        "interface": Variant("s", membership.interface),
        "state": Variant("s", state),
    }
    if reason:
        described["reason"] = Variant("s", reason)
    if membership.comment:
        described["comment"] = Variant("s", membership.comment)
    if not membership.persistent:
        described["persistent"] = Variant("b", False)
    if membership.origin != "bus":
        described["origin"] = Variant("s", membership.origin)
    return described
