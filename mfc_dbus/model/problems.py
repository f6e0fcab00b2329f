"""The problems of a document, each with its path, such as "route[17].ttls.eth3" (pure)."""

import json
import re
from functools import lru_cache
from typing import NamedTuple, Self

from mfc_dbus.model.errors import InvalidArgs, RequestError

KeyPath = tuple[str | int, ...]  # the keys on the way to a value, and indexes in arrays of tables

_MAX_LISTED = 20
_MAX_COUNTED = 1000
_MAX_KEY = 40  # characters of it that are shown
_encode = json.JSONEncoder(ensure_ascii=False).encode  # dumps would make an encoder each time
_LINE = re.compile(r"line (\d+): ")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


class Problem(NamedTuple):
    """What is wrong with a file.

    line: where, from 1 on; None where it is the file as a whole, or where nobody knows.
    """

    file: str
    line: int | None
    sentence: str

    @classmethod
    def read(cls, file: str, text: str) -> Self:
        """Take apart a text that may begin with "line 7: "."""
        found = _LINE.match(text)
        return cls(file, int(found[1]), text[found.end() :]) if found else cls(file, None, text)

    def __str__(self) -> str:
        """Write it as compilers do: "file:7: ..."."""
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.sentence}"


class Problems:
    """Collects the problems of a document: the first ones as text, the others as a number.

    full: whether there are so many that it is no use to look for more.
    """

    def __init__(self) -> None:
        self._type: type[RequestError] = InvalidArgs
        self._listed: list[str] = []
        self._more = 0

    def add(self, path: KeyPath, error: RequestError) -> None:
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
        """Raise all problems, if there are any, as one error of the first one's type."""
        if self._listed:
            more = [f"and {'at least ' * self.full}{self._more} more"] if self._more else []
            raise self._type("\n".join(self._listed + more))


def write_path(path: KeyPath) -> str:
    keys = (f"[{key}]" if isinstance(key, int) else f".{write_key(key[:_MAX_KEY])}" for key in path)
    return "".join(keys).removeprefix(".")


@lru_cache
def write_key(key: str) -> str:
    """Write a key as TOML reads it: bare where that will do."""
    return key if _BARE_KEY.fullmatch(key) else write_string(key)


@lru_cache(maxsize=1024)
def write_string(text: str) -> str:
    """Write a string on one line, as JSON and TOML both read it; many entries have the same."""
    return _encode(text).replace("\x7f", "\\u007f")
