"""Asks polkit what a caller may do. Whatever goes wrong is a refusal.

Source: polkit's D-Bus API, org.freedesktop.PolicyKit1.Authority.
"""

import asyncio
import itertools
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from mfc_dbus.bus.backend import Variant
from mfc_dbus.bus.connection import Connection, Signal
from mfc_dbus.bus.errors import BusError, ConnectionLost
from mfc_dbus.bus.names import BUS, ERROR
from mfc_dbus.control.rights import Question
from mfc_dbus.model.journal import Message, about

log = logging.getLogger(__name__)

_NAME = "org.freedesktop.PolicyKit1"
_PATH = "/org/freedesktop/PolicyKit1/Authority"
_INTERFACE = "org.freedesktop.PolicyKit1.Authority"
# Errors of the bus, where nobody has polkit's name and no service can be started for it.
_NO_POLKIT = (f"{ERROR}.ServiceUnknown", f"{ERROR}.Spawn.ServiceNotFound")
_ALLOW_USER_INTERACTION = 1
_TIMEOUT = 20.0  # seconds
_INTERACTIVE_TIMEOUT = 240.0  # somebody looks for a password
_SILENCE = 60.0  # seconds from one complaint to the next
_TEXT_DOMAIN = "mfc-dbus"  # of translations, which there are none of
_OWNER_RULE = f"type='signal',sender='{BUS}',member='NameOwnerChanged',arg0='{_NAME}'"
_CHANGED_RULE = (
    f"type='signal',sender='{_NAME}',path='{_PATH}',interface='{_INTERFACE}',member='Changed'"
)


class Decision(NamedTuple):
    """The answer of polkit.

    challenge: the caller would be authorised with a password. failure: why polkit gave no answer.
    """

    authorized: bool
    challenge: bool
    failure: str = ""


def _undecided(failure: str) -> Decision:
    return Decision(authorized=False, challenge=False, failure=failure)


class Polkit:
    """Polkit's authority, asked over a connection to the bus."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._ids = itertools.count(1)
        self._silent_until = 0.0

    async def check(
        self, sender: str, action: str, question: Question, *, interactive: bool
    ) -> Decision:
        """Ask whether the owner of a unique name may do an action.

        interactive: polkit may ask somebody for a password. Where this is cancelled or takes too
        long, polkit is told that the answer is not needed any more.
        """
        details = dict(question.details)
        if interactive:
            details |= {
                "polkit.message": f"Authentication is required to {question.purpose}",
                "polkit.gettext_domain": _TEXT_DOMAIN,
            }
        cancellation = f"{self._connection.unique_name}-{next(self._ids)}"
        try:
            # The sender as polkit's subject: a pid can be somebody else's by now.
            ((authorized, challenge, _),) = await self._connection.call(
                _NAME,
                _PATH,
                _INTERFACE,
                "CheckAuthorization",
                "(sa{sv})sa{ss}us",
                [
                    ["system-bus-name", {"name": Variant("s", sender)}],
                    action,
                    details,
                    _ALLOW_USER_INTERACTION if interactive else 0,
                    cancellation,
                ],
                timeout=_INTERACTIVE_TIMEOUT if interactive else _TIMEOUT,
                returns="(bba{ss})",
            )
        except BusError as error:
            return self._complain(action, _describe(error))
        except ConnectionLost as error:
            return self._complain(action, f"polkit did not decide: {error}")
        except TimeoutError:
            self._cancel(cancellation)
            return self._complain(action, "polkit did not decide in time")
        except asyncio.CancelledError:
            self._cancel(cancellation)
            raise
        return Decision(authorized, challenge)

    async def follow(self, changed: Callable[[], None]) -> None:
        """Call a function from now on whenever polkit may decide otherwise than before.

        That is when it comes or goes, and when it says that something has changed: its rules, its
        actions, what a password was typed for; or an agent, which strangers can cause at will.
        Raises BusError, ConnectionLost, TimeoutError.
        """
        connection = self._connection
        told = False

        def of_bus(signal: Signal) -> None:
            nonlocal told
            if (signal.sender, signal.member) == (BUS, "NameOwnerChanged") and (
                signal.body[0] == _NAME
            ):
                connection.heard, told = signal.body[2], True
                changed()

        def of_polkit(signal: Signal) -> None:
            if signal.sender != BUS and signal.member == "Changed":
                changed()

        await connection.subscribe(_OWNER_RULE, of_bus)
        await connection.subscribe(_CHANGED_RULE, of_polkit)
        with suppress(BusError):  # nobody has the name yet
            (owner,) = await connection.call_bus("GetNameOwner", "s", [_NAME])
            if not told:  # else the bus has told of this owner, or of a later one
                connection.heard = owner

    def _complain(self, action: str, failure: str) -> Decision:
        """Return a refusal, and log why, but not often: strangers can cause this at will."""
        now = time.monotonic()
        if now >= self._silent_until:
            self._silent_until = now + _SILENCE
            log.warning(
                "Nobody but root is authorised (%s): %s",
                action,
                failure,
                extra=about(Message.UNDECIDED, reason=failure),
            )
        return _undecided(failure)

    def _cancel(self, cancellation: str) -> None:
        self._connection.notify(
            _NAME, _PATH, _INTERFACE, "CancelCheckAuthorization", "s", [cancellation]
        )


def _describe(error: BusError) -> str:
    if error.name in _NO_POLKIT:
        return "there is no polkit here, and without it only root may do this"
    return f"polkit did not decide: {error}"
