"""What happens to the interfaces that the service takes part in: those that a route can name.

Others are as if they were not there, for patterns too: what cannot be written in a route cannot be
told on the bus, stored or put in a document either.
"""

import logging
from collections.abc import Sequence
from typing import Protocol

from mfc_dbus.kernel.links import Came, Event, Missed
from mfc_dbus.model.interfaces import is_nameable
from mfc_dbus.model.quoting import quote

log = logging.getLogger(__name__)


class NetworkLinks(Protocol):
    """The network interfaces: what happened to them since the last call, in its order."""

    def update(self) -> Sequence[Event]: ...

    @property
    def behind(self) -> bool:
        """Whether `update` has more to do at once."""


class LinkEvents:
    """Hears what happens to interfaces, and leaves out those that no route can name."""

    def __init__(self, links: NetworkLinks) -> None:
        self._links = links
        self._deaf = False  # whether the interfaces could not be listed the last time

    @property
    def behind(self) -> bool:
        """Whether there is more to hear at once."""
        return self._links.behind

    def hear(self) -> list[Event]:
        """Return what happened since the last call; after an error, what could not be heard then.

        Logs the first error of a row, the loss of events, and each interface that is left alone.
        """
        try:
            told = self._links.update()
        except OSError as error:
            if not self._deaf:
                log.error("The network interfaces cannot be listed, and are asked again: %s", error)
            self._deaf = True
            return []
        self._deaf = False
        if not told:  # as mostly: each change looks twice
            return []
        events = [event for event in told if self._takes(event)]
        if any(isinstance(event, Missed) for event in events):
            log.info("Events of network interfaces were lost: looking at all of them")
        return events

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
