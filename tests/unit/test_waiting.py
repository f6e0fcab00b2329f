"""How many may wait."""

import pytest

from mfc_dbus.errors import LimitExceeded
from mfc_dbus.waiting import Waiting


def test_so_many_wait_and_no_more_until_one_has_gone() -> None:
    waiting = Waiting("tea")
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
    waiting = Waiting("tea")
    with waiting.limited("this user", "one", 10, size=9):
        with waiting.limited("this user", "one", 10, size=1):
            pass
        with pytest.raises(LimitExceeded, match=r"^9 bytes of this user wait for tea already"):
            waiting.limited("this user", "one", 10, size=2).__enter__()
