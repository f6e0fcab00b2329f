"""Asks polkit. Whatever goes wrong comes out as a refusal.

Source: polkit's D-Bus API, org.freedesktop.PolicyKit1.Authority.
"""

import asyncio
import itertools
import logging
import time
from collections.abc import Mapping
from typing import NamedTuple

from mfc_dbus.bus.backend import Variant
from mfc_dbus.bus.connection import Connection
from mfc_dbus.bus.errors import BusError, ConnectionLost
from mfc_dbus.bus.names import ERROR

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


class Decision(NamedTuple):
    """polkit's answer; `challenge`: not without a password. failure: why there is no answer."""

    authorized: bool
    challenge: bool
    failure: str = ""


def _undecided(failure: str) -> Decision:
    return Decision(authorized=False, challenge=False, failure=failure)


class Polkit:
    """The authority, over a connection to the bus."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._ids = itertools.count(1)
        self._silent_until = 0.0

    async def check(
        self, sender: str, action: str, details: Mapping[str, str], *, interactive: bool
    ) -> Decision:
        """Ask whether the owner of a unique name may do this; cancelled there if it is here."""
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
                    dict(details),
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

    def _complain(self, action: str, failure: str) -> Decision:
        """Log it, unless something was logged lately: strangers can make this happen at will."""
        now = time.monotonic()
        if now >= self._silent_until:
            self._silent_until = now + _SILENCE
            log.warning("Nobody but root is authorised (%s): %s", action, failure)
        return _undecided(failure)

    def _cancel(self, cancellation: str) -> None:
        self._connection.notify(
            _NAME, _PATH, _INTERFACE, "CancelCheckAuthorization", "s", [cancellation]
        )


def _describe(error: BusError) -> str:
    if error.name in _NO_POLKIT:
        return "there is no polkit here, and without it only root may do this"
    return f"polkit did not decide: {error}"
