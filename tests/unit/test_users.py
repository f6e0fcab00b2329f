"""The names of users, also while the directory that has them does not answer."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from mfc_dbus.service import users as users_module
from mfc_dbus.service.users import Users


def test_while_a_directory_does_not_answer_only_the_first_waits_for_a_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        directory: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def ask(_: Callable[..., str], *__: Any) -> "asyncio.Future[str]":
            return directory

        monkeypatch.setattr(users_module, "aside", ask)
        users = Users()
        monkeypatch.setattr(users_module, "_PATIENCE", 0.01)
        assert await users.name(1000) == ""
        monkeypatch.setattr(users_module, "_PATIENCE", 3600)
        assert await asyncio.wait_for(users.name(1000), 60) == ""
        directory.set_result("alice")
        await asyncio.sleep(0)
        assert await users.name(1000) == "alice"

    asyncio.run(scenario())
