"""The options of routes and memberships as flags of the command line, and their values."""

import argparse
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from mfc_dbus.cli.parser import UsageError
from mfc_dbus.cli.text import on_bus
from mfc_dbus.model.errors import InvalidArgs
from mfc_dbus.model.interfaces import parse_interface
from mfc_dbus.model.options import ADD_ROUTE, CHANGE_ROUTE, JOIN_GROUP, SECONDS, Option

_MAX_NUMBER = 2**32 - 1  # D-Bus can carry no larger one
_MAX_CHANGE = 2**63 - 1
_MAX_DIGITS = 20
_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}  # seconds

# By the option's name on the bus the flag that sets what the name says.
_FLAGS = {"iif": "--iif", "group": "--group"} | {
    option.name: option.flag.back if option.default is True else option.flag.word
    for option in (*ADD_ROUTE, *CHANGE_ROUTE, *JOIN_GROUP)
}


def add_options(
    parser: argparse.ArgumentParser, options: Iterable[Option], *, both: bool = False
) -> None:
    """Add a flag for each option; the value of a flag that was not given is None.

    both: of an option that is true or false, add also the flag that sets its default.
    """
    for option in options:
        _, help_, metavar, short, back = option.flag
        words = [short, option.flag.word] if short else [option.flag.word]
        match option.signature:
            case "b":
                group = parser.add_mutually_exclusive_group()
                group.add_argument(
                    *words,
                    dest=option.name,
                    action="store_const",
                    const=not option.default,
                    help=help_,
                )
                if both and back:
                    group.add_argument(
                        back,
                        dest=option.name,
                        action="store_const",
                        const=option.default,
                        help=f"the opposite of {option.flag.word}",
                    )
            case "as" | "a{sy}":
                parser.add_argument(
                    *words,
                    dest=option.name,
                    type=names if option.signature == "as" else _threshold,
                    nargs="+",
                    action="extend",
                    metavar=metavar,
                    help=help_,
                )
            case "s":
                parser.add_argument(
                    *words, dest=option.name, type=text, metavar=metavar, help=help_
                )
            case "u":
                parser.add_argument(
                    *words, dest=option.name, type=_reader(option), metavar=metavar, help=help_
                )


def given(args: argparse.Namespace, options: Iterable[Option]) -> Mapping[str, Any]:
    """Collect the values of the options that were given, by the names of the client's parameters.

    Raises UsageError where an interface has two thresholds.
    """
    values = ((option, getattr(args, option.name)) for option in options)
    return {
        option.parameter: _collected(option, value) for option, value in values if value is not None
    }


def in_flags(sentence: str, args: argparse.Namespace) -> str:
    """Name the flags of a verb where a sentence of the service names its options: --ttl for 'ttls'.

    args: what was typed for the verb. A name in the sentence that was typed stays.
    """
    typed = {*_texts([*vars(args).values()])}

    def flag(found: re.Match[str]) -> str:
        name = found[1]
        is_option = name in _FLAGS and hasattr(args, name) and name not in typed
        return _FLAGS[name] if is_option else found[0]

    return re.sub("'([a-z-]+)'", flag, sentence)


def _texts(values: Iterable[object]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, list | tuple):
            yield from _texts(value)


def _collected(option: Option, value: Any) -> Any:
    match option.signature:
        case "a{sy}":
            return _thresholds(option, value)
        case "as":
            return [*chain.from_iterable(value)]
        case _:
            return value


def _thresholds(option: Option, value: Iterable[tuple[str, int]]) -> Mapping[str, int]:
    thresholds: dict[str, int] = {}
    for name, ttl in value:
        if thresholds.setdefault(name, ttl) != ttl:
            both = f"{name}={thresholds[name]} and {name}={ttl}"
            raise UsageError(f"{option.flag.word}: {both} contradict each other")
    return thresholds


def _reader(option: Option) -> Callable[[str], int]:
    return duration if option.kind == SECONDS else number(option.kind)


def change_number(value: str) -> int:
    """Parse the number of a change in the history."""
    if not value.isdecimal() or not 0 < int(value[:_MAX_DIGITS]) <= _MAX_CHANGE:
        raise argparse.ArgumentTypeError(f"'{value}' is no number of a change")
    return int(value[:_MAX_DIGITS])


def text(value: str) -> str:
    """Return a text that D-Bus can carry. Raises ArgumentTypeError for any other."""
    if not on_bus(value):
        raise argparse.ArgumentTypeError("it is not valid UTF-8")
    return value


def interface(value: str) -> str:
    """Return the name of one interface. Raises ArgumentTypeError for any other text."""
    try:
        return parse_interface(text(value))
    except InvalidArgs as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def names(value: str) -> list[str]:
    """Split "eth1,eth2". Raises ArgumentTypeError for an empty name."""
    parts = text(value).split(",")
    if not all(parts):
        raise argparse.ArgumentTypeError(f"'{value}' has an empty name in it")
    return parts


def _threshold(value: str) -> tuple[str, int]:
    """Split "eth2=16"."""
    name, _, ttl = text(value).rpartition("=")
    # The service refuses those numbers of a byte that are no TTL threshold.
    if not (name and ttl.isascii() and ttl.isdigit() and len(ttl) <= 3 and int(ttl) <= 255):
        raise argparse.ArgumentTypeError(f"'{value}' is not of the form IF=N, with N from 1 to 254")
    return name, int(ttl)


def number(kind: str) -> Callable[[str], int]:
    """Make a function that parses a number. It raises ArgumentTypeError. kind: for its sentence."""

    def read(value: str) -> int:
        if not _is_number(value):
            raise argparse.ArgumentTypeError(f"'{text(value)}' is not {kind} up to {_MAX_NUMBER}")
        return int(value)

    return read


def duration(value: str) -> int:
    """Return the seconds of "90", "90s" or "1m30s". Raises ArgumentTypeError."""
    seconds = 0
    rest = f"{value}s" if value.isascii() and value.isdigit() else value
    for unit, length in _UNITS.items():  # each at most once, the longest first
        count, found, behind = rest.partition(unit)
        if found:
            if not _is_number(count):
                break
            seconds += int(count) * length
            rest = behind
    if rest or not value or seconds > _MAX_NUMBER:
        raise argparse.ArgumentTypeError(
            f"'{text(value)}' is not {SECONDS} up to {_MAX_NUMBER}, or such as 90s, 5m or 1h30m"
        )
    return seconds


def _is_number(value: str) -> bool:
    digits = value.isascii() and value.isdigit() and len(value) <= 10
    return digits and int(value) <= _MAX_NUMBER
