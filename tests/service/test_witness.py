"""Another program with the right to it writes into our tables: all is as it was soon after.

up0 ──┐ router ┌── down0
      ├────────┤
up1 ──┘        └── down1
"""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from lab.bus import PrivateBus
from lab.caller import Caller, Route
from lab.daemon import Daemon
from lab.manager import Manager
from lab.topology import Topology

from mfc_dbus.kernel.mroute import MFCEntry, MRoute

_TIMEOUT = 20.0
WORD = "Somebody else changed"


@pytest.fixture
def daemon(own_bus: PrivateBus, lab: Topology, tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(own_bus.address, lab.router, home=tmp_path) as daemon:
        yield daemon


class Stranger:
    """The kernel lets whoever has CAP_NET_ADMIN change a table that he does not own."""

    def __init__(self, lab: Topology) -> None:
        self._lab = lab
        with lab.router:
            self.mroute = MRoute(lab.family)

    def close(self) -> None:
        self.mroute.close()

    def entry(self, iif: str, *oifs: str, group: str = "", source: str = "") -> MFCEntry:
        lab = self._lab
        vifs = {name: number for number, name in lab.vifs().items()}
        return MFCEntry(
            socket.inet_pton(lab.family, source or lab.addresses.source),
            socket.inet_pton(lab.family, group or lab.addresses.group),
            vifs[iif],
            tuple((vifs[name], 1) for name in oifs),
        )


@pytest.fixture
def stranger(lab: Topology) -> Iterator[Stranger]:
    with closing(Stranger(lab)) as stranger:
        yield stranger


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


async def test_what_somebody_else_does_to_entries_is_undone_and_logged(
    own_bus: PrivateBus, lab: Topology, daemon: Daemon, stranger: Stranger
) -> None:
    one, other = lab.addresses.group, lab.addresses.other_group
    async with Caller.at(own_bus.address) as caller:
        await caller.add(Route(lab.addresses.source, one, "up0", ["down0"]))
        await caller.add(Route(lab.addresses.source, other, "up0", ["down1"]))
        await caller.add(Route("*", other, "up1", ["down0"]))
        before = lab.entries()
        mroute = stranger.mroute
        third = stranger.entry("up0", "down0", source=lab.addresses.other_source)
        done = [
            (mroute.del_mfc, stranger.entry("up0", group=one)),
            (mroute.add_mfc, stranger.entry("up0", "down1", group=one)),
            (mroute.add_mfc, third),
        ]
        for number, (act, entry) in enumerate(done):
            act(entry)
            assert lab.entries() != before
            wait_until(lambda: lab.entries() == before)
            assert daemon.log.count(WORD) == number + 1
        sent = lab.sender().send(10)
        assert lab.arrived() == {"down0": sent}


async def test_a_stream_whose_entry_nobody_touched_loses_nothing(
    own_bus: PrivateBus, lab: Topology, daemon: Daemon, stranger: Stranger
) -> None:
    async with Caller.at(own_bus.address) as caller:
        await caller.add(Route(lab.addresses.source, lab.addresses.group, "up0", ["down0"]))
        await caller.add(Route(lab.addresses.source, lab.addresses.other_group, "up0", ["down1"]))
        before = lab.entries()
        with lab.sender().flow(rate=1000) as flow:
            flow.wait_for(100)
            stranger.mroute.del_mfc(stranger.entry("up0", group=lab.addresses.other_group))
            wait_until(lambda: lab.entries() == before)
            flow.wait_for(100)
        assert lab.arrived() == {"down0": flow.sent}
        counts = {route["group"]: route["packets"] for route in await caller.describe()}
        assert counts[lab.addresses.group] == len(flow.sent)


async def test_a_vif_that_somebody_else_removed_is_back_after_a_reload(
    own_bus: PrivateBus, lab: Topology, daemon: Daemon, stranger: Stranger
) -> None:
    async with Caller.at(own_bus.address) as caller:
        await caller.add(Route(lab.addresses.source, lab.addresses.group, "up0", ["down0"]))
        before = lab.vifs()
        stranger.mroute.del_vif(next(n for n, name in before.items() if name == "down0"))
        lab.sender().send(3)
        assert lab.arrived() == {}
        await caller.reload()
        assert f"{WORD} the VIFs" in daemon.log
        assert {*lab.vifs().values()} == {*before.values()}
        sent = lab.sender().send(10)
        assert lab.arrived() == {"down0": sent}
        assert [route[-1] for route in await caller.get("Routes")] == [{"state": "active"}]


async def test_our_own_changes_are_nobody_elses(
    own_bus: PrivateBus, lab: Topology, daemon: Daemon, stranger: Stranger
) -> None:
    async with Caller.at(own_bus.address) as caller:
        route = Route("*", lab.addresses.group, "up0", ["down0"])
        for number in range(30):
            await caller.add(
                route._replace(oifs=["down0", "down1"][: number % 2 + 1]), replace=True
            )
            await caller.add(Route(lab.addresses.source, lab.addresses.group, "up0", ["down1"]))
            await caller.delete(Route(lab.addresses.source, lab.addresses.group))
        lab.delete_link("down1")
        await caller.until(lambda: "down1" not in lab.vifs().values())
        lab.add_links("down1")
        await caller.reload()
        await caller.flush()
        # By now it would have said so: it sees this, which came later.
        await caller.add(route)
        stranger.mroute.del_mfc(stranger.entry("up0", source=lab.addresses.any_source))
        wait_until(lambda: len(lab.entries()) == 1)
        assert daemon.log.count(WORD) == 1


async def test_what_follows_from_devices_that_go_is_nobody_elses(
    own_bus: PrivateBus, lab: Topology, daemon: Daemon, stranger: Stranger
) -> None:
    async with Caller.at(own_bus.address) as caller:
        await caller.add(Route("*", lab.addresses.group, "up0", ["down0", "down1"]))
        await caller.add(Route(lab.addresses.source, lab.addresses.other_group, "up0", ["down0"]))
        for name in ("down0", "up0"):
            lab.delete_link(name)
        # By now it would have said so: it sees this, which came later.
        await caller.add(Route("*", lab.addresses.group, "up1", ["down1"]))
        stranger.mroute.del_mfc(stranger.entry("up1", source=lab.addresses.any_source))
        wait_until(lambda: WORD in daemon.log)
        assert daemon.log.count(WORD) == 1


async def test_a_large_document_is_our_own_doing_however_long_it_takes(
    own_bus: PrivateBus, lab: Topology, daemon: Daemon
) -> None:
    prefix = "239.%d.%d.%d" if lab.family == socket.AF_INET else "ff1e::%x:%x:%x"
    routes = [
        {"group": prefix % (1, n >> 8, n & 255), "iif": "up0", "oifs": ["down0"]}
        for n in range(1, 4001)
    ]
    async with Caller.at(own_bus.address) as caller:
        for document in (routes, routes[::2], [], routes):
            await caller.apply({"route": document}, empty=True)
        await caller.reload()
    assert len(lab.entries()) == len(routes)
    assert WORD not in daemon.log


async def test_a_route_of_which_the_kernel_cannot_tell_ends_neither_upkeep_nor_a_start(
    own_bus: PrivateBus, family: socket.AddressFamily, tmp_path: Path
) -> None:
    """Of any-source entries with some numbers of oifs it sends an error to all who listen."""
    with Topology(family, downstreams=31) as lab, Manager() as manager:
        group, names = lab.addresses.group, lab.downstreams
        for start in range(2):
            with Daemon(own_bus.address, lab.router, home=tmp_path, manager=manager) as daemon:
                async with Caller.at(own_bus.address) as caller:
                    await caller.follow()
                    route = Route("*", group, "up0", [])
                    await (caller.add(route) if not start else caller.ping())
                    for count in range(12, 32):
                        await caller.add(route._replace(oifs=names[:count]), replace=True)
                    # Only the upkeep removes it, after it has looked at all of this.
                    timed = Route(lab.addresses.source, group, "up0", ["down0"])
                    await caller.add(timed, persistent=False, timeout=1)
                    await caller.until(lambda: bool(caller.told("RoutesRemoved")))
                    assert [route[-1] for route in await caller.get("Routes")] == [
                        {"state": "active"}
                    ]
                sent = lab.sender().send(10)
                assert lab.arrived() == dict.fromkeys(names, sent)
                assert "Traceback" not in daemon.log
                assert WORD not in daemon.log
                daemon.kill()
