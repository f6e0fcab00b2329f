"""Whole documents over the bus: Apply and Describe."""

import asyncio
import json
from typing import Any

import pytest
from lab.bus import PrivateBus
from lab.caller import OWN, STANDARD, Caller, Membership, Route, refused
from lab.daemon import Daemon
from lab.polkit import CHALLENGE, NO, YES, MockPolkit

from mfc_dbus.bus.backend import Variant
from mfc_dbus.bus.errors import BusError
from mfc_dbus.model.members import Action

ONE = {"source": "10.1.0.10", "group": "239.1.1.1", "iif": "eth1", "oifs": ["eth2"]}
TWO = {"group": "ff3e::2", "iif": "eth2", "oifs": ["eth1", "eth3"], "comment": "Zwölf »Rufe«"}
THREE = ONE | {"group": "239.1.1.3", "oifs": ["eth3"], "ttls": {"eth3": 16}, "persistent": False}


def document(*routes: dict[str, Any]) -> dict[str, Any]:
    return {"route": routes}


def many(count: int) -> dict[str, Any]:
    return document(*(ONE | {"group": f"239.2.{n >> 8}.{n & 255}"} for n in range(count)))


def plain(described: list[dict[str, Any]]) -> dict[str, Any]:
    """What of it a document says."""
    told = ("state", "reason", "packets", "bytes", "wrong_if")
    return document(
        *({key: value for key, value in each.items() if key not in told} for each in described)
    )


async def test_the_routes_become_the_document(bus: PrivateBus, daemon: Daemon) -> None:
    async with Caller.at(bus.address) as caller:
        assert await caller.apply(document(ONE, TWO)) == [2, 0, 0]
        await caller.follow()
        changed = TWO | {"oifs": ["eth1"]}
        assert await caller.apply(document(THREE, changed)) == [1, 1, 1]
        assert await caller.apply(document(THREE, changed)) == [0, 0, 0]
        await caller.ping()
        assert [signal.member for signal in caller.signals if signal.member.startswith("R")] == [
            "RoutesRemoved",
            "RoutesChanged",
            "RoutesAdded",
        ]
        assert plain(await caller.describe()) == document(changed, THREE)
        assert await caller.apply("{}", empty=True) == [0, 0, 2]


@pytest.mark.parametrize("text", ["{}", '{"route": []}', '\ufeff{"route": [], "membership": []}'])
@pytest.mark.parametrize("dry_run", [False, True])
async def test_a_document_without_entries_deletes_nothing_unless_it_is_said_to(
    text: str, dry_run: bool, bus: PrivateBus, daemon: Daemon
) -> None:
    async with Caller.at(bus.address) as caller:
        await caller.apply(document(ONE))
        await caller.join(Membership(group="239.1.1.1"))
        sentence = "The document has no routes and no memberships, and would delete all there are: "
        for options in ({}, {"empty": False}):
            applying = caller.apply(text, dry_run=dry_run, **options)
            await refused(applying, f"{STANDARD}.InvalidArgs", f"{sentence}with option 'empty' it")
        assert await caller.apply(text, dry_run=dry_run, merge=True) == [0, 0, 0]
        assert plain(await caller.describe()) == document(ONE)
        assert len(await caller.get("Memberships")) == 1
        assert await caller.apply(text, dry_run=dry_run, empty=True) == [0, 0, 2]
        assert plain(await caller.describe()) == document(*[ONE] * dry_run)


async def test_merge_deletes_nothing_and_dry_run_does_nothing(
    bus: PrivateBus, daemon: Daemon
) -> None:
    async with Caller.at(bus.address) as caller:
        await caller.apply(document(ONE))
        assert await caller.apply(document(TWO), dry_run=True) == [1, 0, 1]
        assert await caller.apply(document(TWO), merge=True, dry_run=True) == [1, 0, 0]
        assert plain(await caller.describe()) == document(ONE)
        assert await caller.apply(document(TWO), merge=True) == [1, 0, 0]
        assert plain(await caller.describe()) == document(ONE, TWO)


async def test_what_a_document_names_is_taken_away_whatever_it_is_by_now(
    bus: PrivateBus, daemon: Daemon
) -> None:
    async with Caller.at(bus.address) as caller:
        joined = Membership(group="ff3e::2", interface="eth2")
        await caller.apply(document(ONE, TWO, THREE))
        await caller.join(joined)
        named = document(ONE | {"oifs": ["eth77"]}, TWO, ONE | {"group": "239.9.9.9"})
        named["membership"] = [{"group": "ff3e::2", "interface": "eth2"}]
        assert await caller.apply(named, remove=True, dry_run=True) == [0, 0, 3]
        assert len(await caller.describe()) == 3
        assert await caller.apply(named, remove=True) == [0, 0, 3]
        assert plain(await caller.describe()) == document(THREE)
        assert await caller.get("Memberships") == []
        for again in (named, {}):
            assert await caller.apply(again, remove=True) == [0, 0, 0]
        await caller.add(Route("10.1.0.10", "239.1.1.1", "eth1", ["eth2"]), timeout=1000)
        assert await caller.apply(document(ONE), remove=True) == [0, 0, 1]
        contradicting = caller.apply(document(THREE), remove=True, merge=True)
        await refused(contradicting, f"{STANDARD}.InvalidArgs", "contradict each other")


async def test_what_lasts_longer_than_the_document_stays_as_it_is(
    bus: PrivateBus, daemon: Daemon
) -> None:
    async with Caller.at(bus.address) as caller:
        four, timed = ONE | {"group": "239.1.1.4"}, ONE | {"group": "239.1.1.5"}
        joined = Membership(group="ff3e::2", interface="eth2")
        member = {"group": joined.group, "interface": joined.interface}
        text = document(ONE, four, timed) | {"membership": [member]}
        await caller.apply(document(ONE, four | {"comment": "other"}))
        lost = caller.apply(text, merge=True, persistent=False)
        await refused(lost, f"{OWN}.RouteExists", "(10.1.0.10, 239.1.1.4) is persistent")
        await caller.apply(document(ONE, four | {"comment": "other", "persistent": False}))
        await caller.join(joined, comment="stays")
        await caller.add(Route("10.1.0.10", "239.1.1.5", "eth1", ["eth2"]), timeout=1000)
        for counts in ([0, 2, 0], [0, 0, 0]):
            assert await caller.apply(text, merge=True, persistent=False) == counts
        first, *others = (each.get("persistent", True) for each in await caller.describe())
        assert (first, others) == (True, [False, False])
        # Who adds them again means them to last.
        await caller.add(Route("10.1.0.10", "239.1.1.5", "eth1", ["eth2"]), replace=True, timeout=9)
        assert await caller.apply(text, remove=True, persistent=False, dry_run=True) == [0, 0, 1]
        assert await caller.apply(text, remove=True, persistent=False) == [0, 0, 1]
        assert len(await caller.get("Memberships")) == 1
        assert await caller.apply(text, remove=True) == [0, 0, 3]


async def test_who_may_not_change_memberships_takes_none_away(
    bus: PrivateBus, daemon: Daemon, nobody: int
) -> None:
    text = document(ONE) | {"membership": [{"group": "ff3e::2", "interface": "eth2"}]}
    async with Caller.at(bus.address) as root, Caller.at(bus.address, nobody) as stranger:
        await root.apply(text)
        async with MockPolkit.at(bus.address) as polkit:
            removing = asyncio.ensure_future(stranger.apply(text, remove=True))
            for action, answer in ((Action.MANAGE_ROUTES, YES), (Action.MANAGE_MEMBERSHIPS, NO)):
                check = await polkit.asked.get()
                assert check.action == action
                polkit.tell(check, answer)
            await refused(removing, f"{STANDARD}.AccessDenied")
        assert len(await root.describe()) == len(await root.get("Memberships")) == 1
        async with MockPolkit.at(bus.address, YES):
            assert await stranger.apply(text, remove=True) == [0, 0, 2]


async def test_what_is_described_is_applied_with_no_change(bus: PrivateBus, daemon: Daemon) -> None:
    async with Caller.at(bus.address) as caller:
        await caller.apply(document(ONE, TWO, THREE))
        await caller.add(Route("*", "239.9.9.9", "eth1", ["eth77"]), wait=True)
        described = await caller.describe()
        assert [each["state"] for each in described] == ["active"] * 3 + ["waiting"]
        assert described[0] == ONE | {"state": "active", "packets": 0, "bytes": 0, "wrong_if": 0}
        assert await caller.apply(plain(described)) == [0, 0, 0]


async def test_a_route_with_a_timeout_is_left_alone_where_it_is_not_named(
    bus: PrivateBus, daemon: Daemon
) -> None:
    async with Caller.at(bus.address) as caller:
        await caller.add(timeout=1000)
        assert await caller.apply("{}", empty=True) == [0, 0, 0]
        (described,) = await caller.describe()
        assert described.pop("expires") > 0
        assert await caller.apply(plain([described])) == [0, 1, 0]
        assert await caller.apply("{}", empty=True) == [0, 0, 1]


async def test_the_description_can_be_filtered(bus: PrivateBus, daemon: Daemon) -> None:
    async with Caller.at(bus.address) as caller:
        await caller.apply(document(ONE, TWO, THREE))
        for chosen, found in (
            ({"group": "239.1.1.0/30"}, [ONE, THREE]),
            ({"group": "239.1.1.3"}, [THREE]),
            ({"source": "10.1.0.0/16"}, [ONE, THREE]),
            ({"source": "::"}, [TWO]),
            ({"iif": "eth2"}, [TWO]),
            ({"state": "active", "iif": "eth1", "group": "239.1.1.1"}, [ONE]),
            ({"state": "waiting"}, []),
        ):
            assert plain(await caller.describe(**chosen)) == document(*found)
        for name, value in (("group", "1.1.1.1/8"), ("source", "x"), ("state", "good")):
            await refused(caller.describe(**{name: value}), f"{STANDARD}.InvalidArgs", f"'{value}'")


async def test_a_prefix_and_what_is_in_it_can_be_told_apart(
    bus: PrivateBus, daemon: Daemon
) -> None:
    async with Caller.at(bus.address) as caller:
        wide = {**ONE, "source": "*", "group": "239.0.0.0/8"}
        await caller.apply(document(ONE, wide))
        for chosen, found in (
            ({"group": "239.0.0.0/8"}, [ONE, wide]),
            ({"group": "239.0.0.0/8", "exact": True}, [wide]),
            ({"group": "239.0.0.0/9"}, [ONE]),
            ({"group": "239.0.0.0/9", "exact": True}, []),
        ):
            shown = {route["group"] for route in await caller.describe(**chosen)}
            assert shown == {route["group"] for route in found}
        await caller.apply(document(ONE, {**ONE, "source": "10.1.0.0/16"}, wide))
        for source, of_prefix, of_it_alone in (
            ("10.1.0.0/16", {ONE["source"], "10.1.0.0/16"}, {"10.1.0.0/16"}),
            ("10.0.0.0/8", {ONE["source"], "10.1.0.0/16"}, set()),
            ("*", {"*"}, {"*"}),
        ):
            for exact, sources in ((False, of_prefix), (True, of_it_alone)):
                options: dict[str, Any] = {"source": source, "exact-source": exact}
                routes = await caller.describe(**options)
                assert {route.get("source", "*") for route in routes} == sources
        for alone, of in (("exact", "group"), ("exact-source", "source")):
            flags: dict[str, Any] = {alone: True}
            wrong = caller.describe(**flags)
            await refused(wrong, f"{STANDARD}.InvalidArgs", f"'{alone}' goes with '{of}'")


async def test_all_that_is_wrong_is_told_at_once(bus: PrivateBus, daemon: Daemon) -> None:
    async with Caller.at(bus.address) as caller:
        await caller.apply(document(ONE))
        missing = [ONE | {"iif": "eth77", "group": "239.1.1.7"}, ONE | {"oifs": ["eth78"]}]
        sentence = (
            "route[0]: Interface 'eth77' not found\nroute[1]: Interface 'eth78' not found\n"
            "route[2]: Interface 'eth79' not found"
        )
        wrong = document(*missing, TWO | {"iif": "eth79"})
        await refused(caller.apply(wrong), f"{OWN}.NoSuchInterface", sentence)
        await refused(
            caller.apply(document(ONE | {"iif": 3}, {})),
            f"{STANDARD}.InvalidArgs",
            'route[0].iif: 3 is not a string, such as "eth1"\nroute[1].group: is missing: write ',
        )
        await refused(caller.apply("["), f"{STANDARD}.InvalidArgs", "not JSON")
        assert plain(await caller.describe()) == document(ONE)
        assert await caller.apply(document(*missing), wait=True) == [1, 1, 0]


async def test_a_stranger_is_refused_before_his_document_is_read(
    bus: PrivateBus, daemon: Daemon, nobody: int
) -> None:
    async with Caller.at(bus.address, nobody) as stranger:
        for text in ("[", json.dumps(many(2000))):
            await refused(stranger.apply(text), f"{STANDARD}.AccessDenied")
        strange = ["{}", {"x": Variant("(s)", ["y"])}]
        await refused(stranger.ask("Apply", "sa{sv}", strange), f"{STANDARD}.AccessDenied")


async def test_polkit_is_asked_once_for_the_whole_document(
    bus: PrivateBus, daemon: Daemon, nobody: int
) -> None:
    async with Caller.at(bus.address, nobody) as stranger:
        for answer, error in ((NO, "AccessDenied"), (CHALLENGE, "InteractiveAuth")):
            async with MockPolkit.at(bus.address, answer):
                with pytest.raises(BusError) as caught:
                    await stranger.apply("[")
                assert error in caught.value.name
        async with MockPolkit.at(bus.address, YES) as polkit:
            await refused(stranger.apply("["), f"{STANDARD}.InvalidArgs")
            assert await stranger.apply(many(2000)) == [2000, 0, 0]
            for _ in range(2):
                check = await polkit.asked.get()
                assert (check.action, check.details) == (Action.MANAGE_ROUTES, {"bulk": "true"})


async def test_what_a_user_makes_the_service_keep_while_polkit_thinks_is_bounded(
    bus: PrivateBus, daemon: Daemon, nobody: int
) -> None:
    text = "[" * (13 << 20)
    async with (
        MockPolkit.at(bus.address) as polkit,
        Caller.at(bus.address, nobody) as one,
        Caller.at(bus.address, nobody) as two,
        Caller.at(bus.address) as root,
    ):
        first = asyncio.ensure_future(one.apply(text))
        check = await polkit.asked.get()
        await refused(one.apply(text), f"{STANDARD}.LimitsExceeded", "Too many large calls")
        await refused(two.apply(text), f"{OWN}.LimitExceeded", "bytes of this user wait")
        await refused(root.apply(text), f"{STANDARD}.InvalidArgs")
        polkit.tell(check, NO)
        await refused(first, f"{STANDARD}.AccessDenied")


async def test_nobody_sees_half_of_a_change_that_takes_long(
    bus: PrivateBus, daemon: Daemon
) -> None:
    first, *others = many(3000)["route"]
    route = Route(first["source"], first["group"], first["iif"], first["oifs"])
    async with Caller.at(bus.address) as caller, Caller.at(bus.address) as other:
        await caller.apply(document(first, *others))
        for comment in ("one", "two"):
            text = document(*(each | {"comment": comment} for each in others))
            applying = asyncio.ensure_future(caller.apply(text, merge=True))
            while not applying.done():
                await other.add(route, replace=True)
                assert (await other.learned())[1] == 0
                await other.delete(route)
                await other.add(route)
                assert len(await other.describe(group="239.2.0.0/16")) == 3000
            await applying


async def test_large_documents_come_one_by_one_from_a_caller(
    bus: PrivateBus, daemon: Daemon
) -> None:
    async with Caller.at(bus.address) as caller, Caller.at(bus.address) as other:
        text = json.dumps(many(3000))
        calls = [each.apply(text) for each in (caller, caller, other)]
        first, second, third = await asyncio.gather(*calls, return_exceptions=True)
        assert "Too many large calls" in str(second)
        assert first in ([3000, 0, 0], [0, 0, 0])
        assert third in ([3000, 0, 0], [0, 0, 0])
        assert first != third
        assert await caller.apply(text) == [0, 0, 0]
        await caller.follow()
        assert await caller.apply("{}", empty=True) == [0, 0, 3000]
        await caller.ping()
        assert [len(routes) for (routes,) in caller.told("RoutesRemoved")] == [1000] * 3
        await refused(caller.apply(" " * (24 << 20)), f"{STANDARD}.LimitsExceeded", "is above 25")
        await refused(caller.apply(" " * (23 << 20)), f"{STANDARD}.InvalidArgs", "not JSON")


async def test_a_caller_has_one_description_at_a_time(bus: PrivateBus, daemon: Daemon) -> None:
    async with Caller.at(bus.address) as caller:
        await caller.apply(many(3000))
        calls = [asyncio.ensure_future(caller.describe()) for _ in range(8)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert len([each for each in answers if isinstance(each, list)]) >= 1
        for answer in answers:
            assert isinstance(answer, list) or "wait for it" in str(answer)
        assert len(await caller.describe()) == 3000
