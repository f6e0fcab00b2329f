"""discover"""

import argparse
import asyncio
import contextlib
import json
import shlex
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING

from mfc_dbus.cli.details import explain_command, explain_words
from mfc_dbus.cli.following import end_with_the_pipe
from mfc_dbus.cli.status import Status, complain
from mfc_dbus.model.addresses import is_link_local, parse_source_prefix
from mfc_dbus.model.quoting import printable

if TYPE_CHECKING:
    from mfc_dbus.client import Client, StreamInfo, UnroutedEvent

_Key = tuple[str, str, str, int]
_KEY = ("source", "group", "iif", "table")

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

A line tells too of an active route by which nothing passes, with the command that tells why:
mfc-dbus-cli explain SOURCE GROUP. It comes once, for at most 20 routes, and again, at most every 10
seconds, while the streams of the route arrive on other interfaces.

With --json each line is an object: {"event": "unrouted", "source", "group", "iif", "table", "seen",
"command" (an array of its words, without outgoing interfaces)}; {"event": "silent", "source",
"group", "iif", "table", "wrong_if" (packets that came by other interfaces), "command"}; and
{"event": "service", "running": true | false} at first, and when the service stops or starts."""

EXAMPLES = """\
  mfc-dbus-cli discover
  mfc-dbus-cli --json discover | jq --unbuffered -r 'select(.seen == 1) | .group'
"""

CHANGES = False

_PERIOD = 10.0  # seconds between two looks at the routes by which nothing passes
_SHARE = 20  # so many times as long as a look takes is the pause after it
_MOST_SILENT = 20  # routes that are told of once
_REMEMBERED = 10_000  # streams; of more the one that was silent longest is forgotten
_NOTHING_HEARD = (
    "No interface is listened on: no route uses one, and none is watched (see --help for how)"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This verb has no arguments."""


async def follow(client: "Client", args: argparse.Namespace) -> int:
    seen = Seen()
    with contextlib.suppress(asyncio.CancelledError):
        end_with_the_pipe()
        async with (
            _in_background(_tell_of_silent(client, as_json=args.json)),
            contextlib.aclosing(client.unrouted()) as events,
        ):
            async for event in events:
                if event.event == "unrouted":
                    count = seen.count((event.source, event.group, event.iif, event.table))
                    print(_json(event, count) if args.json else line(event, count), flush=True)
                    continue
                state = "running" if event.running else "stopped"
                print(json.dumps(event.to_json()) if args.json else f"service  {state}", flush=True)
                if event.running:
                    await _warn_if_deaf(client)
    return Status.DONE


@contextlib.asynccontextmanager
async def _in_background(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _tell_of_silent(client: "Client", *, as_json: bool) -> None:
    """Tell of routes by which nothing passes, again and again."""
    from mfc_dbus.client import ClientError

    silent = Silent()
    while True:
        began = time.monotonic()
        with contextlib.suppress(ClientError):  # that it stopped is told elsewhere
            streams, _ = await client.streams(silent=True, sort="group")
            for each in silent.to_tell(streams):
                print(_silent_json(each) if as_json else silent_line(each), flush=True)
        # Where very many counters are read, that is to be a small part of the time.
        await asyncio.sleep(max(_PERIOD, _SHARE * (time.monotonic() - began)))


def silent_line(stream: "StreamInfo") -> str:
    words = explain_command(stream.source, stream.group, stream.table)
    arrives = f"{stream.source} {stream.group} iif {stream.iif}"
    elsewhere = f" elsewhere {stream.wrong_if}" if stream.wrong_if else ""
    return printable(f"silent   {arrives}{elsewhere}  {words}")


def _silent_json(stream: "StreamInfo") -> str:
    told = {name: getattr(stream, name) for name in (*_KEY, "wrong_if")}
    words = explain_words(stream.source, stream.group, stream.table)
    return json.dumps({"event": "silent", **told, "command": words})


def _key(stream: "StreamInfo") -> _Key:
    return stream.source, stream.group, stream.iif, stream.table


class Silent:
    """Chooses whom to tell of, of the streams by which nothing passes."""

    def __init__(self) -> None:
        self._before: Mapping[_Key, StreamInfo] = {}
        self._told: set[_Key] = set()

    def to_tell(self, streams: Iterable["StreamInfo"]) -> list["StreamInfo"]:
        """Take what is silent now; return what arrives elsewhere, and what is new of routes that
        were silent the last time, too.
        """
        now = {_key(each): each for each in streams}
        self._told &= now.keys()
        chosen = []
        for key in now.keys() & self._before.keys():
            stream, before = now[key], self._before[key]
            if (stream.wrong_if or 0) > (before.wrong_if or 0):
                chosen.append(stream)
            elif not stream.learned and key not in self._told and len(self._told) < _MOST_SILENT:
                self._told.add(key)
                chosen.append(stream)
        self._before = now
        return chosen


class Seen:
    """Counts how often each stream was seen."""

    def __init__(self) -> None:
        self._counts: dict[_Key, int] = {}

    def count(self, stream: _Key) -> int:
        """Count a stream once more, and return how often it was counted."""
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
    """Return the words of the command that routes a stream, without its outgoing interfaces.

    No route with oifs may name a link-local source: the command is for any source then.
    """
    local = is_link_local(parse_source_prefix(event.source))
    source = [] if local else ["--source", event.source]
    words = ["mfc-dbus-cli", "mfc", "add", *source, "--group", event.group]
    words += [f"--iif={event.iif}"] if event.iif.startswith("-") else ["--iif", event.iif]
    return [*words, "--table", str(event.table)] if event.table else words


def _json(event: "UnroutedEvent", count: int) -> str:
    return json.dumps(event.to_json() | {"seen": count, "command": command(event)})


async def _warn_if_deaf(client: "Client") -> None:
    """Complain if no interface is listened on. A service that has gone is reported elsewhere."""
    from mfc_dbus.client import ClientError

    with contextlib.suppress(ClientError):
        if not await client.interfaces():
            sys.stdout.flush()
            complain(_NOTHING_HEARD)
