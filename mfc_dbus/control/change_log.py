"""Logs what becomes of routes while nobody changes them; of many at once only some."""

import logging
import time
from collections.abc import Callable

from mfc_dbus.model.route import Route

log = logging.getLogger(__name__)

_MOST = 10  # lines a second


class StateLog:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._second = 0
        self._count = 0  # of routes in this second

    def note(self, route: Route, state: str, reason: str) -> None:
        """Log that a route has another state now, or another reason for it."""
        self.look()
        self._count += 1
        if self._count <= _MOST:
            log.info("Route %s is %s%s", route, state, f": {reason}" if reason else "")

    def look(self) -> None:
        """Log how many routes were left out, if the second has passed in which any were."""
        second = int(self._clock())
        if second == self._second:
            return
        if self._count > _MOST:
            log.info("and %d more routes have another state", self._count - _MOST)
        self._second = second
        self._count = 0
