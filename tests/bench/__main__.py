"""What one route costs: the bare kernel, this service on both D-Bus libraries, and smcroute.

Everything runs in one go, in a network namespace of its own, and is given as a ratio to the bare
kernel as well, since machines are noisy. Usage: make bench [ARGS='--routes 100000']
"""

import argparse
import asyncio
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from lab.bus import PrivateBus
from lab.daemon import Daemon
from lab.fake import FakeKeeper
from lab.netns import Namespace
from rich.console import Console
from rich.table import Table as Grid

from mfc_dbus.bus.connection import Connection
from mfc_dbus.bus.names import PROPERTIES
from mfc_dbus.control.controller import Controller
from mfc_dbus.kernel import abi
from mfc_dbus.kernel.links import Links
from mfc_dbus.kernel.mroute import MFCEntry, MRoute
from mfc_dbus.model.route import TableId, parse_route
from mfc_dbus.names import BUS_NAME, INTERFACE, OBJECT_PATH
from mfc_dbus.routing.table import Table

SOURCE = "10.0.0.1"
_TICK = os.sysconf("SC_CLK_TCK")


def groups(count: int) -> Iterator[str]:
    return (f"239.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}" for n in range(256, 256 + count))


@contextmanager
def owned_table() -> Iterator[MRoute]:
    """Own the IPv4 table, with the interface "in" as VIF 0 and "out" as VIF 1."""
    with MRoute(socket.AF_INET) as mroute:
        mroute.init()
        for vif, name in enumerate(("in", "out")):
            mroute.add_vif(vif, socket.if_nametoindex(name))
        yield mroute


def bare_kernel(count: int) -> float:
    """Seconds of CPU for setsockopt alone, on arguments that are ready."""
    with owned_table() as mroute:
        source = socket.inet_aton(SOURCE)
        arguments = [
            abi.IPV4.mfc(source, socket.inet_aton(group), 0, ((1, 1),)) for group in groups(count)
        ]
        sock = socket.socket(fileno=os.dup(mroute.fileno()))
        with closing(sock), cpu() as spent:
            for argument in arguments:
                sock.setsockopt(socket.IPPROTO_IP, abi.MRT_ADD_MFC, argument)
        return spent()


def kernel_layer(count: int) -> float:
    with owned_table() as mroute:
        source = socket.inet_aton(SOURCE)
        with cpu() as spent:
            for group in groups(count):
                mroute.add_mfc(MFCEntry(source, socket.inet_aton(group), 0, ((1, 1),)))
        return spent()


async def controller(count: int) -> float:
    with MRoute(socket.AF_INET) as mroute, Links() as links:
        domain = Controller([Table(TableId(socket.AF_INET), mroute)], links, FakeKeeper())
        domain.restore([])
        with cpu() as spent:
            for group in groups(count):
                await domain.add(parse_route(SOURCE, group, "in", ["out"]))
        return spent()


async def service(address: str, pid: int, count: int) -> dict[str, float]:
    """The daemon's CPU time for AddRoute at growing sizes, and for all routes at once."""
    connection = await Connection.open(address)

    async def measure(
        member: str, signature: str, *bodies: list[Any], on: str = INTERFACE
    ) -> float:
        before = process_cpu(pid)
        for body in bodies:
            await connection.call(BUS_NAME, OBJECT_PATH, on, member, signature, body, timeout=60)
        return process_cpu(pid) - before

    async def add(some: list[str]) -> float:
        bodies = [[SOURCE, group, "in", ["out"], {}] for group in some]
        return await measure("AddRoute", "sssasa{sv}", *bodies) / len(some)

    every = list(groups(count))
    part = max(count // 10, 1)
    costs = {
        f"AddRoute, first {part}": await add(every[:part]),
        f"AddRoute, next {count - 2 * part}": await add(every[part:-part]),
        f"AddRoute, last {part}": await add(every[-part:]),
        "Get Routes": await measure("Get", "ss", [INTERFACE, "Routes"], on=PROPERTIES) / count,
        "FlushRoutes": await measure("FlushRoutes", "a{sv}", [{}]) / count,
    }
    await connection.close()
    return costs


def smcroute(count: int) -> float:
    """smcrouted's CPU for the same routes, in one batch of its own control program."""
    with tempfile.TemporaryDirectory() as directory:
        sock, conf = Path(directory, "sock"), Path(directory, "conf")
        conf.write_text("phyint in enable\nphyint out enable\n")
        options = ["-n", "-N", "-f", str(conf), "-P", f"{directory}/pid", "-u", str(sock)]
        daemon = subprocess.Popen(["smcrouted", *options], stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 10
            while not sock.exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            before = process_cpu(daemon.pid)
            batch = "".join(f"add in {SOURCE} {group} out\n" for group in groups(count))
            subprocess.run(
                ["smcroutectl", "-b", "-u", str(sock)], input=batch, text=True, check=True
            )
            return process_cpu(daemon.pid) - before
        finally:
            daemon.terminate()
            daemon.wait()


@contextmanager
def cpu() -> Iterator[Callable[[], float]]:
    """Measure this process's CPU time, in seconds."""
    start = time.process_time()
    end = start
    yield lambda: end - start
    end = time.process_time()


def process_cpu(pid: int) -> float:
    """Read the CPU time that a process has used, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--routes", type=int, default=20_000, help="how many, default 20000")
    parser.add_argument(
        "--smcroute-routes", type=int, default=5_000, help="its time grows by square"
    )
    arguments = parser.parse_args()
    count: int = arguments.routes

    grid = Grid("what", "CPU a route, µs", "ratio to the bare kernel")
    for column in grid.columns[1:]:
        column.justify = "right"
    with closing(Namespace()) as namespace:
        namespace.ip(
            "link add in type veth peer name far0",
            "link add out type veth peer name far1",
            "link set in up",
            "link set out up",
        )
        with namespace:
            bare = bare_kernel(count) / count

            def show(what: str, seconds: float) -> None:
                grid.add_row(what, f"{seconds * 1e6:.1f}", f"{seconds / bare:.1f}")

            show("setsockopt alone", bare)
            show("kernel/mroute.py", kernel_layer(count) / count)
            show("controller", asyncio.run(controller(count)) / count)
        for library in ("dbus_fast", "dbus_next"):
            grid.add_section()
            with (
                PrivateBus() as bus,
                Daemon(bus.address, namespace, library=library) as daemon,
            ):
                costs = asyncio.run(service(bus.address, daemon.process.pid, count))
            for what, seconds in costs.items():
                show(f"{library}: {what}", seconds)
        grid.add_section()
        if shutil.which("smcrouted"):
            some = min(count, arguments.smcroute_routes)
            with namespace:
                show(f"smcroute, {some} routes", smcroute(some) / some)
        else:
            grid.add_row("smcroute", "not installed", "")
    Console().print(grid)


if __name__ == "__main__":
    main()
