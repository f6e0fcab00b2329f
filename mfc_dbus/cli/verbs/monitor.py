"""monitor"""

import argparse
import asyncio
import contextlib
import json
from typing import TYPE_CHECKING

from mfc_dbus.cli.following import end_with_the_pipe
from mfc_dbus.cli.status import Status
from mfc_dbus.cli.text import oifs
from mfc_dbus.model.quoting import printable

if TYPE_CHECKING:
    from mfc_dbus.client import Client, Event

USAGE = ""

DESCRIPTION = """\
Tell of each change of the routes, a line each, until Ctrl-C, SIGTERM, or the end of the pipe.

The first line says whether the service runs; each change after it is told. The service may be
stopped and started meanwhile: what changed in between is told when it is back.

With --json each line is an object: {"event": "added" | "changed" | "removed", "route": {...}},
the route as in "show --json"; and {"event": "service", "running": true | false}."""

EXAMPLES = """\
  mfc-dbus-cli monitor
  mfc-dbus-cli --json monitor | jq --unbuffered -r 'select(.event == "added") | .route.group'
"""

CHANGES = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """There are none."""


async def run(client: "Client", args: argparse.Namespace) -> int:
    with contextlib.suppress(asyncio.CancelledError):
        end_with_the_pipe()
        async with contextlib.aclosing(client.changes()) as changes:
            async for change in changes:
                print(json.dumps(change.to_json()) if args.json else _line(change), flush=True)
    return Status.DONE


def _line(change: "Event") -> str:
    if change.event == "service":
        return f"service  {'running' if change.running else 'stopped'}"
    route = change.route
    line = f"{change.event:8} {route.source} {route.group} iif {route.iif}"
    line += f" oifs {','.join(oifs(route))} state {route.state}"
    return printable(f"{line} comment {route.comment}" if route.comment else line)
