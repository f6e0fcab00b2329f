"""Whether a process takes more and more memory."""

from collections.abc import Awaitable, Callable

from lab.daemon import Daemon

MOST = 6  # waves


async def growth(daemon: Daemon, leak: int, wave: Callable[[], Awaitable[None]]) -> list[int]:
    """Do the same twice, and again until it takes less than `leak`: the bytes that each wave took.

    What leaks, leaks each time. Else a wave comes that finds the memory that it needs: caches are
    full, and what others have freed is used. After how many of them, no two machines agree.
    """
    taken: list[int] = []
    while len(taken) < MOST and (len(taken) < 2 or taken[-1] >= leak):
        before = daemon.memory
        await wave()
        taken.append(daemon.memory - before)
    return taken
