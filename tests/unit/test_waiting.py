"""How many may wait, and whose turn it is."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest

from mfc_dbus.model.errors import LimitExceeded
from mfc_dbus.service.describe import LongAnswers
from mfc_dbus.service.limits import OneByOne, Quota

STRANGER, OTHER = 1000, 0


def test_so_many_wait_and_no_more_until_one_has_gone() -> None:
    waiting = Quota("tea")
    with waiting.limited("this caller", "one", 2):
        with (
            waiting.limited("this caller", "one", 2),
            waiting.limited("this caller", "two", 2),
            pytest.raises(LimitExceeded, match=r"^2 calls of this caller wait for tea already"),
        ):
            waiting.limited("this caller", "one", 2).__enter__()
        with waiting.limited("this caller", "one", 2):
            pass


def test_bytes_are_counted_too() -> None:
    waiting = Quota("tea")
    with waiting.limited("this user", "one", 10, size=9):
        with waiting.limited("this user", "one", 10, size=1):
            pass
        with pytest.raises(LimitExceeded, match=r"^9 bytes of this user wait for tea already"):
            waiting.limited("this user", "one", 10, size=2).__enter__()


async def served(
    turns: Callable[[str, int], AbstractAsyncContextManager[None]], connections: int
) -> list[int]:
    """Whom they serve first, where a stranger asks by so many connections before another does."""
    order: list[int] = []

    async def ask(sender: str, uid: int) -> None:
        async with turns(sender, uid):
            await asyncio.sleep(0)
            order.append(uid)

    senders = [(f":1.{number}", STRANGER) for number in range(connections)]
    await asyncio.gather(*(ask(*each) for each in (*senders, (":2.0", OTHER))))
    return order


def test_users_are_served_in_turn_however_many_connections_they_have() -> None:
    turns = OneByOne()
    order = asyncio.run(served(lambda _, uid: turns.turn(uid), 50))
    assert order.index(OTHER) <= 2
    assert len(order) == 51


def test_long_answers_are_made_for_users_in_turn() -> None:
    order = asyncio.run(served(LongAnswers().turn, 64))
    assert order.index(OTHER) <= 2
    assert len(order) == 65


def test_who_waits_for_too_many_long_answers_is_refused() -> None:
    async def test() -> None:
        readers = LongAnswers()

        async def ask(number: int) -> None:
            async with readers.turn(f":1.{number}", STRANGER):
                pass

        async with readers.turn(":1.0", STRANGER):
            waiting = [asyncio.create_task(ask(number)) for number in range(1, 64)]
            await asyncio.sleep(0)
            with pytest.raises(LimitExceeded, match="A call of this caller is being answered"):
                await ask(0)
            with pytest.raises(LimitExceeded, match="64 calls of this user wait already"):
                await ask(64)
        await asyncio.gather(*waiting)

    asyncio.run(test())
