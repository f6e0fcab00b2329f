"""What stays is not looked through again and again for garbage."""

import gc
from collections.abc import Iterator

import pytest

from mfc_dbus.loop import garbage


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    before = [*gc.callbacks]
    garbage.bound()
    yield
    gc.callbacks[:] = before
    gc.unfreeze()


def test_what_comes_little_by_little_and_stays_is_looked_at_once() -> None:
    kept: list[list[int]] = [[] for _ in range(100_000)]
    gc.collect()
    assert len(gc.get_objects()) < len(kept) // 2


def test_garbage_that_comes_later_is_found() -> None:
    gc.collect()
    circle: list[object] = []
    circle.append(circle)
    number = id(circle)
    del circle
    assert gc.collect() >= 1
    assert number not in map(id, gc.get_objects())


def test_of_little_all_is_looked_at_again() -> None:
    gc.collect()
    gc.collect()
    before = gc.get_freeze_count()
    kept: list[list[int]] = [[] for _ in range(100)]
    gc.collect()
    assert gc.get_freeze_count() == before
    assert len(kept) == 100


def test_the_look_is_held_off_until_the_last_work_has_ended_in_whatever_order() -> None:
    one, other = garbage.held_off(), garbage.held_off()
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    held = not gc.isenabled()
    other.__exit__(None, None, None)
    assert held
    assert gc.isenabled()
