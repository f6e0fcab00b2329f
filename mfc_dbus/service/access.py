"""Who may do what: one table. What is not in it is denied, and so is whatever goes wrong."""

import asyncio
from collections.abc import Mapping, Sequence

from mfc_dbus.bus.connection import Connection, Signal
from mfc_dbus.bus.errors import BusError, ConnectionLost
from mfc_dbus.bus.frames import Header
from mfc_dbus.bus.names import BUS
from mfc_dbus.model.errors import AccessDenied, InteractiveAuthorizationRequired
from mfc_dbus.model.quoting import quote
from mfc_dbus.names import INTERFACE
from mfc_dbus.service.limits import Waiting
from mfc_dbus.service.polkit import Polkit

PUBLIC = ""
MANAGE_ROUTES = f"{INTERFACE}.manage-routes"
MANAGE_MEMBERSHIPS = f"{INTERFACE}.manage-memberships"
RELOAD = f"{INTERFACE}.reload"

# Of the log's object alone, where it is not refused to everyone. No call has such a name.
SET_LOG = "org.freedesktop.DBus.Properties.Set of org.freedesktop.LogControl1"

# Of a document that is applied, if it changes memberships. No call has such a name either.
APPLY_MEMBERSHIPS = f"{INTERFACE}.Apply of memberships"

ACCESS = {
    f"{INTERFACE}.AddRoute": MANAGE_ROUTES,
    f"{INTERFACE}.DeleteRoute": MANAGE_ROUTES,
    f"{INTERFACE}.FlushRoutes": MANAGE_ROUTES,
    f"{INTERFACE}.JoinGroup": MANAGE_MEMBERSHIPS,
    f"{INTERFACE}.LeaveGroup": MANAGE_MEMBERSHIPS,
    f"{INTERFACE}.Apply": MANAGE_ROUTES,
    APPLY_MEMBERSHIPS: MANAGE_MEMBERSHIPS,
    f"{INTERFACE}.Describe": PUBLIC,
    f"{INTERFACE}.ListLearned": PUBLIC,
    f"{INTERFACE}.Reload": RELOAD,
    SET_LOG: RELOAD,
    "org.freedesktop.DBus.Properties.Get": PUBLIC,
    "org.freedesktop.DBus.Properties.GetAll": PUBLIC,
    "org.freedesktop.DBus.Properties.Set": PUBLIC,  # answered by an error, for anyone
    "org.freedesktop.DBus.Introspectable.Introspect": PUBLIC,
    "org.freedesktop.DBus.Peer.Ping": PUBLIC,
    "org.freedesktop.DBus.Peer.GetMachineId": PUBLIC,
}

ROOT = 0
_MAX_UIDS = 1024  # that are remembered
# Each check may be a password prompt that nobody answers.
_MAX_CHECKS_OF_SENDER = 4
_MAX_CHECKS_OF_USER = 16
_MAX_CHECKS = 64
_MAX_BYTES_OF_USER = 24 * 1024 * 1024  # of calls that are kept meanwhile


class Access:
    """Decides on callers: the bus says who they are, polkit what they may."""

    def __init__(self, connection: Connection, polkit: Polkit) -> None:
        self._connection = connection
        self._polkit = polkit
        self._waiting = Waiting("authorisation")
        self._uids: dict[str, int] = {}

    async def authorise(
        self, call: Header, member: str, details: Sequence[Mapping[str, str]]
    ) -> None:
        """Return if the caller may call this member, with each of the details that polkit gets.

        Raises AccessDenied, InteractiveAuthorizationRequired, LimitExceeded.
        """
        action = ACCESS.get(member)
        if action == PUBLIC:
            return
        if action is None:
            raise AccessDenied(f"Nobody may call {member}")
        if await self.may_all(call):
            return
        uid = await self.uid(call.sender)
        waiting = self._waiting.limited
        with (
            waiting("this caller", call.sender, _MAX_CHECKS_OF_SENDER),
            waiting("this user", f"uid {uid}", _MAX_CHECKS_OF_USER),
            waiting("all users", "all", _MAX_CHECKS),
            waiting("this user", f"bytes of uid {uid}", _MAX_BYTES_OF_USER, call.body_length),
        ):
            await self._ask_while_connected(call, action, details)

    async def may_all(self, call: Header) -> bool:
        """Whether the caller may do anything, and nobody needs to be asked. Raises AccessDenied."""
        return await self.uid(call.sender) == ROOT

    async def uid(self, sender: str) -> int:
        """Ask the bus, once: it gives a unique name to nobody else later. Raises AccessDenied."""
        uid = self._uids.get(sender)
        if uid is None:
            try:
                (uid,) = await self._connection.call_bus("GetConnectionUnixUser", "s", [sender])
            except (BusError, ConnectionLost, TimeoutError):
                raise AccessDenied("The bus does not say who you are") from None
            if len(self._uids) >= _MAX_UIDS:
                del self._uids[next(iter(self._uids))]
            self._uids[sender] = uid
        return uid

    async def known_uid(self, sender: str) -> int | None:
        """Do the same for what needs no right; None where the bus does not say it."""
        try:
            return await self.uid(sender)
        except AccessDenied:
            return None

    async def _ask_while_connected(
        self, call: Header, action: str, details: Sequence[Mapping[str, str]]
    ) -> None:
        """Ask polkit; stop asking, there and here, when the caller leaves."""
        asking = asyncio.ensure_future(self._ask(call, action, details))

        def watch(signal: Signal) -> None:
            if signal.member == "NameOwnerChanged" and signal.body[0] == call.sender:
                asking.cancel()

        rule = f"type='signal',sender='{BUS}',member='NameOwnerChanged',arg0='{call.sender}'"
        try:
            # The bus reads this before the question to polkit, so that no departure is missed; of
            # one that has left before, polkit itself knows nothing.
            await self._connection.subscribe(rule, watch)
            await asyncio.wait([asking])
        except (BusError, ConnectionLost, TimeoutError):
            raise AccessDenied("The bus does not say whether you are still there") from None
        finally:
            asking.cancel()
            self._connection.unsubscribe(rule, watch)
        if asking.cancelled():
            raise AccessDenied("The caller has left")
        asking.result()

    async def _ask(self, call: Header, action: str, details: Sequence[Mapping[str, str]]) -> None:
        if not details:
            raise AccessDenied(f"Nothing was asked for ({action})")
        for each in details:
            decision = await self._polkit.check(
                call.sender, action, each, interactive=call.interactive
            )
            if decision.authorized:
                continue
            if decision.failure:
                raise AccessDenied(f"Not authorised ({action}): {decision.failure}")
            if decision.challenge and not call.interactive:
                raise InteractiveAuthorizationRequired(
                    f"This takes a password ({action}), and the call does not allow to ask for it"
                )
            # The caller knows what he asked for, and maybe not what else that takes.
            taken = " ".join(f"{name} {quote(value)}" for name, value in each.items())
            more = f": it takes {taken}" if len(details) > 1 else ""
            raise AccessDenied(f"Not authorised ({action}){more}")
