"""Random changes, several callers at once, and kill -9 at random moments.

After each start all that was acknowledged is there and nothing is half there, and the kernel, the
stores and the property Routes agree.
"""

import asyncio
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, closing
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest
from lab import witness
from lab.bus import PrivateBus
from lab.caller import Caller, Route
from lab.manager import Manager
from lab.netns import Namespace
from lab.zygote import Zygote

from mfc_dbus.bus.errors import BusError
from mfc_dbus.model.addresses import format_source
from mfc_dbus.model.membership import Membership
from mfc_dbus.storage.keeper import Keeper

ROUNDS = 50
CALLERS = 4
GROUPS = 4  # of each caller
SOURCES = ("10.1.0.10", "*")
DIRECTORIES = ("state", "runtime", "configuration")
OIFS = ("eth2", "eth3", "eth4")
_GONE = tuple(
    f"org.freedesktop.DBus.Error.{name}" for name in ("NoReply", "ServiceUnknown", "NameHasNoOwner")
)


class Kept(NamedTuple):
    """What is kept of a route."""

    iif: str
    oifs: tuple[str, ...]
    comment: str
    persistent: bool


Key = tuple[str, str]  # source, group
Routes = dict[Key, Kept]


class Change(NamedTuple):
    """What a change makes of routes; None: the route goes."""

    routes: Mapping[Key, Kept | None]

    def do(self, routes: Routes) -> Routes:
        after = {**routes, **self.routes}
        return {key: kept for key, kept in after.items() if kept is not None}


class Client:
    """One caller with streams of his own: what he knows to be, and what he waits for."""

    def __init__(self, caller: Caller, number: int, random: Random) -> None:
        self.routes: Routes = {}
        self.waits_for: Change | None = None
        self.acknowledged = 0
        self._caller = caller
        self._random = random
        self._prefix = f"239.{number}.0.0/16" if number % 2 else f"ff1e:0:{number}::/48"
        self._groups = [
            f"239.{number}.0.{n}" if number % 2 else f"ff1e:0:{number}::{n}"
            for n in range(1, GROUPS + 1)
        ]

    def owns(self, key: Key) -> bool:
        return key[1] in self._groups

    async def change_things(self) -> None:
        """Go on until the service has gone."""
        while True:
            try:
                await self._change_something()
            except BusError as error:
                if error.name not in _GONE:
                    raise
                return
            assert self.waits_for is not None
            self.routes = self.waits_for.do(self.routes)
            self.waits_for = None
            self.acknowledged += 1

    async def _change_something(self) -> None:
        chance = self._random.random()
        if chance < 0.05:
            self.waits_for = Change(dict.fromkeys(self.routes))
            await self._caller.flush(group=self._prefix)
        elif chance < 0.3 and self.routes:
            key = self._random.choice(sorted(self.routes))
            self.waits_for = Change({key: None})
            await self._caller.delete(Route(*key))
        else:
            group = self._random.choice(self._groups)
            source = self._random.choice(SOURCES)
            if ":" in group and source != "*":
                source = "fd01::10"
            kept = Kept(
                "eth1",
                tuple(self._random.sample(OIFS, self._random.randint(1, 3))),
                str(self._random.randrange(1000)),
                self._random.random() < 0.5,
            )
            self.waits_for = Change({(source, group): kept})
            await self._caller.add(
                Route(source, group, kept.iif, kept.oifs),
                replace=True,
                comment=kept.comment,
                persistent=kept.persistent,
            )

    def check(self, stored: Routes) -> None:
        """All or nothing of the last change, also of a flush of both stores."""
        mine = {key: kept for key, kept in stored.items() if self.owns(key)}
        before = self.routes
        after = self.waits_for.do(before) if self.waits_for else before
        assert mine in (before, after), f"{self.waits_for}"
        self.routes, self.waits_for = mine, None


def read_stores(home: Path, scratch: Path) -> Routes:
    """What a start will find, from copies."""
    shutil.rmtree(scratch, ignore_errors=True)
    for name in ("runtime", "state"):
        shutil.copytree(home / name, scratch / name)
    with Keeper(scratch / "state", scratch / "runtime") as keeper:
        return {
            (format_source(route.source), str(route.group)): Kept(
                route.iif, tuple(oif.name for oif in route.oifs), route.comment, route.persistent
            )
            for route in keeper.read()
            if not isinstance(route, Membership)
        }


async def shown(caller: Caller) -> Routes:
    return {
        (source, group): Kept(
            iif, tuple(oifs), extra.get("comment", ""), extra.get("persistent", True)
        )
        for source, group, iif, oifs, extra in await caller.get("Routes")
    }


def in_kernel(network: Namespace) -> set[witness.Entry]:
    families = (socket.AF_INET, socket.AF_INET6)
    return {entry for family in families for entry in witness.entries(network, family)}


def expected_in_kernel(routes: Routes) -> Iterator[witness.Entry]:
    for (source, group), kept in routes.items():
        any_source = "::" if ":" in group else "0.0.0.0"
        address, oifs = (source, kept.oifs) if source != "*" else (any_source, (*kept.oifs, "eth1"))
        yield witness.Entry(address, group, kept.iif, frozenset((oif, 1) for oif in oifs))


@pytest.fixture
def ports() -> Iterator[Namespace]:
    with closing(Namespace()) as namespace:
        namespace.ip(
            "link add name eth1 type veth peer name eth2",
            "link add name eth3 type veth peer name eth4",
        )
        yield namespace


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    for name in DIRECTORIES:
        (home / name).mkdir(parents=True)
    return home


@pytest.mark.parametrize("seed", range(4))
async def test_what_was_acknowledged_survives_and_nothing_is_half_there(
    own_bus: PrivateBus, ports: Namespace, home: Path, tmp_path: Path, seed: int
) -> None:
    random = Random(seed)
    directories = {f"{name.upper()}_DIRECTORY": str(home / name) for name in DIRECTORIES}
    stored: Routes = {}
    async with AsyncExitStack() as stack:
        manager = stack.enter_context(Manager())
        environment = {"DBUS_SYSTEM_BUS_ADDRESS": own_bus.address, **directories}
        zygote = stack.enter_context(Zygote(ports, environment | manager.environment))
        clients = [
            Client(await stack.enter_async_context(Caller.at(own_bus.address)), n, random)
            for n in range(1, CALLERS + 1)
        ]
        observer = await stack.enter_async_context(Caller.at(own_bus.address))
        for number in range(ROUNDS):
            print(f"seed {seed}, round {number}", end=": ")
            zygote.start(manager.kept)
            manager.wait_until_ready(number + 1)
            assert await shown(observer) == stored
            assert in_kernel(ports) == {*expected_in_kernel(stored)}
            changes = [asyncio.create_task(client.change_things()) for client in clients]
            await asyncio.sleep(random.random() * 0.08)  # the moment is what is random
            zygote.kill()
            await asyncio.gather(*changes)
            if random.random() < 0.5:
                manager.forget_all()
            stored = read_stores(home, tmp_path / "scratch")
            for client in clients:
                client.check(stored)
            print(f"{len(stored)} routes")
        print(f"{sum(client.acknowledged for client in clients)} changes were acknowledged")
        assert "Traceback" not in zygote.log
        assert "ERROR" not in zygote.log
