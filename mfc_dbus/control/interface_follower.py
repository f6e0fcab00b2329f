"""Follows the network interfaces, and waits for those that a change names."""

from collections.abc import Callable, Collection, Iterable

from mfc_dbus.control.link_events import LinkEvents, NetworkLinks
from mfc_dbus.control.reconciler import Reconciler
from mfc_dbus.loop.slices import Slices, in_slices, on_the_floor
from mfc_dbus.model.membership import Membership
from mfc_dbus.model.route import Route
from mfc_dbus.routing.present_links import PresentLinks


class InterfaceFollower:
    """Hears what happens to interfaces, and has the reconciler follow."""

    def __init__(
        self, links: NetworkLinks, reconciler: Reconciler, go_on: Callable[[], object]
    ) -> None:
        """go_on: is called later where there is more to follow, and follows some of it."""
        self._events = LinkEvents(links)
        self._reconciler = reconciler
        self._go_on = go_on
        self._goes_on = False

    @property
    def present(self) -> PresentLinks:
        """The interfaces that routes can be on, by name."""
        return self._reconciler.present

    def begin(self) -> None:
        """Learn which interfaces exist, before any table is ours."""
        self._reconciler.note_links(self._events.hear())
        while self._events.behind:
            self._reconciler.note_links(self._events.hear())

    def follow(self) -> bool:
        """Follow the events of interfaces, or some of them. Return whether there may be more."""
        events = self._events.hear()
        self._reconciler.react(events)
        if self._events.behind and not self._goes_on:
            self._goes_on = True
            on_the_floor(self._follow_more)
        return bool(events) or self._events.behind

    def _follow_more(self) -> None:
        self._goes_on = False
        self._go_on()

    async def until_there(self, names: Collection[str]) -> None:
        """Return when routes and memberships can be on those of these interfaces that exist."""
        slices = Slices()
        while self.follow():
            await slices.pause()
        if not self._reconciler.all_there:
            await self._reconciler.until_there(names)

    async def until_all_there(
        self, routes: Iterable[Route], memberships: Iterable[Membership]
    ) -> None:
        """Wait likewise for the interfaces of many routes; mostly there is nothing to wait for."""
        await self.until_there(())
        if not self._reconciler.all_there:
            names = {membership.interface for membership in memberships}
            async for route in in_slices(routes):
                names.update(route.interfaces)
            await self.until_there(names)
