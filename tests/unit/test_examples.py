"""The examples for Prometheus and Grafana use metrics that there are, in expressions that parse."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lab.metrics import promtool

from mfc_dbus.client import InterfaceInfo, StatisticsInfo, TableInfo
from mfc_dbus.documents.entries import Report, RouteReport
from mfc_dbus.metrics.families import families
from mfc_dbus.metrics.reading import Reading

EXAMPLES = Path(__file__).parents[2] / "data/doc/examples"
RULES = EXAMPLES / "mfc-dbus.rules.yml"
DASHBOARD = EXAMPLES / "mfc-dbus-dashboard.json"
TABLE = 'instance="b", table="0"'
# What Prometheus has read, one value a minute, in its own notation.
SERIES = {
    'mfc_up{instance="a"}': "0x30",
    'mfc_up{instance="b"}': "1x30",
    f'mfc_routes{{{TABLE}, family="ipv4", state="waiting"}}': "2x30",
    f'mfc_routes{{{TABLE}, family="ipv6", state="waiting"}}': "0x30",
    f'mfc_table_active{{{TABLE}, family="ipv4"}}': "0x30",
    f'mfc_table_active{{{TABLE}, family="ipv6"}}': "0x30",  # and no routes in it
    f'mfc_vifs_free{{{TABLE}, family="ipv4"}}': "3x30",
    f'mfc_vifs_free{{{TABLE}, family="ipv6"}}': "32x30",
    'mfc_store_failures_total{instance="b"}': "0x20 1x10",
    f'mfc_route_packets_total{{{TABLE}, group="stopped"}}': "0+60x10 600x20",
    f'mfc_route_packets_total{{{TABLE}, group="flowing"}}': "0+60x30",
    f'mfc_route_packets_total{{{TABLE}, group="never"}}': "0x30",
    f'mfc_route_active{{{TABLE}, group="stopped"}}': "1x30",
    f'mfc_route_active{{{TABLE}, group="flowing"}}': "1x30",
    f'mfc_route_active{{{TABLE}, group="never"}}': "1x30",
}
FIRING = [
    *("MulticastServiceDown", "MulticastTableLost", "MulticastRoutesWaiting"),
    *("MulticastStreamIdle", "MulticastVIFsNearlyUsedUp", "MulticastStoreFails"),
]


def names() -> set[str]:
    """The names of all samples that there may be."""
    reading = Reading(
        "0.1.0",
        0,
        [TableInfo("ipv4", 0, "active", 1, 3)],
        [InterfaceInfo("eth1", "ipv4", 0, 2, 1, "active")],
        Report(
            route=[
                RouteReport(
                    group="239.1.1.1",
                    iif="eth1",
                    oifs=[],
                    state="active",
                    packets=1,
                    bytes=1,
                    wrong_if=1,
                )
            ]
        ),
        0,
        StatisticsInfo({"Get": 1}, {"Get": 0}, {"Get": 0.1}),
        {"Describe": 0.1},
    )
    return {sample.name for metric in families(reading) for sample in metric.samples}


def panels() -> Iterator[dict[str, Any]]:
    yield from json.loads(DASHBOARD.read_text())["panels"]


def test_every_metric_of_an_example_is_one_that_there_is() -> None:
    for example in (RULES, DASHBOARD):
        used = set(re.findall(r"\bmfc_\w+", example.read_text()))
        assert used
        assert used <= names(), example.name


def test_promtool_takes_the_alerts() -> None:
    assert "8 rules found" in promtool("check", "rules", RULES)


def test_the_alerts_tell_of_what_is_wrong_and_of_nothing_else(tmp_path: Path) -> None:
    def expected(expression: str, label: str, values: Sequence[str]) -> dict[str, Any]:
        samples = [{"labels": f'{{{label}="{value}"}}', "value": 1} for value in values]
        return {"expr": expression, "eval_time": "29m", "exp_samples": samples}

    series = [{"series": name, "values": values} for name, values in SERIES.items()]
    firing = expected('count by (alertname) (ALERTS{alertstate="firing"})', "alertname", FIRING)
    idle = expected(
        'count by (group) (ALERTS{alertname="MulticastStreamIdle"})', "group", ["stopped"]
    )
    test = {"interval": "1m", "input_series": series, "promql_expr_test": [firing, idle]}
    file = tmp_path / "test.json"  # which is YAML too
    file.write_text(json.dumps({"rule_files": [str(RULES)], "tests": [test]}))
    promtool("test", "rules", file)


def test_every_expression_of_the_dashboard_is_promql(tmp_path: Path) -> None:
    expressions = [target["expr"] for panel in panels() for target in panel["targets"]]
    rules = [
        {"record": f"panel:{number}", "expr": each.replace("$__rate_interval", "5m")}
        for number, each in enumerate(expressions)
    ]
    file = tmp_path / "dashboard.json"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(expressions)} rules found" in promtool("check", "rules", file)


def test_no_panel_lies_on_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells
