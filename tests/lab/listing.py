"""What ListStreams answers of a controller in memory, on a clock that stands still."""

from typing import Any, cast
from unittest import mock

from lab.ground import Ground, run
from mfc_dbus.bus.backend import Variant, decode
from mfc_dbus.service.listed_streams import ListedStreams, parse_question

SECOND = 1_000_000_000


class Listing:
    """Asks for streams; time passes when it is told to."""

    def __init__(self, ground: Ground) -> None:
        self.now = 1000 * SECOND
        self.total = 0  # of the last answer
        self._listed = ListedStreams(ground.controller.view)

    def ask(self, **options: Any) -> list[dict[str, Any]]:
        """Return the streams with their values, by the options of the call."""
        with mock.patch("mfc_dbus.streams.rates.since_boot", self._clock):
            body = run(self._listed.answer(parse_question(options), ":1.1", 0))
        streams, total = decode("aa{sv}u", body)
        assert isinstance(total, int)
        self.total = total
        told = cast("list[dict[str, Variant]]", streams)
        return [{name: variant.value for name, variant in each.items()} for each in told]

    def _clock(self) -> int:
        return self.now

    def pass_time(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)
