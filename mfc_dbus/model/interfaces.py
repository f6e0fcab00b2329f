"""Interface names, and shell patterns of them, such as `eth*` or `vlan[12]?` (pure)."""

import functools
import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase, translate

from mfc_dbus.model.errors import InvalidArgs
from mfc_dbus.model.quoting import quote

_WILD = re.compile(r"[*?\[]")
_IFNAMSIZ = 16
_MAX_PATTERN = 64


def parse_interface(name: str, *, pattern: bool = False) -> str:
    """Return the name, if an interface can have it (dev_valid_name in Linux). Raises InvalidArgs.

    pattern: allow a shell pattern of names, too.
    """
    # The length first: `_is_name` remembers its arguments, and should not remember long ones.
    if len(name) > _MAX_PATTERN or not _is_name(
        name, _MAX_PATTERN if pattern and is_pattern(name) else _IFNAMSIZ - 1
    ):
        raise InvalidArgs(f"{quote(name)} is not an interface name")
    if is_pattern(name) and not pattern:
        raise InvalidArgs(f"{quote(name)} is a pattern, and here one interface is due")
    return name


def is_nameable(name: str) -> bool:
    """Return whether a route can name an interface that the kernel has, and mean no other.

    The kernel allows nearly any bytes in names: also invalid UTF-8, control characters, wildcards.
    """
    return _is_name(name, _IFNAMSIZ - 1) and not is_pattern(name)


@functools.lru_cache(maxsize=4096)
def _is_name(name: str, longest: int) -> bool:
    return (
        name.isprintable()
        and not any(character in name for character in " /:")
        and name not in ("", ".", "..")
        and len(name.encode()) <= longest
    )


@functools.lru_cache(maxsize=4096)
def is_pattern(name: str) -> bool:
    return _WILD.search(name) is not None


def matches(pattern: str, name: str) -> bool:
    """Return whether a pattern, or a plain name, matches this interface."""
    return pattern == name or (is_pattern(pattern) and fnmatchcase(name, pattern))


def precedence(pattern: str) -> tuple[bool, int, str]:
    """Return a key to compare names and patterns that match one interface: the greatest counts."""
    return not is_pattern(pattern), len(pattern), pattern


def expand(pattern: str, names: Iterable[str]) -> Iterator[str]:
    """Iterate over the names that a pattern, or a plain name, matches."""
    if is_pattern(pattern):
        return filter(_compiled(pattern).match, names)
    return filter(pattern.__eq__, names)


def may_meet(one: str, other: str) -> bool:
    """Return whether both may match the same interface; two patterns always may."""
    if is_pattern(one) and is_pattern(other):
        return True
    return matches(one, other) or matches(other, one)


@functools.lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern))
