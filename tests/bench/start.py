"""How long the daemon takes to start with many stored routes, beside the bare kernel's own loop.

Usage: PYTHONPATH=tests .venv/bin/python tests/bench/start.py [--routes 100000], as root or in
.ci/sandbox.
"""

import argparse
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

from lab.bus import PrivateBus
from lab.daemon import Daemon
from lab.manager import Manager
from lab.netns import Namespace

from bench.__main__ import process_cpu
from mfc_dbus.kernel import abi, dump
from mfc_dbus.kernel.mroute import MRoute
from mfc_dbus.model.route import Route, parse_route
from mfc_dbus.storage.store import Store

SOURCE = "10.0.0.1"


def routes(count: int) -> Iterator[Route]:
    return (
        parse_route(SOURCE, f"239.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}", "in", ["out"])
        for n in range(256, 256 + count)
    )


def bare_kernel(count: int) -> float:
    """Seconds of CPU for setsockopt alone, on arguments that are ready."""
    with MRoute(socket.AF_INET) as mroute:
        mroute.init()
        for vif, name in enumerate(("in", "out")):
            mroute.add_vif(vif, socket.if_nametoindex(name))
        arguments = [
            abi.IPV4.mfc(each.source.address, each.group.address, 0, ((1, 1),))
            for each in routes(count)
        ]
        with closing(socket.socket(fileno=os.dup(mroute.fileno()))) as sock:
            start = time.process_time()
            for argument in arguments:
                sock.setsockopt(socket.IPPROTO_IP, abi.MRT_ADD_MFC, argument)
            return time.process_time() - start


def start(bus: PrivateBus, namespace: Namespace, home: Path) -> Iterator[str]:
    """How long until the daemon serves: from the stores alone, then with the sockets kept."""
    with Manager() as manager:
        for _ in range(2):
            begin = time.perf_counter()
            with Daemon(bus.address, namespace, home=home, manager=manager, wait=False) as daemon:
                daemon.wait_until_ready(60)
                wall = time.perf_counter() - begin
                yield f"{wall:.2f} s ({process_cpu(daemon.process.pid):.2f} s of CPU)"
                manager.wait_for("mroute-ipv4", "mroute-ipv6")
                with namespace:
                    print(f"entries in the kernel: {sum(1 for _ in dump.entries(socket.AF_INET))}")
                daemon.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--routes", type=int, default=100_000, help="how many, default 100000")
    count: int = parser.parse_args().routes
    with ExitStack() as stack:
        namespace = stack.enter_context(closing(Namespace()))
        namespace.ip("link add in type veth peer name out")
        bus = stack.enter_context(PrivateBus())
        homes = [Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in range(2)]
        for home in homes:
            for name in ("state", "runtime", "configuration"):
                (home / name).mkdir()
        with namespace:
            print(f"bare kernel, {count} setsockopt: {bare_kernel(count):.2f} s of CPU")
        with Store(homes[1] / "state" / "routes.db", "") as store:
            begin = time.perf_counter()
            store.write({route.key: route for route in routes(count)})
            print(f"writing them to the store: {time.perf_counter() - begin:.2f} s")
        for number, home in zip((0, count), homes, strict=True):
            fresh, adopting = start(bus, namespace, home)
            print(f"start with {number} routes: {fresh} until all are in the kernel and it")
            print(f"    serves; with the sockets of an earlier process {adopting}")


if __name__ == "__main__":
    main()
