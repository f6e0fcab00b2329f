"""The interfaces that the service takes part in: those that a route can name.

Others are as if they were not there, for patterns too: what cannot be written in a route cannot be
told on the bus, stored or put in a document either.
"""

import logging
from collections.abc import Sequence
from typing import Protocol

from mfc_dbus.kernel.links import Came, Event, Missed
from mfc_dbus.model.quoting import quote
from mfc_dbus.model.route import is_nameable

log = logging.getLogger(__name__)


class NetworkLinks(Protocol):
    """The network interfaces: what happened to them since the last call, in its order."""

    def update(self) -> Sequence[Event]: ...


class NameableLinks:
    """Leaves out what happens to interfaces that no route can name, and says so as they come."""

    def __init__(self, links: NetworkLinks) -> None:
        self._links = links

    def update(self) -> list[Event]:
        return [event for event in self._links.update() if self._takes(event)]

    def _takes(self, event: Event) -> bool:
        if isinstance(event, Missed) or is_nameable(event.link.name):
            return True
        if isinstance(event, Came):
            log.warning(
                "Interface %s (ifindex %d) is left alone: no route can name it",
                quote(event.link.name),
                event.link.ifindex,
            )
        return False
