"""How long another caller waits while the daemon does long work.

He calls Get(Version) every few milliseconds, from a process of his own. For each situation the
table shows how long it took until the daemon was idle again, and of his calls the longest, and that
which 99 of 100 were shorter than; and the longest of calls that the bus itself answers, which takes
its time with megabytes, too. A situation is a coroutine in SITUATIONS: it prepares, then does
what is measured in `async with stage.measured(…)`.

Usage: PYTHONPATH=tests .venv/bin/python tests/bench/stalls.py [--routes 100000] [SITUATION…], as
root or in .ci/sandbox.
"""

import argparse
import asyncio
import contextlib
import json
import os
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from lab.bus import PrivateBus
from lab.caller import Caller
from lab.caller import Route as Asked
from lab.daemon import Daemon
from lab.manager import Manager
from lab.netns import Namespace
from rich.console import Console
from rich.table import Table as Grid

from bench.__main__ import process_cpu
from mfc_dbus.bus.connection import Connection
from mfc_dbus.bus.errors import BusError
from mfc_dbus.bus.names import PROPERTIES
from mfc_dbus.kernel.mroute import MFCEntry, MRoute
from mfc_dbus.model.route import Route, parse_route
from mfc_dbus.names import BUS_NAME, INTERFACE, OBJECT_PATH
from mfc_dbus.storage.store import Store

SOURCE = "10.0.0.1"
_INTERVAL = 0.004  # seconds between calls
_IDLE = 0.05  # of one processor, below which the daemon is at rest
_LOOK = 1.0  # seconds
_TIMEOUT = 300.0  # of each call, and until the daemon is at rest


def group(number: int) -> str:
    return f"239.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def routes(count: int, iif: str, *oifs: str, first: int = 256) -> list[Route]:
    return [parse_route(SOURCE, group(n), iif, oifs) for n in range(first, first + count)]


class Stage:
    """A daemon with routes that were stored, in a network of its own: in, out, and other."""

    def __init__(self, grid: Grid, count: int) -> None:
        self.count = count
        self._grid = grid
        with ExitStack() as stack:
            self.namespace = stack.enter_context(closing(Namespace()))
            self.namespace.ip(
                "link add in type veth peer name out",
                "link add other type veth peer name another",
                *(f"link set {name} up" for name in ("in", "out", "other", "another")),
            )
            self.bus = stack.enter_context(PrivateBus())
            self.manager = stack.enter_context(Manager())
            self.home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            for name in ("state", "runtime", "configuration"):
                (self.home / name).mkdir()
            self._daemons = stack.enter_context(ExitStack())
            self._stack = stack.pop_all()

    def close(self) -> None:
        self._stack.close()

    def store(self, *kept: Sequence[Route]) -> None:
        with Store(self.home / "state" / "routes.db", "") as store:
            store.write({route.key: route for each in kept for route in each})

    def start(self, kept: Sequence[Route] = ()) -> None:
        """Start the daemon, or start it anew with the sockets that were kept."""
        self._daemons.close()
        if kept:
            self.store(kept)
        self.daemon = self._daemons.enter_context(
            Daemon(
                self.bus.address,
                self.namespace,
                home=self.home,
                manager=self.manager,
                library="dbus_fast",
                wait=False,
            )
        )
        self.daemon.wait_until_ready(_TIMEOUT)

    @contextlib.asynccontextmanager
    async def measured(self, what: str, *, at_rest: bool = True) -> AsyncIterator[Caller]:
        """Measure what is done inside, and what follows from it until the daemon is at rest.

        at_rest: begin when it is.
        """
        if at_rest:
            await self.rest()
        async with Caller.at(self.bus.address) as caller:
            prober = await asyncio.create_subprocess_exec(
                *(sys.executable, __file__, "--probe", self.bus.address),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            assert prober.stdout
            await prober.stdout.readline()
            begin = time.perf_counter()
            yield caller
            took = time.perf_counter() - begin
            await self.rest()
            rested = time.perf_counter() - begin - _LOOK
            output, _ = await prober.communicate(b"\n")
            self._show(what, took, rested, *map(sorted, json.loads(output)))
        assert "Traceback" not in self.daemon.log, self.daemon.log

    async def rest(self) -> None:
        """Return when the daemon has nothing more to do."""
        deadline, before = time.monotonic() + _TIMEOUT, 1e9
        while time.monotonic() < deadline:
            now = process_cpu(self.daemon.process.pid)
            if now - before < _IDLE * _LOOK and now >= before:
                return
            before = now
            await asyncio.sleep(_LOOK)
        raise TimeoutError("the daemon does not come to rest")

    async def ask(self, caller: Caller, member: str, signature: str, *body: Any) -> list[Any]:
        """Call a method that may take long."""
        return await caller.call(
            BUS_NAME, OBJECT_PATH, INTERFACE, member, signature, body, timeout=_TIMEOUT
        )

    def _show(
        self,
        what: str,
        took: float,
        rested: float,
        waits: Sequence[float],
        of_bus: Sequence[float],
    ) -> None:
        longest, ninety_ninth = waits[-1], waits[len(waits) * 99 // 100]
        row = (
            what,
            f"{took:.2f}",
            f"{rested:.1f}",
            f"{len(waits)}",
            f"{longest * 1e3:.1f}",
            f"{ninety_ninth * 1e3:.1f}",
            f"{of_bus[-1] * 1e3:.1f}",
        )
        self._grid.add_row(*row)
        print(*row, sep="  ", file=sys.stderr, flush=True)


# The situations


async def nothing(stage: Stage) -> None:
    """What the machine itself makes a caller wait."""
    stage.start(routes(stage.count, "in", "out"))
    async with stage.measured("nothing happens"):
        await asyncio.sleep(3)


async def interface(stage: Stage) -> None:
    stage.start([*routes(stage.count, "in", "out"), *routes(10, "in", "other", first=10)])
    async with stage.measured("the interfaces of all routes go"):
        stage.namespace.ip("link delete out")  # and its peer, which is the iif
        await asyncio.sleep(0.5)
    stage.namespace.ip("link add in type veth peer name elsewhere")
    async with stage.measured("their oif comes back, after their iif"):
        stage.namespace.ip("link add out type veth peer name far")
        await asyncio.sleep(0.5)


async def verify(stage: Stage) -> None:
    stage.start(routes(stage.count, "in", "out"))
    async with stage.measured("verify with nothing wrong (Reload)") as caller:
        await stage.ask(caller, "Reload", "a{sv}", {})
    with stage.namespace, MRoute(socket.AF_INET) as stranger:
        async with stage.measured("another program deletes 1000 entries"):
            for n in range(256, 1256):
                entry = MFCEntry(socket.inet_aton(SOURCE), socket.inet_aton(group(n)), 0, ())
                stranger.del_mfc(entry)
            await asyncio.sleep(2)


async def restart(stage: Stage) -> None:
    stage.start(routes(stage.count, "in", "out"))
    stage.manager.wait_for("mroute-ipv4", "mroute-ipv6")
    stage.daemon.kill()
    stage.start()
    async with stage.measured("a new interface after a restart", at_rest=False) as caller:
        await caller.add(Asked(SOURCE, "239.255.0.1", "other", ["another"]))


async def starved(stage: Stage) -> None:
    names = [f"v{n}" for n in range(32)]
    stage.namespace.ip(*(f"link add {name} type veth peer name w{name}" for name in names))
    stage.start(
        [
            *routes(20_000, names[0], names[1], first=1 << 17),
            *(parse_route(SOURCE, group(n), names[0], [names[n]]) for n in range(1, 32)),
            *routes(20_000, names[0], "other"),
        ]
    )
    async with stage.measured("DeleteRoute beside 20,000 routes without room") as caller:
        await caller.delete(Asked(SOURCE, group(31)))


async def expiry(stage: Stage) -> None:
    stage.start(routes(stage.count, "in", "out"))
    count = min(stage.count, 20_000)
    async with Caller.at(stage.bus.address) as caller:
        asked = [Asked("10.0.0.2", group(n), "in", ["out"]) for n in range(256, 256 + count)]
        for start in range(0, count, 50):
            timed = (
                caller.add(route, persistent=False, timeout=20)
                for route in asked[start : start + 50]
            )
            await asyncio.gather(*timed)
    async with stage.measured(f"{count} routes expire"):
        await asyncio.sleep(20)


async def taken(stage: Stage) -> None:
    with stage.namespace, MRoute(socket.AF_INET) as owner:
        owner.init()
        stage.start(routes(stage.count, "in", "out"))
        async with stage.measured("another program gives the table up"):
            owner.done()
            await asyncio.sleep(2)


async def interfaces(stage: Stage) -> None:
    stage.start([parse_route("*", "239.0.0.0/8", "in", ["v*"]), *routes(stage.count, "in", "out")])
    async with stage.measured("4,000 interfaces come, beside a v* route"):
        stage.namespace.ip(*(f"link add v{n} type veth peer name v{n + 2000}" for n in range(2000)))
    async with stage.measured("they go"):
        stage.namespace.ip(*(f"link delete v{n}" for n in range(2000)))


def document(count: int, oif: str) -> str:
    return json.dumps(
        {
            "route": [
                {"source": SOURCE, "group": group(n), "iif": "in", "oifs": [oif]}
                for n in range(256, 256 + count)
            ]
        }
    )


async def changes(stage: Stage) -> None:
    stage.start()
    new, other = (document(stage.count, oif) for oif in ("out", "other"))
    for what, text in (("all new", new), ("the same", new), ("all changed", other)):
        async with stage.measured(f"Apply, {what}") as caller:
            await stage.ask(caller, "Apply", "sa{sv}", text, {})
    async with stage.measured("Apply, all changed, and refused by the store") as caller:
        state = stage.home / "state"
        with sqlite3.connect(state / "routes.db", isolation_level=None) as database:
            database.execute("BEGIN EXCLUSIVE")
            with contextlib.suppress(BusError):
                await stage.ask(caller, "Apply", "sa{sv}", new, {})
            database.execute("ROLLBACK")
    async with stage.measured("GetAll") as caller:
        await caller.call(
            BUS_NAME, OBJECT_PATH, PROPERTIES, "GetAll", "s", [INTERFACE], timeout=_TIMEOUT
        )
    async with stage.measured("FlushRoutes") as caller:
        await stage.ask(caller, "FlushRoutes", "a{sv}", {})


async def reload(stage: Stage) -> None:
    stage.start()
    directory = stage.home / "configuration" / "routes.d"
    directory.mkdir()
    text = "".join(
        f'[[route]]\nsource = "{SOURCE}"\ngroup = "{group(n)}"\niif = "in"\noifs = ["out"]\n'
        for n in range(256, 256 + stage.count)
    )
    (directory / "many.toml").write_text(text)
    async with stage.measured("Reload, all new") as caller:
        await stage.ask(caller, "Reload", "a{sv}", {})
    (directory / "many.toml").unlink()
    async with stage.measured("Reload, all gone") as caller:
        await stage.ask(caller, "Reload", "a{sv}", {})


def packet(number: int) -> bytes:
    """Make a frame of UDP over IPv4, of a stream of its own."""
    to = socket.inet_aton(group(number))
    head = (0x45, 0, 28, 0, 0, 9, socket.IPPROTO_UDP)
    addresses = socket.inet_aton(SOURCE) + to
    total = sum(struct.unpack("!10H", struct.pack("!BBHHHBBH", *head, 0) + addresses))
    total = (total >> 16) + (total & 0xFFFF)
    ip = struct.pack("!BBHHHBBH", *head, ~total & 0xFFFF) + addresses
    ethernet = b"\x01\0\x5e" + bytes([to[1] & 127, *to[2:]]) + b"\x02\0\0\0\0\1" + b"\x08\0"
    return ethernet + ip + struct.pack("!4H", 9, 9, 8, 0)


async def learned(stage: Stage) -> None:
    stage.start([parse_route("*", "239.0.0.0/8", "in", ["other"])])
    with stage.namespace:
        outside = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        outside.bind(("out", 0))  # the other end of the iif
    with closing(outside):
        async with stage.measured("65,536 streams are learned"):
            for n in range(65_536):
                outside.send(packet(n))
                if n % 64 == 0:
                    await asyncio.sleep(0.01)
    async with stage.measured("ListLearned, again and again") as caller:
        until = time.monotonic() + 5
        while time.monotonic() < until:
            _, total = await stage.ask(caller, "ListLearned", "a{sv}", {})
    assert total > 65_000, f"{total} were learned"


SITUATIONS: dict[str, Callable[[Stage], Awaitable[None]]] = {
    each.__name__: each
    for each in (
        nothing,
        interface,
        verify,
        restart,
        starved,
        expiry,
        taken,
        interfaces,
        changes,
        reload,
        learned,
    )
}


# The other caller


async def probe(address: str) -> None:
    """Call until a line comes in, and print how long each call took: ours, and one of the bus.

    Between two programs the bus carries everything, so what it takes itself is in both.
    """
    done = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), done.set)
    connection = await Connection.open(address)
    waits: list[float] = []
    of_bus: list[float] = []
    print(flush=True)
    while not done.is_set():
        begin = time.perf_counter()
        await connection.call_bus("GetId")
        of_bus.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        await connection.call(
            BUS_NAME,
            OBJECT_PATH,
            PROPERTIES,
            "Get",
            "ss",
            [INTERFACE, "Version"],
            timeout=_TIMEOUT,
        )
        waits.append(time.perf_counter() - begin)
        await asyncio.sleep(_INTERVAL)
    await connection.close()
    print(json.dumps([waits, of_bus]))


async def measure(names: Iterable[str], count: int) -> Grid:
    grid = Grid(
        *("what", "answered after, s", "at rest after, s", "calls"),
        *("longest, ms", "99th, ms", "longest of the bus itself, ms"),
    )
    for column in grid.columns[1:]:
        column.justify = "right"
    for name in names:
        with closing(Stage(grid, count)) as stage:
            await SITUATIONS[name](stage)
    return grid


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--routes", type=int, default=100_000, help="how many, default 100000")
    parser.add_argument("--probe", metavar="ADDRESS", help=argparse.SUPPRESS)
    parser.add_argument("situations", nargs="*", help=f"of {', '.join(SITUATIONS)}; default all")
    arguments = parser.parse_args()
    if arguments.probe:
        asyncio.run(probe(arguments.probe))
        return
    with contextlib.suppress(OSError):  # others on this machine would be measured too
        os.nice(-15)
    names = arguments.situations or list(SITUATIONS)
    Console().print(asyncio.run(measure(names, arguments.routes)))


if __name__ == "__main__":
    main()
