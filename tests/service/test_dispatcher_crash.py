"""Daemon and dispatcher end by kill -9 at random moments, and each script hears each event once.

Changes that were made while nobody listened are heard as one. What one script has heard all others
have, in the same order, whatever moment it was.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from lab.bus import PrivateBus
from lab.caller import Caller, Route
from lab.daemon import Daemon
from lab.dispatcher import Dispatcher
from lab.manager import Manager
from lab.netns import Namespace
from lab.packets import Run, Sender

from mfc_dbus.bus.errors import BusError

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="scripts must belong to root")

SEEDS = range(3)
STEPS = 40
GROUPS = [f"239.3.0.{number}" for number in range(4)]
LAST = "239.3.1.0"
SOURCE = "10.1.0.10"
SLOW = "exec sleep 0.02"  # so that many a kill finds a script under way


class Told:
    """What a script has heard of routes: each event must follow from those before it."""

    def __init__(self, events: Sequence[dict[str, Any]]) -> None:
        self.routes: dict[str, dict[str, Any]] = {}
        self.up: set[str] = set()
        self.comments: dict[str, list[int]] = {group: [] for group in [*GROUPS, LAST]}
        for event in events:
            if "route" in event:
                getattr(self, event["action"].replace("-", "_"))(event["route"])

    def route_add(self, route: dict[str, Any]) -> None:
        assert route["group"] not in self.routes
        self._know(route)

    def route_change(self, route: dict[str, Any]) -> None:
        assert self.routes[route["group"]] != route
        self._know(route)

    def route_up(self, route: dict[str, Any]) -> None:
        assert route["group"] not in self.up
        self.up.add(route["group"])

    def route_down(self, route: dict[str, Any]) -> None:
        self.up.remove(route["group"])

    def route_remove(self, route: dict[str, Any]) -> None:
        assert route["group"] not in self.up
        del self.routes[route["group"]]

    def _know(self, route: dict[str, Any]) -> None:
        comments = self.comments[route["group"]]
        assert not comments or int(route["comment"]) > comments[-1], "heard twice, or too late"
        comments.append(int(route["comment"]))
        self.routes[route["group"]] = route


class Ground:
    """The daemon, which is started anew with its sockets, and the dispatcher with two scripts."""

    def __init__(self, bus: PrivateBus, network: Namespace, home: Path, seed: int) -> None:
        self.random = Random(seed)
        self.dispatcher = Dispatcher(bus.address, home)
        self.dispatcher.add("a", SLOW)
        self.dispatcher.add("b", SLOW)
        self.dispatcher.add("c", SLOW, waits=False)
        self._bus, self._network, self._home = bus, network, home / "daemon"
        self._home.mkdir()
        self._number = 0
        with contextlib.ExitStack() as stack:
            self._manager = stack.enter_context(Manager())
            self.daemon = self._start()
            stack.callback(self._end_daemon)
            self.dispatcher.start()
            stack.callback(self.dispatcher.stop)
            self._stack = stack.pop_all()

    def close(self) -> None:
        self._stack.close()

    def _start(self) -> Daemon:
        return Daemon(self._bus.address, self._network, home=self._home, manager=self._manager)

    def crash(self) -> None:
        """End the daemon, and start it with the sockets that it had."""
        self.daemon.kill()
        self._end_daemon()
        self.daemon = self._start()

    def _end_daemon(self) -> None:
        self.daemon.__exit__()

    async def step(self) -> None:
        what = self.random.choice(["change"] * 8 + ["dispatcher", "daemon", "pause"])
        if what == "change":
            await self._change()
        elif what == "dispatcher":
            self.dispatcher.kill()
            for _ in range(self.random.randrange(3)):
                await self._change()
            self.dispatcher.start()
        elif what == "daemon":
            self.crash()
        await asyncio.sleep(self.random.random() * 0.1)

    async def _change(self) -> None:
        group = self.random.choice(GROUPS)
        with contextlib.suppress(BusError):
            if self.random.random() < 0.3:
                async with Caller.at(self._bus.address) as caller:
                    await caller.delete(_route(group))
            else:
                await self.add(group)

    async def add(self, group: str) -> None:
        """Add a route, or change it."""
        self._number += 1
        async with Caller.at(self._bus.address) as caller:
            await caller.add(_route(group), replace=True, comment=str(self._number))

    async def comments(self) -> dict[str, str]:
        async with Caller.at(self._bus.address) as caller:
            return {each["group"]: each["comment"] for each in await caller.describe()}


def _route(group: str) -> Route:
    return Route(SOURCE, group, "eth1", ["eth2"])


@pytest.fixture(params=SEEDS)
def ground(
    request: pytest.FixtureRequest, own_bus: PrivateBus, own_network: Namespace, tmp_path: Path
) -> Iterator[Ground]:
    with contextlib.closing(Ground(own_bus, own_network, tmp_path, request.param)) as ground:
        yield ground


async def test_each_script_hears_each_event_once_and_in_order(ground: Ground) -> None:
    dispatcher = ground.dispatcher
    for _ in range(STEPS):
        await ground.step()
    last = f"route-up {SOURCE},{LAST}"
    await ground.add(LAST)
    dispatcher.until(lambda: all(last in dispatcher.told(name) for name in "abc"), 60)

    assert dispatcher.events("a") == dispatcher.events("b")
    # Nobody waits for this one, so it may be told of two events at once.
    dispatcher.until(lambda: len(dispatcher.told("c")) == len(dispatcher.told("a")))
    assert sorted(map(str, dispatcher.events("c"))) == sorted(map(str, dispatcher.events("a")))
    told, there = Told(dispatcher.events("a")), await ground.comments()
    assert {group: route["comment"] for group, route in told.routes.items()} == there
    assert told.up == there.keys()
    assert "Traceback" not in dispatcher.log


async def test_a_learned_stream_that_outlives_the_daemon_is_told_of_once(
    own_bus: PrivateBus, own_network: Namespace, tmp_path: Path
) -> None:
    with contextlib.closing(Ground(own_bus, own_network, tmp_path, 0)) as ground:
        dispatcher = ground.dispatcher
        async with Caller.at(own_bus.address) as caller:
            await caller.add(Route("*", "239.3.0.0/16", "eth1", ["eth2"]))
        with contextlib.closing(
            Sender(Run(socket.AF_INET), own_network, "eth2", SOURCE, GROUPS[0])
        ) as sender:
            sender.send(3)
            dispatcher.until(lambda: f"stream-begin {SOURCE},{GROUPS[0]}" in dispatcher.told())
            for _ in range(3):
                ground.crash()
                sender.send(3)
        await ground.add(LAST)
        dispatcher.until(lambda: f"route-up {SOURCE},{LAST}" in dispatcher.told())
        await asyncio.sleep(3)  # in which streams are asked for once more
        streams = [each for each in dispatcher.told() if each.startswith("stream")]
        assert streams == [f"stream-begin {SOURCE},{GROUPS[0]}"]
