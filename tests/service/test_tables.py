"""Routing tables beside the default one, and the rules that send packets to them.

up0 ──┐ router ┌── down0    default table
up1 ──┤        ├── down1    table 100
      └────────┘
"""

from pathlib import Path

import pytest
from lab import witness
from lab.bus import PrivateBus
from lab.caller import OWN, STANDARD, Caller, Route, refused
from lab.daemon import CONFIGURATION, Daemon
from lab.manager import Manager
from lab.topology import Topology

TWO = """\
tables = ["ipv4", "ipv6", "ipv4/100", "ipv6/100"]
[rules]
up1 = 100
"""
ALL = ["mroute-ipv4", "mroute-ipv6", "mroute-ipv4-100", "mroute-ipv6-100"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "configuration").mkdir()
    (tmp_path / "configuration" / CONFIGURATION).write_text(TWO)
    return tmp_path


def rules(lab: Topology) -> list[tuple[str, str]]:
    """What `ip mrule` shows of both families: iif and table."""
    return sorted(
        (rule["iif"], rule["table"])
        for option in witness.IP_OPTIONS.values()
        for rule in lab.router.ip_json("mrule show", option)
        if "iif" in rule
    )


def tables(lab: Topology) -> set[tuple[str, str]]:
    """The iif and the table of each entry in the kernel."""
    return {(entry.iif, entry.table.replace("main", "default")) for entry in lab.entries()}


async def test_the_same_stream_goes_its_own_way_in_each_table(
    own_bus: PrivateBus, lab: Topology, home: Path
) -> None:
    first, second = lab.sender("up0"), lab.sender("up1")
    source, group = lab.addresses.source, lab.addresses.group
    with Daemon(own_bus.address, lab.router, home=home) as daemon:
        assert rules(lab) == [("up1", "100")] * 2
        async with Caller.at(own_bus.address) as caller:
            await caller.add(Route(source, group, "up0", ["down0"]))
            await caller.add(Route(source, group, "up1", ["down1"]), table=100)
            assert tables(lab) == {("up0", "default"), ("up1", "100")}
            sent, others = first.send(20), second.send(20)
            assert lab.arrived() == {"down0": sent, "down1": others}

            shown = await caller.get("Routes")
            assert sorted(route[-1].get("table", 0) for route in shown) == [0, 100]
            counts = [route["packets"] for route in await caller.describe(table=100)]
            assert counts == [20]

            await caller.delete(Route(source, group), table=100)
            sent = first.send(20)
            second.send(20)
            assert lab.arrived() == {"down0": sent}
            assert await caller.flush(table=100) == 0
            assert await caller.flush(table=0) == 1
        assert daemon.stop() == 0


async def test_a_table_that_the_configuration_has_not_is_refused(
    own_bus: PrivateBus, lab: Topology, home: Path
) -> None:
    with Daemon(own_bus.address, lab.router, home=home):
        async with Caller.at(own_bus.address) as caller:
            route = Route(lab.addresses.source, lab.addresses.group, "up0", ["down0"])
            await refused(caller.add(route, table=7), f"{STANDARD}.InvalidArgs", "/7")
            await refused(caller.delete(route, table=7), f"{STANDARD}.InvalidArgs", "/7")
            await refused(caller.delete(route, table=100), f"{OWN}.NoSuchRoute", "")
            assert await caller.get("Routes") == []


async def test_no_packet_is_lost_in_any_table_while_one_process_follows_another(
    own_bus: PrivateBus, lab: Topology, home: Path
) -> None:
    source, group = lab.addresses.source, lab.addresses.group
    first, second = lab.sender("up0"), lab.sender("up1")
    with Manager() as manager:
        daemon = Daemon(own_bus.address, lab.router, home=home, manager=manager)
        with daemon:
            async with Caller.at(own_bus.address) as caller:
                await caller.add(Route(source, group, "up0", ["down0"]))
                await caller.add(Route(source, group, "up1", ["down1"]), table=100)
            manager.wait_for(*ALL)
            daemon.kill()
        with first.flow(rate=1000) as one, second.flow(rate=1000) as two:
            for _ in range(3):
                with Daemon(own_bus.address, lab.router, home=home, manager=manager) as daemon:
                    two.wait_for(200)
                    daemon.kill()
        assert lab.arrived() == {"down0": one.sent, "down1": two.sent}


async def test_a_table_that_the_configuration_gives_up_goes_with_its_rules_at_the_next_start(
    own_bus: PrivateBus, lab: Topology, home: Path
) -> None:
    route = Route(lab.addresses.source, lab.addresses.group, "up1", ["down1"])
    with Manager() as manager:
        with Daemon(own_bus.address, lab.router, home=home, manager=manager) as daemon:
            async with Caller.at(own_bus.address) as caller:
                await caller.add(route, table=100)
                daemon.configure("")
                await refused(caller.reload(), f"{OWN}.ConfigError", "restart the service")
                assert tables(lab) == {("up1", "100")}
            daemon.kill()
        (home / "configuration" / CONFIGURATION).unlink()
        with Daemon(own_bus.address, lab.router, home=home, manager=manager) as daemon:
            manager.wait_for(*ALL[:2])
            assert rules(lab) == []
            assert lab.entries() == set()
            async with Caller.at(own_bus.address) as caller:
                ((*_, extra),) = await caller.get("Routes")
                assert extra.pop("reason") != ""
                assert extra == {"state": "unavailable", "table": 100}
                daemon.configure(TWO)
                await refused(caller.reload(), f"{OWN}.ConfigError", "restart the service")
                assert (await caller.get("Routes"))[0][-1]["state"] == "unavailable"
            daemon.kill()
        with Daemon(own_bus.address, lab.router, home=home, manager=manager) as daemon:
            assert tables(lab) == {("up1", "100")}
            daemon.kill()
