"""/etc/mfc-dbus/mfc-dbus.toml: the daemon's settings. Without the file, all is as it is here."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from mfc_dbus.documents import text_files, toml_text
from mfc_dbus.model.addresses import FAMILIES, FAMILY_NAMES
from mfc_dbus.model.errors import ConfigError, InvalidArgs
from mfc_dbus.model.interfaces import parse_interface
from mfc_dbus.model.quoting import join, quote
from mfc_dbus.model.route import TableId

DIRECTORY = "/etc/mfc-dbus"
FILE = "mfc-dbus.toml"
MAX_BYTES = 1024 * 1024
_FAMILIES = {name: family for family, name in FAMILY_NAMES.items()}
# The kernel's numbers of tables, but for its own ones: default, main and local.
_TABLE_NUMBER = re.compile("(?!25[345]$)[1-9][0-9]{0,7}", re.ASCII)
_Key = tuple[str, ...]
_SECOND = 1_000_000_000  # in nanoseconds
_YEAR = 365 * 24 * 60 * 60  # in seconds


@dataclass(frozen=True, slots=True)
class Settings:
    """What the administrator can set, with the defaults.

    tables: the kernel's tables that the service owns.
    max_routes, max_memberships: the most routes in all tables together, and the most memberships
        on all interfaces together.
    max_learned: the most entries that are learned in each table.
    learned_expiry: nanoseconds after which a learned entry goes that no packet has used.
    discovery_interfaces: names and patterns of the interfaces whose unrouted streams are told of
        though no route uses these interfaces.
    router_discovery_interfaces: names and patterns of the interfaces on which the service tells
        switches that it is a multicast router.
    advertising_interval: nanoseconds from one such message to the next.
    rules: the number of the table for packets that arrive on an interface, by its name.
    """

    tables: tuple[TableId, ...] = tuple(map(TableId, FAMILIES))
    max_routes: int = 200_000
    max_memberships: int = 1_000
    max_learned: int = 65_536
    learned_expiry: int = 60 * _SECOND
    discovery_interfaces: tuple[str, ...] = ()
    router_discovery_interfaces: tuple[str, ...] = ()
    advertising_interval: int = 20 * _SECOND
    rules: Mapping[str, int] = field(default_factory=dict)


class CurrentSettings:
    """The settings that the service goes by: who needs one reads it here, when it needs it.

    Only control's `SettingsInForce` changes `now`, and goes back where a change fails.
    """

    def __init__(self, now: Settings) -> None:
        self.now = now


def load(directory: Path) -> Settings:
    """Read the file in this directory; where there is none, all is as by default.

    Raises ConfigError, with a line for each problem, which names file, line and key.
    """
    path = directory / FILE
    try:
        return parse(text_files.decode(text_files.read(path, MAX_BYTES)))
    except FileNotFoundError:
        return Settings()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except InvalidArgs as error:
        problems = str(error).split("\n")
        raise ConfigError("\n".join(f"{path}: {problem}" for problem in problems)) from error


def parse(text: str) -> Settings:
    """Read settings.

    Raises InvalidArgs, with a line for each problem: "line 7: 'tables' is not an array ...".
    """
    try:
        settings, wrong = _parse(toml_text.loads(text))
    except toml_text.NotToml as error:
        problems = [f"line {line}: {sentence}" for line, sentence in error.mistakes()]
    else:
        lines = toml_text.lines(text, [value.key for value in wrong])
        problems = [f"line {lines[value.key]}: {value}" for value in wrong]
    if problems:
        raise InvalidArgs("\n".join(problems))
    return settings


class _WrongValue(Exception):
    """A setting that makes no sense."""

    def __init__(self, key: _Key, sentence: str) -> None:
        super().__init__(f"{quote('.'.join(key))} {sentence}")
        self.key = key


def _parse(document: Mapping[str, Any]) -> tuple[Settings, Sequence[_WrongValue]]:
    """Return the settings that make sense, and all that do not."""
    known: dict[str, Any] = {}
    wrong: list[_WrongValue] = []
    for key, value in _settings(document):
        try:
            setting = _find_setting(key)
            known[setting.name] = setting.parse(key, value)
        except _WrongValue as error:
            wrong.append(error)
    settings = Settings(**known)
    numbers = {table.number for table in settings.tables}
    for iif, number in settings.rules.items():
        if number not in numbers and not wrong:
            sentence = f"names a table that 'tables' does not: {number}"
            wrong.append(_WrongValue(("rules", iif), sentence))
    return settings, wrong


def _settings(document: Mapping[str, Any]) -> Iterator[tuple[_Key, Any]]:
    """Yield the settings of the tables with several, and whatever else stands in the file."""
    sections = {key[0] for key in SETTINGS if len(key) > 1}
    for name, value in document.items():
        if name in sections and isinstance(value, Mapping):
            yield from (((name, inner), each) for inner, each in value.items())
        else:
            yield (name,), value


def _find_setting(key: _Key) -> "_Setting":
    """Raises _WrongValue."""
    if key in SETTINGS:
        return SETTINGS[key]
    if key[0] in {each[0] for each in SETTINGS if each[1:]} and not key[1:]:
        raise _WrongValue(key, "is not a table")
    raise _WrongValue(key, f"is no setting; there are {join(map('.'.join, SETTINGS))}")


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


class _Setting(NamedTuple):
    """A setting of the file.

    name: that of its field in Settings. value: stands for its value in the documentation. meaning:
    explains it there. default: its value where it is left out, as it is said in the file.
    """

    name: str
    parse: Callable[[_Key, Any], Any]
    value: str
    meaning: str
    default: str


_DEFAULTS = Settings()
_INTERFACES = "array of names and patterns"
SETTINGS: Mapping[_Key, _Setting] = {
    ("tables",): _Setting(
        "tables",
        _parse_tables,
        "array",
        "The tables of the kernel that the service owns. A number names another table than the "
        'default one of a family: "ipv4/100".',
        '["ipv4", "ipv6"]',
    ),
    ("limits", "routes"): _Setting(
        "max_routes",
        _parse_count,
        "number",
        "The most routes in all tables together.",
        str(_DEFAULTS.max_routes),
    ),
    ("limits", "memberships"): _Setting(
        "max_memberships",
        _parse_count,
        "number",
        "The most memberships on all interfaces together. More than 1000 need a larger "
        "FileDescriptorStoreMax= in the unit too.",
        str(_DEFAULTS.max_memberships),
    ),
    ("limits", "learned"): _Setting(
        "max_learned",
        _parse_count,
        "number",
        "The most streams that are learned in each table.",
        str(_DEFAULTS.max_learned),
    ),
    ("learning", "expiry"): _Setting(
        "learned_expiry",
        partial(_parse_seconds, least=1, most=_YEAR),
        "seconds",
        "When a learned stream is forgotten of which no packet came.",
        str(_DEFAULTS.learned_expiry // _SECOND),
    ),
    ("discovery", "interfaces"): _Setting(
        "discovery_interfaces",
        _parse_interfaces,
        _INTERFACES,
        "Interfaces whose streams without a route are told of, though no route uses these "
        "interfaces.",
        "[]",
    ),
    ("router_discovery", "interfaces"): _Setting(
        "router_discovery_interfaces",
        _parse_interfaces,
        _INTERFACES,
        "Interfaces on which switches are told that this is a multicast router (RFC 4286).",
        "[]",
    ),
    # The limits of RFC 4286.
    ("router_discovery", "interval"): _Setting(
        "advertising_interval",
        partial(_parse_seconds, least=4, most=180),
        "seconds",
        "From one such message to the next: from 4 to 180.",
        str(_DEFAULTS.advertising_interval // _SECOND),
    ),
    ("rules",): _Setting(
        "rules",
        _parse_rules,
        "table",
        "By the name of an interface the number of the table, one of tables, for what arrives "
        "there.",
        "{}",
    ),
}
