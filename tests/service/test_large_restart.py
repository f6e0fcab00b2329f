"""The daemon dies with more entries in the kernel than the next one reads before it serves.

up0 ──┐ router ┌── down0
      ├────────┤
up1 ──┘        └── down1
"""

import asyncio
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from lab.bus import PrivateBus
from lab.caller import Caller, Route
from lab.daemon import Daemon
from lab.manager import Manager
from lab.topology import Topology

from mfc_dbus.kernel import dump
from mfc_dbus.kernel.mroute import MFCEntry, MRoute
from mfc_dbus.model.route import parse_route
from mfc_dbus.storage.store import Store

_TIMEOUT = 300.0
FOUND = "All that an earlier process has left in the ipv4 table is found"
WORD = "Somebody else changed"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where so many routes are stored that the kernel's table is not read whole at a start."""
    (tmp_path / "state").mkdir()
    many = (
        parse_route("10.9.0.1", f"225.{n >> 16}.{n >> 8 & 255}.{n & 255}", "up0", ["down0"])
        for n in range(dump.MOST_READ)
    )
    with Store(tmp_path / "state" / "routes.db", "") as store:
        store.write({route.key: route for route in many})
    return tmp_path


@pytest.fixture
def stranger(lab: Topology) -> Iterator[MRoute]:
    """A socket that may change the table, though it does not own it."""
    with lab.router, MRoute(lab.family) as mroute:
        yield mroute


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def exists(mroute: MRoute, source: str, group: str) -> bool:
    with suppress(OSError):
        mroute.sg_count(*(socket.inet_aton(each) for each in (source, group)))
        return True
    return False


def add(bus: PrivateBus, route: Route) -> None:
    async def call() -> None:
        async with Caller.at(bus.address) as caller:
            await caller.add(route, persistent=False)

    asyncio.run(call())


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("family", [socket.AF_INET], ids=["ipv4"])
def test_streams_flow_on_and_what_no_route_names_is_found_while_it_serves(
    own_bus: PrivateBus, lab: Topology, home: Path, stranger: MRoute
) -> None:
    """Also where it dies between the two."""
    addresses = lab.addresses
    lab.add_links("gone")

    arrived: defaultdict[str, list[int]] = defaultdict(list)

    def start(manager: Manager) -> Daemon:
        daemon = Daemon(own_bus.address, lab.router, home=home, manager=manager, wait=False)
        daemon.wait_until_ready(_TIMEOUT)
        return daemon

    def collect() -> bool:
        for name, numbers in lab.arrived().items():
            arrived[name] += numbers
        return True

    with Manager() as manager, ExitStack() as stack:
        with start(manager) as daemon:
            wide = Route("*", "239.0.0.0/8", "up0", ["down0", "down1", "gone"])
            add(own_bus, wide)
            sender = lab.sender()
            first = sender.send(1)
            wait_until(lambda: exists(stranger, addresses.source, addresses.group))
            assert lab.arrived() == dict.fromkeys(("down0", "down1", "gone"), first)
            manager.wait_for("mroute-ipv4", "mroute-ipv6")
            flow = stack.enter_context(sender.flow(rate=50))
            daemon.kill()
        lab.delete_link("gone")
        lab.add_links("new")
        vifs = {name: number for number, name in lab.vifs().items()}
        source, group = socket.inet_aton("10.7.7.7"), socket.inet_aton("226.7.7.7")
        stranger.add_mfc(MFCEntry(source, group, vifs["up0"], ((vifs["down1"], 1),)))
        with start(manager) as daemon:
            assert FOUND not in daemon.log
            daemon.kill()
        collect()
        with start(manager) as daemon:
            wait_until(lambda: collect() and FOUND in daemon.log)
            add(own_bus, Route("10.8.0.1", "227.1.1.1", "up1", ["new"]))
            flow.wait_for(50)
            flow.stop()
            collect()
            assert arrived == {name: [*flow.sent] for name in ("down0", "down1")}
            assert exists(stranger, addresses.source, addresses.group)
            assert not exists(stranger, "10.7.7.7", "226.7.7.7")
            assert exists(stranger, "10.9.0.1", "225.1.255.255")
            sent = lab.sender("up1", source="10.8.0.1", group="227.1.1.1").send(3)
            assert lab.arrived() == {"new": sent}
            assert WORD not in daemon.log
            assert "Traceback" not in daemon.log
