"""Metrics of the real service, on the command line."""

import asyncio
import json

from lab.bus import PrivateBus
from lab.caller import Caller, Membership, Route
from lab.cli import CLI
from lab.metrics import by, one, promtool, read

GROUP = "239.1.2.3"


async def test_the_command_line_writes_what_the_service_has(cli: CLI, bus: PrivateBus) -> None:
    async with Caller.at(bus.address) as root:
        await root.add(Route(group=GROUP))
        await root.add(Route("*", "ff1e::/16", "eth3", ["eth9"]))
        await root.join(Membership(GROUP))
    done = await asyncio.to_thread(cli, "metrics")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("# EOF\n")
    found = read(done.stdout)
    assert one(found, "mfc_up") == 1
    stream = {"source": "10.1.0.10", "group": GROUP, "iif": "eth1", "table": "0"}
    assert one(found, "mfc_route_active", **stream) == 1
    assert one(found, "mfc_route_packets_total", **stream) == 0
    for family, state in [("ipv4", "active"), ("ipv6", "waiting")]:
        assert one(found, "mfc_routes", family=family, table="0", state=state) == 1
    assert one(found, "mfc_memberships", state="joined") == 1
    assert by(found, "mfc_question_seconds", "member").keys() >= {"Describe", "Tables"}

    calls = by(found, "mfc_calls_total", "member")
    assert calls["AddRoute"] >= 2
    assert by(found, "mfc_call_seconds_total", "member").keys() == calls.keys()
    assert one(found, "mfc_store_commits_total") >= 3
    text = await asyncio.to_thread(cli, "metrics", "--format", "text", "--routes", "1")
    assert "mfc_routes_left_out 1.0" in text.stdout.splitlines()
    await asyncio.to_thread(promtool, "check", "metrics", text=text.stdout)
    as_json = await asyncio.to_thread(cli.json, "metrics", "--routes", "0")
    assert {"name": "mfc_routes_left_out", "labels": {}, "value": 2} in as_json


def test_where_no_service_runs_that_is_the_metric_and_the_exit_status(own_bus: PrivateBus) -> None:
    done = CLI(own_bus.address)("metrics")
    assert done.returncode == 5
    assert read(done.stdout) == {("mfc_up", frozenset()): 0}
    assert "is not running" in done.stderr
    done = CLI(own_bus.address)("--json", "metrics")
    assert json.loads(done.stdout) == [{"name": "mfc_up", "labels": {}, "value": 0}]


def test_a_wrong_number_is_a_wrong_usage(cli: CLI) -> None:
    for words in (["--routes", "-1"], ["--routes", "many"], ["--format", "xml"]):
        assert cli("metrics", *words).returncode == 2
