"""The metrics: their names, and their values in a reading (pure).

A route has series of its own up to a limit, since a table may have 100,000 routes. Which ones these
are follows from the routes alone, so that a series does not come and go with its traffic.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import UNSET
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric

from mfc_dbus.client import InterfaceInfo, StatisticsInfo
from mfc_dbus.metrics.arguments import MAX_ROUTES
from mfc_dbus.metrics.reading import Reading
from mfc_dbus.model.route import MAX_VIFS
from mfc_dbus.model.states import InterfaceState, MembershipState, RouteState, TableState

if TYPE_CHECKING:
    from mfc_dbus.documents.entries import RouteReport

_TABLE = ["family", "table"]
_INTERFACE = ["interface", *_TABLE]
_ROUTE = ["source", "group", "iif", "table"]


class _Column(NamedTuple):
    """A metric that each of several things has; value: None where a thing has none."""

    type: type[CounterMetricFamily | GaugeMetricFamily]
    name: str
    help: str
    value: Callable[[Any], float | None]


_OF_TABLE = (
    _Column(
        GaugeMetricFamily,
        "mfc_table_active",
        "Whether the kernel's multicast routing table belongs to the service.",
        lambda table: table.state == TableState.ACTIVE,
    ),
    _Column(
        GaugeMetricFamily,
        "mfc_vifs_used",
        "Interfaces that take part in a routing table.",
        lambda table: table.interfaces,
    ),
    _Column(
        GaugeMetricFamily,
        "mfc_vifs_free",
        "Interfaces that a routing table has still room for.",
        lambda table: max(MAX_VIFS - table.interfaces, 0),
    ),
)
_OF_INTERFACE = (
    _Column(
        GaugeMetricFamily,
        "mfc_interface_active",
        "Whether the interface is there, and up.",
        lambda interface: interface.state == InterfaceState.ACTIVE,
    ),
    _Column(
        GaugeMetricFamily,
        "mfc_interface_routes",
        "Routes that use the interface.",
        lambda interface: interface.references,
    ),
    _Column(
        CounterMetricFamily,
        "mfc_interface_received_packets",
        "Packets that arrived on the interface and were forwarded.",
        lambda interface: interface.packets_in,
    ),
    _Column(
        CounterMetricFamily,
        "mfc_interface_received_bytes",
        "Bytes that arrived on the interface and were forwarded.",
        lambda interface: interface.bytes_in,
    ),
    _Column(
        CounterMetricFamily,
        "mfc_interface_sent_packets",
        "Packets that were forwarded to the interface, before any firewall.",
        lambda interface: interface.packets_out,
    ),
    _Column(
        CounterMetricFamily,
        "mfc_interface_sent_bytes",
        "Bytes that were forwarded to the interface, before any firewall.",
        lambda interface: interface.bytes_out,
    ),
)
_OF_ROUTE = (
    _Column(
        GaugeMetricFamily,
        "mfc_route_active",
        "Whether the route forwards to all of its interfaces, or stops its streams.",
        lambda route: route.state == RouteState.ACTIVE,
    ),
    _Column(
        CounterMetricFamily,
        "mfc_route_packets",
        "Packets of the route's streams.",
        lambda route: _counted(route.packets),
    ),
    _Column(
        CounterMetricFamily,
        "mfc_route_bytes",
        "Bytes of the route's streams.",
        lambda route: _counted(route.bytes),
    ),
    _Column(
        CounterMetricFamily,
        "mfc_route_wrong_interface_packets",
        "Packets of the route's streams that arrived on another interface.",
        lambda route: _counted(route.wrong_if),
    ),
)


def families(reading: Reading | None, max_routes: int = MAX_ROUTES) -> Iterator[Metric]:
    """Yield all metrics. reading: None where the service does not run."""
    yield GaugeMetricFamily("mfc_up", "Whether the service answers.", value=reading is not None)
    if reading is None:
        return
    yield InfoMetricFamily("mfc_service", "The service.", value={"version": reading.version})
    yield CounterMetricFamily(
        "mfc_changes",
        "Signals of changed routes and memberships since the service started.",
        value=reading.changes,
    )
    seconds = GaugeMetricFamily(
        "mfc_question_seconds",
        "How long the service took to answer a question for these metrics.",
        labels=["member"],
    )
    for member, value in reading.seconds.items():
        seconds.add_metric([member], value)
    yield seconds
    yield from _statistics(reading.statistics)
    yield from _of_each(_OF_TABLE, _TABLE, reading.tables, _of_table)
    yield from _of_each(_OF_INTERFACE, _INTERFACE, reading.interfaces, _of_interface)
    yield _routes(reading)
    memberships = GaugeMetricFamily(
        "mfc_memberships", "Static IGMP and MLD memberships.", labels=["state"]
    )
    joined = Counter(each.state for each in reading.report.membership)
    for state in _all(MembershipState, joined):
        memberships.add_metric([state], joined[state])
    yield memberships
    yield GaugeMetricFamily(
        "mfc_learned_streams",
        "Streams that have entries of the kernel since a wider route covers them.",
        value=reading.learned,
    )
    told = sorted(reading.report.route, key=_of_route)[:max_routes]
    yield from _of_each(_OF_ROUTE, _ROUTE, told, _of_route)
    yield GaugeMetricFamily(
        "mfc_route_series_limit", "Routes that may have series of their own.", value=max_routes
    )
    yield GaugeMetricFamily(
        "mfc_routes_left_out",
        "Routes that have no series of their own, since there are more than the limit.",
        value=len(reading.report.route) - len(told),
    )


def _statistics(told: StatisticsInfo) -> Iterator[Metric]:
    for name, help_, values in (
        ("mfc_calls", "Calls that the service answered.", told.calls),
        ("mfc_call_errors", "Calls that the service answered with an error.", told.call_errors),
        (
            "mfc_call_seconds",
            "How long calls took, with what they waited for others and for passwords.",
            told.call_seconds,
        ),
    ):
        metric = CounterMetricFamily(name, help_, labels=["member"])
        for member, value in values.items():
            metric.add_metric([member], value)
        yield metric
    for name, help_, value in (
        ("mfc_store_commits", "Changes that were written to the disk.", told.store_commits),
        ("mfc_store_failures", "Changes that the disk refused.", told.store_failures),
        ("mfc_store_seconds", "How long it took to write changes.", told.store_seconds),
        ("mfc_unrouted", "Signals of streams that no route covers.", told.unrouted),
    ):
        yield CounterMetricFamily(name, help_, value=value)


def _routes(reading: Reading) -> Metric:
    """Count the routes of each state, also where there are none of it."""
    metric = GaugeMetricFamily("mfc_routes", "Static multicast routes.", labels=[*_TABLE, "state"])
    found: Counter[tuple[str, str, str]] = Counter(
        ("ipv6" if ":" in route.group else "ipv4", str(route.table), route.state)
        for route in reading.report.route
    )
    tables = {(*_of_table(table),): None for table in reading.tables}
    tables |= {key[:2]: None for key in found}
    states = _all(RouteState, (state for *_, state in found))
    for family, table in tables:
        for state in states:
            metric.add_metric([family, table, state], found[family, table, state])
    return metric


def _all(known: Sequence[str] | type[Any], found: Any) -> list[str]:
    """Return the states that we know and those that a newer service has."""
    return [*dict.fromkeys([*(str(state) for state in known), *sorted(found)])]


def _of_each(
    columns: Sequence[_Column],
    labels: Sequence[str],
    things: Sequence[Any],
    values: Callable[[Any], list[str]],
) -> Iterator[Metric]:
    """Yield a metric for each column. values: of the labels, for a thing."""
    for column in columns:
        metric = column.type(column.name, column.help, labels=labels)
        for thing in things:
            value = column.value(thing)
            if value is not None:
                metric.add_metric(values(thing), value)
        yield metric


def _of_table(table: Any) -> list[str]:
    return [table.family, str(table.table)]


def _of_interface(interface: InterfaceInfo) -> list[str]:
    return [interface.name, *_of_table(interface)]


def _of_route(route: "RouteReport") -> list[str]:
    return [route.source, route.group, route.iif, str(route.table)]


def _counted(value: Any) -> float | None:
    return None if value is UNSET else value
