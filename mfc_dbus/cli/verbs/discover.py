"""discover"""

import argparse
import asyncio
import contextlib
import json
import shlex
import sys
from typing import TYPE_CHECKING

from mfc_dbus.cli.following import end_with_the_pipe
from mfc_dbus.cli.status import Status, complain
from mfc_dbus.model.addresses import is_link_local, parse_source_prefix
from mfc_dbus.model.quoting import printable

if TYPE_CHECKING:
    from mfc_dbus.client import Client, UnroutedEvent

_Key = tuple[str, str, str, int]

USAGE = ""

DESCRIPTION = """\
Tell of each stream that arrives and that no route covers, until Ctrl-C, SIGTERM, or the end of
the pipe: how often it was seen, in periods of 10 seconds, and the command that would route it. Put
the outgoing interfaces for the dots at its end.

A line comes when a stream is new, and again, at most every 10 seconds, while it goes on. Of more
than 20 new streams a second some are left out.

The kernel tells what arrives on the interfaces that routes use. To hear others, have the service
watch them: interfaces = ["eth*"] under [discovery] in /etc/mfc-dbus/mfc-dbus.toml, and then
systemctl reload mfc-dbus.

With --json each line is an object: {"event": "unrouted", "source", "group", "iif", "table", "seen",
"command" (an array of its words, without outgoing interfaces)}; and {"event": "service", "running":
true | false} at first, and when the service stops or starts."""

EXAMPLES = """\
  mfc-dbus-cli discover
  mfc-dbus-cli --json discover | jq --unbuffered -r 'select(.seen == 1) | .group'
"""

CHANGES = False

_REMEMBERED = 10_000  # streams; of more the one that was silent longest is new again
_NOTHING_HEARD = (
    "No interface is listened on: no route uses one, and none is watched (see --help for how)"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """There are none."""


async def run(client: "Client", args: argparse.Namespace) -> int:
    seen = Seen()
    with contextlib.suppress(asyncio.CancelledError):
        end_with_the_pipe()
        async with contextlib.aclosing(client.unrouted()) as events:
            async for event in events:
                if event.event == "unrouted":
                    count = seen.count((event.source, event.group, event.iif, event.table))
                    print(_json(event, count) if args.json else line(event, count), flush=True)
                    continue
                state = "running" if event.running else "stopped"
                print(json.dumps(event.to_json()) if args.json else f"service  {state}", flush=True)
                if event.running:
                    await _say_what_to_do(client)
    return Status.DONE


class Seen:
    """How often each stream was seen."""

    def __init__(self) -> None:
        self._counts: dict[_Key, int] = {}

    def count(self, stream: _Key) -> int:
        """Count it once more; how often it was."""
        count = self._counts.pop(stream, 0) + 1
        self._counts[stream] = count
        if len(self._counts) > _REMEMBERED:
            del self._counts[next(iter(self._counts))]
        return count


def line(event: "UnroutedEvent", count: int) -> str:
    words = shlex.join(command(event))
    stream = f"{event.source} {event.group} iif {event.iif}"
    return printable(f"unrouted {stream} seen {count}  {words} --oifs ...")


def command(event: "UnroutedEvent") -> list[str]:
    """The words of the command that routes a stream, but for its outgoing interfaces.

    A link-local source is no route's own; any source has it in it.
    """
    local = is_link_local(parse_source_prefix(event.source))
    source = [] if local else ["--source", event.source]
    words = ["mfc-dbus-cli", "mfc", "add", *source, "--group", event.group]
    words += [f"--iif={event.iif}"] if event.iif.startswith("-") else ["--iif", event.iif]
    return [*words, "--table", str(event.table)] if event.table else words


def _json(event: "UnroutedEvent", count: int) -> str:
    return json.dumps(event.to_json() | {"seen": count, "command": command(event)})


async def _say_what_to_do(client: "Client") -> None:
    """Say so where nothing can come. A service that has gone again says so itself."""
    from mfc_dbus.client import ClientError

    with contextlib.suppress(ClientError):
        if not await client.interfaces():
            sys.stdout.flush()
            complain(_NOTHING_HEARD)
