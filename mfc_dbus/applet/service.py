"""The service as the applet follows it: what it tells becomes `State`, and signals for the window.

Every call is asynchronous. What is heard while the state is read is told after it, in its order.
"""

import time
from collections.abc import Sequence
from typing import Any

from gi.repository import GLib, GObject

from mfc_dbus.applet.connection import Connection
from mfc_dbus.applet.coroutines import Done, Pending, spawn
from mfc_dbus.applet.state import State, known, known_route
from mfc_dbus.client.errors import ClientError
from mfc_dbus.client.info import (
    InterfaceInfo,
    MembershipInfo,
    RouteInfo,
    StreamInfo,
    UnroutedEvent,
    described_membership,
    described_route,
)
from mfc_dbus.client.part import Part, describe
from mfc_dbus.documents.entries import Report, read_report
from mfc_dbus.names import INTERFACE

MOST_STREAMS = 500  # that are asked for each second; of more the busiest
TIMEOUT_MS = 30_000
LONG_TIMEOUT_MS = 300_000  # 100,000 routes, or somebody who types a password

_PROPERTIES = "org.freedesktop.DBus.Properties"
_AGAIN = 1000  # milliseconds until the service is asked again that did not answer
_SIGNAL = GObject.SignalFlags.RUN_FIRST


class Service(GObject.Object):
    """The service, and what is known of it.

    routes-changed: RouteInfo values that were added, changed and removed. unrouted: a stream that
    no route covers. availability-changed: it came or went. reset: all was read anew. The others:
    that part of `state` is another now.
    """

    __gsignals__ = {  # noqa: RUF012 # GObject reads it from the class
        "routes-changed": (_SIGNAL, None, (object, object, object)),
        "unrouted": (_SIGNAL, None, (str, str, str, int)),
        "availability-changed": (_SIGNAL, None, (bool,)),
        "reset": (_SIGNAL, None, ()),
        "streams-changed": (_SIGNAL, None, ()),
        "memberships-changed": (_SIGNAL, None, ()),
        "interfaces-changed": (_SIGNAL, None, ()),
        "unrouted-changed": (_SIGNAL, None, ()),
        "permissions-changed": (_SIGNAL, None, ()),
    }

    available = GObject.Property(type=bool, default=False)
    version = GObject.Property(type=str, default="")

    def __init__(self) -> None:
        super().__init__()
        self.state = State()
        self._run = 0  # which start of the service is followed
        self._heard: list[tuple[str, list[Any]]] | None = None
        self._polling = False
        self._timer = 0
        self._connection = Connection(self._owned, self._signalled)

    def call(
        self,
        member: str,
        arguments: GLib.Variant | None,
        *,
        interactive: bool = False,
        timeout_ms: int = TIMEOUT_MS,
        done: Done,
        interface: str = INTERFACE,
    ) -> None:
        """Call a method. done: gets its values, or None and a ClientError.

        interactive: the user may be asked for a password.
        """
        timeout_ms = max(timeout_ms, LONG_TIMEOUT_MS if interactive else 0)
        self._connection.call(
            member,
            arguments,
            done,
            interface=interface,
            interactive=interactive,
            timeout_ms=timeout_ms,
        )

    def ask(self, member: str, arguments: GLib.Variant | None = None, **how: Any) -> Pending:
        """Call a method from a coroutine, which awaits this; raises ClientError there."""
        return Pending(lambda done: self.call(member, arguments, done=done, **how))

    def poll_streams(self, every: int) -> None:
        """Ask for the streams each so many seconds, beginning now.

        Rates that were seen in another rhythm are forgotten: a curve has one for each time.
        """
        self.state.rates.clear()
        if self._timer:
            GLib.source_remove(self._timer)
        self._timer = GLib.timeout_add_seconds(every, self._poll)
        self._poll()

    def _owned(self, owner: str) -> None:
        self._run += 1
        self._heard = [] if owner else None
        if owner:
            spawn(self._read(self._run))
        elif self.available:
            self._become(available=False)

    def _become(self, *, available: bool) -> None:
        self.state.available = self.available = available
        self.emit("availability-changed", available)

    async def _read(self, run: int) -> None:
        """Read everything, then tell of what was heard meanwhile."""
        try:
            (version,) = await self._get("Version")
            (permissions,) = await self.ask("GetPermissions")
            report = await describe(self._describe)
            (interfaces,) = await self._get("Interfaces")
        except ClientError as error:
            if run == self._run and error.name != "ServiceUnknown":
                GLib.timeout_add(_AGAIN, self._read_again, run)
            return
        if run != self._run:
            return
        self.version = version
        self.state.permissions = permissions
        self.state.set_routes(map(described_route, report.route))
        self.state.set_memberships(map(described_membership, report.membership))
        self.state.interfaces = [known(InterfaceInfo, each) for each in interfaces]
        self.state.unrouted.clear()
        heard, self._heard = self._heard or [], None
        for member, values in heard:
            self._take(member, values, tell=False)
        self._become(available=True)
        self.emit("reset")
        self._poll()

    def _read_again(self, run: int) -> bool:
        if run == self._run:
            spawn(self._read(run))
        return GLib.SOURCE_REMOVE

    async def _describe(self, part: Part) -> Report:
        filter_ = {
            name: GLib.Variant("s" if isinstance(value, str) else "b", value)
            for name, value in part.options().items()
        }
        arguments = GLib.Variant("(a{sv})", (filter_,))
        (text,) = await self.ask("Describe", arguments, timeout_ms=LONG_TIMEOUT_MS)
        return read_report(text)

    def _get(self, name: str) -> Pending:
        arguments = GLib.Variant("(ss)", (INTERFACE, name))
        return self.ask("Get", arguments, interface=_PROPERTIES)

    def _signalled(self, member: str, values: list[Any]) -> None:
        if self._heard is not None:
            self._heard.append((member, values))
        elif self.available:
            self._take(member, values)

    def _take(self, member: str, values: list[Any], *, tell: bool = True) -> None:
        """Bring a signal into the state. tell: say so to those who follow."""
        told: tuple[Any, ...] = ()
        if member.startswith("Routes"):
            told = ("routes-changed", *self._take_routes(member, values[0]))
        elif member.startswith("Memberships"):
            self._take_memberships(member, values[0])
            told = ("memberships-changed",)
        elif member == "UnroutedTraffic":
            self.state.see_unrouted(UnroutedEvent(*values), time.monotonic())
            told = ("unrouted", *values)
        elif member == "PermissionsChanged":
            spawn(self._read_permissions())
        elif member == "PropertiesChanged" and "Interfaces" in values[2]:
            spawn(self._read_interfaces())
        if tell and told:
            self.emit(*told)
            if member == "UnroutedTraffic":
                self.emit("unrouted-changed")

    def _take_routes(self, member: str, told: Sequence[Any]) -> list[list[RouteInfo]]:
        routes = [known_route(each) for each in told]
        if member == "RoutesRemoved":
            self.state.drop_routes(routes)
            return [[], [], routes]
        self.state.put_routes(routes)
        return [routes, [], []] if member == "RoutesAdded" else [[], routes, []]

    def _take_memberships(self, member: str, told: Sequence[Any]) -> None:
        for each in told:
            membership = known(MembershipInfo, each)
            if member == "MembershipsRemoved":
                self.state.memberships.pop(membership.key, None)
            else:
                self.state.memberships[membership.key] = membership

    async def _read_permissions(self) -> None:
        try:
            (self.state.permissions,) = await self.ask("GetPermissions")
        except ClientError:
            return  # it has gone, and is asked when it comes back
        self.emit("permissions-changed")

    def read_interfaces(self) -> None:
        """Ask how much has passed the interfaces, of which no signal tells."""
        if self.available:
            spawn(self._read_interfaces())

    async def _read_interfaces(self) -> None:
        try:
            (interfaces,) = await self._get("Interfaces")
        except ClientError:
            return
        self.state.interfaces = [known(InterfaceInfo, each) for each in interfaces]
        self.emit("interfaces-changed")

    def _poll(self) -> bool:
        if self.available and not self._polling:
            self._polling = True
            spawn(self._read_streams())
        return GLib.SOURCE_CONTINUE

    async def _read_streams(self) -> None:
        filter_ = {"limit": GLib.Variant("u", MOST_STREAMS)}
        try:
            streams, total = await self.ask("ListStreams", GLib.Variant("(a{sv})", (filter_,)))
        except ClientError:
            return
        finally:
            self._polling = False
        before = len(self.state.unrouted)
        self.state.set_streams([known(StreamInfo, each) for each in streams], total)
        self.state.forget_unrouted(time.monotonic())
        if len(self.state.unrouted) != before:
            self.emit("unrouted-changed")
        self.emit("streams-changed")
