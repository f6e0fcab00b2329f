"""What becomes of a reading: metrics by Prometheus' conventions, of no more routes than a limit."""

import subprocess
from collections.abc import Iterable
from typing import Any

import pytest
from lab.metrics import Samples, by, one, read

from mfc_dbus.client import InterfaceInfo, StatisticsInfo, TableInfo
from mfc_dbus.documents.entries import MembershipReport, Report, RouteReport
from mfc_dbus.metrics.families import families
from mfc_dbus.metrics.reading import Reading
from mfc_dbus.metrics.text import FORMATS, registry
from mfc_dbus.model.states import MembershipState, RouteState

STATISTICS = StatisticsInfo({"AddRoute": 9}, {"AddRoute": 2}, {"AddRoute": 0.5}, 7, 1, 0.25, 4)


def route(group: str, **fields: Any) -> RouteReport:
    return RouteReport(**{"group": group, "iif": "eth1", "oifs": [], "state": "active"} | fields)


def reading(*routes: RouteReport, **fields: Any) -> Reading:
    whole = Reading(
        "0.1.0",
        7,
        [TableInfo("ipv4", 0, "active", 1, 3)],
        [InterfaceInfo("eth1", "ipv4", 0, 2, 1, "active", 5, 6, 500, 600)],
        Report(route=[*routes]),
        0,
        STATISTICS,
        {"Describe": 0.25},
    )
    return whole._replace(**fields)


def samples(reading: Reading | None, *limit: int) -> Samples:
    return read(FORMATS["openmetrics"](registry(families(reading, *limit))).decode())


def test_a_service_that_does_not_run_has_no_other_metric() -> None:
    assert samples(None) == {("mfc_up", frozenset()): 0}


def test_a_service_that_runs_tells_of_itself_its_tables_and_interfaces() -> None:
    found = samples(reading())
    assert one(found, "mfc_up") == 1
    assert by(found, "mfc_service_info", "version") == {"0.1.0": 1}
    assert one(found, "mfc_changes_total") == 7
    assert by(found, "mfc_question_seconds", "member") == {"Describe": 0.25}
    table = {"family": "ipv4", "table": "0"}
    assert one(found, "mfc_table_active", **table) == 1
    assert one(found, "mfc_vifs_used", **table) == 3
    assert one(found, "mfc_vifs_free", **table) == 29
    interface = {("interface", "eth1"), *table.items()}
    values = {
        name.removeprefix("mfc_interface_"): value
        for (name, labels), value in found.items()
        if labels == interface
    }
    assert values == {
        "active": 1,
        "routes": 1,
        "received_packets_total": 5,
        "sent_packets_total": 6,
        "received_bytes_total": 500,
        "sent_bytes_total": 600,
    }


def test_calls_and_the_store_are_counted() -> None:
    found = samples(reading())
    for name, value in [("calls", 9), ("call_errors", 2), ("call_seconds", 0.5)]:
        assert by(found, f"mfc_{name}_total", "member") == {"AddRoute": value}
    for name, value in [("commits", 7), ("failures", 1), ("seconds", 0.25)]:
        assert one(found, f"mfc_store_{name}_total") == value
    assert one(found, "mfc_unrouted_total") == 4


def test_a_table_that_is_not_ours_and_an_interface_that_is_missing_are_told() -> None:
    found = samples(
        reading(
            tables=[TableInfo("ipv6", 100, "unavailable", 0, 0, "Another program owns it")],
            interfaces=[InterfaceInfo("eth1", "ipv6", 0, 0, 1, "missing", table=100)],
        )
    )
    table = {"family": "ipv6", "table": "100"}
    assert one(found, "mfc_table_active", **table) == 0
    assert one(found, "mfc_interface_active", interface="eth1", **table) == 0


def test_routes_and_memberships_are_counted_by_state_and_none_is_a_number_too() -> None:
    report = Report(
        route=[route("239.1.1.1"), route("239.1.1.2"), route("ff1e::1", state="waiting", table=9)],
        membership=[MembershipReport(group="239.1.1.1", interface="eth1", state="joined")],
    )
    found = samples(reading(report=report, learned=3))
    routes = {labels: value for (name, labels), value in found.items() if name == "mfc_routes"}
    assert len(routes) == 2 * len(RouteState)
    assert {labels: value for labels, value in routes.items() if value} == {
        frozenset({("family", "ipv4"), ("table", "0"), ("state", "active")}): 2,
        frozenset({("family", "ipv6"), ("table", "9"), ("state", "waiting")}): 1,
    }
    joined = dict.fromkeys(MembershipState, 0) | {MembershipState.JOINED: 1}
    assert by(found, "mfc_memberships", "state") == joined
    assert one(found, "mfc_learned_streams") == 3


def test_a_state_of_a_newer_service_is_counted_too() -> None:
    found = samples(reading(route("239.1.1.1", state="dreaming")))
    assert by(found, "mfc_routes", "state")["dreaming"] == 1


def test_a_route_has_its_counters_where_the_kernel_tells_them_apart() -> None:
    found = samples(
        reading(
            route("239.1.1.1", source="10.0.0.1", packets=5, bytes=500, wrong_if=2),
            route("239.1.0.0/16", state="partial"),
        )
    )
    for name, value in [("packets", 5), ("bytes", 500), ("wrong_interface_packets", 2)]:
        assert by(found, f"mfc_route_{name}_total", "group") == {"239.1.1.1": value}
    assert by(found, "mfc_route_active", "group") == {"239.1.1.1": 1, "239.1.0.0/16": 0}


def test_above_the_limit_routes_are_left_out_and_their_number_is_told() -> None:
    routes = [route(f"239.1.{n >> 8}.{n & 255}", packets=n) for n in range(3000)]
    found = samples(reading(*routes), 10)
    assert len(by(found, "mfc_route_active", "group")) == 10
    assert one(found, "mfc_route_series_limit") == 10
    assert one(found, "mfc_routes_left_out") == 2990
    assert sum(by(found, "mfc_routes", "state").values()) == 3000
    # The same ones, however busy they are.
    busier = [route(each.group, packets=9999) for each in reversed(routes)]
    assert by(samples(reading(*busier), 10), "mfc_route_active", "group") == by(
        found, "mfc_route_active", "group"
    )
    assert len(samples(reading(*routes))) < 3100
    assert one(samples(reading(*routes), 0), "mfc_routes_left_out") == 3000


def test_an_interface_may_have_any_printable_name() -> None:
    found = samples(reading(route("239.1.1.1", iif='a"b\\c{}é')))
    assert by(found, "mfc_route_active", "iif") == {'a"b\\c{}é': 1}


def lint(text: bytes) -> Iterable[str]:
    """What `promtool check metrics` complains of."""
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True)
    return done.stderr.decode().splitlines() + done.stdout.decode().splitlines()


@pytest.mark.parametrize("routes", [[], [route("239.1.1.1", packets=1, bytes=2, wrong_if=3)]])
def test_promtool_finds_nothing_to_complain_of(routes: list[RouteReport]) -> None:
    try:
        assert not lint(FORMATS["text"](registry(families(reading(*routes)))))
        assert not lint(FORMATS["text"](registry(families(None))))
    except FileNotFoundError:
        pytest.skip("there is no promtool")
    bad = lint(b"# HELP cats Cats.\n# TYPE cats counter\ncats 3\n")
    assert any("_total" in line for line in bad)
