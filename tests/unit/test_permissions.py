"""When everybody is told that permissions may be others, and by whose word."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, cast

from mfc_dbus.bus.connection import Connection, Signal
from mfc_dbus.bus.errors import BusError
from mfc_dbus.bus.names import BUS, ERROR
from mfc_dbus.service.access import Access
from mfc_dbus.service.permissions import Permissions
from mfc_dbus.service.polkit import Polkit

NAME = "org.freedesktop.PolicyKit1"
NOTHING: Mapping[str, Any] = {}


class Bus:
    """A bus on which polkit has a unique name, or does not run."""

    def __init__(self, owner: str = "") -> None:
        self.heard = ""
        self.rules: list[str] = []
        self._owner = owner
        self._handlers: list[Callable[[Signal], None]] = []

    async def subscribe(self, rule: str, handler: Callable[[Signal], None]) -> None:
        self.rules.append(rule)
        self._handlers.append(handler)

    async def call_bus(self, member: str, *_: Any) -> list[Any]:
        assert member == "GetNameOwner"
        if not self._owner:
            raise BusError(f"{ERROR}.NameHasNoOwner", "nobody has it")
        return [self._owner]

    def send(self, sender: str, member: str, *body: Any) -> None:
        """Hand a signal to every handler, if anybody of this name is heard."""
        if sender in (BUS, self.heard):
            for handler in self._handlers:
                handler(Signal(sender, "/", "", member, [*body]))


def follow(bus: Bus) -> list[None]:
    """Have changes noted, one entry for each."""
    changes: list[None] = []
    polkit = Polkit(cast("Connection", bus))
    asyncio.run(polkit.follow(lambda: changes.append(None)))
    return changes


def test_polkit_is_heard_and_nobody_else() -> None:
    bus = Bus(":1.7")
    changes = follow(bus)
    bus.send(":1.66", "Changed")
    assert not changes
    bus.send(":1.7", "Changed")
    assert len(changes) == 1
    bus.send(":1.7", "Other")
    bus.send(":1.7", "NameOwnerChanged", "org.example.Other", "", ":1.66")
    assert (len(changes), bus.heard) == (1, ":1.7")


def test_a_polkit_that_comes_later_is_heard_from_then_on() -> None:
    bus = Bus()
    changes = follow(bus)
    assert bus.heard == ""
    bus.send(BUS, "NameOwnerChanged", "org.example.Other", "", ":1.5")
    assert not changes
    bus.send(BUS, "NameOwnerChanged", NAME, "", ":1.8")
    bus.send(":1.8", "Changed")
    assert len(changes) == 2
    bus.send(BUS, "NameOwnerChanged", NAME, ":1.8", "")
    bus.send(":1.8", "Changed")
    assert (len(changes), bus.heard) == (3, "")


def test_an_owner_of_whom_the_bus_tells_is_later_than_the_one_it_answers() -> None:
    bus = Bus(":1.7")
    answer = bus.call_bus

    async def comes_anew(member: str, *arguments: Any) -> list[Any]:
        bus.send(BUS, "NameOwnerChanged", NAME, ":1.7", ":1.9")
        return await answer(member, *arguments)

    bus.call_bus = comes_anew  # type: ignore[method-assign]
    follow(bus)
    assert bus.heard == ":1.9"


def test_the_signal_comes_at_once_and_then_at_most_once_a_second() -> None:
    async def scenario() -> list[float]:
        loop = asyncio.get_running_loop()
        sent: list[float] = []
        twice = asyncio.Event()

        def signal() -> None:
            sent.append(loop.time())
            if len(sent) == 2:
                twice.set()

        permissions = Permissions(cast("Access", None), NOTHING, signal)
        permissions.changed()
        permissions.changed()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(sent) == 1
        while not twice.is_set():
            permissions.changed()
            await asyncio.sleep(0.01)
        return sent

    first, second = asyncio.run(scenario())
    assert second - first >= 1
