"""A listener that keeps what it is told of routes."""

from collections.abc import Awaitable, Callable

from mfc_dbus.control.status_changes import Change
from mfc_dbus.model.cause import Cause


class Listening:
    def __init__(self, changes: list[Change]) -> None:
        """changes: gets what it is told.

        causes: of these changes. made_ready: how many of these were told in slices.
        """
        self._changes = changes
        self.causes: list[Cause] = []
        self.made_ready = 0

    def changed(self, change: Change, cause: Cause) -> None:
        self._changes.append(change)
        self.causes.append(cause)

    async def prepare(self, change: Change, cause: Cause) -> Callable[[], Awaitable[None]]:
        self.made_ready += 1
        kept = Change(*map(list, change))

        async def tell() -> None:
            self.changed(kept, cause)

        return tell

    async def read_anew(self) -> None:
        raise AssertionError("it has missed nothing")
