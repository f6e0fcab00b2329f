"""Routes by D-Bus: what the caller is told, what everyone is told, and what the kernel then has."""

import asyncio
import socket
from collections.abc import Awaitable, Iterator, Mapping
from contextlib import closing
from typing import Any

import pytest
from lab.bus import PrivateBus
from lab.caller import INTERFACE, OWN, ROUTE, STANDARD, Caller, Route, refused
from lab.daemon import Daemon
from lab.netns import Namespace
from lab.packets import Run, Sender
from lab.witness import Entry, entries, vifs

from mfc_dbus.bus.backend import Variant
from mfc_dbus.bus.frames import MessageType
from mfc_dbus.kernel.mroute import MRoute

IPV4, IPV6 = socket.AF_INET, socket.AF_INET6
ACTIVE = {"state": "active"}


def shown(route: Route, **extra: Any) -> list[Any]:
    """A route as the service shows it."""
    return [route.source, route.group, route.iif, list(route.oifs), ACTIVE | extra]


def in_kernel(route: Route, ttls: Mapping[str, int] | None = None) -> Entry:
    """A route as the kernel has it."""
    oifs = frozenset((oif, (ttls or {}).get(oif, 1)) for oif in route.oifs)
    return Entry(route.source, route.group, route.iif, oifs)


def many(count: int) -> list[Route]:
    return [ROUTE._replace(group=f"239.7.{n // 250}.{n % 250}") for n in range(count)]


# What is refused, and how


REFUSED: dict[str, tuple[Route, Mapping[str, Any], str, str]] = {
    # The form of the arguments
    "a source that is no address": (
        ROUTE._replace(source="10.1.0"),
        {},
        f"{STANDARD}.InvalidArgs",
        "Source '10.1.0' is not an IPv4 or IPv6 address",
    ),
    "a group that is no address": (
        ROUTE._replace(group=""),
        {},
        f"{STANDARD}.InvalidArgs",
        "Group '' is not an IPv4 or IPv6 address",
    ),
    "a group that is unicast": (
        ROUTE._replace(group="10.1.2.3"),
        {},
        f"{STANDARD}.InvalidArgs",
        "Group '10.1.2.3' is not a multicast address",
    ),
    "a group that is never forwarded": (
        ROUTE._replace(group="224.0.0.251"),
        {},
        f"{STANDARD}.InvalidArgs",
        "Group '224.0.0.251' is link-local (224.0.0.0/24) and never forwarded",
    ),
    "a source that is never forwarded": (
        ROUTE._replace(source="fe80::1", group="ff1e::1"),
        {},
        f"{STANDARD}.InvalidArgs",
        "Source 'fe80::1' is link-local",
    ),
    "two families": (
        ROUTE._replace(group="ff1e::123"),
        {},
        f"{STANDARD}.InvalidArgs",
        "Source '10.1.0.10' and group 'ff1e::123' mix IPv4 and IPv6",
    ),
    "an oif twice": (
        ROUTE._replace(oifs=["eth2", "eth3", "eth2"]),
        {},
        f"{STANDARD}.InvalidArgs",
        "Oif 'eth2' is named twice",
    ),
    "its iif for an oif": (
        ROUTE._replace(oifs=["eth1"]),
        {},
        f"{STANDARD}.InvalidArgs",
        "Interface 'eth1' is both the iif and an oif: with 'hairpin' what",
    ),
    "a name that no interface has": (
        ROUTE._replace(iif="eth1/../eth2"),
        {},
        f"{STANDARD}.InvalidArgs",
        "'eth1/../eth2' is not an interface name",
    ),
    # Options
    "a TTL threshold for IPv6": (
        Route("fd01::1", "ff1e::123"),
        {"ttls": {"eth2": 2}},
        f"{STANDARD}.InvalidArgs",
        "IPv6 has no TTL thresholds",
    ),
    "a TTL threshold that is none": (
        ROUTE,
        {"ttls": {"eth2": 255}},
        f"{STANDARD}.InvalidArgs",
        "TTL threshold 255 of 'eth2'",
    ),
    "a TTL threshold of no oif": (
        ROUTE,
        {"ttls": {"eth3": 2}},
        f"{STANDARD}.InvalidArgs",
        "'ttls' names 'eth3'",
    ),
    "a long comment": (
        ROUTE,
        {"comment": "x" * 201},
        f"{STANDARD}.InvalidArgs",
        "The comment has 201 characters, 200 are allowed",
    ),
    "a comment of two lines": (
        ROUTE,
        {"comment": "one\ntwo"},
        f"{STANDARD}.InvalidArgs",
        "The comment has control characters",
    ),
    "an option that there is not": (
        ROUTE,
        {"iif": "eth1"},
        f"{STANDARD}.InvalidArgs",
        "There is no option 'iif'; there are 'ttls', 'comment', 'persistent', 'table', "
        "'hairpin', 'enabled', 'replace', 'timeout', 'wait'",
    ),
    "a time that is none": (
        ROUTE,
        {"timeout": 0},
        f"{STANDARD}.InvalidArgs",
        "A timeout of 0 seconds leaves no time",
    ),
    "a time, and to be kept for ever": (
        ROUTE,
        {"timeout": 60, "persistent": True},
        f"{STANDARD}.InvalidArgs",
        "A route with a timeout is never persistent",
    ),
    # What there is on this system
    "an interface that there is not": (
        ROUTE._replace(oifs=["eth2", "eth99"]),
        {},
        f"{OWN}.NoSuchInterface",
        "Interface 'eth99' not found",
    ),
    "the loopback interface, in IPv6": (
        ROUTE._replace(source="fd00::1", group="ff3e::1", iif="lo"),
        {"wait": True},
        f"{STANDARD}.InvalidArgs",
        "IPv6 multicast is not forwarded from or to 'lo'",
    ),
    "an interface that there is not, for who would not wait": (
        ROUTE._replace(iif="eth99"),
        {"wait": False},
        f"{OWN}.NoSuchInterface",
        "Interface 'eth99' not found",
    ),
    "32 oifs": (
        ROUTE._replace(oifs=[f"eth{n}" for n in range(2, 34)]),
        {},
        f"{OWN}.TooManyInterfaces",
        "at most 31 oifs",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_a_bad_route_is_refused_by_name_and_value_and_leaves_nothing(
    case: str, bus: PrivateBus, daemon: Daemon, network: Namespace
) -> None:
    route, options, name, sentence = REFUSED[case]
    async with Caller.at(bus.address) as caller:
        before = await caller.get("Generation")
        await refused(caller.add(route, **options), name, sentence)
        assert await caller.get("Generation") == before
        assert await caller.get("Interfaces") == []
    assert not vifs(network, IPV4)


@pytest.mark.parametrize(
    ("name", "variant", "type_"),
    [
        ("replace", Variant("s", "yes"), "b"),
        ("persistent", Variant("u", 1), "b"),
        ("wait", Variant("s", ""), "b"),
        ("timeout", Variant("i", 60), "u"),
        ("timeout", Variant("t", 60), "u"),
        ("ttls", Variant("y", 1), "a{sy}"),
        ("comment", Variant("b", True), "s"),
    ],
)
async def test_an_option_of_the_wrong_type_is_named_with_both_types(
    name: str, variant: Variant, type_: str, bus: PrivateBus, daemon: Daemon
) -> None:
    async with Caller.at(bus.address) as caller:
        await refused(
            caller.ask("AddRoute", "sssasa{sv}", [*ROUTE, {name: variant}]),
            f"{STANDARD}.InvalidArgs",
            f"Option '{name}' has type '{variant.signature}', and not '{type_}'",
        )
        assert await caller.get("Routes") == []


async def test_the_33rd_interface_is_one_too_many_and_nothing_is_half_done(
    bus: PrivateBus, daemon: Daemon, network: Namespace
) -> None:
    full = ROUTE._replace(oifs=[f"eth{n}" for n in range(2, 33)])
    other = Route(group="239.1.2.4", oifs=["eth2", "eth33"])
    async with Caller.at(bus.address) as caller:
        await caller.add(full)
        await refused(caller.add(other), f"{OWN}.TooManyInterfaces", "'eth33'")
        assert len(await caller.get("Interfaces")) == 32
    assert entries(network, IPV4) == {in_kernel(full)}
    assert len(vifs(network, IPV4)) == 32


async def test_what_is_there_is_not_added_and_what_is_not_there_is_not_deleted(
    bus: PrivateBus, daemon: Daemon, network: Namespace
) -> None:
    async with Caller.at(bus.address) as caller:
        await refused(caller.delete(), f"{OWN}.NoSuchRoute", "no route (10.1.0.10, 239.1.2.3)")
        await caller.add()
        await refused(
            caller.add(ROUTE._replace(oifs=["eth3"])),
            f"{OWN}.RouteExists",
            "(10.1.0.10, 239.1.2.3) exists already",
        )
        await refused(caller.delete(iif="eth2"), f"{OWN}.NoSuchRoute", "from 'eth2'")
    assert entries(network, IPV4) == {in_kernel(ROUTE)}


async def test_of_several_routes_of_a_source_and_group_iif_tells_which(
    bus: PrivateBus, daemon: Daemon
) -> None:
    async with Caller.at(bus.address) as caller:
        for each in (Route("*", "239.1.0.0/16"), Route("*", "239.1.0.0/16", "eth3", ["eth4"])):
            await caller.add(each)
        await refused(
            caller.delete(Route("*", "239.1.0.0/16")),
            f"{STANDARD}.InvalidArgs",
            "exists from 'eth1', 'eth3': say which by 'iif'",
        )
        await caller.delete(Route("*", "239.1.0.0/16"), iif="eth3")
        assert [route[2] for route in await caller.get("Routes")] == ["eth1"]


# What is done, and who hears of it


@pytest.mark.parametrize(
    ("route", "source", "group", "family"),
    [
        (Route("10.1.0.0/16", "239.1.0.0/16", "eth1", ["eth3"]), "10.1.0.10", "239.1.2.3", IPV4),
        (Route("*", "239.1.0.0/16", "eth[13]", []), "10.1.0.10", "239.1.2.3", IPV4),
        (Route("fd01::/64", "ff1e::/16", "eth1", ["eth3"]), "fd01::10", "ff1e::123", IPV6),
    ],
    ids=["ipv4", "pattern", "ipv6"],
)
async def test_a_stream_of_a_wide_route_is_learned_and_listed(
    route: Route,
    source: str,
    group: str,
    family: socket.AddressFamily,
    bus: PrivateBus,
    daemon: Daemon,
    network: Namespace,
) -> None:
    async with Caller.at(bus.address) as caller:
        await caller.add(route)
        assert await caller.get("Routes") == [shown(route)]
        assert await caller.learned() == ([], 0)
        with closing(Sender(Run(family), network, "eth2", source, group)) as sender:
            sender.send(3)
        while not (await caller.learned())[1]:
            await caller.ping()
        (stream,), total = await caller.learned()
        assert total == 1
        assert stream == {
            "table": 0,
            "source": source,
            "group": group,
            "iif": "eth1",
            "oifs": route.oifs,
            "learned": True,
            "route-source": route.source,
            "route-group": route.group,
            "route-iif": route.iif,
            **{name: stream[name] for name in ("packets", "bytes", "wrong-if")},
        }
        assert (await caller.learned(group=route.group))[1] == 1
        assert (await caller.learned(iif="eth2"))[1] == 0
        assert {entry.source for entry in entries(network, family)} == {source}
        await caller.delete(route)
        assert await caller.learned() == ([], 0)
    assert not entries(network, family)
    assert not vifs(network, family)


@pytest.mark.parametrize(
    ("route", "family"),
    [
        (ROUTE, IPV4),
        (Route("*", oifs=["eth2", "eth3"]), IPV4),
        (Route("fd01::10", "ff1e::123"), IPV6),
        (Route("*", "ff1e::123", oifs=["eth2", "eth3"]), IPV6),
    ],
    ids=["ipv4", "ipv4-any-source", "ipv6", "ipv6-any-source"],
)
async def test_a_route_is_in_the_kernel_until_it_is_deleted(
    route: Route,
    family: socket.AddressFamily,
    bus: PrivateBus,
    daemon: Daemon,
    network: Namespace,
) -> None:
    async with Caller.at(bus.address) as caller:
        await caller.add(route)
        (entry,) = entries(network, family)
        assert entry.group == route.group
        assert entry.iif == route.iif
        # An any-source entry of the kernel names its iif among the oifs.
        assert {oif for oif, _ in entry.oifs} - {route.iif} == set(route.oifs)
        assert set(vifs(network, family).values()) == {route.iif, *route.oifs}
        assert await caller.get("Routes") == [shown(route)]
        await caller.delete(route)
        assert await caller.get("Routes") == []
    assert not entries(network, family)
    assert not vifs(network, family)


async def test_comments_and_ttl_thresholds_are_kept(
    bus: PrivateBus, daemon: Daemon, network: Namespace
) -> None:
    route = ROUTE._replace(oifs=["eth2", "eth3"])
    comment = "Kamera am Tor №7 🎥" * 10
    async with Caller.at(bus.address) as caller:
        await caller.add(route, ttls={"eth3": 16}, comment=comment)
        assert await caller.get("Routes") == [shown(route, ttls={"eth3": 16}, comment=comment)]
    assert entries(network, IPV4) == {in_kernel(route, {"eth3": 16})}


async def test_replace_changes_a_route_that_is_there_and_adds_one_that_is_not(
    bus: PrivateBus, daemon: Daemon, network: Namespace
) -> None:
    other = ROUTE._replace(oifs=["eth2", "eth3"])
    moved = ROUTE._replace(iif="eth4")
    async with Caller.at(bus.address) as caller:
        await caller.follow()
        for route in (ROUTE, other, moved):
            await caller.add(route, replace=True)
            assert entries(network, IPV4) == {in_kernel(route)}
        assert caller.told("RoutesAdded") == [[[shown(ROUTE)]]]
        assert caller.told("RoutesChanged") == [[[shown(other)]], [[shown(moved)]]]
        assert caller.told("RoutesRemoved") == []


async def test_a_change_that_changes_nothing_is_not_told(bus: PrivateBus, daemon: Daemon) -> None:
    async with Caller.at(bus.address) as caller:
        await caller.add()
        before = await caller.get("Generation")
        await caller.follow()
        await caller.add(replace=True)
        assert await caller.flush(iif="eth2") == 0
        assert await caller.get("Generation") == before
        assert not [signal for signal in caller.signals if signal.member.startswith("Routes")]


async def test_everyone_hears_of_a_change_before_the_caller_has_his_answer(
    bus: PrivateBus, daemon: Daemon
) -> None:
    async with Caller.at(bus.address) as caller, Caller.at(bus.address) as other:
        await caller.follow()
        await other.follow()

        async def told(change: Awaitable[None], member: str) -> None:
            generation = await caller.get("Generation")
            caller.arrived.clear()
            await change
            arrived = [each for each in caller.arrived if each.member != "PropertiesChanged"]
            assert [(each.type, each.member) for each in arrived] == [
                (MessageType.SIGNAL, "ChangeCaused"),
                (MessageType.SIGNAL, member),
                (MessageType.METHOD_RETURN, ""),
            ]
            assert await caller.get("Generation") == generation + 1
            await other.until(lambda: bool(other.told(member)))
            assert other.told(member) == caller.told(member)

        await told(caller.add(), "RoutesAdded")
        await told(caller.add(comment="another", replace=True), "RoutesChanged")
        await told(caller.delete(), "RoutesRemoved")


async def test_flush_deletes_all_or_those_of_an_iif_or_of_a_group_prefix(
    bus: PrivateBus, daemon: Daemon, network: Namespace
) -> None:
    routes = [
        Route(group="239.1.0.1"),
        Route(group="239.1.255.255", iif="eth3"),
        Route(group="239.2.0.0"),
        Route("*", "ff1e::1"),
        Route("*", "ff1e::2", iif="eth3"),
    ]
    async with Caller.at(bus.address) as caller:

        async def flushed(**options: str) -> tuple[int, list[str]]:
            await caller.flush()
            await caller.add_all(routes)
            deleted = await caller.flush(**options)
            left = await caller.get("Routes")
            assert len(entries(network, IPV4) | entries(network, IPV6)) == len(left)
            return deleted, sorted(route[1] for route in left)

        assert await flushed(group="239.1.0.0/16") == (2, ["239.2.0.0", "ff1e::1", "ff1e::2"])
        assert await flushed(iif="eth3") == (2, ["239.1.0.1", "239.2.0.0", "ff1e::1"])
        assert await flushed(iif="eth3", group="ff00::/8") == (
            1,
            ["239.1.0.1", "239.1.255.255", "239.2.0.0", "ff1e::1"],
        )
        assert await flushed(group="239.1.0.1") == (
            1,
            ["239.1.255.255", "239.2.0.0", "ff1e::1", "ff1e::2"],
        )
        assert await flushed() == (5, [])
        await refused(
            caller.flush(group="239.0.0.0/33"),
            f"{STANDARD}.InvalidArgs",
            "Prefix length '33' is not from 0 to 32",
        )


async def test_a_burst_of_changes_is_one_properties_changed_in_100_ms(
    bus: PrivateBus, daemon: Daemon
) -> None:
    loop = asyncio.get_running_loop()
    async with Caller.at(bus.address) as caller:
        generation = await caller.get("Generation") + 500
        await caller.follow()
        began = loop.time()
        await caller.add_all(many(500))
        last = {"Generation": generation}
        await caller.until(lambda: last in [body[1] for body in caller.told("PropertiesChanged")])
        took = loop.time() - began
        told = caller.told("PropertiesChanged")
    assert len(told) <= took / 0.1 + 1
    assert told[-1] == [INTERFACE, last, ["Interfaces", "Routes", "Tables"]]
    generations = [changed.pop("Generation") for _, changed, _ in told]
    assert generations == sorted(set(generations))
    assert not any(changed for _, changed, _ in told)


async def test_many_routes_are_shown_whole_and_flushed_a_thousand_a_signal(
    bus: PrivateBus, daemon: Daemon, network: Namespace
) -> None:
    routes = many(2001)
    async with Caller.at(bus.address) as caller:
        await caller.add_all(routes)
        assert len(entries(network, IPV4)) == 2001
        properties = await caller.get("Routes")
        assert sorted(properties) == sorted(shown(route) for route in routes)
        await caller.follow()
        assert await caller.flush() == 2001
        told = [removed for (removed,) in caller.told("RoutesRemoved")]
        assert told == [properties[:1000], properties[1000:2000], properties[2000:]]
    assert not entries(network, IPV4)


# A table of somebody else


@pytest.fixture
def other(own_network: Namespace) -> Iterator[MRoute]:
    """Another program's hold on the IPv4 table, until it is closed."""
    with own_network:
        other = MRoute(IPV4)
    with closing(other):
        other.init()
        yield other


@pytest.fixture
def late(
    other: MRoute, own_bus: PrivateBus, own_network: Namespace, library: str
) -> Iterator[Daemon]:
    """A daemon that came later than the other program."""
    with Daemon(own_bus.address, own_network, library=library) as daemon:
        yield daemon


async def test_a_busy_table_is_told_and_taken_when_it_becomes_free(
    own_bus: PrivateBus, own_network: Namespace, other: MRoute, late: Daemon
) -> None:
    async with Caller.at(own_bus.address) as caller:
        ipv4, ipv6 = await caller.get("Tables")
        assert (ipv4["family"], ipv4["state"]) == ("ipv4", "unavailable")
        assert ipv4["reason"] == "Another program owns the ipv4 multicast routing table"
        assert (ipv6["family"], ipv6["state"]) == ("ipv6", "active")
        assert "reason" not in ipv6
        await refused(caller.add(), f"{OWN}.TableBusy", "Another program owns the ipv4")
        # What is not busy goes on.
        await caller.follow()
        await caller.add(Route("fd01::1", "ff1e::123"))
        await caller.until(lambda: bool(caller.told("PropertiesChanged")))
        caller.signals.clear()

        other.close()
        await told_that_it_is_ours(caller, late)
        await caller.add()
        assert entries(own_network, IPV4) == {in_kernel(ROUTE)}


async def test_a_table_that_a_refused_call_took_is_told_as_well(
    own_bus: PrivateBus, other: MRoute, late: Daemon, nobody: int
) -> None:
    async with Caller.at(own_bus.address, nobody) as stranger:
        await stranger.follow()
        other.close()
        await refused(stranger.add(), f"{STANDARD}.AccessDenied", "Not authorised")
        await told_that_it_is_ours(stranger, late)


async def told_that_it_is_ours(caller: Caller, daemon: Daemon) -> None:
    def told() -> bool:
        return any("Tables" in names for _, _, names in caller.told("PropertiesChanged"))

    while True:
        await caller.until(told)
        if "The ipv4 multicast routing table is ours" in daemon.log:
            break
        caller.signals.clear()  # it told that it was not
    assert (await caller.get("Tables"))[0]["state"] == "active"
