"""How long another caller waits while the daemon does long work.

He calls Get(Version) every few milliseconds, from a process of his own. For each situation the
table shows how long it took until the daemon was idle again, and of his calls the longest, and that
which 99 of 100 were shorter than; and the longest of calls that the bus itself answers, which takes
its time with megabytes, too. A situation is a coroutine in SITUATIONS: it prepares, then does
what is measured in `async with stage.measured(…)`.

`make bench` measures two of them, `make bench-stalls [ARGS='--routes 20000 verify reload']` all, or
those that are named.
"""

import argparse
import asyncio
import contextlib
import json
import resource
import socket
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import closing
from typing import Any

from lab.caller import Caller
from lab.caller import Route as Asked

from bench.ground import FIRST, SOURCE, TIMEOUT, Ground, Plan, Version, document, go_first, group
from bench.sheet import Column, Sheet
from mfc_dbus.bus.backend import Variant
from mfc_dbus.bus.connection import Connection
from mfc_dbus.bus.errors import BusError
from mfc_dbus.bus.names import PROPERTIES
from mfc_dbus.kernel.mroute import MFCEntry, MRoute
from mfc_dbus.model.route import Route, parse_route
from mfc_dbus.names import BUS_NAME, INTERFACE, OBJECT_PATH
from mfc_dbus.storage.store import Store

_INTERVAL = 0.004  # seconds between calls
_LOOK = 1.0  # seconds
_NO_ROOM = 1 << 16  # bytes of a file, in which a change of many routes cannot be stored
_PROBE = "probe"


def routes(count: int, iif: str, *oifs: str, first: int = FIRST) -> list[Route]:
    return [parse_route(SOURCE, group(n), iif, oifs) for n in range(first, first + count)]


class Stage(Ground):
    """A daemon with routes that were stored, in a network of its own: in, out, and other."""

    def __init__(self, sheet: Sheet, version: Version, count: int) -> None:
        super().__init__(version)
        self.count = count
        self._sheet = sheet

    def start_with(self, kept: Iterable[Route]) -> None:
        """Start with these in the store."""
        with Store(self.home / "state" / "routes.db", "") as store:
            store.write({route.key: route for route in kept})
        self.start()

    @contextlib.asynccontextmanager
    async def measured(self, what: str, *, at_rest: bool = True) -> AsyncIterator[Caller]:
        """Measure what is done inside, and what follows from it until the daemon is at rest.

        at_rest: begin when it is.
        """
        if at_rest:
            await self.rest()
        async with Caller.at(self.bus.address) as caller:
            prober = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "bench.stalls", _PROBE, self.bus.address),
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
        waits, of_bus = map(sorted, json.loads(output))
        figures = (len(waits), waits[-1], waits[len(waits) * 99 // 100], of_bus[-1])
        self._sheet.take(what, took, rested, *figures, version=self.version.name)
        assert "Traceback" not in self.daemon.log, self.daemon.log

    async def ask(self, caller: Caller, member: str, signature: str, *body: Any) -> list[Any]:
        """Call a method that may take long."""
        return await caller.call(
            BUS_NAME, OBJECT_PATH, INTERFACE, member, signature, body, timeout=TIMEOUT
        )


# The situations


async def nothing(stage: Stage) -> None:
    """What the machine itself makes a caller wait."""
    stage.start()
    stage.cli("apply", stage.file("routes.json", document(stage.count)))
    async with stage.measured("nothing happens"):
        await asyncio.sleep(3)


async def interface(stage: Stage) -> None:
    stage.start_with([*routes(stage.count, "in", "out"), *routes(10, "in", "other", first=10)])
    async with stage.measured("the interfaces of all routes go"):
        stage.namespace.ip("link delete out")  # and its peer, which is the iif
        await asyncio.sleep(0.5)
    stage.namespace.ip("link add in type veth peer name elsewhere")
    async with stage.measured("their oif comes back, after their iif"):
        stage.namespace.ip("link add out type veth peer name far")
        await asyncio.sleep(0.5)


async def verify(stage: Stage) -> None:
    stage.start_with(routes(stage.count, "in", "out"))
    async with stage.measured("verify with nothing wrong (Reload)") as caller:
        await stage.ask(caller, "Reload", "a{sv}", {})
    with stage.namespace, MRoute(socket.AF_INET) as stranger:
        async with stage.measured("another program deletes 1,000 entries"):
            for n in range(FIRST, FIRST + min(stage.count, 1000)):
                entry = MFCEntry(socket.inet_aton(SOURCE), socket.inet_aton(group(n)), 0, ())
                stranger.del_mfc(entry)
            await asyncio.sleep(2)


async def restart(stage: Stage) -> None:
    stage.start_with(routes(stage.count, "in", "out"))
    stage.manager.wait_for("mroute-ipv4", "mroute-ipv6")
    stage.daemon.kill()
    stage.start()
    async with stage.measured("a new interface after a restart", at_rest=False) as caller:
        await caller.add(Asked(SOURCE, "239.255.0.1", "other", ["another"]))


async def starved(stage: Stage) -> None:
    names = [f"v{n}" for n in range(32)]
    stage.namespace.ip(*(f"link add {name} type veth peer name w{name}" for name in names))
    stage.start_with(
        [
            *routes(20_000, names[0], names[1], first=1 << 17),
            *(parse_route(SOURCE, group(n), names[0], [names[n]]) for n in range(1, 32)),
            *routes(20_000, names[0], "other"),
        ]
    )
    async with stage.measured("DeleteRoute beside 20,000 routes without room") as caller:
        await caller.delete(Asked(SOURCE, group(31)))


async def expiry(stage: Stage) -> None:
    stage.start_with(routes(stage.count, "in", "out"))
    count = min(stage.count, 20_000)
    async with Caller.at(stage.bus.address) as caller:
        asked = [Asked("10.0.0.2", group(n), "in", ["out"]) for n in range(FIRST, FIRST + count)]
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
        stage.start_with(routes(stage.count, "in", "out"))
        async with stage.measured("another program gives the table up"):
            owner.done()
            await asyncio.sleep(2)


async def interfaces(stage: Stage) -> None:
    stage.start_with(
        [parse_route("*", "239.0.0.0/8", "in", ["v*"]), *routes(stage.count, "in", "out")]
    )
    async with stage.measured("4,000 interfaces come, beside a v* route"):
        stage.namespace.ip(*(f"link add v{n} type veth peer name v{n + 2000}" for n in range(2000)))
    async with stage.measured("they go"):
        stage.namespace.ip(*(f"link delete v{n}" for n in range(2000)))


async def changes(stage: Stage) -> None:
    stage.start()
    new, other = (document(stage.count, oif) for oif in ("out", "other"))
    for what, text in (("all new", new), ("the same", new), ("all changed", other)):
        async with stage.measured(f"Apply, {what}") as caller:
            await stage.ask(caller, "Apply", "sa{sv}", text, {})
    async with stage.measured("Apply, refused by the store") as caller:
        pid, unlimited = stage.daemon.process.pid, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (_NO_ROOM, resource.RLIM_INFINITY))
        with contextlib.suppress(BusError):
            await stage.ask(caller, "Apply", "sa{sv}", new, {})
        resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)
    async with stage.measured("Describe") as caller:
        await stage.ask(caller, "Describe", "a{sv}", {})
    async with stage.measured("GetAll") as caller:
        await caller.call(
            BUS_NAME, OBJECT_PATH, PROPERTIES, "GetAll", "s", [INTERFACE], timeout=TIMEOUT
        )
    async with stage.measured("FlushRoutes") as caller:
        await stage.ask(caller, "FlushRoutes", "a{sv}", {})


async def reload(stage: Stage) -> None:
    stage.start()
    directory = stage.home / "configuration" / "routes.d"
    directory.mkdir()
    text = "".join(
        f'[[route]]\nsource = "{SOURCE}"\ngroup = "{group(n)}"\niif = "in"\noifs = ["out"]\n'
        for n in range(FIRST, FIRST + stage.count)
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
    stage.start_with([parse_route("*", "239.0.0.0/8", "in", ["other"])])
    with stage.namespace:
        outside = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        outside.bind(("out", 0))  # the other end of the iif
    with closing(outside):
        async with stage.measured("65,536 streams are learned"):
            for n in range(65_536):
                outside.send(packet(n))
                if n % 64 == 0:
                    await asyncio.sleep(0.01)
    async with stage.measured("ListStreams, again and again") as caller:
        _, total = await list_streams(stage, caller)
    assert total > 65_000, f"{total} were learned"


async def streams(stage: Stage) -> None:
    stage.start_with(routes(stage.count, "in", "out"))
    async with stage.measured("ListStreams, again and again") as caller:
        _, total = await list_streams(stage, caller)
    assert total == stage.count


async def list_streams(stage: Stage, caller: Caller) -> list[Any]:
    """Ask for other streams each time, so that each answer is made anew, and return the last."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        for sort in ("rate", "packets", "group", "idle"):
            answer = await stage.ask(caller, "ListStreams", "a{sv}", {"sort": Variant("s", sort)})
    return answer


SITUATIONS: dict[str, Callable[[Stage], Coroutine[Any, Any, None]]] = {
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
        streams,
    )
}


# The other caller


async def probe(address: str) -> None:
    """Call until a line comes in, and print how long each call took: ours, and those of the bus.

    Between two programs the bus carries everything, so what it takes itself is in both. The calls
    of the bus do not wait for ours: while it is busy with megabytes, ours wait for it.
    """
    done = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), done.set)

    async def call(connection: Connection, ask: Callable[[], Awaitable[Any]]) -> list[float]:
        waits: list[float] = []
        while not done.is_set():
            begin = time.perf_counter()
            await ask()
            waits.append(time.perf_counter() - begin)
            await asyncio.sleep(_INTERVAL)
        await connection.close()
        return waits

    ours, other = [await Connection.open(address) for _ in range(2)]
    print(flush=True)
    version = (BUS_NAME, OBJECT_PATH, PROPERTIES, "Get", "ss", [INTERFACE, "Version"])
    waits, of_bus = await asyncio.gather(
        call(ours, lambda: ours.call(*version, timeout=TIMEOUT)),
        call(other, lambda: other.call_bus("GetId")),
    )
    print(json.dumps([waits, of_bus]))


def measure(plan: Plan, names: Iterable[str] = ("nothing", "changes")) -> Sheet:
    sheet = Sheet(
        f"What another caller waits for Get(Version), {plan.routes:,} routes",
        *(Column("done", "s"), Column("rest", "s"), Column("calls")),
        *(Column("longest", "ms"), Column("99th", "ms"), Column("of the bus", "ms")),
    )
    for name in names:
        for version in plan.versions:
            with Stage(sheet, version, plan.routes) as stage:
                asyncio.run(SITUATIONS[name](stage))
    return sheet


def main() -> None:
    if sys.argv[1:2] == [_PROBE]:
        asyncio.run(probe(sys.argv[2]))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--routes", type=int, default=100_000, help="how many, default 100000")
    parser.add_argument("situations", nargs="*", help=f"of {', '.join(SITUATIONS)}; default all")
    arguments = parser.parse_args()
    go_first()
    plan = Plan(arguments.routes)
    measure(plan, arguments.situations or SITUATIONS).print()


if __name__ == "__main__":
    main()
