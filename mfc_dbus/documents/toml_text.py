"""TOML: where in a text a value or a mistake is, which tomllib does not tell, and how to write it.

All of it is linear: a text may have 100,000 tables.
"""

import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from mfc_dbus.model.quoting import quote

Path = tuple[str | int, ...]  # the keys on the way to a value, and indexes in arrays of tables

_MAX_DOTS = 10  # in a key: tomllib's time grows with their square, and a document has two
# Each matches where it begins, also if it never ends: or the search for the end begins anew at
# every quote.
_STRING = (
    r'"""(?:\\.|[^\\])*?(?:"""|\Z)|\'\'\'.*?(?:\'\'\'|\Z)'
    r'|"(?:\\[^\n]|[^"\\\n])*+"?|\'[^\'\n]*+\'?|#[^\n]*'
)
# What may hold a bracket or a newline that means nothing, what nests, and what ends a statement.
_TOKEN = re.compile(rf"{_STRING}|[\[{{\]}}\n]", re.DOTALL)
# All but the dots of keys, and what ends a key.
_BETWEEN_DOTS = re.compile(rf"{_STRING}|[^.=,{{}}\[\]\n\"'#]+", re.DOTALL)
_HEADER = re.compile(r"\s*(\[\[?)(.*?)\]\]?\s*(?:#.*)?", re.DOTALL)
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_PLACE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


class Statement(NamedTuple):
    """A table's header, or a key with its value; blank lines and comments are statements too."""

    line: int
    text: str


def statements(text: str) -> Iterator[Statement]:
    """Cut a text where a new statement may begin."""
    start, line, depth = 0, 1, 0
    for token in _TOKEN.finditer(text):
        character = token[0]
        if character in "[{":
            depth += 1
        elif character in "]}":
            depth = max(depth - 1, 0)
        elif character == "\n" and not depth:
            statement = text[start : token.start()]
            yield Statement(line, statement.removesuffix("\r"))
            line += statement.count("\n") + 1
            start = token.end()
    yield Statement(line, text[start:])


class NotToml(Exception):
    """A text that makes no sense."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def mistakes(self) -> Iterator[tuple[int, str]]:
        """Find line and sentence of each statement that makes no sense; there is one at least."""
        found = False
        for statement in statements(self._text):
            try:
                _loads(statement.text)
            except ValueError as error:
                found = True
                yield statement.line, _sentence(statement.text, error)
        if not found:
            try:
                _loads(self._text)
            except ValueError as error:  # each makes sense alone
                place = _PLACE.search(str(error))
                line = int(place[1]) if place and place[1] else self._text.count("\n") + 1
                yield line, _sentence(self._text.split("\n")[line - 1], error)


def loads(text: str) -> dict[str, Any]:
    """Read a text. Raises NotToml."""
    try:
        return _loads(text)
    except ValueError:
        raise NotToml(text) from None


def _loads(text: str) -> dict[str, Any]:
    if "." * (_MAX_DOTS + 1) in _BETWEEN_DOTS.sub("", text):
        raise ValueError(f"A key has more than {_MAX_DOTS} dots")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("It is nested too deeply") from None


def _sentence(text: str, error: Exception) -> str:
    begins = quote(text.strip().partition("\n")[0])
    return f"{begins} is not TOML: {_PLACE.sub('', str(error))}"


def lines(text: str, paths: Iterable[Path]) -> dict[Path, int]:
    """Find the line where each of these values begins, or the closest table that is there."""
    # By every beginning of a path: where it is.
    places: dict[Path, int] = {path[:n]: 0 for path in paths for n in range(1, len(path) + 1)}
    wanted = set(places)
    missing = set(places)
    deepest = max(map(len, places), default=0)
    counts: Counter[Path] = Counter()
    headers: dict[str, Path] = {}  # by what is between the brackets
    table: Path | None = ()
    for statement in statements(text):
        if not missing:
            break
        header = _HEADER.fullmatch(statement.text)
        if header:
            if header[2] not in headers:
                headers[header[2]] = max(_keys(f"{header[2]} = 0"), key=len, default=())
            table = _table(headers[header[2]], header[1] == "[[", counts)
            found = [table]
        elif table is not None and (not table or table in wanted):
            found = [(*table, *path) for path in _keys(statement.text, deepest - len(table))]
        else:
            continue
        for path in found:
            for n in range(1, min(len(path or ()), deepest) + 1):
                beginning = (path or ())[:n]
                if beginning in missing:
                    missing.remove(beginning)
                    places[beginning] = statement.line
    return {path: _closest(places, path) for path in wanted}


def _table(keys: Path, is_array: bool, counts: Counter[Path]) -> Path | None:
    """Name the table that a header begins; None where it makes no sense."""
    if not keys:
        return None
    path: Path = ()
    for key in keys[:-1]:
        path = (*path, key)
        if counts[path]:
            path = (*path, counts[path] - 1)
    path = (*path, keys[-1])
    if is_array:
        counts[path] += 1
        path = (*path, counts[path] - 1)
    return path


def _keys(statement: str, deepest: int | None = None) -> Iterator[Path]:
    """Name each value of a statement, and what it lies in, down to so many keys."""
    try:
        document = tomllib.loads(statement)
    except ValueError:
        return
    pending: list[tuple[Path, Any]] = [((), document)]
    while pending:
        path, value = pending.pop()
        if isinstance(value, dict) and len(path) != deepest:
            pending += [((*path, key), each) for key, each in value.items()]
        if path:
            yield path


def _closest(places: Mapping[Path, int], path: Path) -> int:
    return next((places[path[:n]] for n in range(len(path), 0, -1) if places[path[:n]]), 1)


def write_table(name: str, values: Mapping[str, Any]) -> str:
    """Write one table of an array of tables."""
    pairs = (f"{write_key(key)} = {write(value)}\n" for key, value in values.items())
    return f"[[{write_key(name)}]]\n{''.join(pairs)}"


def write_key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else write(key)


def write(value: Any) -> str:
    """Write a value on one line."""
    if isinstance(value, dict):
        inner = ", ".join(f"{write_key(key)} = {write(each)}" for key, each in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(write, value))}]"
    # Strings of JSON are strings of TOML, but for DEL.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
