"""How many explanations go on at a time, of a caller, of a user and in all."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any, cast

import pytest

from mfc_dbus.model.errors import LimitExceeded
from mfc_dbus.service.explanations import Explanations


def test_a_user_has_a_place_however_many_others_have_taken() -> None:
    asyncio.run(take_places(Explanations(cast("Any", None))))


async def take_places(explanations: Explanations) -> None:
    async with AsyncExitStack() as stack:
        for number in range(5 * 16):
            uid = 1000 + number // 16
            try:
                await stack.enter_async_context(explanations.place(f":1.{number}", uid))
            except LimitExceeded:
                break
        assert number > 60, "there are places for four users"
        await stack.enter_async_context(explanations.place(":2.1", 2000))
        with pytest.raises(LimitExceeded, match="all users"):
            await stack.enter_async_context(explanations.place(":2.2", 2000))
    async with explanations.place(":2.2", 2000), explanations.place(":2.3", 2000):
        pass
