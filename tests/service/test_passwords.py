"""What the real polkitd asks for a password, and how often. Somebody types it, or does not."""

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from lab.bus import PrivateBus
from lab.caller import STANDARD, Caller, Membership, Route, refused
from lab.daemon import Daemon
from lab.foreign import add_route
from lab.forked import at_terminal
from lab.netns import Namespace
from lab.password_agent import PasswordAgent
from lab.polkit import Service, serving

from mfc_dbus.cli.verbs.shell import PROMPT

# A password that was typed is kept for a user: each test has its own.
USERS = {
    "mfc-dbus": 64201,
    "ten": 64202,
    "reader": 64203,
    "curious": 64204,
    "careful": 64205,
    "limited": 64206,
    "two": 64207,
    "nobody-knows": 64208,
    "mover": 64209,
    "typist": 64210,
}
RULES = """
polkit.addRule(function(action, subject) {
    if (subject.user == "careful")
        return polkit.Result.AUTH_ADMIN;
    if (subject.user == "limited" && action.lookup("group") == "239.9.9.9")
        return polkit.Result.NO;
    return polkit.Result.NOT_HANDLED;
});
"""
PREFIX = "Authentication is required to "
DENIED = f"{STANDARD}.AccessDenied"
ROUTE = Route(group="239.1.2.3", iif="eth1", oifs=["eth2"])
WIDE = Route("*", "239.1.0.0/16", "eth3", ["eth2", "eth4"])
PRESENT = Route("*", "239.2.0.1", "eth1", ["eth2"])

pytestmark = pytest.mark.usefixtures("daemon", "nobody")


@pytest.fixture(scope="module")
def service(library: str) -> Iterator[Service]:
    """Each library has a polkitd of its own, which keeps what was typed for this process."""
    with serving(USERS, {}, RULES, library) as service:
        yield service


@pytest.fixture(scope="module")
def bus(service: Service) -> PrivateBus:
    return service.bus


@pytest.fixture(scope="module")
def network(service: Service) -> Namespace:
    return service.network


@pytest.fixture(scope="module")
def _daemon(service: Service) -> Daemon:
    return service.daemon


class Ground:
    """Root, a user, and the agent of the process in which both are."""

    def __init__(self, root: Caller, user: Caller, agent: PasswordAgent) -> None:
        self.root = root
        self.user = user
        self.agent = agent


async def ground(stack: AsyncExitStack, bus: PrivateBus, user: str) -> Ground:
    uid = USERS[user]
    return Ground(
        await stack.enter_async_context(Caller.at(bus.address)),
        await stack.enter_async_context(Caller.at(bus.address, uid)),
        await stack.enter_async_context(PasswordAgent.at(bus.address, os.getpid(), uid)),
    )


# How often


async def test_ten_routes_in_a_row_take_one_password(bus: PrivateBus) -> None:
    async with AsyncExitStack() as stack:
        on = await ground(stack, bus, "ten")
        for number in range(10):
            await on.user.add(ROUTE._replace(group=f"239.1.2.{number}"), interactive=True)
        assert on.agent.asked() == [
            PREFIX + "add the multicast route (10.1.0.10, 239.1.2.0) from eth1 to eth2"
        ]
        assert len(await on.root.get("Routes")) == 10


async def test_one_change_with_several_questions_takes_one_password(bus: PrivateBus) -> None:
    async with AsyncExitStack() as stack:
        on = await ground(stack, bus, "mover")
        await on.root.add(WIDE)
        await on.root.add(ROUTE)
        moved = ROUTE._replace(iif="eth3", oifs=["eth4"])
        await on.user.add(moved, replace=True, interactive=True)
        assert on.agent.asked() == [
            PREFIX + "replace the multicast route (10.1.0.10, 239.1.2.3) from eth1 to eth2"
        ]


@contextlib.contextmanager
def waiting_to_be(uid: int, address: str, *command: str) -> "Iterator[subprocess.Popen[bytes]]":
    """A process of a user that becomes another program when it is written a line."""
    as_user = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--"]
    shell = ["sh", "-c", 'read -r line && exec "$@"', "sh"]
    with subprocess.Popen(
        [*as_user, *shell, *command],
        env=os.environ | {"DBUS_SYSTEM_BUS_ADDRESS": address},
        stdin=subprocess.PIPE,
    ) as process:
        yield process


async def test_another_process_of_the_same_user_is_asked_again(bus: PrivateBus) -> None:
    for number in range(2):
        command = add_route(f"239.1.2.{number}")
        with waiting_to_be(USERS["two"], bus.address, *command) as process:
            async with PasswordAgent.at(bus.address, process.pid, USERS["two"]) as agent:
                await asyncio.to_thread(process.communicate, b"\n", 20)
                assert process.returncode == 0
                assert len(agent.asked()) == 1


async def test_ten_routes_of_one_shell_take_one_password(bus: PrivateBus) -> None:
    uid = USERS["typist"]
    with at_terminal(bus.address, "shell", uid=uid, waits=True) as terminal:
        async with (
            Caller.at(bus.address) as root,
            PasswordAgent.at(bus.address, terminal.pid, uid) as agent,
        ):
            terminal.type("\n")
            for number in range(10):
                await asyncio.to_thread(terminal.read_until, PROMPT)
                terminal.type(f"mfc add -s 10.1.0.10 -g 239.1.2.{number} -i eth1 -o eth2\n")
            await asyncio.to_thread(terminal.read_until, PROMPT)
            terminal.type("exit\n")
            assert (await asyncio.to_thread(terminal.end))[0] == 0
            assert len(agent.asked()) == 1
            assert len(await root.get("Routes")) == 10


async def test_a_rule_can_have_the_password_typed_each_time(bus: PrivateBus) -> None:
    async with AsyncExitStack() as stack:
        on = await ground(stack, bus, "careful")
        for number in range(3):
            await on.user.add(ROUTE._replace(group=f"239.1.2.{number}"), interactive=True)
        assert len(on.agent.asked()) == 3


async def test_what_is_kept_goes_by_the_action_alone_whatever_a_rule_says_of_a_part(
    bus: PrivateBus,
) -> None:
    """polkit looks at what it keeps before it denies: administration.md says so."""
    async with AsyncExitStack() as stack:
        on = await ground(stack, bus, "limited")
        barred = ROUTE._replace(group="239.9.9.9")
        await refused(on.user.add(barred, interactive=True), DENIED)
        assert on.agent.asked() == []
        await on.user.add(ROUTE, interactive=True)
        assert len(on.agent.asked()) == 1
        await on.user.add(barred)
        # Another action is another password.
        await on.user.join(Membership(interface="eth1"), interactive=True)
        assert len(on.agent.asked()) == 1


async def test_a_permission_is_looked_up_without_a_prompt_before_and_after(
    bus: PrivateBus,
) -> None:
    call = ("AddRoute", "sssasa{sv}", [*ROUTE[:3], ["eth2"], {}])
    async with AsyncExitStack() as stack:
        on = await ground(stack, bus, "reader")
        for permission in ("auth", "yes"):
            told = await on.user.permissions(interactive=True)
            assert told["manage-routes"] == permission
            assert await on.user.check(*call, interactive=True) == permission
            assert on.agent.asked() == []
            if permission == "auth":
                await on.user.follow()
                await on.user.add(ROUTE._replace(group="239.1.2.4"), interactive=True)
                assert len(on.agent.asked()) == 1
                await on.user.until(lambda: bool(on.user.told("PermissionsChanged")))
        assert told["manage-memberships"] == "auth"


async def test_without_the_password_nothing_changes(bus: PrivateBus) -> None:
    async with AsyncExitStack() as stack:
        on = await ground(stack, bus, "nobody-knows")
        on.agent.knows = False
        for _ in range(2):
            await refused(on.user.add(ROUTE, interactive=True), DENIED)
            assert len(on.agent.asked()) == 1
        await refused(on.user.add(ROUTE), f"{STANDARD}.InteractiveAuthorizationRequired")
        assert on.agent.asked() == []
        assert await on.root.get("Routes") == []


# What is asked

Step = Callable[[Caller], Coroutine[Any, Any, Any]]
OPEN = "(*, 239.2.0.1) from eth1 to eth2"
PROMPTS: dict[str, tuple[Step, str]] = {
    "add": (
        lambda user: user.add(ROUTE._replace(oifs=["eth2", "eth4"]), interactive=True),
        "add the multicast route (10.1.0.10, 239.1.2.3) from eth1 to eth2 eth4",
    ),
    "stop": (
        lambda user: user.add(Route("*", "ff1e::/16", "eth*", []), interactive=True),
        "add the multicast route (*, ff1e::/16) from eth* to nowhere",
    ),
    "an odd name": (
        lambda user: user.add(ROUTE._replace(oifs=["$(iif)"]), wait=True, interactive=True),
        "add the multicast route (10.1.0.10, 239.1.2.3) from eth1 to $(iif)",
    ),
    "change": (
        lambda user: user.change(PRESENT, comment="lobby", interactive=True),
        f"replace the multicast route {OPEN}",
    ),
    "delete": (
        lambda user: ask(user, "DeleteRoute", "ssa{sv}", *PRESENT[:2], {}),
        f"delete the multicast route {OPEN}",
    ),
    "flush": (
        lambda user: ask(user, "FlushRoutes", "a{sv}", {}),
        "change many multicast routes at once",
    ),
    "apply": (
        lambda user: ask(user, "Apply", "sa{sv}", "{}", {}),
        "change many multicast routes at once",
    ),
    "join": (
        lambda user: user.join(Membership("239.5.0.0/24", "10.1.0.10"), interactive=True),
        "join (10.1.0.10, 239.5.0.0/24) on eth1",
    ),
    "leave": (
        lambda user: ask(user, "LeaveGroup", "sssa{sv}", "239.2.0.1", "*", "eth1", {}),
        "leave (*, 239.2.0.1) on eth1",
    ),
    "reload": (
        lambda user: user.reload(interactive=True),
        "have the multicast routing service read its configuration again",
    ),
}


async def ask(user: Caller, member: str, signature: str, *body: Any) -> None:
    await user.ask(member, signature, body, interactive=True)


@pytest.mark.parametrize("name", PROMPTS)
async def test_the_prompt_names_what_the_call_is_about(name: str, bus: PrivateBus) -> None:
    step, prompt = PROMPTS[name]
    async with AsyncExitStack() as stack:
        on = await ground(stack, bus, "curious")
        await on.root.add(PRESENT)
        await on.root.join(Membership("239.2.0.1"))
        on.agent.knows = False
        await refused(step(on.user), DENIED)
        assert on.agent.asked() == [PREFIX + prompt]
