"""/etc/mfc-dbus/mfc-dbus.toml: the daemon's settings. Without the file, all is as it is here."""

import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mfc_dbus import toml
from mfc_dbus.errors import ConfigError
from mfc_dbus.model import FAMILIES, FAMILY_NAMES, Family, join, quote

FILE = "mfc-dbus.toml"
_FAMILIES = {name: family for family, name in FAMILY_NAMES.items()}
_NOT_TOML = (ValueError, RecursionError)
_Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Config:
    """tables: the kernel's tables to own.

    max_routes, max_memberships: the most that there may be, of all tables and on all interfaces.
    """

    tables: tuple[Family, ...] = FAMILIES
    max_routes: int = 1_000_000
    max_memberships: int = 1_000


def load(directory: Path) -> Config:
    """Read the file in this directory. Raises ConfigError, which names file, line and key."""
    path = directory / FILE
    try:
        text = path.read_text()
    except FileNotFoundError:
        return Config()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {getattr(error, 'strerror', error)}") from error
    try:
        return _parse(tomllib.loads(text))
    except _WrongValue as error:
        line = toml.lines(text, [error.key])[error.key]
        raise ConfigError(f"{path}: line {line}: {error}") from None
    except _NOT_TOML:
        line, sentence = next(toml.mistakes(text))
        raise ConfigError(f"{path}: line {line}: {sentence}") from None


class _WrongValue(Exception):
    """A setting that makes no sense."""

    def __init__(self, key: _Key, sentence: str) -> None:
        super().__init__(f"{quote('.'.join(key))} {sentence}")
        self.key = key


def _parse(document: Mapping[str, Any]) -> Config:
    known = {}
    for key, value in _settings(document):
        if key not in _SETTINGS:
            raise _WrongValue(key, f"is no setting; there are {join(map('.'.join, _SETTINGS))}")
        field, parse = _SETTINGS[key]
        known[field] = parse(key, value)
    return Config(**known)


def _settings(document: Mapping[str, Any]) -> Iterator[tuple[_Key, Any]]:
    for name, value in document.items():
        if name not in {key[0] for key in _SETTINGS if len(key) > 1}:
            yield (name,), value
        elif isinstance(value, Mapping):
            yield from (((name, inner), each) for inner, each in value.items())
        else:
            raise _WrongValue((name,), "is not a table")


def _parse_tables(key: _Key, value: Any) -> tuple[Family, ...]:
    if not isinstance(value, list) or not all(
        isinstance(name, str) and name in _FAMILIES for name in value
    ):
        raise _WrongValue(key, f"is not an array of {join(_FAMILIES)}")
    return tuple(_FAMILIES[name] for name in dict.fromkeys(value))


def _parse_count(key: _Key, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _WrongValue(key, "is not a whole number from 0 on")
    return value


_SETTINGS: Mapping[_Key, tuple[str, Callable[[_Key, Any], Any]]] = {
    ("tables",): ("tables", _parse_tables),
    ("limits", "routes"): ("max_routes", _parse_count),
    ("limits", "memberships"): ("max_memberships", _parse_count),
}
