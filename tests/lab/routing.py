"""The controller on the real kernel: in the router of a lab, with a keeper in memory."""

import asyncio
import os
import select
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Self, TypeVar

from lab.fake import FakeKeeper
from lab.listening import Listening
from lab.netns import Namespace
from mfc_dbus.config.settings import Settings
from mfc_dbus.control.controller import Controller
from mfc_dbus.control.drift import DriftDetector
from mfc_dbus.control.status_changes import Change
from mfc_dbus.kernel import dump
from mfc_dbus.kernel.dump import HeldEntry
from mfc_dbus.kernel.links import Event, Links
from mfc_dbus.kernel.mfc_events import EntryChanges
from mfc_dbus.kernel.mroute import MRoute
from mfc_dbus.memberships.memberships import Memberships
from mfc_dbus.model.addresses import FAMILIES, Family, format_address, parse_stream
from mfc_dbus.model.route import Route, RouteName, TableId, parse_route
from mfc_dbus.model.status import UnroutedStream
from mfc_dbus.routing.table import Table

T = TypeVar("T")
Opener = Callable[[Family, int | None], MRoute]


def plain_mroute(family: Family, kept: int | None) -> MRoute:
    return MRoute(family, kept=kept)


class _WatchedLinks(Links):
    """Keeps all events."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Event] = []

    def update(self) -> list[Event]:
        events = super().update()
        self.events += events
        return events


class Routing:
    """A controller with the tables of both families. A context manager.

    keeper: what an earlier one has kept. kept: sockets that it left, by family.
    opener: what makes the kernel's tables. memberships: those of sockets of one's own. watched:
    interfaces to listen on though no route uses them. max_learned: streams, in each table. streams:
    those told of that no route covers.
    """

    def __init__(
        self,
        router: Namespace,
        keeper: FakeKeeper | None = None,
        kept: Mapping[Family, int] | None = None,
        opener: Opener = plain_mroute,
        memberships: Memberships | None = None,
        watched: Sequence[str] = (),
        max_learned: int = 65536,
    ) -> None:
        kept = kept or {}
        self.router = router
        self._turn = threading.Lock()
        self.keeper = keeper or FakeKeeper()
        self.changes: list[Change] = []
        self.streams: list[UnroutedStream] = []
        with router, ExitStack() as stack:
            self.mroutes = {
                family: stack.enter_context(opener(family, kept.get(family))) for family in FAMILIES
            }
            self.links = stack.enter_context(_WatchedLinks())
            self.controller = Controller(
                [Table(TableId(family), mroute) for family, mroute in self.mroutes.items()],
                self.links,
                self.keeper,
                Settings(discovery_interfaces=tuple(watched), max_learned=max_learned),
                memberships=memberships,
            )
            self.controller.status_changes.listener = Listening(self.changes)
            self.controller.set_discoverer(self)
            held = {TableId(family): dump.held(self.mroutes[family]) for family in kept}
            changes = stack.enter_context(EntryChanges())
            self.controller.takeover.restore(list(self.keeper.routes.values()), held)
            self._drift = DriftDetector(
                self.controller.tables,
                self.controller.present,
                changes,
                self,
                self.controller.takeover,
            )
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._stack.close()

    def arrived(self, stream: UnroutedStream) -> None:
        self.streams.append(stream)

    def watched(self) -> None:
        """It is seen in the kernel."""

    def unrouted(self) -> list[tuple[str, str, str]]:
        """Source, group and iif of the streams told of since the last look, after hearing all."""
        self.hear()
        streams, self.streams = self.streams, []
        return [(format_address(one.source), format_address(one.group), one.iif) for one in streams]

    def leave_sockets(self) -> dict[Family, int]:
        """End as a process that dies, with copies of its sockets kept for the next."""
        kept = {family: os.dup(mroute.fileno()) for family, mroute in self.mroutes.items()}
        self.close()
        return kept

    def add(
        self,
        source: str,
        group: str,
        iif: str,
        oifs: Sequence[str],
        *,
        ttls: Mapping[str, int] | None = None,
        replace: bool = False,
        wait: bool = False,
        hairpin: bool = False,
    ) -> Route:
        route = parse_route(source, group, iif, oifs, ttls, hairpin=hairpin)
        self._run(self.controller.add(route, replace=replace, wait=wait))
        return route

    def delete(self, source: str, group: str, iif: str | None = None) -> None:
        self._run(self.controller.delete(RouteName(*parse_stream(source, group), iif)))

    def flush(self) -> int:
        return self._run(self.controller.flush())

    def verify(self) -> None:
        """Undo what others did, and find what an earlier process left."""
        self._run(self._drift.verify())

    def read_vifs(self, id_: TableId) -> Mapping[int, int]:
        return dump.vifs(self.mroutes[id_.family])

    async def read_entries(self, id_: TableId) -> AsyncIterator[Sequence[HeldEntry]]:
        yield [*dump.entries(id_.family, id_.number)]

    def follow(self) -> None:
        """Take in what has happened to the interfaces; the kernel sends events as it acts."""
        with self.router, self._turn:
            self.controller.follow()

    def hear(self) -> None:
        """Learn what the kernel asks for now; its questions wait as soon as it has them."""
        with self.router, self._turn:
            for family in FAMILIES:
                self.controller.read_upcalls(TableId(family))

    @contextmanager
    def hearing(self) -> Iterator[None]:
        """Hear the kernel, and look at what was learned, at all times until the block ends."""
        stopped = threading.Event()

        def listen() -> None:
            with self.router:
                while not stopped.is_set():
                    ready, _, _ = select.select([*self.mroutes.values()], [], [], 0.05)
                    with self._turn:
                        if ready:
                            for family in FAMILIES:
                                self.controller.read_upcalls(TableId(family))
                        self.controller.do_due(time.clock_gettime_ns(time.CLOCK_BOOTTIME))

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()

    def look(self, seconds: float) -> None:
        """Look whether what was learned is used, as if so much time had passed."""
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME) + int(seconds * 1e9)
        with self.router, self._turn:
            self.controller.do_due(now)

    def learned(self) -> set[tuple[str, str, str, tuple[str, ...]]]:
        """Source, group, iif and oifs of what was learned."""
        return {
            (str(each.source), str(each.group), each.iif, tuple(oif.name for oif in each.oifs))
            for table in self.controller.tables.values()
            for each in table.learned
        }

    def states(self) -> dict[str, str]:
        """The state that was told last of each route."""
        return {str(route): state for route, state, _ in self.controller.view.routes.values()}

    @property
    def events(self) -> list[Event]:
        """All that happened to the interfaces."""
        return self.links.events

    @property
    def state(self) -> str:
        """The state of the one route that there is."""
        (state,) = self.states().values()
        return state

    @property
    def told(self) -> tuple[str, str]:
        """The state of the one route that there is, and the reason."""
        ((_, state, reason),) = self.controller.view.routes.values()
        return state, reason

    def _run(self, change: Coroutine[Any, Any, T]) -> T:
        with self.router, self._turn:
            return asyncio.run(change)
