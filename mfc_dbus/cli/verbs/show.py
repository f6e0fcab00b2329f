"""show"""

import argparse
import contextlib
import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mfc_dbus.cli.arguments import complete, join
from mfc_dbus.cli.columns import COLUMNS, DETAILED, by_membership, by_route
from mfc_dbus.cli.details import Counts, count, counts_of, explaining, hints, with_counts
from mfc_dbus.cli.filters import Given, add_filters, choose, given, is_address, take_address
from mfc_dbus.cli.parser import UsageError
from mfc_dbus.cli.status import Status, complain
from mfc_dbus.cli.streams import ask_for_streams, with_rates
from mfc_dbus.cli.table import write_table
from mfc_dbus.cli.watching import add_interval, repeat, wait
from mfc_dbus.model.members import Permission
from mfc_dbus.model.states import InterfaceState, MembershipState, RouteState, TableState

if TYPE_CHECKING:
    from mfc_dbus.client import Client, TableInfo

USAGE = "[routes|streams|learned|interfaces|tables|memberships|permissions] [ADDRESS] [FILTER...]"

DESCRIPTION = f"""\
Show the routes, what the kernel forwards and how fast (streams), the streams that were learned for
prefixes and patterns, the interfaces that they use, the multicast routing tables of the kernel, the
groups that were joined, or what you may do here. An ADDRESS, of a group or a sender, or a prefix,
shows what applies to it, as --group and --source do.

The rates of streams are those of the last second, or of the time since somebody asked before, and
IDLE tells how long ago packets were seen since: "-" where none were. With --details, routes have
what was counted of them: of one that is wider than an entry of the kernel (a prefix, a pattern), of
the streams that it has now.

KEPT tells how long: it is empty where that is for good, the time that is left of a timeout,
"transient" until a stop or a reboot, and "config" as long as a file of routes.d has it.

On a terminal, and with --details, sentences behind the routes name the first of those by which
nothing passes, and the command that tells why: those that are active, for one stream, and have
counted no packet, as far as 10,000 routes are not too many to look at, or a filter chooses some.

On a terminal it is a table, in a pipe columns with a header. With --json an array of objects:
  routes      source ("*": any), group, iif, oifs (array), state
              ({", ".join(RouteState)}), ttls (object: oif to TTL
              threshold, where it is not 1), comment, persistent (over a reboot), expires
              (microseconds since boot, or 0), origin ("bus", or "config": from routes.d), table
              (a number, 0 the default one), reason (why it is not active), hairpin (whether it
              leaves by the interface too that it arrives on), enabled (if not, it is as if it were
              not there), explain (where it is active and nothing passes, the command that tells
              why, of the first 1,000; else empty; null where that was not looked at); with
              --details also packets, bytes, wrong_if, packets_per_second, bits_per_second, as of
              streams
  streams     source ("*": any), group, iif, oifs (array), learned (true or false: for one stream of
              a wider route), route_source, route_group, route_iif, packets, bytes, wrong_if
              (packets that came in by another interface), packets_per_second, bits_per_second, idle
              (seconds), table, comment (of the route); what is not known is null; at most 1,000,
              those with the highest rates
  learned     the same, of what was learned only, in the order of addresses: source, group, iif,
              oifs, learned, route_source, route_group, route_iif, packets, bytes, wrong_if,
              packets_per_second, bits_per_second, idle, table, comment
  interfaces  name, family (ipv4, ipv6), vif, ifindex, references (routes that use it), state
              ({", ".join(InterfaceState)}), packets_in, packets_out, bytes_in, bytes_out, table
  tables      family, table (its number), state ({", ".join(TableState)}), routes, interfaces
              (how many), reason (why it is unavailable)
  memberships source ("*": any), group, interface, state ({", ".join(MembershipState)}), reason
              (why it failed), comment, persistent (over a reboot), origin ("bus", or "config":
              from routes.d)
  permissions action (of polkit), permission ({", ".join(Permission)}: with a password, if
              "{Permission.AUTH}"); where a rule of polkit grants some routes only, it is not "yes":
              of one change, such as "mfc add ...", its option --may tells
"""

EXAMPLES = """\
  mfc-dbus-cli show
  mfc-dbus-cli show streams                   what flows, and how fast
  mfc-dbus-cli show -d --watch                the routes with their rates, each 2 seconds
  mfc-dbus-cli show learned
  mfc-dbus-cli show interfaces
  mfc-dbus-cli show memberships
  mfc-dbus-cli show permissions
  mfc-dbus-cli show 239.1.1.1                 what decides on this group
  mfc-dbus-cli mfc show --iif eth1 --state waiting
  mfc-dbus-cli group show
  mfc-dbus-cli --json show | jq -r '.[] | select(.iif == "eth1") | .group'
"""

CHANGES = False
_MANY_ROUTES = 10_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(what="routes")
    parser.add_argument(
        "words",
        nargs="*",
        action=_Words,
        metavar="|".join([*COLUMNS, "ADDRESS"]),
        help="default: routes, all of them",
    )
    add_filters(parser)
    parser.add_argument(
        "-d", "--details", action="store_true", help="of routes and streams, what was counted too"
    )
    parser.add_argument(
        "-w", "--watch", action="store_true", help="show it again and again, until interrupted"
    )
    add_interval(parser)


class _Words(argparse.Action):
    """Parses the kind of rows to show, and addresses to filter them by."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        args: argparse.Namespace,
        values: str | Sequence[Any] | None,
        _: str | None = None,
    ) -> None:
        words = []
        for word in values or ():
            if is_address(word):
                take_address(args, word)
            else:
                words.append(word)
        if len(words) > 1:
            parser.error(f"unrecognized arguments: {' '.join(words[1:])}")
        if words:
            args.what = complete(words[0], COLUMNS)


async def run(client: "Client", args: argparse.Namespace) -> int:
    chosen = given(args)
    if args.details and args.what not in DETAILED:
        raise UsageError(f"--details is for {join(DETAILED)}, and not for {args.what}")
    if args.watch:
        return await repeat(lambda: _show(client, args, chosen), args.interval)
    return await _show(client, args, chosen)


async def _show(client: "Client", args: argparse.Namespace, chosen: Mapping[str, Given]) -> int:
    tables = await client.tables()
    rows, more = await _read(client, args, chosen, tables)
    rows = choose(rows, chosen, args.what)
    columns = DETAILED[args.what] if args.details else COLUMNS[args.what]
    counts: Counts = {}
    if args.details and args.what == "routes":
        counts, more = await _count(client, chosen)
        columns = with_counts(columns, counts)
    silent: Counts | None = counts
    if args.what == "routes" and not args.details:
        silent = await _count_silent(client, args, chosen, tables)
    if args.json:
        objects = [row.to_json() for row in rows]
        if args.details and args.what == "routes":
            objects = [row.to_json() | counts_of(row, counts)._asdict() for row in rows]
        if args.what == "routes":
            for row, told in zip(rows, objects, strict=True):
                told["explain"] = None if silent is None else explaining(row, silent)
        print(to_json(objects))
    else:
        write_table("learned streams" if args.what == "learned" else args.what, columns, rows)
        for hint in hints(rows, silent) if silent else ():
            sys.stdout.flush()
            complain(hint)
    if more:
        sys.stdout.flush()
        what = "of the kernel's entries are not counted" if counts else "are not shown"
        complain(f"{more} more {what}: filters narrow it")
    for table in tables:
        if table.state == TableState.UNAVAILABLE:
            sys.stdout.flush()
            complain(f"Table {table.name} is unavailable: {table.reason}")
    return Status.DONE


async def _read(
    client: "Client",
    args: argparse.Namespace,
    chosen: Mapping[str, Given],
    tables: "Sequence[TableInfo]",
) -> tuple[Sequence[Any], int]:
    """Return the rows, and how many more there are that the service does not tell of."""
    match args.what:
        case "routes":
            return sorted(await client.routes(), key=by_route), 0
        case "streams":
            return await with_rates(ask_for_streams(client, chosen), _pause)
        case "learned":
            asking = ask_for_streams(client, chosen, learned=True, sort="group")
            return await with_rates(asking, _pause) if args.details else await asking()
        case "interfaces":
            return await client.interfaces(), 0
        case "memberships":
            return sorted(await client.memberships(), key=by_membership), 0
        case "permissions":
            return await client.permissions(), 0
        case _:
            return tables, 0


async def _count(client: "Client", chosen: Mapping[str, Given]) -> tuple[Counts, int]:
    """Return what was counted of routes, and how many entries of the kernel were left out of it."""
    streams, more = await with_rates(ask_for_streams(client, {}), _pause)
    if more and chosen:  # maybe those that are shown
        others, more = await ask_for_streams(client, chosen)()
        streams = [*streams, *others]
    return count(streams), more


async def _count_silent(
    client: "Client",
    args: argparse.Namespace,
    chosen: Mapping[str, Given],
    tables: "Sequence[TableInfo]",
) -> Counts | None:
    """Return what was counted of routes by which nothing passes; None where nobody looks at that.

    The service reads the counters of all entries for it: of many only where some are asked for.
    """
    from mfc_dbus.client import ClientError

    is_read = args.json or sys.stdout.isatty()
    if not is_read or (not chosen and sum(each.routes for each in tables) > _MANY_ROUTES):
        return None
    with contextlib.suppress(ClientError):  # it answers another call of ours, or is older
        streams, _ = await ask_for_streams(client, chosen, silent=True, sort="group")()
        return count(each for each in streams if not each.learned)
    return None


async def _pause(seconds: float) -> None:
    wait(seconds)


def to_json(objects: Sequence[Mapping[str, Any]]) -> str:
    """Write a JSON array with an object a line."""
    text = json.dumps(objects)
    # No string of JSON can hold this: a quote in it has a backslash before it.
    return text.replace('}, {"', '},\n {"')
