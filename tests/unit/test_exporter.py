"""However many scrapers ask, the service is asked once in a while."""

import asyncio
from http import HTTPStatus
from typing import Any, cast

import pytest

from mfc_dbus.client import Client, ClientError
from mfc_dbus.metrics import exporter
from mfc_dbus.metrics.exporter import Exporter
from mfc_dbus.metrics.http import HttpRequest, Page

ASK = HttpRequest("GET", "/metrics", {})


class Readings:
    """Readings that wait until they may end, or end with an error."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: ClientError | None = None) -> None:
        self.number = 0
        self.may_end = asyncio.Event()
        self._error = error
        monkeypatch.setattr(exporter, "read", self.read)

    async def read(self, _client: Any) -> None:
        self.number += 1
        await self.may_end.wait()
        if self._error:
            raise self._error


def scrapers() -> Exporter:
    return Exporter(cast("Client", None))


async def ask(on: Exporter, number: int) -> "list[asyncio.Task[Page]]":
    """Scrapers that ask at once; all of them wait."""
    tasks = [asyncio.create_task(on.answer(ASK)) for _ in range(number)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


def test_64_scrapers_cost_one_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        readings, on = Readings(monkeypatch), scrapers()
        tasks = await ask(on, 64)
        readings.may_end.set()
        pages = await asyncio.gather(*tasks)
        assert {page.status for page in pages} == {HTTPStatus.OK}
        assert readings.number == 1

    asyncio.run(scenario())


def test_a_scraper_who_leaves_takes_the_answer_from_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        readings, on = Readings(monkeypatch), scrapers()
        first, second = await ask(on, 2)
        first.cancel()
        await asyncio.wait([first])
        readings.may_end.set()
        assert (await second).status == HTTPStatus.OK
        assert readings.number == 1

    asyncio.run(scenario())


def test_an_old_reading_is_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(exporter, "_FRESH", 0.0)
        readings, on = Readings(monkeypatch), scrapers()
        readings.may_end.set()
        for number in (1, 2):
            await on.answer(ASK)
            assert readings.number == number

    asyncio.run(scenario())


def test_a_reading_is_fresh_from_its_end_however_long_it_took(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        now = 1000.0
        monkeypatch.setattr("mfc_dbus.metrics.exporter.time.monotonic", lambda: now)
        readings, on = Readings(monkeypatch), scrapers()
        (slow,) = await ask(on, 1)
        now += 60
        readings.may_end.set()
        await slow
        now += 0.9
        await on.answer(ASK)
        assert readings.number == 1
        now += 0.2
        await on.answer(ASK)
        assert readings.number == 2

    asyncio.run(scenario())


def test_a_page_is_written_once_for_a_reading_and_a_format(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        readings, on = Readings(monkeypatch), scrapers()
        readings.may_end.set()
        for accept in ("", "application/openmetrics-text"):
            request = ASK._replace(headers={"accept": accept})
            assert (await on.answer(request)).body is (await on.answer(request)).body

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("accept", "type_"),
    [
        ("", "text/plain"),
        ("*/*", "text/plain"),
        ("text/plain; version=a.b", "text/plain"),
        ("text/plain;version=" + "9" * 5000, "text/plain"),
        (";;,=,;version=,\xff", "text/plain"),
        ("application/openmetrics-text; version=x.y", "application/openmetrics-text"),
        ("text/plain;q=0.1, application/openmetrics-text", "application/openmetrics-text"),
    ],
)
def test_whatever_a_scraper_accepts_it_is_answered(
    accept: str, type_: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        readings, on = Readings(monkeypatch), scrapers()
        readings.may_end.set()
        page = await on.answer(ASK._replace(headers={"accept": accept}))
        assert (page.status, page.type.partition(";")[0]) == (HTTPStatus.OK, type_)

    asyncio.run(scenario())


@pytest.mark.parametrize(("name", "lost"), [("Timeout", False), ("Disconnected", True)])
def test_an_error_is_told_to_whoever_asks(
    name: str, lost: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        readings, on = Readings(monkeypatch, ClientError(name, "There was no answer")), scrapers()
        readings.may_end.set()
        page = await on.answer(ASK)
        assert page[:2] == (HTTPStatus.SERVICE_UNAVAILABLE, b"There was no answer\n")
        assert on.lost.is_set() == lost

    asyncio.run(scenario())
