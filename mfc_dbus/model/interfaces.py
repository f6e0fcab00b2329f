"""Interface names and shell patterns of them, as `eth*` or `vlan[12]?` (pure)."""

import functools
import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase, translate

_WILD = re.compile(r"[*?\[]")


@functools.lru_cache(maxsize=4096)
def is_pattern(name: str) -> bool:
    return _WILD.search(name) is not None


def matches(pattern: str, name: str) -> bool:
    """Whether a pattern, or a plain name, is for this interface."""
    return pattern == name or (is_pattern(pattern) and fnmatchcase(name, pattern))


def precedence(pattern: str) -> tuple[bool, int, str]:
    """Give what is greater of two names or patterns of one interface for the one that counts."""
    return not is_pattern(pattern), len(pattern), pattern


def expand(pattern: str, names: Iterable[str]) -> Iterator[str]:
    """Find the interfaces that a pattern, or a plain name, is for."""
    if is_pattern(pattern):
        match = _compiled(pattern).match
        return (name for name in names if match(name))
    return (name for name in names if name == pattern)


def may_meet(one: str, other: str) -> bool:
    """Whether some interface may be meant by both; of two patterns nobody knows, so they may."""
    if is_pattern(one) and is_pattern(other):
        return True
    return matches(one, other) or matches(other, one)


@functools.lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern))
