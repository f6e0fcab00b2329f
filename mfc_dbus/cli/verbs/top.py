"""top"""

import argparse
import asyncio
import contextlib
import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mfc_dbus.cli.columns import COLUMNS
from mfc_dbus.cli.filters import (
    Addresses,
    Given,
    add_filters,
    given,
)
from mfc_dbus.cli.following import end_with_the_pipe
from mfc_dbus.cli.parser import UsageError
from mfc_dbus.cli.status import Status, complain
from mfc_dbus.cli.streams import ask_for_streams, with_rates
from mfc_dbus.cli.table import write_table
from mfc_dbus.cli.top_view import HELP, SORTS
from mfc_dbus.cli.watching import add_interval

if TYPE_CHECKING:
    from mfc_dbus.client import Client

USAGE = "[ADDRESS] [FILTER...]"

DESCRIPTION = f"""\
Show what flows, and how fast, again and again: what the kernel forwards, the highest rates first.

Keys: {HELP}.
The arrows, Page Up and Down, Home and End move. What is typed after "/" is looked for in sources,
groups and interfaces at once; an address or a prefix finds what applies to it. Enter ends the
typing, and then explains the stream of the line; Escape leads back, and shows everything again.

IDLE tells how long ago packets were seen: "-" where none were since the service was asked first. Of
more than 1,000 streams those that come first are shown, and filters find others.

With --once it is written once, as "show streams" writes it. With --json each line is an array of
objects, as of "show streams", each --interval until interrupted, or with --once one."""

EXAMPLES = """\
  mfc-dbus-cli top
  mfc-dbus-cli top --iif eth1 --sort packets
  mfc-dbus-cli top --once
  mfc-dbus-cli --json top | jq --unbuffered '[.[].bits_per_second] | add'
"""

CHANGES = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "addresses",
        nargs="*",
        action=Addresses,
        metavar="ADDRESS",
        help="of a group or a sender, or a prefix: only what applies to it",
    )
    parser.add_argument("--once", action="store_true", help="write it once, and end")
    parser.add_argument(
        "--sort", choices=[*SORTS.values()], default="rate", help="what comes first; default: rate"
    )
    add_interval(parser)
    add_filters(parser, "streams")


async def follow(client: "Client", args: argparse.Namespace) -> int:
    chosen = given(args)
    if args.json or args.once:
        with contextlib.suppress(asyncio.CancelledError):
            end_with_the_pipe()
            await _write(client, args, chosen)
        return Status.DONE
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("top needs a terminal: --once or --json writes it for programs")
    return await _show(client, args, chosen)


async def _write(client: "Client", args: argparse.Namespace, chosen: Mapping[str, Given]) -> None:
    asking = ask_for_streams(client, chosen, sort=args.sort)
    while True:
        streams, more = await with_rates(asking, asyncio.sleep)
        if args.json:
            print(json.dumps([each.to_json() for each in streams]), flush=True)
        else:
            write_table("streams", COLUMNS["streams"], streams)
        if args.once:
            break
        await asyncio.sleep(args.interval)
    if more:
        complain(f"{more} more are not shown: filters narrow it")


async def _show(client: "Client", args: argparse.Namespace, chosen: Mapping[str, Given]) -> int:
    try:
        import curses

        from mfc_dbus.cli.top_live import Live
        from mfc_dbus.cli.top_screen import Screen
        from mfc_dbus.cli.top_view import View
    except ModuleNotFoundError as error:  # some systems have a Python without it
        complain(f"{error}: --once or --json writes it all the same")
        return Status.FAILED
    try:
        screen = Screen()
    except curses.error:
        complain("This terminal has no screen: --once or --json writes it all the same")
        return Status.FAILED
    with screen, contextlib.suppress(asyncio.CancelledError):
        await Live(client, View(args.sort), screen, chosen).run(args.interval)
    return Status.DONE
