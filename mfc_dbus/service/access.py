"""Who may: the bus says who a caller is, and polkit whether he may do what a member is for.

Which action a member takes is in `model/members.py`. Whatever goes wrong here is a denial.
"""

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from mfc_dbus.bus.connection import Connection, Signal
from mfc_dbus.bus.errors import BusError, ConnectionLost
from mfc_dbus.bus.frames import Header
from mfc_dbus.bus.names import BUS
from mfc_dbus.control.rights import Question
from mfc_dbus.model.cause import Author
from mfc_dbus.model.errors import AccessDenied, InteractiveAuthorizationRequired
from mfc_dbus.model.members import Action, Permission
from mfc_dbus.model.quoting import quote
from mfc_dbus.service.limits import Quota
from mfc_dbus.service.polkit import Polkit
from mfc_dbus.service.users import Users

T = TypeVar("T")

ROOT = 0
_MAX_CALLERS = 1024  # of whom is remembered what the bus said
# Each check may be a password prompt that nobody answers.
_MAX_CHECKS_OF_SENDER = 4
_MAX_CHECKS_OF_USER = 16
_MAX_CHECKS = 64
_MAX_BYTES_OF_USER = 24 * 1024 * 1024  # of calls that wait for polkit
_ANYTHING = Question({}, "use the multicast routing service")  # a whole action, with no details


class Access:
    """Decides on callers: the bus says who they are, polkit what they may."""

    def __init__(self, connection: Connection, polkit: Polkit) -> None:
        self._connection = connection
        self._polkit = polkit
        self._waiting = Quota("authorisation")
        self._uids: dict[str, int] = {}
        self._pids: dict[str, int] = {}
        self._users = Users()

    async def authorise(self, call: Header, action: Action, questions: Sequence[Question]) -> None:
        """Return if the caller may do this, by polkit's answer to each of the questions.

        Raises AccessDenied, InteractiveAuthorizationRequired, LimitExceeded.
        """
        if action is Action.PUBLIC or await self.may_all(call):
            return
        with self._counted(call, await self.uid(call.sender)):
            # No variable may hold that task, as no future of an error: see loop/outcome.py.
            (await self._while_connected(call, self._demand(call, action, questions))).result()

    async def permission(
        self, call: Header, action: Action, questions: Sequence[Question]
    ) -> Permission:
        """Return whether the caller may do this now. Nobody is asked for a password.

        Raises AccessDenied where the caller has left, LimitExceeded.
        """
        if await self.may_all(call):
            return Permission.YES
        with self._counted(call, await self.uid(call.sender)):
            return (await self._while_connected(call, self._look(call, action, questions))).result()

    async def permissions(self, call: Header) -> dict[Action, Permission]:
        """Return the caller's permission for each action as a whole. Raises as `permission`."""
        actions = [action for action in Action if action is not Action.PUBLIC]
        if await self.may_all(call):
            return dict.fromkeys(actions, Permission.YES)

        async def look() -> dict[Action, Permission]:
            return {action: await self._look(call, action, [_ANYTHING]) for action in actions}

        with self._counted(call, await self.uid(call.sender)):
            return (await self._while_connected(call, look())).result()

    @contextmanager
    def _counted(self, call: Header, uid: int) -> Iterator[None]:
        """Count a call that waits for polkit while the context lasts. Raises LimitExceeded."""
        waiting = self._waiting.limited
        with (
            waiting("this caller", call.sender, _MAX_CHECKS_OF_SENDER),
            self._waiting.of_user(uid, _MAX_CHECKS_OF_USER, _MAX_CHECKS),
            waiting("this user", f"bytes of uid {uid}", _MAX_BYTES_OF_USER, call.body_length),
        ):
            yield

    async def may_all(self, call: Header) -> bool:
        """Return whether the caller is root, who may do anything unasked. Raises AccessDenied."""
        return await self.uid(call.sender) == ROOT

    def is_known_root(self, sender: str) -> bool:
        """Return whether the bus has said already that this is root."""
        return self._uids.get(sender) == ROOT

    async def uid(self, sender: str) -> int:
        """Return the user of a unique name. Raises AccessDenied where the bus does not say it.

        The bus is asked once for each name, since it gives a name to nobody else later.
        """
        uid = self._uids.get(sender)
        if uid is None:
            try:
                (uid,) = await self._connection.call_bus("GetConnectionUnixUser", "s", [sender])
            except (BusError, ConnectionLost, TimeoutError):
                raise AccessDenied("The bus does not say who you are") from None
            _remember(self._uids, sender, uid)
        return uid

    async def known_uid(self, sender: str) -> int | None:
        """Return the user of a unique name, None where the bus does not say it."""
        try:
            return await self.uid(sender)
        except AccessDenied:
            return None

    async def author(self, sender: str) -> Author:
        """Return what is known of a caller. Raises AccessDenied as `uid` does."""
        uid = await self.uid(sender)
        pid = self._pids.get(sender)
        if pid is None:
            try:
                (pid,) = await self._connection.call_bus(
                    "GetConnectionUnixProcessID", "s", [sender]
                )
            except BusError:  # he has left, and may have asked
                pid = 0
            except (ConnectionLost, TimeoutError):
                pid = None
            if pid is not None:
                _remember(self._pids, sender, pid)
        return Author(uid, await self._users.name(uid), sender, pid or 0)

    async def _while_connected(
        self, call: Header, ask: Coroutine[Any, Any, T]
    ) -> "asyncio.Task[T]":
        """Ask polkit, and cancel the question, here and there, when the caller leaves the bus.

        Return the question when it is answered. Raises AccessDenied where it was cancelled.
        """
        asking = asyncio.create_task(ask)

        def watch(signal: Signal) -> None:
            if signal.member == "NameOwnerChanged" and signal.body[0] == call.sender:
                asking.cancel()

        rule = f"type='signal',sender='{BUS}',member='NameOwnerChanged',arg0='{call.sender}'"
        try:
            # The bus reads this before the question to polkit, so that no departure is missed. A
            # caller that left even before is unknown to polkit.
            await self._connection.subscribe(rule, watch)
            await asyncio.wait([asking])
        except (BusError, ConnectionLost, TimeoutError):
            raise AccessDenied("The bus does not say whether you are still there") from None
        finally:
            asking.cancel()
            self._connection.unsubscribe(rule, watch)
        if asking.cancelled():
            raise AccessDenied("The caller has left")
        return asking

    async def _demand(self, call: Header, action: Action, questions: Sequence[Question]) -> None:
        """Ask polkit, which may ask somebody for a password where the call allows it."""
        if not questions:
            raise AccessDenied(f"Nothing was asked for ({action})")
        for question in questions:
            decision = await self._polkit.check(
                call.sender, action, question, interactive=call.interactive
            )
            if decision.authorized:
                continue
            if decision.failure:
                raise AccessDenied(f"Not authorised ({action}): {decision.failure}")
            if decision.challenge and not call.interactive:
                raise InteractiveAuthorizationRequired(
                    f"This takes a password ({action}), and the call does not allow to ask for it"
                )
            # The caller knows what he asked for, and maybe not that it touches other routes too.
            taken = " ".join(f"{name} {quote(value)}" for name, value in question.details.items())
            more = f": it takes {taken}" if len(questions) > 1 else ""
            raise AccessDenied(f"Not authorised ({action}){more}")

    async def _look(
        self, call: Header, action: Action, questions: Sequence[Question]
    ) -> Permission:
        """Ask polkit, which asks nobody."""
        found = Permission.YES if questions else Permission.NO
        for question in questions:
            decision = await self._polkit.check(call.sender, action, question, interactive=False)
            if not decision.authorized:
                if not decision.challenge:
                    return Permission.NO
                found = Permission.AUTH
        return found


def _remember(known: dict[str, int], sender: str, number: int) -> None:
    if len(known) >= _MAX_CALLERS:
        del known[next(iter(known))]
    known[sender] = number
