import asyncio
import time

from mfc_dbus.loop.slices import Slices, in_slices


async def _count_turns(turns: list[int]) -> None:
    while True:
        turns.append(0)
        await asyncio.sleep(0)


def test_others_have_their_turns_once_a_slice_is_used_up() -> None:
    async def work() -> tuple[int, bool]:
        turns: list[int] = []
        others = asyncio.create_task(_count_turns(turns))
        await asyncio.sleep(0)
        slices = Slices(seconds=0.01)
        before = len(turns)
        await slices.pause()
        early = len(turns) - before
        time.sleep(0.02)  # noqa: ASYNC251 - the long work
        before = len(turns)
        await slices.pause()
        late = len(turns) - before
        others.cancel()
        return early, late > 1  # a call takes several

    assert asyncio.run(work()) == (0, True)


def test_items_come_whole_and_in_their_order() -> None:
    async def work() -> list[int]:
        return [item async for item in in_slices(range(1000))]

    assert asyncio.run(work()) == list(range(1000))
