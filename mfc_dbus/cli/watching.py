"""Writes something again and again: on a terminal in its place, in a pipe one after the other."""

import argparse
import contextlib
import io
import os
import sys
import time
from collections.abc import Awaitable, Callable

from mfc_dbus.cli.options import text
from mfc_dbus.cli.status import Status, complain

_HOME, _CLEAR, _CLEAR_LINE, _CLEAR_REST = "\x1b[H", "\x1b[2J", "\x1b[K", "\x1b[J"
_CUT_LINES, _WRAP_LINES = "\x1b[?7l", "\x1b[?7h"


def add_interval(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--interval",
        type=_seconds,
        default=2.0,
        metavar="SECONDS",
        help="how often, default: 2",
    )


def _seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 86400:
        raise argparse.ArgumentTypeError(f"'{text(value)}' is not a number of seconds from 0.1")
    return seconds


class _Frame(io.StringIO):
    """What is written of it goes to a terminal later."""

    def isatty(self) -> bool:
        return True


async def repeat(write: Callable[[], Awaitable[object]], seconds: float) -> int:
    """Have it written each so many seconds until Ctrl-C or the end of the pipe.

    While the service does not run that is written in its place. Raises ClientError when the bus has
    gone.
    """
    with contextlib.suppress(KeyboardInterrupt):
        if sys.stdout.isatty():
            sys.stdout.write(_CLEAR)
        while True:
            await _once(write)
            wait(seconds)
    return Status.DONE


async def _once(write: Callable[[], Awaitable[object]]) -> None:
    if not sys.stdout.isatty():
        await _unless_stopped(write)
        sys.stdout.flush()
        return
    frame = _Frame()
    with contextlib.redirect_stdout(frame), contextlib.redirect_stderr(frame):
        await _unless_stopped(write)
    lines = frame.getvalue().splitlines()[: os.get_terminal_size().lines - 1]
    body = "".join(f"{line}{_CLEAR_LINE}\n" for line in lines)
    sys.stdout.write(f"{_HOME}{_CUT_LINES}{body}{_WRAP_LINES}{_CLEAR_REST}")
    sys.stdout.flush()


async def _unless_stopped(write: Callable[[], Awaitable[object]]) -> None:
    from mfc_dbus.client import ClientError
    from mfc_dbus.client.remote import GONE

    try:
        await write()
    except ClientError as error:
        if error.name not in GONE:
            raise
        complain(str(error))


def wait(seconds: float) -> None:
    """Wait without an event loop."""
    time.sleep(seconds)
