"""Turns the paths of a document's problems into lines of its text."""

import json
import re
from collections.abc import Sequence

from mfc_dbus.documents import toml_text
from mfc_dbus.model.problems import KeyPath

_KEY = r'[\w-]+|"(?:\\.|[^"\\])*"'
_PATH = re.compile(rf"^({_KEY})(?:\[(\d+)\])?((?:\.(?:{_KEY}))*): ", re.MULTILINE)
_MEMBERSHIP = re.compile(r"^membership\[(\d+)\]", re.MULTILINE)
_KEYS = re.compile(rf"\.({_KEY})")


def of_entries(problems: str, places: Sequence[int]) -> str:
    """Replace the number of each membership by that of its entry, which may be a prefix.

    places: for each membership the index of its entry.
    """
    named = _MEMBERSHIP.sub(lambda match: f"membership[{places[int(match[1])]}]", problems)
    return "\n".join(dict.fromkeys(named.split("\n")))


def with_lines(problems: str, text: str) -> str:
    """Put the line of the TOML text before each problem that has a path."""
    paths = {match.start(): _read_path(match) for match in _PATH.finditer(problems)}
    found = toml_text.lines(text, paths.values())
    return _PATH.sub(lambda match: f"line {found[paths[match.start()]]}: {match[0]}", problems)


def _read_path(match: re.Match[str]) -> KeyPath:
    name, *keys = (
        json.loads(key) if key.startswith('"') else key
        for key in (match[1], *(key[1] for key in _KEYS.finditer(match[3])))
    )
    return (name, *([int(match[2])] if match[2] else []), *keys)
