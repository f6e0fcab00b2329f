"""The interfaces of an smcroute.conf: which an mroute names, by what was said of them (pure).

A word is the name of an interface, or "eth+" for all that begin so. smcroute looks at those that
there are; a document also has to say what holds for those that come later.
"""

import re
from collections.abc import Callable, Iterable, Sequence, Set
from typing import NamedTuple

_NEVER = 255  # the TTL threshold that no packet passes


class Phyint(NamedTuple):
    """What a line says of an interface, or of many; the last line on an interface counts."""

    word: str
    enabled: bool = True
    mrdisc: bool = False
    ttl: int = 1


class To(NamedTuple):
    """The words of one mroute line for oifs, and how many phyint lines were read before it."""

    words: Sequence[str]
    known: int


def chosen(lines: Sequence[To], phyints: Sequence[Phyint], *, ipv4: bool) -> dict[str, int]:
    """Find the interfaces of these lines as shell patterns with their TTL thresholds.

    Of several patterns that an interface matches the first counts. An interface that was disabled
    after its line is in the kernel's table no more. IPv6 knows no threshold, not even 255.
    """
    named = list(dict.fromkeys(word for line in lines for word in line.words))
    words = dict.fromkeys([*named, *(phyint.word for phyint in phyints)])
    names = [word for word in words if not word.endswith("+")]
    # Names that are in the same of these, and in none that is longer, are treated alike.
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
    """Whether a word means all that the other does."""
    return word == other or (word.endswith("+") and matches(word, other.removesuffix("+")))


def overlap(one: str, other: str) -> bool:
    """Whether an interface may be meant by both words."""
    return matches(one, other.removesuffix("+")) or matches(other, one.removesuffix("+"))


def advertised(phyints: Sequence[Phyint]) -> list[str]:
    """Name the interfaces, as shell patterns, on which mrdisc is on."""
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
    """Write a word as shells do."""
    return f"{_literal(word[:-1])}*" if word.endswith("+") else _literal(word)


def _setting(phyints: Sequence[Phyint], covers: Callable[[str], bool]) -> Phyint:
    return next((each for each in reversed(phyints) if covers(each.word)), Phyint(""))


def _without(prefix: str, names: Set[str], prefixes: Set[str]) -> list[str]:
    """Write what begins so, without these names and what begins with these prefixes."""
    if prefix in prefixes:
        return []
    there = {each for each in names | prefixes if each.startswith(prefix) and each != prefix}
    if not there:
        return [f"{_literal(prefix)}{'?' * (prefix in names)}*"]
    next_ = sorted({each[len(prefix)] for each in there})
    patterns = [] if prefix in names or not prefix else [_only(prefix)]
    # A bracket is no end of them at the beginning, and a hyphen no range at the end.
    others = "".join(sorted(next_, key=lambda char: (char != "]", char == "-")))
    patterns.append(f"{_literal(prefix)}[!{others}]*")
    return patterns + [each for char in next_ for each in _without(prefix + char, names, prefixes)]


def _only(name: str) -> str:
    """Write a pattern of one name, which need not be there as a plain name has to."""
    return f"{_literal(name[:-1])}[{name[-1]}]"


def _literal(text: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", text)
