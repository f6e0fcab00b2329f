"""A thousand questions of a stranger at once, in a table of 100,000 routes, keep nobody waiting.

up0 ── router ── down0
"""

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from lab.bus import PrivateBus
from lab.caller import OWN, STANDARD, Caller, Route
from lab.daemon import Daemon
from lab.topology import Topology

from mfc_dbus.bus.errors import BusError
from mfc_dbus.model.route import parse_route
from mfc_dbus.storage.store import Store

ROUTES, CONNECTIONS, AT_ONCE = 100_000, 200, 5
BOUND = 2.0  # seconds that a call of somebody else may take, on a busy machine
ADDED = Route(group="239.0.0.1", iif="up0", oifs=["down0"])
# Of no route, of which the nearest ones are looked for; of a route; and what makes no sense.
QUESTIONS: list[tuple[str, str, dict[str, Any]]] = [
    ("10.8.0.1", "225.0.1.1", {"seconds": 0}),
    ("10.9.0.1", "225.0.1.1", {"seconds": 1}),
    ("*", "225.0.9.9", {"seconds": 0}),
    ("*", "225.0.9.9", {"seconds": 4_000_000_000}),
    ("10.9.0.1", "225.0.1.1", {"iif": "x" * 1000, "seconds": 0}),
    ("", "", {}),
]


@pytest.fixture
def daemon(lab: Topology, own_bus: PrivateBus, tmp_path: Path) -> Iterator[Daemon]:
    (tmp_path / "state").mkdir()
    many = (
        parse_route("10.9.0.1", f"225.{n >> 16}.{n >> 8 & 255}.{n & 255}", "up0", ["down0"])
        for n in range(ROUTES)
    )
    with Store(tmp_path / "state" / "routes.db", "") as store:
        store.write({route.key: route for route in many})
    with Daemon(own_bus.address, lab.router, home=tmp_path, wait=False) as daemon:
        daemon.wait_until_ready(120)
        yield daemon
        assert "Traceback" not in daemon.log


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("family", [socket.AF_INET], ids=["ipv4"])
async def test_a_thousand_questions_of_a_stranger_keep_nobody_waiting(
    daemon: Daemon, own_bus: PrivateBus, nobody: int
) -> None:
    answers: Counter[str] = Counter()
    questions = cycle(QUESTIONS)

    async def ask(stranger: Caller) -> None:
        source, group, options = next(questions)
        try:
            found = await stranger.explain(source, group, **options)
            answers[found[0]["code"] if found else "nothing"] += 1
        except BusError as error:
            answers[error.name] += 1

    async with AsyncExitStack() as stack:
        root = await stack.enter_async_context(Caller.at(own_bus.address))
        strangers = [
            await stack.enter_async_context(Caller.at(own_bus.address, nobody))
            for _ in range(CONNECTIONS)
        ]
        before, waits = daemon.memory, []
        asked = [asyncio.create_task(ask(each)) for each in strangers for _ in range(AT_ONCE)]
        while not all(task.done() for task in asked):
            began = time.monotonic()
            await root.add(ADDED, replace=True, persistent=False)
            waits.append(time.monotonic() - began)
            await asyncio.sleep(0.02)
        (found,) = await root.explain("10.8.0.1", "225.0.1.1", seconds=0)
        assert found["code"] == "no-route"
    assert sum(answers.values()) == CONNECTIONS * AT_ONCE
    assert answers.keys() <= {
        *(f"{OWN}.LimitExceeded", f"{STANDARD}.InvalidArgs"),
        *("no-route", "nothing-arrives", "nothing"),
    }
    assert answers["no-route"] > 0
    assert answers[f"{OWN}.LimitExceeded"] > 0
    print(f"longest of {len(waits)} waits: {max(waits):.3f} s; {dict(answers)}")
    assert max(waits) < BOUND
    assert daemon.memory - before < 32 << 20
