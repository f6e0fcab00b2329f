"""Makes the options of calls, as they go over the bus, of what a program says."""

from collections.abc import Iterable
from typing import Any

from mfc_dbus.bus.codec import Variant
from mfc_dbus.model.options import Option


def variants(options: Iterable[Option], **said: Any) -> dict[str, Variant]:
    """Make the options of a call; a value of None is left out."""
    return {
        option.name: Variant(option.signature, said[option.parameter])
        for option in options
        if said[option.parameter] is not None
    }


def strings(**options: str | None) -> dict[str, Any]:
    return {name: Variant("s", value) for name, value in options.items() if value is not None}


def numbers(**options: int | None) -> dict[str, Any]:
    return {name: Variant("t", value) for name, value in options.items() if value is not None}


def table_number(number: int | None) -> dict[str, Any]:
    return {} if number is None else {"table": Variant("u", number)}
