"""What root adds to an explanation is of the same time as what the service says."""

import argparse
import asyncio
import json
import os
import shlex
import socket
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from mfc_dbus.cli import arriving, dropping
from mfc_dbus.cli.verbs import explain
from mfc_dbus.client import FindingInfo
from mfc_dbus.explain import remedies
from mfc_dbus.explain.wording import facts_of
from mfc_dbus.model.route import parse_route

NOTHING = FindingInfo("nothing-arrives", "problem", "Nothing.", "", {"iif": "up0"})
FLOWING = FindingInfo("flowing", "ok", "It flows.", "", {"iif": "up0"})
ARGUMENTS = argparse.Namespace(
    addresses=["10.0.0.1", "239.1.1.1"],
    source=None,
    group=None,
    iif=None,
    oif=None,
    table=None,
    seconds=1,
    host=None,
    json=True,
)


class Service:
    """Answers with one finding after the other, the last again and again."""

    def __init__(self, *answers: FindingInfo) -> None:
        self._answers = [*answers]

    async def ping(self, timeout: float) -> None:
        """It answers."""

    async def explain(self, group: str, **options: Any) -> Sequence[FindingInfo]:
        return [self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]]


@pytest.fixture(autouse=True)
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(socket, "if_nameindex", lambda: [(1, "up0"), (2, "up1")])
    monkeypatch.setattr(dropping, "find", lambda packet, code: None)


def arrive(monkeypatch: pytest.MonkeyPatch, **here: int) -> None:
    arrived = arriving.Arrived(Counter(here), Counter())
    monkeypatch.setattr(arriving, "count", lambda source, group, seconds: arrived)


def told(capsys: pytest.CaptureFixture[str], *answers: FindingInfo) -> list[dict[str, Any]]:
    asyncio.run(explain.run(Service(*answers), ARGUMENTS))  # type: ignore[arg-type]
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def test_a_sender_that_begins_after_the_service_has_looked_is_not_blamed_on_a_firewall(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arrive(monkeypatch, up0=100)
    (finding,) = told(capsys, NOTHING, FLOWING)
    assert finding["code"] == "flowing"


def test_what_arrives_while_the_service_sees_nothing_of_it_is_dropped_by_a_firewall(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arrive(monkeypatch, up0=100)
    (finding,) = told(capsys, NOTHING)
    assert finding["code"] in ("ingress", "prerouting")
    assert finding["evidence"]["arrived"] == 100


@pytest.mark.parametrize("hairpin", [False, True])
@pytest.mark.parametrize("iif", ["up0", "up?"])
@pytest.mark.parametrize("table", [0, 100])
@pytest.mark.parametrize("source", ["10.0.0.1", "*"])
def test_what_arrives_elsewhere_is_moved_by_the_command_that_the_service_would_name(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    table: int,
    iif: str,
    hairpin: bool,
) -> None:
    route = parse_route(source, "239.1.1.1", iif, ["up1", "up2"], table=table, hairpin=hairpin)
    arrive(monkeypatch, up1=100)
    evidence = {**NOTHING.evidence, **facts_of(route)}
    (finding,) = told(capsys, NOTHING._replace(evidence=evidence))
    assert finding["code"] == "arrives-elsewhere"
    words = shlex.split(remedies.move(route, "up1"))
    if source == "*":
        words[3:3] = ["--source", "*"]
    assert shlex.split(finding["remedy"]) == words


def test_root_of_a_container_is_told_what_the_service_says(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: bytes, group: bytes, seconds: float) -> arriving.Arrived:
        raise PermissionError

    monkeypatch.setattr(arriving, "count", refuse)
    assert [each["code"] for each in told(capsys, NOTHING)] == ["nothing-arrives"]
