import asyncio
import itertools
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from mfc_dbus.loop import slices as slices_module
from mfc_dbus.loop.slices import Slices, in_batches, in_slices, let_go


async def _count_turns(turns: list[int]) -> None:
    while True:
        turns.append(0)
        await asyncio.sleep(0)


@pytest.fixture
def _long_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long enough for several turns, also on a busy machine."""
    monkeypatch.setattr(slices_module, "_PAUSE", 0.05)


@pytest.mark.usefixtures("_long_rest")
def test_others_have_their_turns_once_a_slice_is_used_up() -> None:
    async def work() -> tuple[int, bool]:
        turns: list[int] = []
        others = asyncio.create_task(_count_turns(turns))
        await asyncio.sleep(0)
        before = len(turns)
        await Slices(seconds=60).pause()
        early = len(turns) - before
        before = len(turns)
        await Slices(seconds=0).pause()
        late = len(turns) - before
        others.cancel()
        return early, late > 1  # a call takes several

    assert asyncio.run(work()) == (0, True)


@pytest.mark.usefixtures("_long_rest")
def test_long_works_take_turns_and_others_are_served_after_the_slice_of_each() -> None:
    async def work() -> list[tuple[str, int]]:
        turns: list[int] = []
        slices_of: list[tuple[str, int]] = []

        async def do(name: str) -> None:
            slices = Slices(seconds=0)
            for _ in range(4):
                slices_of.append((name, len(turns)))
                await slices.pause()

        others = asyncio.create_task(_count_turns(turns))
        works = [asyncio.create_task(do(name)) for name in "abc"]
        await asyncio.sleep(0)
        works.pop().cancel()  # while it waits
        await asyncio.gather(*works)
        others.cancel()
        return slices_of

    done = [each for each in asyncio.run(work()) if each[0] != "c"]
    assert [name for name, _ in done] == [*"abababab"]
    # The first slices begin where the works do.
    assert all(after - before > 2 for (_, before), (_, after) in itertools.pairwise(done[2:]))


def test_items_come_whole_and_in_their_order() -> None:
    async def work() -> list[int]:
        return [item async for item in in_slices(range(1000))]

    assert asyncio.run(work()) == list(range(1000))


def test_batches_have_all_items_in_their_order_and_others_have_their_turns_between_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Slices.__init__, "__defaults__", (0.0,))

    async def work() -> list[list[int]]:
        turns: list[int] = []
        other = asyncio.create_task(_count_turns(turns))
        batches, seen = [], []
        async for batch in in_batches(iter(range(1000))):
            batches.append(batch)
            seen.append(len(turns))
        other.cancel()
        assert all(after > before for before, after in itertools.pairwise(seen))
        return batches

    batches = asyncio.run(work())
    assert [*itertools.chain.from_iterable(batches)] == [*range(1000)]
    assert max(map(len, batches)) <= 32


@pytest.mark.parametrize("kind", [list, dict.fromkeys])
def test_others_have_their_turns_while_many_items_are_let_go(
    kind: Callable[[Iterable[object]], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A slice of no time ends with each item.
    monkeypatch.setattr(Slices.__init__, "__defaults__", (0.0,))
    monkeypatch.setattr(slices_module, "_PAUSE", 0)

    async def work() -> list[int]:
        items = kind(object() for _ in range(10))
        letting_go = asyncio.create_task(let_go(items))
        left: list[int] = []
        while not letting_go.done():
            left.append(len(items))
            await asyncio.sleep(0)
        await letting_go
        return left

    assert [left for left, _ in itertools.groupby(asyncio.run(work()))] == [*range(10, -1, -1)]
