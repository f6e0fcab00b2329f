"""Who may: what is denied leaves nothing behind."""

import asyncio
import gc
from typing import Any, cast

import pytest

from mfc_dbus.bus.connection import Connection
from mfc_dbus.bus.frames import Header, MessageType
from mfc_dbus.control.rights import Question
from mfc_dbus.model.errors import AccessDenied, LimitExceeded
from mfc_dbus.model.members import Action
from mfc_dbus.service.access import Access
from mfc_dbus.service.polkit import Decision, Polkit


class Bus:
    """A bus that knows one user."""

    async def call_bus(self, *_: Any) -> list[Any]:
        return [1000]

    async def subscribe(self, *_: Any) -> None:
        pass

    def unsubscribe(self, *_: Any) -> None:
        pass


class LateBus(Bus):
    """A bus that does not say in time which process a caller is, the first time."""

    def __init__(self) -> None:
        self.asked = 0

    async def call_bus(self, member: str, *_: Any) -> list[Any]:
        if member == "GetConnectionUnixUser":
            return [1000]
        self.asked += 1
        if self.asked == 1:
            raise TimeoutError
        return [4711]


class Denial:
    """A polkit that allows nothing."""

    async def check(self, *_: Any, **options: Any) -> Decision:
        return Decision(authorized=False, challenge=False)


def test_a_call_that_is_denied_leaves_no_circle() -> None:
    """It may have a document of many megabytes."""
    call = Header("<", MessageType.METHOD_CALL, 0, 1, 0, sender=":1.7")

    async def scenario() -> int:
        access = Access(cast("Connection", Bus()), cast("Polkit", Denial()))
        gc.collect()
        gc.disable()
        try:
            with pytest.raises(AccessDenied):
                await access.authorise(call, Action.MANAGE_ROUTES, [Question({}, "")])
            await asyncio.sleep(0)
            return gc.collect()
        finally:
            gc.enable()

    assert asyncio.run(scenario()) == 0


def test_a_process_that_the_bus_names_late_is_known_from_the_next_change_on() -> None:
    bus = LateBus()

    async def scenario() -> list[int]:
        access = Access(cast("Connection", bus), cast("Polkit", Denial()))
        return [(await access.author(":1.7")).pid for _ in range(3)]

    assert asyncio.run(scenario()) == [0, 4711, 4711]
    assert bus.asked == 2


class Crowd(Bus):
    """A bus of many users: a caller's name begins with the uid."""

    async def call_bus(self, *arguments: Any) -> list[Any]:
        _, _, (sender,) = arguments
        return [int(sender.partition(".")[0][1:])]


class Silence:
    """A polkit that never answers."""

    async def check(self, *_: Any, **options: Any) -> Decision:
        await asyncio.Event().wait()
        raise AssertionError


def test_users_who_answer_no_prompt_leave_each_other_user_a_place() -> None:
    waiting: list[asyncio.Task[None]] = []

    async def ask(access: Access, uid: int, most: int) -> int:
        """Have a user ask as often as he may; how many of his calls wait."""
        begun = 0
        for number in range(most):
            sender = f":{uid}.{number // 4}"
            call = Header("<", MessageType.METHOD_CALL, 0, 1, 0, sender=sender)
            asking = access.authorise(call, Action.MANAGE_ROUTES, [Question({}, "")])
            task = asyncio.create_task(asking)
            done, _ = await asyncio.wait([task], timeout=0.001)
            if done:
                assert isinstance(task.exception(), LimitExceeded)
                return begun
            waiting.append(task)
            begun += 1
        return begun

    async def scenario() -> tuple[list[int], list[int]]:
        access = Access(cast("Connection", Crowd()), cast("Polkit", Silence()))
        greedy = [await ask(access, uid, 100) for uid in range(1000, 1005)]
        modest = [await ask(access, uid, 2) for uid in range(2000, 2100)]
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        return greedy, modest

    greedy, modest = asyncio.run(scenario())
    assert greedy == [16, 16, 16, 16, 5]
    assert modest == [1] * 100
