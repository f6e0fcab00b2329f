"""TOML: finds the lines of values and mistakes, which tomllib does not tell, and writes values.

All of it takes linear time: a text may have 100,000 tables.
"""

import io
import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from mfc_dbus.model.problems import KeyPath, write_key, write_string
from mfc_dbus.model.quoting import quote

_MAX_DOTS = 10  # in a key: tomllib's time grows with their square, and a document needs two
# Strings and comments. A string that never ends matches, too: else the search for its end would
# begin anew at every quote.
_STRING = (
    r'"""(?:\\.|[^\\])*?(?:"""|\Z)|\'\'\'.*?(?:\'\'\'|\Z)'
    r'|"(?:\\[^\n]|[^"\\\n])*+"?|\'[^\'\n]*+\'?|#[^\n]*'
)
# Strings and comments, in which brackets mean nothing; brackets; newlines, which end statements.
_TOKEN = re.compile(rf"{_STRING}|[\[{{\]}}\n]", re.DOTALL)
# Strings and comments, in which dots mean nothing; the dots of keys; characters that end a key.
_DOT = re.compile(rf"{_STRING}|[.=,{{}}\[\]\n]", re.DOTALL)
_HEADER = re.compile(r"\s*(\[\[?)(.*?)\]\]?\s*(?:#.*)?", re.DOTALL)
_PLACE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


class Statement(NamedTuple):
    """A table's header, or a key with its value; blank lines and comments are statements too."""

    line: int
    text: str


def statements(text: str) -> Iterator[Statement]:
    """Split a text into statements, at newlines outside of strings and brackets."""
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
    """A text that is not TOML."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def mistakes(self) -> Iterator[tuple[int, str]]:
        """Yield line and sentence of each statement that is not TOML; there is one at least."""
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
            except ValueError as error:  # each statement is TOML, and all of them together are not
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
    if _has_long_key(text):
        raise ValueError(f"A key has more than {_MAX_DOTS} dots")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("It is nested too deeply") from None


def _has_long_key(text: str) -> bool:
    """Return whether a key has too many dots. It works in steps, so that other threads go on.

    A key lies on one line, and hardly any line has so many dots at all.
    """
    if not any(line.count(".") > _MAX_DOTS for line in io.StringIO(text)):
        return False
    dots = 0
    for token in _DOT.finditer(text):
        if token[0] == ".":
            dots += 1
            if dots > _MAX_DOTS:
                return True
        elif token[0] in "=,{}[]\n":
            dots = 0
    return False


def _sentence(text: str, error: Exception) -> str:
    begins = quote(text.strip().partition("\n")[0])
    return f"{begins} is not TOML: {_PLACE.sub('', str(error))}"


def lines(text: str, paths: Iterable[KeyPath]) -> dict[KeyPath, int]:
    """Return the line where each value begins, or where it is missing, the closest table around."""
    # The line of every beginning of a path, 0 where it is not found.
    places: dict[KeyPath, int] = {path[:n]: 0 for path in paths for n in range(1, len(path) + 1)}
    wanted = set(places)
    missing = set(places)
    deepest = max(map(len, places), default=0)
    counts: Counter[KeyPath] = Counter()
    headers: dict[str, KeyPath] = {}  # by what is between the brackets
    table: KeyPath | None = ()
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


def _table(keys: KeyPath, is_array: bool, counts: Counter[KeyPath]) -> KeyPath | None:
    """Return the path of the table that a header begins; None for a header without keys.

    counts: how many tables each array of tables has so far.
    """
    if not keys:
        return None
    path: KeyPath = ()
    for key in keys[:-1]:
        path = (*path, key)
        if counts[path]:
            path = (*path, counts[path] - 1)
    path = (*path, keys[-1])
    if is_array:
        counts[path] += 1
        path = (*path, counts[path] - 1)
    return path


def _keys(statement: str, deepest: int | None = None) -> Iterator[KeyPath]:
    """Yield the path of each value of a statement and of each table in it, down to `deepest`."""
    try:
        document = tomllib.loads(statement)
    except ValueError:
        return
    pending: list[tuple[KeyPath, Any]] = [((), document)]
    while pending:
        path, value = pending.pop()
        if isinstance(value, dict) and len(path) != deepest:
            pending += [((*path, key), each) for key, each in value.items()]
        if path:
            yield path


def _closest(places: Mapping[KeyPath, int], path: KeyPath) -> int:
    return next((places[path[:n]] for n in range(len(path), 0, -1) if places[path[:n]]), 1)


def write_table(name: str, values: Mapping[str, Any]) -> str:
    """Write one table of an array of tables."""
    pairs = (f"{write_key(key)} = {write(value)}\n" for key, value in values.items())
    return f"[[{write_key(name)}]]\n{''.join(pairs)}"


def write(value: Any) -> str:
    """Write a value on one line."""
    if isinstance(value, dict):
        inner = ", ".join(f"{write_key(key)} = {write(each)}" for key, each in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(write, value))}]"
    return write_string(value) if isinstance(value, str) else json.dumps(value)
