"""Parts of routes are changed while their streams flow, and routes are switched off and on."""

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import pytest
from lab.bus import PrivateBus
from lab.caller import OWN, ROUTE, STANDARD, Caller, Route, refused
from lab.cli import CLI
from lab.daemon import Daemon
from lab.delivery import deliveries
from lab.manager import Manager
from lab.netns import Namespace
from lab.polkit import CHALLENGE, NO, YES, Answer, Check, MockPolkit
from lab.topology import Topology
from lab.witness import entries, vifs

from mfc_dbus.bus.backend import Variant
from mfc_dbus.model.addresses import FAMILY_NAMES

IPV4 = socket.AF_INET
INVALID = f"{STANDARD}.InvalidArgs"


@pytest.fixture(params=[*FAMILY_NAMES], ids=[*FAMILY_NAMES.values()])
def lab(request: pytest.FixtureRequest) -> Iterator[Topology]:
    with Topology(request.param, downstreams=3, upstreams=2) as lab:
        yield lab


@pytest.fixture
def router(own_bus: PrivateBus, lab: Topology) -> Iterator[Daemon]:
    with Daemon(own_bus.address, lab.router) as daemon:
        yield daemon
        assert "Traceback" not in daemon.log


def narrow(lab: Topology, *oifs: str) -> Route:
    return Route(lab.addresses.source, lab.addresses.group, "up0", oifs)


def wide(lab: Topology, *oifs: str) -> Route:
    return Route("*", lab.addresses.group, "up0", oifs)


# Packets


@pytest.mark.usefixtures("router")
@pytest.mark.parametrize("kind", ["one stream", "any source", "prefix"])
async def test_oifs_come_and_go_and_the_one_that_stays_loses_no_packet(
    kind: str, own_bus: PrivateBus, lab: Topology
) -> None:
    prefix = "10.1.0.0/24" if lab.family == IPV4 else "fd01::/64"
    sources = {"one stream": lab.addresses.source, "any source": "*", "prefix": prefix}
    route = narrow(lab, "down0")._replace(source=sources[kind])
    async with Caller.at(own_bus.address) as caller:
        await caller.add(route)
        sent = lab.sender().send(1)
        assert deliveries(lab, {"down0": sent}) == {"down0": sent}
        with lab.sender().flow(rate=1000) as flow:
            changing: list[dict[str, Any]] = [
                {"add_oifs": ["down1"]},
                {"add_oifs": ["down2"], "comment": "both"},
                {"remove_oifs": ["down1"], "persistent": False},
                {"remove_oifs": ["down2"], "timeout": 600},
            ]
            for changes in changing:
                flow.wait_for(100)
                await caller.change(route, **changes)
            flow.wait_for(100)
        arrived = lab.arrived()
        assert arrived.pop("down0") == flow.sent
        assert arrived.keys() == {"down1", "down2"}
        for numbers in arrived.values():  # while it was an oif each had all
            assert len(numbers) >= 100
            assert numbers == [*range(numbers[0], numbers[-1] + 1)]


@pytest.mark.usefixtures("router")
async def test_a_wider_route_takes_over_while_one_is_disabled(
    own_bus: PrivateBus, lab: Topology
) -> None:
    async with Caller.at(own_bus.address) as caller:
        await caller.add(narrow(lab, "down0"))
        await caller.change(narrow(lab), enabled=False)
        assert [route[-1]["state"] for route in await caller.get("Routes")] == ["disabled"]
        assert (lab.entries(), lab.vifs()) == (set(), {})
        lab.sender().send(5)
        assert lab.arrived() == {}
        await caller.add(wide(lab, "down1"))
        for enabled, down in ((False, "down1"), (True, "down0"), (False, "down1")):
            await caller.change(narrow(lab), enabled=enabled)
            sent = lab.sender().send(5)
            assert deliveries(lab, {down: sent}) == {down: sent}


@pytest.mark.usefixtures("router")
async def test_a_route_moves_to_another_iif(own_bus: PrivateBus, lab: Topology) -> None:
    async with Caller.at(own_bus.address) as caller:
        await caller.follow()
        for route in (narrow(lab, "down0"), wide(lab, "down1")):
            await caller.add(route)
            await caller.change(route, to_iif="up1")
            sent = lab.sender("up1").send(5)
            expected = dict.fromkeys(route.oifs, sent)
            assert deliveries(lab, expected) == expected
            lab.sender("up0").send(5)
            assert lab.arrived() == {}
            await caller.delete(route)
        await caller.until(lambda: len(caller.told("RoutesRemoved")) == 3)
        assert len(caller.told("RoutesChanged")) == 1  # of the one stream
        assert len(caller.told("RoutesAdded")) == 3  # and any source from up1 is another route


@pytest.mark.parametrize("keeps_sockets", [False, True])
async def test_a_disabled_route_stays_so_over_kill_9_and_is_enabled_after_it(
    keeps_sockets: bool, own_bus: PrivateBus, lab: Topology, tmp_path: Path
) -> None:
    manager = Manager() if keeps_sockets else None
    with ExitStack() as stack:
        if manager:
            stack.enter_context(manager)

        def start() -> Daemon:
            return stack.enter_context(
                Daemon(own_bus.address, lab.router, home=tmp_path, manager=manager)
            )

        daemon = start()
        async with Caller.at(own_bus.address) as caller:
            await caller.add(narrow(lab, "down0"), comment="kept")
            await caller.change(narrow(lab), enabled=False)
            await caller.add(wide(lab, "down1"), enabled=False, persistent=False)
        for end in (Daemon.kill, Daemon.stop):
            end(daemon)
            daemon = start()
            async with Caller.at(own_bus.address) as caller:
                states = [route[-1]["state"] for route in await caller.get("Routes")]
                assert states == ["disabled", "disabled"]
                lab.sender().send(5)
                assert lab.arrived() == {}
        async with Caller.at(own_bus.address) as caller:
            await caller.change(narrow(lab), enabled=True)
            sent = lab.sender().send(5)
            assert deliveries(lab, {"down0": sent}) == {"down0": sent}
            (shown,) = [route for route in await caller.get("Routes") if route[0] != "*"]
            assert shown[-1] == {"state": "active", "comment": "kept"}


async def test_a_timeout_can_be_given_and_taken_again(bus: PrivateBus, daemon: Daemon) -> None:
    other = ROUTE._replace(group="239.1.2.9")
    async with Caller.at(bus.address) as caller:
        await caller.follow()
        for route in (ROUTE, other):
            await caller.add(route)
            await caller.change(route, timeout=3)
        await caller.change(timeout=0, persistent=True)
        await caller.until(lambda: bool(caller.told("RoutesRemoved")))
        (((gone,),),) = caller.told("RoutesRemoved")
        assert gone[1] == other.group
        ((*_, said),) = await caller.get("Routes")
        assert said == {"state": "active"}


# What is refused, and how

REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "nothing": ({}, INVALID, "There is nothing to change; there are 'add-oifs', 'remove-oifs'"),
    "nothing but which": ({"iif": "eth1", "wait": True}, INVALID, "There is nothing to change"),
    "an oif that is there": (
        {"add_oifs": ["eth2"]},
        INVALID,
        "Interface 'eth2' is an oif of route (10.1.0.10, 239.1.2.3) already",
    ),
    "no oif to remove": ({"remove_oifs": ["eth3"]}, INVALID, "Interface 'eth3' is no oif of route"),
    "a threshold of none": ({"ttls": {"eth3": 9}}, INVALID, "'ttls' names 'eth3'"),
    "no interface": ({"add_oifs": ["eth99"]}, f"{OWN}.NoSuchInterface", "'eth99' not found"),
    "no iif": ({"to_iif": "eth99"}, f"{OWN}.NoSuchInterface", "'eth99' not found"),
    "no such iif": ({"iif": "eth2", "comment": ""}, f"{OWN}.NoSuchRoute", "from 'eth2'"),
    "no such table": ({"table": 77, "comment": ""}, INVALID, "There is no table ipv4/77"),
    "32 interfaces": (
        {"add_oifs": [f"eth{n}" for n in range(3, 34)]},
        f"{OWN}.TooManyInterfaces",
        "at most 31 oifs",
    ),
    "a timeout for ever": ({"timeout": 9, "persistent": True}, INVALID, "is never persistent"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_a_bad_change_is_refused_by_name_and_changes_nothing(
    case: str, bus: PrivateBus, daemon: Daemon, network: Namespace
) -> None:
    changes, name, sentence = REFUSED[case]
    async with Caller.at(bus.address) as caller:
        await refused(caller.change(enabled=False), f"{OWN}.NoSuchRoute")
        await caller.add()
        before = await caller.get("Routes"), await caller.get("Generation"), vifs(network, IPV4)
        await refused(caller.change(**changes), name, sentence)
        after = await caller.get("Routes"), await caller.get("Generation"), vifs(network, IPV4)
        assert after == before


@pytest.mark.parametrize(
    ("name", "variant", "type_"),
    [
        ("add-oifs", Variant("s", "eth3"), "as"),
        ("remove-oifs", Variant("a{sy}", {}), "as"),
        ("ttls", Variant("as", []), "a{sy}"),
        ("to-iif", Variant("as", ["eth3"]), "s"),
        ("enabled", Variant("y", 1), "b"),
        ("timeout", Variant("t", 60), "u"),
        ("iif", Variant("u", 1), "s"),
    ],
)
async def test_a_change_of_the_wrong_type_is_named_with_both_types(
    name: str, variant: Variant, type_: str, bus: PrivateBus, daemon: Daemon
) -> None:
    async with Caller.at(bus.address) as caller:
        await caller.add()
        await refused(
            caller.ask("ChangeRoute", "ssa{sv}", [*ROUTE[:2], {name: variant}]),
            INVALID,
            f"Option '{name}' has type '{variant.signature}', and not '{type_}'",
        )
        await refused(
            caller.ask("ChangeRoute", "ssa{sv}", [*ROUTE[:2], {"oifs": Variant("as", ["eth3"])}]),
            INVALID,
            "There is no option 'oifs'; there are 'iif', 'table', 'add-oifs', 'remove-oifs'",
        )


async def test_a_change_to_what_is_there_is_told_to_nobody(bus: PrivateBus, daemon: Daemon) -> None:
    async with Caller.at(bus.address) as caller:
        await caller.add(comment="same")
        before, logged = await caller.get("Generation"), len(daemon.log)
        await caller.change(comment="same", enabled=True, to_iif="eth1", add_oifs=[])
        assert await caller.get("Generation") == before
        assert daemon.log[logged:] == ""


async def test_callers_who_each_add_an_oif_all_have_theirs(bus: PrivateBus, daemon: Daemon) -> None:
    oifs = [f"eth{n}" for n in range(3, 19)]
    async with AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(Caller.at(bus.address)) for _ in oifs]
        await callers[0].add()
        await asyncio.gather(
            *(each.change(add_oifs=[oif]) for each, oif in zip(callers, oifs, strict=True))
        )
        ((*_, shown, _),) = await callers[0].get("Routes")
        assert {*shown} == {"eth2", *oifs}


# Who may


@pytest.mark.parametrize(
    ("answer", "name"),
    [(NO, "AccessDenied"), (CHALLENGE, "InteractiveAuthorizationRequired")],
)
async def test_who_may_not_change_a_route_changes_nothing_of_it(
    answer: Answer, name: str, bus: PrivateBus, daemon: Daemon, nobody: int
) -> None:
    async with Caller.at(bus.address) as root, Caller.at(bus.address, nobody) as stranger:
        await root.add()
        before = await root.get("Routes")
        await refused(stranger.change(enabled=False), f"{STANDARD}.AccessDenied")
        async with MockPolkit.at(bus.address, answer):
            for changes in ({"enabled": False}, {"add_oifs": ["eth3"]}, {"comment": "mine"}):
                await refused(stranger.change(**changes), f"{STANDARD}.{name}")
        assert await root.get("Routes") == before


def question(check: Check) -> tuple[str, str]:
    return check.details["iif"], check.details["oifs"]


async def test_polkit_is_asked_for_the_route_that_was_and_the_one_that_comes(
    bus: PrivateBus, daemon: Daemon, nobody: int
) -> None:
    one, both, taken = ("eth1", "eth2"), ("eth1", "eth2 eth4"), ("eth3", "eth4")
    async with (
        Caller.at(bus.address) as root,
        Caller.at(bus.address, nobody) as stranger,
        MockPolkit.at(bus.address, YES) as polkit,
    ):
        await root.add(ROUTE._replace(source="*", iif="eth3", oifs=["eth4"]))
        await root.add()
        cases: list[tuple[dict[str, Any], list[tuple[str, str]]]] = [
            ({"add_oifs": ["eth4"]}, [one, both]),
            ({"enabled": False}, [both]),
            ({"enabled": True}, [both, taken]),
            ({"comment": "x"}, [both]),
        ]
        for changes, asked in cases:
            await stranger.change(**changes)
            assert [question(polkit.asked.get_nowait()) for _ in asked] == asked
            assert polkit.asked.empty()


async def test_a_route_that_became_another_while_polkit_was_asked_is_not_changed(
    bus: PrivateBus, daemon: Daemon, nobody: int
) -> None:
    async with (
        Caller.at(bus.address) as root,
        Caller.at(bus.address, nobody) as stranger,
        MockPolkit.at(bus.address) as polkit,
    ):
        await root.add()
        changing = asyncio.ensure_future(stranger.change(add_oifs=["eth3"]))
        first = await polkit.asked.get()
        await root.change(add_oifs=["eth4"])
        polkit.answer = YES
        polkit.tell(first, YES)
        await refused(changing, f"{STANDARD}.AccessDenied", "was changed meanwhile: try again")
        assert [route[3] for route in await root.get("Routes")] == [["eth2", "eth4"]]


# The command line


def test_the_command_line_changes_a_route_and_shows_what_it_is_then(
    cli: CLI, network: Namespace
) -> None:
    stream = ["-s", "10.1.0.10", "-g", "239.1.2.3"]
    assert cli("mfc", "add", *stream, "-i", "eth1", "-o", "eth2").returncode == 0
    words = ["mfc", "change", *stream]
    done = cli(*words, "--add-oifs", "eth3", "--ttl", "eth3=9", "--comment", "more")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (entry,) = entries(network, IPV4)
    assert entry.oifs == {("eth2", 1), ("eth3", 9)}
    shown = cli.json(*words, "--remove-oifs", "eth2", "--disable")
    assert shown | {"explain": ""} == cli.json("show")[0]
    assert (shown["oifs"], shown["comment"], shown["state"]) == (["eth3"], "more", "disabled")
    assert entries(network, IPV4) == set()
    assert "disabled" in cli("show", "--state", "disabled").stdout
    assert "none" in cli("status").stdout.splitlines()[-1]
    moved = cli.json(*words, "-i", "eth1", "--to-iif", "eth2", "--enable")
    assert (moved["iif"], moved["state"], moved["enabled"]) == ("eth2", "active", True)
    for more, status, sentence in (
        (["--add-oifs", "eth3"], 2, "Interface 'eth3' is an oif of route (10.1.0.10, 239.1.2.3)"),
        ([], 2, "There is nothing to change"),
        (["-i", "eth9", "--enable"], 6, "There is no route"),
        (["--add-oifs", "eth99"], 6, "Interface 'eth99' not found"),
    ):
        done = cli(*words, *more)
        assert (done.returncode, done.stdout) == (status, "")
        assert sentence in done.stderr


def test_a_batch_changes_routes(cli: CLI, network: Namespace) -> None:
    cli.add(("239.1.2.3", "eth1"))
    payload = {"group": "239.1.2.3", "add-oifs": ["eth2"], "remove-oifs": ["eth3"]}
    requests = [{"action": "CHANGE_MFC", "payload": payload}] * 2
    done = cli("batch", "-", given="\n".join(map(json.dumps, requests)))
    first, second = map(json.loads, done.stdout.splitlines())
    assert first["message"] == "MFC entry for (*, 239.1.2.3) changed."
    assert second["error"] == "InvalidArgs"
    (entry,) = entries(network, IPV4)
    assert entry.oifs == {("eth1", 1), ("eth2", 1)}  # of any source the kernel wants its iif too
