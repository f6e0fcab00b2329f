"""What callers may do, told before they do it: of an action as a whole, and of one call."""

import asyncio
import struct
from collections.abc import Callable, Mapping

from mfc_dbus.bus.backend import Body
from mfc_dbus.bus.calls import Call
from mfc_dbus.bus.errors import BusError
from mfc_dbus.bus.frames import align
from mfc_dbus.bus.names import INVALID_ARGS
from mfc_dbus.model import members
from mfc_dbus.model.errors import InvalidArgs
from mfc_dbus.model.members import Action, Method, Permission
from mfc_dbus.model.quoting import join, quote
from mfc_dbus.names import INTERFACE
from mfc_dbus.service.access import Access
from mfc_dbus.service.request import Prepare, Request

_COALESCE = 1.0  # seconds between two signals, since strangers can have polkit say that it changed


def _methods() -> Mapping[str, Method]:
    """Return the methods of ours whose arguments say what is asked for, by their members."""
    ours = {name.removeprefix(f"{INTERFACE}."): method for name, method in members.METHODS.items()}
    return {
        name: method
        for name, method in ours.items()
        if "." not in name and method.action is not Action.PUBLIC
    }


_METHODS = _methods()


class Permissions:
    """Answers GetPermissions and Check.

    prepare: makes a request of a call of each of our methods that take an action. signal: sends
    PermissionsChanged.
    """

    def __init__(
        self, access: Access, prepare: Mapping[str, Prepare], signal: Callable[[], None]
    ) -> None:
        self._access = access
        self._prepare = prepare
        self._signal = signal
        self._timer: asyncio.TimerHandle | None = None
        self._next = 0.0  # when the next signal may be sent, on the event loop's clock
        self.prepare: Mapping[str, Prepare] = {
            "GetPermissions": self._get_permissions,
            "Check": self._check,
        }

    def changed(self) -> None:
        """Have everybody told soon that permissions may be others; at most once a second."""
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(max(self._next, loop.time()), self._tell)

    def _tell(self) -> None:
        self._timer = None
        self._signal()
        self._next = asyncio.get_running_loop().time() + _COALESCE

    def _get_permissions(self, call: Call) -> Request:
        async def act() -> Body:
            return [dict(await self._access.permissions(call.header))]

        return Request(act)

    def _check(self, call: Call) -> Request:
        inner = _unwrap(call)
        header = inner.header
        method = _METHODS[header.member]
        request = self._prepare[header.member](inner)

        async def act() -> Body:
            found = Permission.YES
            if not method.by_part:
                found = await self._access.permission(header, method.action, request.questions)
            if found is Permission.YES:
                for action, questions in (await request.more()).items():
                    permission = await self._access.permission(header, action, questions)
                    if permission is not Permission.YES:
                        found = permission
                    if permission is Permission.NO:
                        break
            return [found]

        return Request(act)


def _unwrap(call: Call) -> Call:
    """Return the call that a Check is about. Raises BusError, InvalidArgs.

    Its arguments are a struct in a variant, whose bytes begin at a multiple of 8. So they are laid
    out as a body of their own is, and are read as that of the call itself would be.
    """
    header, body = call.header, call.unread
    try:
        (length,) = struct.unpack_from(f"{header.order}I", body)
        member = body[4 : 4 + length].decode()
        at = 4 + length + 1
        end = at + 1 + body[at]
        signature = body[at + 1 : end].decode()
        arguments = body[align(end + 1, 8) :]
    except (IndexError, ValueError, struct.error):
        raise BusError(INVALID_ARGS, "The arguments cannot be decoded") from None
    method = _METHODS.get(member)
    if method is None:
        raise InvalidArgs(f"{quote(member)} takes no permission; there are {join(_METHODS)}")
    if signature != f"({method.arguments})":
        raise InvalidArgs(
            f"{member} takes arguments of type '({method.arguments})' here, and not "
            f"{quote(signature)}"
        )
    inner = Call(
        header._replace(member=member, signature=method.arguments, body_length=len(arguments)),
        [],
        arguments,
        only_asks=True,
    )
    return inner if method.late else inner._replace(body=inner.read(), unread=b"")
