"""Standard output as a pipe, whose reader may go."""

import asyncio
import os
import stat


def end_with_the_pipe() -> None:
    """Cancel this task when the reader of a pipe goes, not at the next change."""
    loop, task, stdout = asyncio.get_running_loop(), asyncio.current_task(), 1

    def end() -> None:
        loop.remove_reader(stdout)
        assert task is not None
        task.cancel()

    if stat.S_ISFIFO(os.fstat(stdout).st_mode):
        # The end that writes is never readable: it only wakes up for the error.
        loop.add_reader(stdout, end)
