"""Who changed what is known over restarts, and is taken back by whoever may."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from lab.bus import PrivateBus
from lab.caller import MEMBERSHIP, OWN, ROUTE, STANDARD, Caller, plain, refused
from lab.cli import CLI
from lab.daemon import Daemon
from lab.netns import Namespace
from lab.polkit import CHALLENGE, NO, YES, Answer, Check, MockPolkit

from mfc_dbus.bus.backend import Variant
from mfc_dbus.model.members import Action

NOT_FOUND, DENIED, USAGE = 6, 4, 2


async def undo(caller: Caller, number: int | None = None) -> int:
    options = {} if number is None else {"number": Variant("t", number)}
    (undone,) = await caller.ask("Undo", "a{sv}", [options])
    return int(undone)


async def listed(caller: Caller, **chosen: Variant) -> list[dict[str, Any]]:
    changes, _ = await caller.ask("ListChanges", "a{sv}", [chosen])
    found: list[dict[str, Any]] = plain(changes)
    return found


def about(check: Check) -> tuple[str, str]:
    return check.action, check.details.get("group", check.details.get("bulk", ""))


async def newest(caller: Caller) -> int:
    return int((await listed(caller, limit=Variant("u", 1)))[0]["number"])


async def test_a_change_is_listed_and_undone_also_after_the_daemon_was_killed(
    own_bus: PrivateBus, own_network: Namespace, library: str, tmp_path: Path
) -> None:
    def start() -> Daemon:
        return Daemon(own_bus.address, own_network, library=library, home=tmp_path)

    async with Caller.at(own_bus.address) as root:
        with start() as daemon:
            await root.add(ROUTE, comment="the lobby")
            await root.delete(ROUTE)
            daemon.kill()
        with start() as daemon:
            deleted, added = await listed(root)
            assert (deleted["action"], added["action"]) == ("delete", "add")
            assert (deleted["uid"], deleted["user"], deleted["group"]) == (0, "root", ROUTE.group)
            assert await undo(root) == deleted["number"]
            daemon.kill()
        with start():
            ((*route, options),) = await root.get("Routes")
            assert route == [*ROUTE[:3], [*ROUTE.oifs]]
            assert options["comment"] == "the lobby"
            undone, deleted, _ = await listed(root)
            assert undone["undoes"] == deleted["number"]
            assert deleted["undone-by"] == undone["number"]
            (whole,) = await listed(root, number=Variant("t", deleted["number"]))
            assert json.loads(whole["after"]) == {}
            (entry,) = json.loads(whole["before"])["route"]
            assert entry["comment"] == "the lobby"


async def test_each_user_undoes_his_own(
    bus: PrivateBus, daemon: Daemon, strangers: list[int]
) -> None:
    other = ROUTE._replace(group="239.9.9.9")
    async with (
        MockPolkit.at(bus.address, YES),
        Caller.at(bus.address) as root,
        Caller.at(bus.address, strangers[0]) as stranger,
        Caller.at(bus.address, strangers[1]) as another,
    ):
        await stranger.add(ROUTE)
        await root.add(other)
        await undo(stranger)
        assert [route[1] for route in await root.get("Routes")] == [other.group]
        await refused(undo(another), f"{OWN}.NoSuchChange")


@pytest.mark.parametrize("answer", [NO, CHALLENGE, None], ids=["no", "challenge", "gone"])
async def test_who_may_not_make_the_change_may_not_undo_it(
    bus: PrivateBus, daemon: Daemon, nobody: int, answer: Answer | None
) -> None:
    async with Caller.at(bus.address) as root, Caller.at(bus.address, nobody) as stranger:
        await root.add(ROUTE)
        await root.delete(ROUTE)
        number = await newest(root)
        if answer is None:
            await refused(undo(stranger, number), f"{STANDARD}.AccessDenied")
        else:
            async with MockPolkit.at(bus.address, answer):
                name = "AccessDenied" if answer == NO else "InteractiveAuthorizationRequired"
                await refused(undo(stranger, number), f"{STANDARD}.{name}")
        assert await root.get("Routes") == []
        assert await newest(root) == number


async def test_polkit_is_asked_as_for_what_the_undo_does(
    bus: PrivateBus, daemon: Daemon, nobody: int
) -> None:
    routes, memberships = Action.MANAGE_ROUTES, Action.MANAGE_MEMBERSHIPS
    document = {
        "route": [{"group": f"239.8.8.{n}", "iif": "eth1", "oifs": ["eth2"]} for n in range(3)],
        "membership": [{"group": "239.8.8.1", "interface": "eth1"}],
    }
    async with (
        MockPolkit.at(bus.address, YES) as polkit,
        Caller.at(bus.address) as root,
        Caller.at(bus.address, nobody) as stranger,
    ):

        async def asked_by_undo() -> list[tuple[str, str]]:
            await undo(stranger, await newest(root))
            return [about(polkit.asked.get_nowait()) for _ in range(polkit.asked.qsize())]

        await root.add(ROUTE)
        assert await asked_by_undo() == [(routes, ROUTE.group)]
        await root.join(MEMBERSHIP)
        assert await asked_by_undo() == [(memberships, MEMBERSHIP.group)]
        await root.apply(document)
        assert await asked_by_undo() == [(routes, "true"), (memberships, "239.8.8.1")]
        assert await root.get("Routes") == []
        assert await root.get("Memberships") == []


async def test_what_became_another_while_polkit_was_asked_is_not_undone(
    bus: PrivateBus, daemon: Daemon, nobody: int
) -> None:
    async with (
        MockPolkit.at(bus.address) as polkit,
        Caller.at(bus.address) as root,
        Caller.at(bus.address, nobody) as stranger,
    ):
        await root.add(ROUTE)
        undoing = asyncio.ensure_future(undo(stranger, await newest(root)))
        check = await polkit.asked.get()
        await root.change(ROUTE, comment="another")
        polkit.tell(check, YES)
        await refused(undoing, f"{OWN}.ChangedSince", "was changed since")
        assert len(await root.get("Routes")) == 1


async def test_a_signal_tells_of_what_an_undo_did(bus: PrivateBus, daemon: Daemon) -> None:
    async with Caller.at(bus.address) as root:
        await root.add(ROUTE)
        await root.follow()
        await undo(root)
        assert [route[1] for ((route,),) in root.told("RoutesRemoved")] == [ROUTE.group]


async def test_a_change_of_very_many_is_listed_and_not_undone(
    bus: PrivateBus, daemon: Daemon
) -> None:
    route = {"iif": "eth1", "oifs": ["eth2"]}
    document = {"route": [{"group": f"239.7.{n // 250}.{n % 250}", **route} for n in range(1500)]}
    async with Caller.at(bus.address) as root:
        await root.apply(document)
        (change,) = await listed(root, limit=Variant("u", 1))
        assert (change["added"], change["kept"]) == (1500, False)
        await refused(undo(root), f"{OWN}.ChangedSince", "1500 routes and memberships")


async def test_older_changes_are_asked_for_by_the_number_of_a_later_one(
    own_bus: PrivateBus, own_daemon: Daemon
) -> None:
    async with Caller.at(own_bus.address) as root:
        await root.add_all([ROUTE._replace(group=f"239.5.5.{n}") for n in range(120)])
        changes, total = await root.ask("ListChanges", "a{sv}", [{}])
        assert (len(changes), total) == (100, 120)
        older = {"before": changes[-1]["number"]}
        rest, total = await root.ask("ListChanges", "a{sv}", [older])
        assert (len(rest), total) == (20, 20)
        numbers = [each["number"].value for each in (*changes, *rest)]
        assert numbers == [*range(120, 0, -1)]


async def test_options_that_there_are_not_are_refused(bus: PrivateBus, daemon: Daemon) -> None:
    async with Caller.at(bus.address) as root:
        for member in ("Undo", "ListChanges"):
            for options in ({"colour": Variant("s", "red")}, {"number": Variant("u", 1)}):
                await refused(
                    root.ask(member, "a{sv}", [options]), f"{STANDARD}.InvalidArgs", "ption"
                )
        await refused(undo(root, 2**64 - 1), f"{OWN}.NoSuchChange")


# The command line


def test_the_command_line_undoes_and_shows_who_did_what(cli: CLI) -> None:
    words = ("-s", "10.0.0.9", "-g", "239.6.6.6")
    assert cli("mfc", "add", *words, "-i", "eth1", "-o", "eth2").returncode == 0
    assert cli("mfc", "change", *words, "--comment", "x").returncode == 0
    done = cli("undo")
    assert (done.returncode, done.stderr) == (0, "")
    # Other tests may have left more changes than are shown, which is told on stderr.
    undo, change, added, *_ = json.loads(cli("--json", "history").stdout)
    assert done.stdout == f"Change {change['number']} is undone\n"
    assert (undo["action"], undo["undoes"]) == ("undo", change["number"])
    assert [each["user"] for each in (undo, change, added)] == ["root"] * 3
    header, first, *_ = cli("history").stdout.splitlines()
    assert header.split() == ["NUMBER", "TIME", "USER", "ACTION", "WHAT"]
    assert f"(10.0.0.9, 239.6.6.6) from eth1; undoes {change['number']}" in first
    assert cli.json("undo") == {"undone": added["number"]}
    after = cli("history", str(added["number"]), "--after")
    assert cli("apply", "--merge", "-", given=after.stdout).returncode == 0
    assert [route["group"] for route in cli.json("show")] == ["239.6.6.6"]


def test_the_command_line_says_what_it_cannot_undo(cli: CLI) -> None:
    for words, status, text in (
        (("undo", "4000000000"), NOT_FOUND, "There is no change 4000000000"),
        (("history", "4000000000"), NOT_FOUND, "There is no change 4000000000"),
        (("undo", "0"), USAGE, "'0' is no number of a change"),
        (("undo", "last"), USAGE, "'last' is no number of a change"),
        (("history", "--before"), USAGE, "Say of which change"),
        (("history", "1", "--before", "--after"), USAGE, "not allowed with"),
    ):
        done = cli(*words)
        assert (done.returncode, done.stdout) == (status, ""), words
        assert text in done.stderr
