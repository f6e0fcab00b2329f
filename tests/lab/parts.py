"""Changes of a few routes, done as those of many are: in parts, with others served in between."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from unittest import mock

from mfc_dbus.loop.slices import Slices


@contextmanager
def in_small_parts(meanwhile: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Have one route in each part, and others served wherever they may be.

    meanwhile: is called there each time.
    """

    async def pause(_: Slices) -> None:
        await asyncio.sleep(0)
        meanwhile()

    with ExitStack() as stack:
        stack.enter_context(mock.patch("mfc_dbus.routing.sequence._FEW", 1))
        stack.enter_context(mock.patch("mfc_dbus.control.status_changes._MANY", 1))
        stack.enter_context(pausing_everywhere(pause))
        yield


class AtPauses:
    """Does what is to be done at some of the pauses of a change, counted from 1.

    always: is called at each of them, after that.
    """

    def __init__(
        self, acts: Mapping[int, Callable[[], object]], always: Callable[[], object]
    ) -> None:
        self._acts = acts
        self._always = always
        self.count = 0

    def __call__(self) -> None:
        self.count += 1
        if act := self._acts.get(self.count):
            act()
        self._always()


@contextmanager
def pausing_everywhere(pause: Callable[[Slices], Awaitable[None]]) -> Iterator[None]:
    """Have every slice used up at once, and this called wherever long work may pause."""
    begin = Slices.__init__

    def begin_at_its_end(slices: Slices, _: float = 0) -> None:
        begin(slices, 0)

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(Slices, "__init__", begin_at_its_end))
        stack.enter_context(mock.patch.object(Slices, "pause", pause))
        yield


@contextmanager
def looking_one_by_one() -> Iterator[None]:
    """Have the routes that an interface concerns looked at one by one, and none of them at once."""
    with ExitStack() as stack:
        for name, value in (("FEW", 0), ("CHUNK", 1)):
            stack.enter_context(mock.patch(f"mfc_dbus.control.backlog.{name}", value))
        yield
