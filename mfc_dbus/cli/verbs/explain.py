"""explain"""

import argparse
import json
import os
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mfc_dbus.cli.options import add_options, duration, text
from mfc_dbus.cli.parser import UsageError
from mfc_dbus.cli.status import Status
from mfc_dbus.model.findings import DEFAULT_SECONDS, MAX_SECONDS, Code, Level
from mfc_dbus.model.options import TABLE
from mfc_dbus.model.quoting import printable
from mfc_dbus.names import ANY_SOURCE

if TYPE_CHECKING:
    from mfc_dbus.client import Client, FindingInfo

_CODES = textwrap.fill(", ".join(Code), 100, break_on_hyphens=False)

USAGE = "[SOURCE] GROUP"

DESCRIPTION = f"""\
Tell why a stream is forwarded or not: its addresses, the route that decides on it, interfaces,
settings, and which counters move while it is watched. First comes what decides, then what else is
wrong on the way, each with a command to type against it (">"), where there is one; words in
capitals are for you to replace.

As root it adds what only root can see: packets before the firewall, the rules that could drop them,
and the process that owns the kernel's table.

Nothing is changed. Where two causes cannot be told apart, a sentence says so, and names the command
that tells them apart.

With --json an array of objects: code, level ({", ".join(Level)}), sentence, remedy, evidence (an
object). Ends with 0 where the stream flows, with 1 where something is wrong, and with 6 where there
is no route. The codes:
{_CODES}
"""

EXAMPLES = """\
  mfc-dbus-cli explain 10.0.1.10 239.1.1.1
  mfc-dbus-cli explain 239.1.1.1                from the only source that routes name, or from any
  mfc-dbus-cli explain 239.1.1.1 --seconds 30   of a stream that is slow
  mfc-dbus-cli --json explain 10.0.1.10 239.1.1.1 | jq -r '.[0].code'
"""

CHANGES = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "addresses",
        nargs="*",
        type=text,
        metavar="ADDRESS",
        help="sender's address (left out or *: any), and multicast group",
    )
    parser.add_argument("-s", "--source", type=text, help="the same as SOURCE")
    parser.add_argument("-g", "--group", type=text, help="the same as GROUP")
    parser.add_argument(
        "-i", "--iif", type=text, metavar="IF", help="only what arrives on this interface"
    )
    parser.add_argument(
        "-o", "--oif", type=text, metavar="IF", help="only what leaves by this interface"
    )
    add_options(parser, [TABLE])
    parser.add_argument(
        "--seconds",
        type=duration,
        metavar="N",
        help=f"how long to watch, up to {MAX_SECONDS} (0: only look); default: {DEFAULT_SECONDS}",
    )


async def run(client: "Client", args: argparse.Namespace) -> int:
    source, group = _stream(args)

    async def ask() -> "Sequence[FindingInfo]":
        return await client.explain(
            group,
            source=source,
            iif=args.iif,
            oif=args.oif,
            table=args.table or 0,
            seconds=args.seconds,
        )

    from mfc_dbus.cli import stuck

    hanging = await stuck.find(client, source, group, args.table or 0, here=not args.host)
    if hanging is not None:
        found: Sequence[FindingInfo] = [hanging]
    elif os.geteuid() == 0 and not args.host:
        from mfc_dbus.cli import as_root

        seconds = DEFAULT_SECONDS if args.seconds is None else args.seconds
        found = await as_root.add(ask, (source, group), seconds)
    else:
        found = await ask()
    if args.json:
        print(json.dumps([finding.to_json() for finding in found], indent=1))
    else:
        for line in lines(found):
            print(line)
    return status_of(found)


def _stream(args: argparse.Namespace) -> tuple[str, str]:
    """Return source and group, typed with options or without. Raises UsageError."""
    addresses = [*args.addresses]
    group = args.group if args.group is not None else addresses.pop() if addresses else None
    source = args.source if args.source is not None else addresses.pop() if addresses else None
    if group is None:
        raise UsageError("say which group is meant: mfc-dbus-cli explain [SOURCE] GROUP")
    if addresses:
        raise UsageError(f"'{addresses[0]}' is more than a source and a group")
    return source if source is not None else ANY_SOURCE, group


def lines(found: "Sequence[FindingInfo]") -> list[str]:
    """Write each finding, and below it what to type against it."""
    if not found:
        return ["ok: nothing is wrong to be seen; --seconds 2 watches whether packets pass"]
    written = []
    for finding in found:
        written.append(printable(f"{finding.level}: {finding.sentence} [{finding.code}]"))
        if finding.remedy:
            written.append(printable(f"  > {finding.remedy}"))
    return written


def status_of(found: "Sequence[FindingInfo]") -> Status:
    """Return how the command ends: by the finding that decides."""
    if found and found[0].code == Code.NO_ROUTE:
        return Status.NOT_FOUND
    return Status.FAILED if any(each.level == Level.PROBLEM for each in found) else Status.DONE
