"""The interfaces of an smcroute.conf: finds those that an mroute line names, as patterns (pure).

A word is the name of an interface, or "eth+" for all that begin with "eth". smcroute looks at the
interfaces that exist; a document also covers those that come later.
"""

import re
from collections.abc import Callable, Iterable, Sequence, Set
from typing import NamedTuple

_NEVER = 255  # the TTL threshold that no packet passes


class Phyint(NamedTuple):
    """A phyint line: the settings of the interfaces that a word names. The last line counts."""

    word: str
    enabled: bool = True
    mrdisc: bool = False
    ttl: int = 1


class To(NamedTuple):
    """The words of one mroute line for oifs, and how many phyint lines were read before it."""

    words: Sequence[str]
    known: int


def chosen(lines: Sequence[To], phyints: Sequence[Phyint], *, ipv4: bool) -> dict[str, int]:
    """Return the interfaces of these lines as shell patterns with their TTL thresholds.

    Their order counts: of several patterns that match an interface a route takes the first. An
    interface that a later phyint line disables is left out, since smcroute takes it from the
    kernel's table. IPv6 has no thresholds, not even 255.
    """
    named = list(dict.fromkeys(word for line in lines for word in line.words))
    words = dict.fromkeys([*named, *(phyint.word for phyint in phyints)])
    names = [word for word in words if not word.endswith("+")]
    # Interfaces that have the same longest one of these prefixes are treated alike.
    prefixes = sorted((word[:-1] for word in words if word.endswith("+")), key=len, reverse=True)

    def decide(covers: Callable[[str], bool]) -> int | None:
        if not _setting(phyints, covers).enabled:
            return None
        for line in reversed(lines):
            setting = _setting(phyints[: line.known], covers)
            if setting.enabled and any(map(covers, line.words)):
                ttl = setting.ttl if ipv4 else 1
                return None if ttl == _NEVER else ttl
        return None

    of_names = {name: decide(lambda word, name=name: matches(word, name)) for name in names}  # type: ignore[misc]
    of_prefixes = {
        prefix: decide(lambda word, prefix=prefix: word[-1:] == "+" and matches(word, prefix))  # type: ignore[misc]
        for prefix in prefixes
    }

    def around(text: str, inside: Iterable[str]) -> int | None:
        return next((of_prefixes[each] for each in inside if text.startswith(each)), None)

    found: dict[str, int] = {}
    for name, ttl in of_names.items():
        if ttl is not None and name in named:
            found[_literal(name)] = ttl
        elif ttl is not None and ttl != around(name, prefixes):
            found[_only(name)] = ttl
    refused_names = {name for name, ttl in of_names.items() if ttl is None}
    refused = {prefix for prefix, ttl in of_prefixes.items() if ttl is None}
    for index, (prefix, ttl) in enumerate(of_prefixes.items()):
        if ttl is not None and ttl != around(prefix, prefixes[index + 1 :]):
            for pattern in _without(prefix, refused_names, refused):
                found.setdefault(pattern, ttl)
    return found


def matches(word: str, name: str) -> bool:
    return name.startswith(word[:-1]) if word.endswith("+") else name == word


def covers(word: str, other: str) -> bool:
    """Return whether a word means all interfaces that the other means."""
    return word == other or (word.endswith("+") and matches(word, other.removesuffix("+")))


def overlap(one: str, other: str) -> bool:
    """Return whether both words may mean the same interface."""
    return matches(one, other.removesuffix("+")) or matches(other, one.removesuffix("+"))


def advertised(phyints: Sequence[Phyint]) -> list[str]:
    """Return the interfaces on which mrdisc is on, as shell patterns."""
    return list(
        dict.fromkeys(
            pattern(phyint.word)
            for index, phyint in enumerate(phyints)
            if phyint.mrdisc
            and phyint.enabled
            and not any(
                not later.mrdisc and matches(later.word, phyint.word)
                for later in phyints[index + 1 :]
            )
        )
    )


def pattern(word: str) -> str:
    """Write a word as a shell pattern."""
    return f"{_literal(word[:-1])}*" if word.endswith("+") else _literal(word)


def _setting(phyints: Sequence[Phyint], covers: Callable[[str], bool]) -> Phyint:
    return next((each for each in reversed(phyints) if covers(each.word)), Phyint(""))


def _without(prefix: str, names: Set[str], prefixes: Set[str]) -> list[str]:
    """Write patterns of the names with this prefix, but for these names and longer prefixes."""
    if prefix in prefixes:
        return []
    there = {each for each in names | prefixes if each.startswith(prefix) and each != prefix}
    if not there:
        return [f"{_literal(prefix)}{'?' * (prefix in names)}*"]
    next_ = sorted({each[len(prefix)] for each in there})
    patterns = [] if prefix in names or not prefix else [_only(prefix)]
    # In a pattern's brackets "]" stands for itself at the beginning, and "-" at the end.
    others = "".join(sorted(next_, key=lambda char: (char != "]", char == "-")))
    patterns.append(f"{_literal(prefix)}[!{others}]*")
    return patterns + [each for char in next_ for each in _without(prefix + char, names, prefixes)]


def _only(name: str) -> str:
    """Write a pattern that matches one name: unlike a plain name, it may match no interface."""
    return f"{_literal(name[:-1])}[{name[-1]}]"


def _literal(text: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", text)
