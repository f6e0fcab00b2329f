"""What is wrong with a document, and where: by path, "route[17].ttls.eth3", or by line."""

import json
import re
from collections.abc import Sequence

from mfc_dbus.documents import toml_text as toml
from mfc_dbus.documents.toml_text import Path
from mfc_dbus.model.errors import InvalidArgs, RequestError

_MAX_LISTED = 20
_MAX_COUNTED = 1000
_MAX_KEY = 40  # characters of it that are shown
_KEY = r'[\w-]+|"(?:\\.|[^"\\])*"'
_PATH = re.compile(rf"^({_KEY})(?:\[(\d+)\])?((?:\.(?:{_KEY}))*): ", re.MULTILINE)
_MEMBERSHIP = re.compile(r"^membership\[(\d+)\]", re.MULTILINE)
_KEYS = re.compile(rf"\.({_KEY})")


class Problems:
    """All that is wrong with a document: the first of it as text, the rest as a number.

    full: there are so many that it is no use to look for more.
    """

    def __init__(self) -> None:
        self._type: type[RequestError] = InvalidArgs
        self._listed: list[str] = []
        self._more = 0

    def add(self, path: Path, error: RequestError) -> None:
        self.add_at(write_path(path), error)

    def add_at(self, place: str, error: RequestError) -> None:
        if not self._listed:
            self._type = type(error)
        if len(self._listed) < _MAX_LISTED:
            self._listed.append(f"{place}: {error}")
        else:
            self._more += 1

    @property
    def full(self) -> bool:
        return len(self._listed) + self._more >= _MAX_COUNTED

    def check(self) -> None:
        """Raise what was added, as an error of the first one's kind."""
        if self._listed:
            more = [f"and {'at least ' * self.full}{self._more} more"] if self._more else []
            raise self._type("\n".join(self._listed + more))


def write_path(path: Path) -> str:
    keys = (
        f"[{key}]" if isinstance(key, int) else f".{toml.write_key(key[:_MAX_KEY])}" for key in path
    )
    return "".join(keys).removeprefix(".")


def of_entries(problems: str, places: Sequence[int]) -> str:
    """Name memberships by the entries that they are of, which may be prefixes.

    places: for each membership the index of its entry.
    """
    named = _MEMBERSHIP.sub(lambda match: f"membership[{places[int(match[1])]}]", problems)
    return "\n".join(dict.fromkeys(named.split("\n")))


def with_lines(problems: str, text: str) -> str:
    """Say of each problem whose path is known in which line of a TOML text it is."""
    paths = {match.start(): _read_path(match) for match in _PATH.finditer(problems)}
    found = toml.lines(text, paths.values())
    return _PATH.sub(lambda match: f"line {found[paths[match.start()]]}: {match[0]}", problems)


def _read_path(match: re.Match[str]) -> Path:
    name, *keys = (
        json.loads(key) if key.startswith('"') else key
        for key in (match[1], *(key[1] for key in _KEYS.finditer(match[3])))
    )
    return (name, *([int(match[2])] if match[2] else []), *keys)
