"""How long a route is kept, and what it waits for."""

import json
import socket
import time
from typing import Any

from lab.bus import PrivateBus
from lab.caller import OWN, ROUTE, Caller, Route, refused
from lab.daemon import Daemon
from lab.foreign import add_route, busctl, output
from lab.netns import Namespace
from lab.witness import Entry, entries, vifs

IPV4 = socket.AF_INET
PERSISTENT, LASTING, TIMED = (Route(group=f"239.1.2.{n}") for n in range(1, 4))
LONG = 2**32 - 1  # seconds, the most that D-Bus carries


def now() -> int:
    """In microseconds since boot."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


async def extras(caller: Caller) -> dict[str, dict[str, Any]]:
    """What is told of each route beside its arguments, by group."""
    return {route[1]: route[4] for route in await caller.get("Routes")}


def changed(caller: Caller) -> list[str]:
    """The states that RoutesChanged told, of a single route each time."""
    return [route[4]["state"] for ((route,),) in caller.told("RoutesChanged")]


def generation(caller: Caller) -> int:
    """The one that was told last."""
    told = [properties["Generation"] for _, properties, _ in caller.told("PropertiesChanged")]
    return int(told[-1]) if told else 0


def in_kernel(network: Namespace, *oifs: str) -> None:
    """The route is there with these oifs, or without any not at all."""
    expected = Entry(ROUTE.source, ROUTE.group, ROUTE.iif, frozenset((oif, 1) for oif in oifs))
    assert entries(network, IPV4) == ({expected} if oifs else set())
    assert set(vifs(network, IPV4).values()) == ({"eth1", *oifs} if oifs else set())


def add_veth(network: Namespace, *names: str) -> None:
    one, other = names
    network.ip(
        f"link add name {one} type veth peer name {other}",
        *(f"link set dev {name} up" for name in names),
    )


# Interfaces that are not there yet


async def test_a_route_waits_for_its_interfaces_and_says_how_far_it_is(
    own_bus: PrivateBus, own_daemon: Daemon, own_network: Namespace
) -> None:
    route = ROUTE._replace(oifs=["eth2", "new"])
    async with Caller.at(own_bus.address) as caller:
        await caller.follow()
        await refused(caller.add(route), f"{OWN}.NoSuchInterface", "Interface 'new' not found")
        await caller.add(route, wait=True)
        partial = {"state": "partial", "reason": "Interface 'new' is missing"}
        assert (await extras(caller))[route.group] == partial
        in_kernel(own_network, "eth2")

        add_veth(own_network, "new", "far")
        await caller.until(lambda: changed(caller)[-1:] == ["active"])
        in_kernel(own_network, "eth2", "new")

        own_network.ip("link delete dev eth1")
        await caller.until(lambda: changed(caller)[-1] == "waiting")
        waiting = {"state": "waiting", "reason": "Interface 'eth1' is missing"}
        assert (await extras(caller))[route.group] == waiting
        in_kernel(own_network)

        add_veth(own_network, "eth1", "eth2")
        await caller.until(lambda: changed(caller)[-1] == "active")
        in_kernel(own_network, "eth2", "new")
        assert caller.told("RoutesAdded") == [[[[*route[:4], partial]]]]
        assert caller.told("RoutesRemoved") == []


async def test_a_route_whose_interfaces_are_all_missing_can_be_replaced_and_deleted(
    own_bus: PrivateBus, own_daemon: Daemon, own_network: Namespace
) -> None:
    missing = ROUTE._replace(iif="in", oifs=["out"])
    async with Caller.at(own_bus.address) as caller:
        await caller.add(missing, wait=True)
        waiting = {"state": "waiting", "reason": "Interface 'in' is missing"}
        assert await extras(caller) == {missing.group: waiting}
        assert await caller.get("Interfaces") == []
        await caller.delete()
        await caller.add(missing, wait=True)
        await caller.add(replace=True)
        assert await extras(caller) == {ROUTE.group: {"state": "active"}}
        await caller.add(missing, wait=True, replace=True)
        in_kernel(own_network)


async def test_every_change_of_a_state_is_a_new_generation(
    own_bus: PrivateBus, own_daemon: Daemon, own_network: Namespace
) -> None:
    async with Caller.at(own_bus.address) as caller:
        add_veth(own_network, "eth3", "far")
        own_network.wait_until_up(["eth3", "far"])
        await caller.add(ROUTE._replace(oifs=["eth2", "eth3"]))
        before = await caller.get("Generation")
        await caller.follow()
        own_network.ip("link set dev eth3 name lan0")
        await caller.until(lambda: generation(caller) == before + 1)
        own_network.ip("link set dev lan0 name eth3")
        await caller.until(lambda: generation(caller) == before + 2)
        assert changed(caller) == ["partial", "active"]


# Time


async def test_a_timed_route_says_when_it_goes(own_bus: PrivateBus, own_daemon: Daemon) -> None:
    async with Caller.at(own_bus.address) as caller:
        for timeout in (60, LONG):
            earliest = now() + timeout * 1_000_000
            await caller.add(timeout=timeout, replace=True)
            latest = now() + timeout * 1_000_000
            told = (await extras(caller))[ROUTE.group]
            assert earliest <= told.pop("expires") <= latest
            assert told == {"state": "active", "persistent": False}


async def test_a_timed_route_goes_when_its_time_has_run_out_and_not_before(
    own_bus: PrivateBus, own_daemon: Daemon, own_network: Namespace
) -> None:
    async with Caller.at(own_bus.address) as caller:
        await caller.follow()
        await caller.add(PERSISTENT)
        await caller.add(TIMED, timeout=3)
        assert len(entries(own_network, IPV4)) == 2
        shown = (await caller.get("Routes"))[1]
        await caller.until(lambda: bool(caller.told("RoutesRemoved")))
        assert now() >= shown[4]["expires"]
        # It is told with its own arguments, and it alone.
        assert caller.told("RoutesRemoved") == [[[shown]]]
        assert (await extras(caller)).keys() == {PERSISTENT.group}
        assert {entry.group for entry in entries(own_network, IPV4)} == {PERSISTENT.group}


async def test_a_replaced_route_lives_as_long_as_the_last_one_said(
    own_bus: PrivateBus, own_daemon: Daemon
) -> None:
    async with Caller.at(own_bus.address) as caller:
        await caller.follow()
        for route in (PERSISTENT, LASTING):
            await caller.add(route, timeout=3)
        await caller.add(PERSISTENT, replace=True)
        await caller.add(LASTING, replace=True, timeout=LONG)
        await caller.add(TIMED, timeout=LONG)
        await caller.add(TIMED, timeout=3, replace=True)
        await caller.until(lambda: bool(caller.told("RoutesRemoved")))
        assert [route[1] for ((route,),) in caller.told("RoutesRemoved")] == [TIMED.group]
        left = await extras(caller)
        assert left[PERSISTENT.group] == {"state": "active"}
        assert left[LASTING.group]["expires"] > now()


async def test_a_route_goes_in_time_also_where_it_only_waits(
    own_bus: PrivateBus, own_daemon: Daemon
) -> None:
    async with Caller.at(own_bus.address) as caller:
        await caller.follow()
        await caller.add(ROUTE._replace(iif="in"), timeout=1, wait=True)
        await caller.until(lambda: bool(caller.told("RoutesRemoved")))
        assert await extras(caller) == {}


def test_a_timed_route_can_be_typed_into_busctl(own_bus: PrivateBus, own_daemon: Daemon) -> None:
    *command, count = add_route(TIMED.group)
    assert count == "0"
    options = ["2", "timeout", "u", "60", "wait", "b", "false"]
    assert output(own_bus.address, *command, *options) == ""
    where = [OWN.removesuffix(".Error"), "/" + OWN.removesuffix(".Error").replace(".", "/")]
    get = ["--json=short", "get-property", *where, where[0], "Routes"]
    (route,) = json.loads(busctl(own_bus.address, *get))["data"]
    assert route[4]["persistent"]["data"] is False
    assert route[4]["expires"]["type"] == "t"


# A new process


async def test_a_route_waits_on_in_the_next_process(
    own_bus: PrivateBus, own_daemon: Daemon, own_network: Namespace
) -> None:
    async with Caller.at(own_bus.address) as caller:
        await caller.add(ROUTE._replace(iif="in", oifs=["eth2", "out"]), wait=True)
        own_daemon.stop()
        with Daemon(own_bus.address, own_network, home=own_daemon.home):
            waiting = {"state": "waiting", "reason": "Interface 'in' is missing"}
            assert await extras(caller) == {ROUTE.group: waiting}
            await caller.follow()
            add_veth(own_network, "in", "out")
            await caller.until(lambda: "active" in changed(caller))
        assert "Traceback" not in own_daemon.log
