"""The history as it is shown, whatever a service tells."""

import argparse
import asyncio
from typing import cast

import pytest

from mfc_dbus.cli.verbs import history
from mfc_dbus.client import Client, PastChangeInfo


class Told:
    """A service that tells one change."""

    def __init__(self, time: int) -> None:
        self._change = PastChangeInfo(1, time, 1000, "alice", "apply", 3, 0, 0, kept=True)

    async def history(self, _number: int | None) -> tuple[list[PastChangeInfo], int]:
        return [self._change], 1


@pytest.mark.parametrize("time", [10**18, (1 << 63) - 1, (1 << 64) - 1])
def test_a_time_that_no_calendar_has_is_shown_as_a_number(
    time: int, capsys: pytest.CaptureFixture[str]
) -> None:
    args = argparse.Namespace(number=None, before=False, after=False, json=False)
    assert asyncio.run(history.run(cast("Client", Told(time)), args)) == 0
    assert str(time) in capsys.readouterr().out
