"""Explain: looks at a stream, watches its counters for some seconds, and tells what was found."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from typing import Any

from mfc_dbus.bus.backend import Variant
from mfc_dbus.control.observation import Observer
from mfc_dbus.explain.explanation import explain
from mfc_dbus.explain.situation import StreamQuestion
from mfc_dbus.explain.snapshot import Rise
from mfc_dbus.explain.standing import of_addresses
from mfc_dbus.model.addresses import parse_asked
from mfc_dbus.model.errors import InvalidArgs
from mfc_dbus.model.findings import DEFAULT_SECONDS, MAX_SECONDS, Fact, Finding
from mfc_dbus.model.interfaces import parse_interface
from mfc_dbus.model.quoting import printable
from mfc_dbus.service.limits import OneByOne, Quota

OPTIONS = {"iif": "s", "oif": "s", "table": "u", "seconds": "u"}
_MOST_OF_SENDER = 4
_MOST_OF_USER = 16
_MOST = 64
_SIGNATURES = {bool: "b", int: "t", float: "d"}


def parse_question(
    source: str, group: str, options: Mapping[str, Any]
) -> tuple[StreamQuestion, int]:
    """Return what is asked, and for how many seconds to watch. Raises InvalidArgs."""
    seconds = options.get("seconds", DEFAULT_SECONDS)
    if seconds > MAX_SECONDS:
        raise InvalidArgs(f"{seconds} seconds are more than {MAX_SECONDS}")
    iif, oif = (
        parse_interface(options[name]) if name in options else "" for name in ("iif", "oif")
    )
    return StreamQuestion(*parse_asked(source, group), iif, oif, options.get("table", 0)), seconds


class Explanations:
    """Makes explanations: many at a time watch, and their looks are done one by one, for users in
    turn.
    """

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._quota = Quota("an explanation")
        self._looking = OneByOne()

    @asynccontextmanager
    async def place(self, sender: str, uid: int | None) -> AsyncIterator[None]:
        """Have one more explanation go on for a caller. Raises LimitExceeded."""
        with ExitStack() as stack:
            stack.enter_context(self._quota.limited("this caller", sender, _MOST_OF_SENDER))
            if uid != 0:
                stack.enter_context(self._quota.of_user(uid, _MOST_OF_USER, _MOST))
            yield

    async def explain(
        self, question: StreamQuestion, seconds: int, uid: int | None
    ) -> Sequence[Finding]:
        """Return what was found, first what decides. Raises InvalidArgs."""
        if found := [*of_addresses(question)]:
            return found
        if not seconds:
            async with self._looking.turn(uid):
                return explain(await self._observer.look(question), None)
        async with self._looking.turn(uid):
            question = (await self._observer.look(question)).question
            before = await self._observer.count(question, first=True)
            start = time.monotonic()
        await asyncio.sleep(seconds)
        async with self._looking.turn(uid):
            passed = time.monotonic() - start
            after = await self._observer.count(question, first=False)
            situation = await self._observer.look(question)
        return explain(situation, Rise(before, after, passed))


def describe(finding: Finding) -> Mapping[str, Variant]:
    """Write a finding as the dictionary that goes over the bus."""
    evidence = {name: _variant(value) for name, value in finding.evidence.items()}
    return {
        "code": Variant("s", finding.code),
        "level": Variant("s", finding.level),
        "sentence": Variant("s", printable(finding.sentence)),
        "remedy": Variant("s", printable(finding.remedy)),
        "evidence": Variant("a{sv}", evidence),
    }


def _variant(value: Fact) -> Variant:
    if isinstance(value, str):
        return Variant("s", printable(value))
    if isinstance(value, bool | int | float):
        return Variant(_SIGNATURES[type(value)], value)
    return Variant("as", [printable(each) for each in value])
