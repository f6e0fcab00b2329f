"""What flows by routes: the counters and rates of their entries in the kernel, added up."""

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from mfc_dbus.cli.columns import counted
from mfc_dbus.cli.streams import rate
from mfc_dbus.cli.table import Column
from mfc_dbus.model.states import RouteState

if TYPE_CHECKING:
    from mfc_dbus.client import RouteInfo, StreamInfo
    from mfc_dbus.client.info import RouteKey


class Count(NamedTuple):
    """What was counted of all entries of a route; None where the kernel does not tell it."""

    packets: int | None = None
    bytes: int | None = None
    wrong_if: int | None = None
    packets_per_second: float | None = None
    bits_per_second: float | None = None


Counts = Mapping["RouteKey", Count]
_NOTHING = Count()
_MOST_HINTS = 3


def count(streams: "Iterable[StreamInfo]") -> Counts:
    """Add up the streams of each route; one that comes twice counts once."""
    by_route: dict[RouteKey, dict[tuple[str, str, str], StreamInfo]] = {}
    for each in streams:
        by_route.setdefault(each.route_key, {})[each.source, each.group, each.iif] = each
    return {
        key: Count(*(_sum(name, found.values()) for name in Count._fields))
        for key, found in by_route.items()
    }


def counts_of(route: "RouteInfo", counts: Counts) -> Count:
    return counts.get(route.key, _NOTHING)


def hints(routes: "Iterable[RouteInfo]", counts: Counts) -> Iterator[str]:
    """Write sentences that name the command which tells why nothing passes by an active route.

    Few sentences are enough.
    """
    told = ((route, explaining(route, counts)) for route in routes)
    for route, command in islice((each for each in told if each[1]), _MOST_HINTS):
        elsewhere = counts_of(route, counts).wrong_if
        but = f" ({elsewhere} packets came by other interfaces)" if elsewhere else ""
        stream = f"({route.source}, {route.group})"
        yield f"Nothing of {stream} passes{but}; this tells why: {command}"


def explaining(route: "RouteInfo", counts: Counts) -> str:
    """Return the command that tells why nothing passes by an active route; empty where some does.

    Prefixes have no such command, since it is for one stream.
    """
    counted = counts_of(route, counts)
    if "/" in route.source + route.group or route.state != RouteState.ACTIVE or not route.oifs:
        return ""
    if counted.packets != 0 and counted.packets_per_second != 0:
        return ""
    return explain_command(route.source, route.group, route.table)


def explain_command(source: str, group: str, table: int) -> str:
    return shlex.join(explain_words(source, group, table))


def explain_words(source: str, group: str, table: int) -> list[str]:
    """Return the words of the command that explains a stream. source: "*" for any."""
    words = ["mfc-dbus-cli", "explain", source, group]
    return [*words, "--table", str(table)] if table else words


def with_counts(columns: Sequence[Column], counts: Counts) -> Sequence[Column]:
    """Return the columns of routes with what was counted of them, after what always has a value."""

    def of(write: Callable[[Any], list[str]]) -> Callable[[Any], list[str]]:
        return lambda route: write(counts_of(route, counts))

    always = sum(not column.prose for column in columns)
    return [
        *columns[:always],
        Column("PACKETS", of(counted("packets")), number=True),
        Column("BYTES", of(counted("bytes")), number=True),
        Column("WRONG-IF", of(counted("wrong_if")), number=True),
        Column("PACKETS/S", of(lambda each: [rate(each.packets_per_second)]), number=True),
        Column("BIT/S", of(lambda each: [rate(each.bits_per_second)]), number=True),
        *columns[always:],
    ]


def _sum(name: str, streams: "Iterable[StreamInfo]") -> Any:
    told = [value for each in streams if (value := getattr(each, name)) is not None]
    return sum(told) if told else None
