"""Asks polkit. Whatever goes wrong comes out as a refusal.

Source: polkit's D-Bus API, org.freedesktop.PolicyKit1.Authority.
"""

import asyncio
import itertools
import logging
from collections.abc import Mapping
from typing import NamedTuple

from mfc_dbus.bus.backend import Variant
from mfc_dbus.bus.connection import BusError, Connection, ConnectionLost

log = logging.getLogger(__name__)

_NAME = "org.freedesktop.PolicyKit1"
_PATH = "/org/freedesktop/PolicyKit1/Authority"
_INTERFACE = "org.freedesktop.PolicyKit1.Authority"
_ALLOW_USER_INTERACTION = 1
_TIMEOUT = 20.0  # seconds
_INTERACTIVE_TIMEOUT = 240.0  # somebody looks for a password


class Decision(NamedTuple):
    """polkit's answer; `challenge`: not without a password."""

    authorized: bool
    challenge: bool


_NO = Decision(authorized=False, challenge=False)


class Polkit:
    """The authority, over a connection to the bus."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._ids = itertools.count(1)

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
        except (BusError, ConnectionLost) as error:
            log.warning("polkit did not decide on %s: %s", action, error)
            return _NO
        except TimeoutError:
            self._cancel(cancellation)
            log.warning("polkit did not decide on %s in time", action)
            return _NO
        except asyncio.CancelledError:
            self._cancel(cancellation)
            raise
        return Decision(authorized, challenge)

    def _cancel(self, cancellation: str) -> None:
        self._connection.notify(
            _NAME, _PATH, _INTERFACE, "CancelCheckAuthorization", "s", [cancellation]
        )
