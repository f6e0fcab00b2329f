"""/etc/mfc-dbus/mfc-dbus.toml: the daemon's settings. Without the file, all is as it is here."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from mfc_dbus.documents import text_files as textfiles
from mfc_dbus.documents import toml_text as toml
from mfc_dbus.model.addresses import FAMILIES, FAMILY_NAMES
from mfc_dbus.model.errors import ConfigError, InvalidArgs
from mfc_dbus.model.quoting import join, quote
from mfc_dbus.model.route import TableId, parse_interface

FILE = "mfc-dbus.toml"
_FAMILIES = {name: family for family, name in FAMILY_NAMES.items()}
# Of those that the kernel takes, without its own: default, main and local.
_TABLE_NUMBER = re.compile("(?!25[345]$)[1-9][0-9]{0,7}", re.ASCII)
_Key = tuple[str, ...]
_MAX_BYTES = 1024 * 1024
_SECOND = 1_000_000_000  # in nanoseconds
_YEAR = 365 * 24 * 60 * 60  # in seconds


@dataclass(frozen=True, slots=True)
class Config:
    """tables: the kernel's tables to own.

    max_learned: the most entries that are learned in each table. learned_expiry: nanoseconds after
    which one goes that no packet has used. watched: interfaces, or patterns of them, to listen on
    though no route uses them. advertised: those on which switches are told of a multicast router,
    and advertising_interval how often, in nanoseconds.

    max_routes, max_memberships: the most that there may be, of all tables and on all interfaces.

    rules: the number of the table for packets that arrive on an interface.
    """

    tables: tuple[TableId, ...] = tuple(map(TableId, FAMILIES))
    max_routes: int = 200_000
    max_memberships: int = 1_000
    max_learned: int = 65_536
    learned_expiry: int = 60 * _SECOND
    watched: tuple[str, ...] = ()
    advertised: tuple[str, ...] = ()
    advertising_interval: int = 20 * _SECOND
    rules: Mapping[str, int] = field(default_factory=dict)


def load(directory: Path) -> Config:
    """Read the file in this directory.

    Raises ConfigError, with a line for each problem, which names file, line and key.
    """
    path = directory / FILE
    try:
        text = textfiles.decode(textfiles.read(path, _MAX_BYTES))
    except FileNotFoundError:
        return Config()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except InvalidArgs as error:
        raise ConfigError(f"{path}: {error}") from error
    try:
        config, wrong = _parse(toml.loads(text))
    except toml.NotToml as error:
        problems = [f"line {line}: {sentence}" for line, sentence in error.mistakes()]
    else:
        lines = toml.lines(text, [value.key for value in wrong])
        problems = [f"line {lines[value.key]}: {value}" for value in wrong]
    if problems:
        raise ConfigError("\n".join(f"{path}: {problem}" for problem in problems))
    return config


class _WrongValue(Exception):
    """A setting that makes no sense."""

    def __init__(self, key: _Key, sentence: str) -> None:
        super().__init__(f"{quote('.'.join(key))} {sentence}")
        self.key = key


def _parse(document: Mapping[str, Any]) -> tuple[Config, Sequence[_WrongValue]]:
    """Return the settings that make sense, and all that do not."""
    known: dict[str, Any] = {}
    wrong: list[_WrongValue] = []
    for key, value in _settings(document):
        try:
            name, parse = _find_setting(key)
            known[name] = parse(key, value)
        except _WrongValue as error:
            wrong.append(error)
    config = Config(**known)
    numbers = {table.number for table in config.tables}
    for iif, number in config.rules.items():
        if number not in numbers and not wrong:
            sentence = f"names a table that 'tables' does not: {number}"
            wrong.append(_WrongValue(("rules", iif), sentence))
    return config, wrong


def _settings(document: Mapping[str, Any]) -> Iterator[tuple[_Key, Any]]:
    """Yield the settings of the tables with several, and whatever else stands in the file."""
    sections = {key[0] for key in _SETTINGS if len(key) > 1}
    for name, value in document.items():
        if name in sections and isinstance(value, Mapping):
            yield from (((name, inner), each) for inner, each in value.items())
        else:
            yield (name,), value


def _find_setting(key: _Key) -> tuple[str, Callable[[_Key, Any], Any]]:
    """Return a setting's name in Config and its parser. Raises _WrongValue."""
    if key in _SETTINGS:
        return _SETTINGS[key]
    if key[0] in {each[0] for each in _SETTINGS if each[1:]} and not key[1:]:
        raise _WrongValue(key, "is not a table")
    raise _WrongValue(key, f"is no setting; there are {join(map('.'.join, _SETTINGS))}")


def _parse_tables(key: _Key, value: Any) -> tuple[TableId, ...]:
    tables = [_parse_table(name) for name in value] if isinstance(value, list) else [None]
    if None in tables:
        raise _WrongValue(
            key,
            f"is not an array of {join(_FAMILIES)}, or for other tables than the default one with "
            "a number, 'ipv4/100'",
        )
    return tuple(table for table in dict.fromkeys(tables) if table)


def _parse_table(name: Any) -> TableId | None:
    family, slash, number = name.partition("/") if isinstance(name, str) else ("", "", "")
    if family not in _FAMILIES:
        return None
    if not slash:
        return TableId(_FAMILIES[family])
    return TableId(_FAMILIES[family], int(number)) if _TABLE_NUMBER.fullmatch(number) else None


def _parse_rules(key: _Key, value: Any) -> Mapping[str, int]:
    if not isinstance(value, Mapping):
        raise _WrongValue(key, "is not a table of interfaces and numbers of tables")
    for iif, number in value.items():
        try:
            parse_interface(iif)
        except InvalidArgs as error:
            raise _WrongValue((*key, iif), f"is no rule: {error}") from None
        _parse_count((*key, iif), number)
    return value


def _parse_count(key: _Key, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _WrongValue(key, "is not a whole number from 0 on")
    return value


def _parse_seconds(key: _Key, value: Any, least: int, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise _WrongValue(key, f"is not a whole number of seconds from {least} to {most}")
    return value * _SECOND


def _parse_interfaces(key: _Key, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise _WrongValue(key, "is not an array of interface names and patterns")
    try:
        return tuple(parse_interface(name, pattern=True) for name in dict.fromkeys(value))
    except InvalidArgs as error:
        raise _WrongValue(key, f"is no such array: {error}") from None


_SETTINGS: Mapping[_Key, tuple[str, Callable[[_Key, Any], Any]]] = {
    ("tables",): ("tables", _parse_tables),
    ("limits", "routes"): ("max_routes", _parse_count),
    ("limits", "memberships"): ("max_memberships", _parse_count),
    ("limits", "learned"): ("max_learned", _parse_count),
    ("learning", "expiry"): ("learned_expiry", partial(_parse_seconds, least=1, most=_YEAR)),
    ("discovery", "interfaces"): ("watched", _parse_interfaces),
    ("router_discovery", "interfaces"): ("advertised", _parse_interfaces),
    # The limits of RFC 4286.
    ("router_discovery", "interval"): (
        "advertising_interval",
        partial(_parse_seconds, least=4, most=180),
    ),
    ("rules",): ("rules", _parse_rules),
}
