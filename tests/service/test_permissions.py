"""What a caller may do, asked before he does it. polkit answers as a test wants."""

import asyncio
import contextlib
import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
from lab.attack import Message, Peer, marshal
from lab.bus import PrivateBus
from lab.caller import OWN, ROUTE, STANDARD, Caller, Route, refused
from lab.cli import CLI
from lab.daemon import PROGRAMS, Daemon
from lab.foreign import output, run
from lab.polkit import CHALLENGE, NAME, NO, YES, Answer, Check, MockPolkit

from mfc_dbus.bus.backend import Variant
from mfc_dbus.bus.errors import BusError
from mfc_dbus.client import Client
from mfc_dbus.model import members
from mfc_dbus.model.members import Action

ACTIONS = ("manage-routes", "manage-memberships", "reload")
PERMISSIONS: list[tuple[Answer, str]] = [(YES, "yes"), (CHALLENGE, "auth"), (NO, "no")]
WIDE = Route("*", "239.1.0.0/16", "eth3", ["eth4"])
OTHER = Route(group="239.1.2.4")
DOCUMENT = {
    "route": [{"group": "239.1.9.9", "iif": "eth1", "oifs": ["eth2"]}],
    "membership": [{"group": "239.1.9.9", "interface": "eth1"}],
}
Call = tuple[str, str, Sequence[Any]]

ADD: Call = ("AddRoute", "sssasa{sv}", [*ROUTE[:3], ["eth2"], {}])
APPLY: Call = ("Apply", "sa{sv}", [json.dumps(DOCUMENT), {}])
CALLS: dict[str, Call] = {
    "a route that takes from another": ADD,
    "a route for another": (
        "AddRoute",
        "sssasa{sv}",
        [*OTHER[:2], "eth3", ["eth4"], {"replace": Variant("b", value=True)}],
    ),
    "a change": ("ChangeRoute", "ssa{sv}", [*OTHER[:2], {"add-oifs": Variant("as", ["eth3"])}]),
    "a deletion": ("DeleteRoute", "ssa{sv}", [*OTHER[:2], {}]),
    "a flush": ("FlushRoutes", "a{sv}", [{"iif": Variant("s", "eth1")}]),
    "a membership": ("JoinGroup", "sssa{sv}", ["239.1.2.3", "*", "eth2", {}]),
    "a membership's end": ("LeaveGroup", "sssa{sv}", ["239.1.2.3", "*", "eth1", {}]),
    "a document": ("Apply", "sa{sv}", [json.dumps({"route": DOCUMENT["route"]}), {}]),
    "a document with memberships": APPLY,
    "a reload": ("Reload", "a{sv}", [{}]),
}

pytestmark = pytest.mark.usefixtures("daemon")


async def state(caller: Caller) -> list[Any]:
    return [await caller.get(name) for name in ("Routes", "Memberships", "Generation")]


async def prepare(root: Caller) -> None:
    """Routes and a membership for calls to change."""
    await root.add(WIDE)
    await root.add(OTHER)
    await root.join()


def asked(polkit: MockPolkit) -> list[tuple[str, dict[str, str]]]:
    """What polkit was asked since the last time, with nobody to be asked for a password."""
    checks = [polkit.asked.get_nowait() for _ in range(polkit.asked.qsize())]
    assert {check.flags for check in checks} <= {0}
    return [(check.action, check.details) for check in checks]


# Of actions as a whole


async def test_root_may_do_everything_and_nobody_is_asked(bus: PrivateBus) -> None:
    async with Caller.at(bus.address) as root, MockPolkit.at(bus.address, NO) as polkit:
        assert await root.permissions() == dict.fromkeys(ACTIONS, "yes")
        assert await root.check(*ADD) == "yes"
        assert await root.check(*APPLY) == "yes"
        assert polkit.asked.empty()
        assert await root.get("Routes") == []


@pytest.mark.parametrize("interactive", [False, True])
@pytest.mark.parametrize(("answer", "permission"), PERMISSIONS)
async def test_a_permission_is_what_polkit_says_with_no_details_and_no_password(
    answer: Answer, permission: str, interactive: bool, bus: PrivateBus, nobody: int
) -> None:
    async with Caller.at(bus.address, nobody) as caller, MockPolkit.at(bus.address, answer) as on:
        told = await caller.permissions(interactive=interactive)
        assert told == dict.fromkeys(ACTIONS, permission)
        assert asked(on) == [(action, {}) for action in Action if action is not Action.PUBLIC]


class ByAction(MockPolkit):
    """Says yes to one action, wants a password for another, and denies the third."""

    def tell(self, check: Check, answer: Answer) -> None:
        kind = check.action.rpartition(".")[2]
        super().tell(check, dict(zip(ACTIONS, (YES, CHALLENGE, NO), strict=True))[kind])


async def test_each_action_has_its_permission(bus: PrivateBus, nobody: int) -> None:
    async with Caller.at(bus.address, nobody) as caller, ByAction.at(bus.address, NO):
        assert await caller.permissions() == dict(zip(ACTIONS, ("yes", "auth", "no"), strict=True))
        assert await caller.check(*ADD) == "yes"
        assert await caller.check(*APPLY) == "auth"  # the memberships
        assert await caller.check("Reload", "a{sv}", [{}]) == "no"


WRONG: dict[str, Answer] = {
    "a yes": ("b", [True]),
    "a number for a yes": ("(uba{ss})", [[1, False, {}]]),
    "a failure": BusError(f"{NAME}.Error.Failed", "out of order"),
}


@pytest.mark.parametrize("answer", WRONG)
async def test_whatever_is_not_an_answer_is_a_no(answer: str, bus: PrivateBus, nobody: int) -> None:
    async with Caller.at(bus.address, nobody) as caller, MockPolkit.at(bus.address, WRONG[answer]):
        assert await caller.permissions() == dict.fromkeys(ACTIONS, "no")
        assert await caller.check(*ADD) == "no"


async def test_without_polkit_the_answer_is_no(bus: PrivateBus, nobody: int) -> None:
    async with Caller.at(bus.address, nobody) as caller:
        assert await caller.permissions() == dict.fromkeys(ACTIONS, "no")
        assert await caller.check(*ADD) == "no"


async def test_a_polkit_that_vanishes_while_it_is_asked_says_no(
    bus: PrivateBus, nobody: int
) -> None:
    async with Caller.at(bus.address, nobody) as caller, MockPolkit.at(bus.address) as polkit:
        call = asyncio.create_task(caller.check(*ADD))
        await polkit.asked.get()
        await polkit.connection.close()
        assert await call == "no"


# Of calls


def test_every_method_that_takes_a_permission_is_tried_below() -> None:
    takes = {
        name.rpartition(".")[2]
        for name, method in members.METHODS.items()
        if method.action is not Action.PUBLIC and name != members.SET_LOG
    }
    assert {member for member, *_ in CALLS.values()} | {"Undo"} == takes


async def test_of_an_undo_polkit_is_asked_about_all_that_would_be_undone(
    bus: PrivateBus, nobody: int
) -> None:
    async with (
        Caller.at(bus.address) as root,
        Caller.at(bus.address, nobody) as caller,
        MockPolkit.at(bus.address, YES) as polkit,
    ):
        await caller.apply({**DOCUMENT}, merge=True)
        asked(polkit)
        before = await state(root)
        assert await caller.check("Undo", "a{sv}", [{}], interactive=True) == "yes"
        questions = asked(polkit)
        assert {action for action, _ in questions} == {
            Action.MANAGE_ROUTES,
            Action.MANAGE_MEMBERSHIPS,
        }
        assert await state(root) == before
        for answer, permission in PERMISSIONS[1:]:
            polkit.answer = answer
            assert await caller.check("Undo", "a{sv}", [{}]) == permission
        asked(polkit)
        polkit.answer = YES
        await caller.ask("Undo", "a{sv}", [{}])
        assert asked(polkit) == questions
        await refused(
            caller.check("Undo", "a{sv}", [{"number": Variant("t", 10**9)}]), f"{OWN}.NoSuchChange"
        )


@pytest.mark.parametrize("name", CALLS)
async def test_polkit_is_asked_what_the_call_itself_asks_and_nothing_changes(
    name: str, bus: PrivateBus, nobody: int
) -> None:
    member, signature, body = CALLS[name]
    async with (
        Caller.at(bus.address) as root,
        Caller.at(bus.address, nobody) as caller,
        MockPolkit.at(bus.address, YES) as polkit,
    ):
        await prepare(root)
        before = await state(root)
        for interactive in (False, True):
            call = caller.check(member, signature, body, interactive=interactive)
            assert await call == "yes"
        questions = asked(polkit)
        assert questions
        assert await state(root) == before
        await caller.ask(member, signature, body)
        real = asked(polkit)
        assert questions == real * 2
        assert not any("polkit.message" in details for _, details in questions)


@pytest.mark.parametrize(("answer", "permission"), PERMISSIONS[1:])
@pytest.mark.parametrize("name", CALLS)
async def test_what_needs_a_password_or_is_denied_is_so_and_nothing_changes(
    name: str, answer: Answer, permission: str, bus: PrivateBus, nobody: int
) -> None:
    async with (
        Caller.at(bus.address) as root,
        Caller.at(bus.address, nobody) as caller,
        MockPolkit.at(bus.address, answer),
    ):
        await prepare(root)
        before = await state(root)
        assert await caller.check(*CALLS[name], interactive=True) == permission
        assert await state(root) == before


async def test_of_several_questions_the_worst_answer_counts(bus: PrivateBus, nobody: int) -> None:
    async with (
        Caller.at(bus.address) as root,
        Caller.at(bus.address, nobody) as caller,
        MockPolkit.at(bus.address) as polkit,
    ):
        await root.add(WIDE)
        for first, second, permission in [
            (YES, CHALLENGE, "auth"),
            (CHALLENGE, YES, "auth"),
            (CHALLENGE, NO, "no"),
            (YES, NO, "no"),
        ]:
            call = asyncio.create_task(caller.check(*ADD))
            polkit.tell(await polkit.asked.get(), first)
            polkit.tell(await polkit.asked.get(), second)
            assert await call == permission


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (("AddRoute", "sssasa{sv}", [*OTHER[:3], ["eth2"], {}]), f"{OWN}.RouteExists", ""),
        (
            ("AddRoute", "sssasa{sv}", ["*", "10.0.0.1", "eth1", [], {}]),
            f"{STANDARD}.InvalidArgs",
            "'10.0.0.1'",
        ),
        (("DeleteRoute", "ssa{sv}", ["*", "239.9.9.9", {}]), f"{OWN}.NoSuchRoute", "239.9.9.9"),
        (
            ("DeleteRoute", "ssa{sv}", ["*", "239.9.9.9", {"colour": Variant("s", "red")}]),
            f"{STANDARD}.InvalidArgs",
            "'colour'",
        ),
        (
            ("FlushRoutes", "a{sv}", [{"iif": Variant("ax", [])}]),
            f"{STANDARD}.InvalidArgs",
            "has type 'ax'",
        ),
        (("FlushRoutes", "s", ["all"]), f"{STANDARD}.InvalidArgs", "of type '(a{sv})' here"),
        (("Apply", "sa{sv}", ["{", {}]), f"{STANDARD}.InvalidArgs", ""),
        (("Describe", "a{sv}", [{}]), f"{STANDARD}.InvalidArgs", "'Describe' takes no permission"),
        (("Check", "sv", ["x", Variant("s", "")]), f"{STANDARD}.InvalidArgs", "'Check' takes no"),
        (("Bake", "s", ["bread"]), f"{STANDARD}.InvalidArgs", "there are 'AddRoute', "),
        (("Apply", "sa{sv}", [" " * 4096, {}]), f"{STANDARD}.LimitsExceeded", "above 4096"),
    ],
)
async def test_what_would_be_refused_for_another_reason_is_that_error(
    call: Call, error: str, sentence: str, bus: PrivateBus, nobody: int
) -> None:
    async with (
        Caller.at(bus.address) as root,
        Caller.at(bus.address, nobody) as caller,
        MockPolkit.at(bus.address, YES),
    ):
        await root.add(OTHER)
        await refused(caller.check(*call), error, sentence)


async def test_arguments_that_are_no_struct_are_refused(bus: PrivateBus, nobody: int) -> None:
    async with Caller.at(bus.address, nobody) as caller:
        for variant in (
            Variant("s", "239.1.2.3"),
            Variant("a{sv}", {}),
            Variant("(s)", ["239.1.2.3"]),
            Variant("v", Variant("(a{sv})", [{}])),
        ):
            call = caller.ask("Check", "sv", ["FlushRoutes", variant])
            await refused(call, f"{STANDARD}.InvalidArgs", "'(a{sv})'")


async def test_a_document_is_read_for_nobody_who_may_not_apply_it(
    bus: PrivateBus, nobody: int
) -> None:
    async with Caller.at(bus.address, nobody) as caller, MockPolkit.at(bus.address, NO):
        assert await caller.check("Apply", "sa{sv}", ["{", {}]) == "no"


def test_a_question_can_be_typed_into_busctl_and_gdbus(bus: PrivateBus) -> None:
    name = OWN.removesuffix(".Error")
    path = "/" + name.replace(".", "/")
    call = ["busctl", "--system", "call", name, path, name]
    route = ["10.1.0.10", "239.1.2.3", "eth1", "1", "eth2", "0"]
    told = output(bus.address, *call, "Check", "sv", "AddRoute", "(sssasa{sv})", *route)
    assert told == 's "yes"\n'
    assert '"org.example.MulticastForwarding.reload" "yes"' in output(
        bus.address, *call, "GetPermissions"
    )
    gdbus = ["gdbus", "call", "--system", "-d", name, "-o", path, "-m", f"{name}.Check"]
    arguments = "<('10.1.0.10', '239.1.2.3', 'eth1', ['eth2'], @a{sv} {})>"
    assert output(bus.address, *gdbus, "AddRoute", arguments) == "('yes',)\n"


async def test_what_comes_from_a_machine_of_another_byte_order_is_understood(
    bus: PrivateBus,
) -> None:
    peer = Peer(bus.address)
    peer.authenticate()
    arguments = ("(sssasa{sv})", ["10.1.0.10", "239.1.2.3", "eth1", ["eth2"], {}])
    body = marshal("sv", ["AddRoute", arguments], ">")
    peer.send(Message(member="Check", signature="sv", body=body, order=">"))
    answers: list[str] = []
    while not answers:  # that to a later call may come first
        await asyncio.to_thread(peer.synchronise)
        answers = [answer.error for answer in peer.answers if answer.member == "Check"]
    peer.close()
    assert answers == [""]


# How many may wait


@pytest.mark.parametrize(
    ("callers", "who"),
    [(1, "4 calls of this caller"), (4, "16 calls of this user")],
    ids=["caller", "user"],
)
async def test_so_many_questions_wait_and_no_more_and_nobody_else_waits_for_them(
    callers: int, who: str, bus: PrivateBus, nobody: int
) -> None:
    async with contextlib.AsyncExitStack() as stack, MockPolkit.at(bus.address) as polkit:
        root = await stack.enter_async_context(Caller.at(bus.address))
        crowd = [
            await stack.enter_async_context(Caller.at(bus.address, nobody)) for _ in range(callers)
        ]
        calls = [
            asyncio.create_task(call)
            for each in crowd
            for call in (each.check(*ADD), each.permissions(), each.check(*ADD), each.flush())
        ]
        checks = [await polkit.asked.get() for _ in calls]
        last = crowd[0]
        if len(crowd) > 1:
            last = await stack.enter_async_context(Caller.at(bus.address, nobody))
        for call in (last.permissions(), last.check(*ADD)):
            await refused(call, f"{OWN}.LimitExceeded", who)
        # Meanwhile the others are served.
        await root.add()
        await last.ping()
        await root.delete()
        polkit.answer = NO
        for check in checks:
            polkit.tell(check, NO)
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert answers[::4] == ["no"] * len(crowd)
        assert await last.permissions() == dict.fromkeys(ACTIONS, "no")


async def test_a_caller_who_leaves_is_asked_about_no_more(bus: PrivateBus, nobody: int) -> None:
    async with MockPolkit.at(bus.address) as polkit:
        async with Caller.at(bus.address, nobody) as leaver:
            calls = [
                asyncio.create_task(call) for call in (leaver.permissions(), leaver.check(*ADD))
            ]
            checks = [await polkit.asked.get() for _ in calls]
        await asyncio.wait(calls)
        assert all(call.exception() for call in calls)
        cancelled = {await polkit.cancelled.get() for _ in checks}
        assert cancelled == {check.cancellation for check in checks}


# What others tell of it


async def test_everybody_is_told_when_polkit_comes_changes_or_goes(
    own_bus: PrivateBus, own_daemon: Daemon
) -> None:
    async with Caller.at(own_bus.address) as caller:
        await caller.follow()

        async def told(number: int) -> None:
            await caller.until(lambda: len(caller.told("PermissionsChanged")) == number)

        async with MockPolkit.at(own_bus.address, NO) as polkit:
            await told(1)
            polkit.connection.emit(
                "/org/freedesktop/PolicyKit1/Authority", f"{NAME}.Authority", "Changed", "", ()
            )
            await told(2)
        await told(3)
        assert caller.told("PermissionsChanged") == [[], [], []]


# The client and the command line


async def test_the_client_tells_permissions(bus: PrivateBus, nobody: int) -> None:
    async with ByAction.at(bus.address, NO), Client.open(bus.address) as client:
        assert [each.permission for each in await client.permissions()] == ["yes"] * 3
        assert await client.check("AddRoute", ADD[2]) == "yes"


def test_the_command_line_shows_permissions(cli: CLI) -> None:
    ours = "org.example.MulticastForwarding"
    assert cli("show", "permissions").stdout.splitlines() == [
        "ACTION                                              PERMISSION",
        f"{ours}.manage-routes       yes",
        f"{ours}.manage-memberships  yes",
        f"{ours}.reload              yes",
    ]
    assert cli.json("s", "p")[0] == {"action": f"{ours}.manage-routes", "permission": "yes"}
    done = cli("show", "permissions", "--group", "239.1.2.3")
    assert (done.returncode, "--group is not for permissions" in done.stderr) == (2, True)


ADD_WORDS = ["mfc", "add", "-s", ROUTE.source, "-g", ROUTE.group, "-i", "eth1", "-o", "eth2"]
CHANGES = [
    ADD_WORDS,
    ["mfc", "change", "-s", OTHER.source, "-g", OTHER.group, "--disable"],
    ["mfc", "del", "-s", OTHER.source, "-g", OTHER.group],
    ["mfc", "flush"],
    ["group", "join", "-g", "239.1.9.9", "-i", "eth1"],
    ["group", "leave", "-g", "239.1.2.3", "-i", "eth1"],
    ["apply", "-"],
    ["undo"],
    ["reload"],
]


@pytest.mark.parametrize("words", CHANGES, ids=" ".join)
async def test_a_change_can_be_asked_for_in_the_place_of_being_made(
    words: list[str], bus: PrivateBus, nobody: int
) -> None:
    async with (
        Caller.at(bus.address) as root,
        MockPolkit.at(bus.address, YES) as polkit,
        Caller.at(bus.address, nobody) as user,
    ):
        await prepare(root)
        await user.add(ROUTE._replace(group="239.1.2.9"))  # for an undo
        before = await state(root)
        for answer, permission, text, status in (
            (YES, "yes", "yes", 0),
            (CHALLENGE, "auth", "yes, with a password", 4),
            (NO, "no", "no", 4),
        ):
            polkit.answer = answer
            document = json.dumps({"route": DOCUMENT["route"]})
            program = str(PROGRAMS / "mfc-dbus-cli")
            asking = partial(run, bus.address, program, *words, "--may", uid=nobody, given=document)
            done = await asyncio.to_thread(asking)
            assert (done.returncode, done.stdout, done.stderr) == (status, f"{text}\n", "")
            done = await asyncio.to_thread(asking, "--json")
            assert (done.returncode, json.loads(done.stdout)) == (
                status,
                {"permission": permission},
            )
        assert await state(root) == before


def test_a_change_that_makes_no_sense_is_refused_when_it_is_asked_for(cli: CLI) -> None:
    done = cli(*ADD_WORDS, "--ttl", "eth7=3", "--may")
    assert (done.returncode, done.stdout) == (2, "")
    assert "eth7" in done.stderr
