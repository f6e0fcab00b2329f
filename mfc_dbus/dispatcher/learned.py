"""Asks the service which streams are learned: no signal tells of it.

It costs the service a fraction of a millisecond while none comes or goes.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping

from mfc_dbus.client import Client, ClientError, StreamInfo
from mfc_dbus.client.part import ALL, Part
from mfc_dbus.client.remote import GONE
from mfc_dbus.dispatcher.comparison import thing_of
from mfc_dbus.dispatcher.events import Thing

log = logging.getLogger(__name__)

_PAUSE = 2.0  # seconds between two questions
_SHARE = 20  # times as long as the last answer took, where that is more
_MOST = 10_000  # streams that are followed
_PASSING = (*GONE, "Timeout", "LimitExceeded", "LimitsExceeded")


class LearnedStreams:
    """streams: those that were learned when the service was asked last; None: not known yet."""

    def __init__(self, client: Client, wanted: Callable[[], bool]) -> None:
        self.streams: Mapping[Thing, StreamInfo] | None = None
        self._client = client
        self._wanted = wanted
        self._pause = _PAUSE
        self._too_many = False

    async def until_due(self) -> None:
        await asyncio.sleep(self._pause)

    async def read(self) -> bool:
        """Ask. Return whether there is an answer, and somebody who wants it."""
        if not self._wanted():
            return False
        began = time.monotonic()
        try:
            found = await self._ask(ALL)
        except ClientError as error:
            if error.name not in _PASSING:
                raise
            return False
        finally:
            self._pause = max(_PAUSE, _SHARE * (time.monotonic() - began))
        too_many, before = found is None, self._too_many
        self._too_many = too_many
        if found is None:
            if not before:
                log.warning("More than %d streams are learned: scripts hear of none", _MOST)
            return False
        self.streams = found
        return True

    async def _ask(self, part: Part) -> Mapping[Thing, StreamInfo] | None:
        """Return all streams of a part; None where they are too many."""
        streams, total = await self._client.streams(
            group=part.group, source=part.source, learned=True, sort="group", counters=False
        )
        if total <= len(streams):
            return {thing_of(each): each for each in streams}
        halves = part.halves() if total <= _MOST else []
        whole: dict[Thing, StreamInfo] = {}
        for half in halves:
            found = await self._ask(half)
            if found is None:
                return None
            whole |= found
        return whole if halves else None
