"""Runs verbs that follow signals of the service until somebody ends them."""

import argparse
import asyncio
import os
import signal
import socket
import stat
from collections.abc import Awaitable, Callable

from mfc_dbus.client import Client

Following = Callable[[Client, argparse.Namespace], Awaitable[int]]


def run_following(follow: Following, args: argparse.Namespace, sock: socket.socket | None) -> int:
    """Run a verb's `follow` to its end, and return the exit status."""

    async def run() -> int:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        async with Client.open(sock=sock) as client:
            return await follow(client, args)

    return asyncio.run(run())


def end_with_the_pipe() -> None:
    """Cancel this task when the reader of stdout goes, and not at the next change only."""
    loop, task, stdout = asyncio.get_running_loop(), asyncio.current_task(), 1

    def end() -> None:
        loop.remove_reader(stdout)
        assert task is not None
        task.cancel()

    if stat.S_ISFIFO(os.fstat(stdout).st_mode):
        # The writing end is never readable: the loop only wakes up when the reading end closes.
        loop.add_reader(stdout, end)
