"""monitor"""

import argparse
import asyncio
import contextlib
import json
import time
from typing import TYPE_CHECKING

from mfc_dbus.cli.following import end_with_the_pipe
from mfc_dbus.cli.status import Status
from mfc_dbus.cli.text import oifs, options_of_membership, options_of_route
from mfc_dbus.model.quoting import printable

if TYPE_CHECKING:
    from mfc_dbus.client import Client, Event
    from mfc_dbus.client.info import CauseInfo

USAGE = ""

DESCRIPTION = """\
Tell of each change of routes and memberships, a line each, until Ctrl-C, SIGTERM, or the end of the
pipe: when it was, what it was, and in parentheses who made it and what he asked for, or what has
caused it. Where that is missing, the change came while the service or the bus did not tell of it.

The first line says whether the service runs; each change after it is told. The service may be
stopped and started meanwhile: what changed in between is told when it is back.

With --json each line is an object: {"event": "added" | "changed" | "removed", "route": {...},
"cause": {...}}, the route as in "show --json"; {"event": "membership-added" |
"membership-changed" | "membership-removed", "membership": {...}, "cause": {...}}; and
{"event": "service", "running": true | false}. A cause is null, or has cause (call, reload, expiry,
interface or table), action, time (microseconds since 1970), and uid (null where nobody asked),
user, sender, pid, undoes."""

EXAMPLES = """\
  mfc-dbus-cli monitor
  mfc-dbus-cli --json monitor | jq --unbuffered -r 'select(.event == "added") | .route.group'
"""

CHANGES = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This verb has no arguments."""


async def follow(client: "Client", args: argparse.Namespace) -> int:
    with contextlib.suppress(asyncio.CancelledError):
        end_with_the_pipe()
        async with contextlib.aclosing(client.changes()) as changes:
            async for change in changes:
                print(json.dumps(change.to_json()) if args.json else _line(change), flush=True)
    return Status.DONE


def _line(change: "Event") -> str:
    from mfc_dbus.client import MembershipEvent

    if change.event == "service":
        return f"{_time(None)} service  {'running' if change.running else 'stopped'}"
    if isinstance(change, MembershipEvent):
        membership = change.membership
        what = f"join {membership.source} {membership.group} on {membership.interface}"
        state = f"{membership.state}{options_of_membership(membership)}"
    else:
        route = change.route
        what = f"{route.source} {route.group} iif {route.iif} oifs {','.join(oifs(route))}"
        state = f"{route.state}{options_of_route(route)}"
    word = change.event.removeprefix("membership-")
    line = f"{_time(change.cause)} {word:8} {what} state {state}{_why(change.cause)}"
    return printable(line)


def _time(cause: "CauseInfo | None") -> str:
    seconds = cause.time / 1e6 if cause else time.time()
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _why(cause: "CauseInfo | None") -> str:
    if cause is None:
        return ""
    if cause.uid is None:
        return f"  ({cause.cause})"
    return f"  ({cause.user or cause.uid}: {cause.action})"
