"""What the kernel forwards, as the service is asked for it and as it is written."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mfc_dbus.cli.filters import Given
    from mfc_dbus.client import Client, StreamInfo

_UNITS = ("", "k", "M", "G", "T", "P")
_MINUTE, _HOUR, _DAY = 60, 3600, 86400

_PATIENCE = 15.0  # seconds until rates are given up
_BETWEEN = 0.3  # seconds between two questions for them

Found = tuple["list[StreamInfo]", int]
Asking = Callable[[], Awaitable[Found]]


def ask_for_streams(
    client: "Client",
    chosen: "Mapping[str, Given]",
    *,
    learned: bool | None = None,
    silent: bool | None = None,
    sort: str = "rate",
) -> Asking:
    """Make a function that asks for the first streams that pass filters, and how many more pass.

    It has the service choose, before that leaves any out; filters that it does not know are left
    to the caller.
    """
    text = {name: each.text for name, each in chosen.items()}
    table = int(text["table"]) if "table" in text else None

    async def ask() -> Found:
        streams, total = await client.streams(
            group=text.get("group"),
            source=text.get("source"),
            iif=text.get("iif"),
            oif=text.get("oif"),
            table=table,
            learned=learned,
            silent=silent,
            comment=text.get("comment"),
            sort=sort,
        )
        return streams, total - len(streams)

    return ask


async def with_rates(ask: Asking, pause: Callable[[float], Awaitable[None]]) -> Found:
    """Ask until the service has rates: from the second look at its counters on, a second later."""
    found = await ask()
    until = time.monotonic() + _PATIENCE
    while is_without_rates(found[0]) and time.monotonic() < until:
        await pause(_BETWEEN)
        found = await ask()
    return found


def is_without_rates(streams: "Sequence[StreamInfo]") -> bool:
    """Return whether the service has looked at the counters only once."""
    rated = any(each.packets_per_second is not None for each in streams)
    return not rated and any(each.packets is not None for each in streams)


def rate(value: float | None) -> str:
    """Write a rate in at most six characters: "0", "12.5", "999", "1.23M"; "-" for none."""
    if value is None:
        return "-"
    exponent = 0
    while value >= 999.5 and exponent < len(_UNITS) - 1:
        value /= 1000
        exponent += 1
    digits = 0 if value >= 99.95 or not value else 1 if value >= 9.995 else 2
    return f"{value:.{digits}f}{_UNITS[exponent]}"


def span(seconds: float | None) -> str:
    """Write a time in at most five characters: "0s", "59s", "3m", "2h", "10d"; "-" for none."""
    if seconds is None:
        return "-"
    for unit, length in (("d", _DAY), ("h", _HOUR), ("m", _MINUTE)):
        if seconds >= length:
            return f"{int(seconds // length)}{unit}"
    return f"{int(seconds)}s"
