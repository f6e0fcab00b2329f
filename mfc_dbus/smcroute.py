"""smcroute.conf: what another daemon's configuration asks for, as a document's entries (pure).

Source: smcroute.conf(5) of smcroute 2.5.6.
"""

import glob
import ipaddress
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from mfc_dbus.document import MembershipEntry, RouteEntry
from mfc_dbus.errors import InvalidArgs
from mfc_dbus.model import Membership, parse_membership, parse_route
from mfc_dbus.quoting import join, quote

_MAX_DEPTH = 8  # of files that include files
_MAX_ADDRESSES = 4096  # of a range that is joined


class Line(NamedTuple):
    """A directive, and where it is."""

    file: str
    number: int
    words: Sequence[str]


@dataclass
class Imported:
    """What could be carried over, and a sentence on each thing that could not."""

    routes: list[RouteEntry] = field(default_factory=list)
    memberships: list[MembershipEntry] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def read(path: str, text: str) -> Imported:
    """Read a file, and those that it includes."""
    imported = Imported()
    reader = _Reader(imported)
    for line in _lines(path, text, imported.left_out):
        reader.take(line)
    return imported


def _lines(path: str, text: str, left_out: list[str], depth: int = 0) -> Iterator[Line]:
    for number, whole in enumerate(text.splitlines(), 1):
        words = whole.partition("#")[0].split()
        if not words:
            continue
        line = Line(path, number, words)
        if words[0] != "include":
            yield line
            continue
        if len(words) != 2 or depth >= _MAX_DEPTH:
            left_out.append(_at(line, "this include cannot be followed"))
            continue
        pattern = str(Path(path).parent / words[1]) if path != "-" else words[1]
        found = sorted(glob.glob(pattern))  # noqa: PTH207 - the pattern may be absolute
        if not found:
            left_out.append(_at(line, f"there is no file {quote(words[1])}"))
        for name in found:
            try:
                inner = Path(name).read_text()
            except (OSError, UnicodeDecodeError) as error:
                left_out.append(_at(line, f"{name}: {getattr(error, 'strerror', error)}"))
            else:
                yield from _lines(name, inner, left_out, depth + 1)


class _Reader:
    def __init__(self, imported: Imported) -> None:
        self._imported = imported
        self._thresholds: dict[str, int] = {}
        self._disabled: set[str] = set()
        self._joined: set[Membership] = set()
        self._advertised: dict[str, None] = {}
        self._directives: dict[str, Callable[[Line], None]] = {
            "phyint": self._phyint,
            "mgroup": self._mgroup,
            "mroute": self._mroute,
        }

    def take(self, line: Line) -> None:
        directive = self._directives.get(line.words[0])
        try:
            if directive is None:
                raise InvalidArgs(f"there is no directive {quote(line.words[0])}")
            directive(line)
        except InvalidArgs as error:
            self._leave_out(line, str(error))

    def _leave_out(self, line: Line, sentence: str) -> None:
        self._imported.left_out.append(_at(line, sentence))

    def _phyint(self, line: Line) -> None:
        """phyint IFNAME [enable|disable] [mrdisc] [ttl-threshold TTL]"""
        if len(line.words) < 2:
            raise InvalidArgs("it names no interface")
        _, name, *words = line.words
        while words:
            word = words.pop(0)
            if word == "disable":
                self._disabled.add(name)
            elif word == "enable":
                self._disabled.discard(name)
            elif word == "ttl-threshold" and words and words[0].isdigit():
                self._thresholds[name] = int(words.pop(0))
            elif word == "mrdisc":
                self._advertised[_pattern(name)] = None
                self._leave_out(
                    line,
                    f"mrdisc is a setting: write interfaces = {json.dumps([*self._advertised])} "
                    "under [router_discovery] in mfc-dbus.toml",
                )
            else:
                raise InvalidArgs(f"{quote(word)} is not understood")

    def _mgroup(self, line: Line) -> None:
        """mgroup from IIF [source SOURCE[/LEN]] group GROUP[/LEN]"""
        found = _clauses(line.words[1:], ("from", "source", "group"))
        (interface,), (group,) = found["from"], found["group"]
        source = _any(*found.get("source", ["*"]))
        if "+" in interface:
            raise InvalidArgs(f"a membership is of one interface, and {quote(interface)} of many")
        memberships = {
            parse_membership(one, sender, interface): MembershipEntry(
                group=one, source=sender, interface=interface
            )
            for one in _addresses(group)
            for sender in _addresses(source)
        }
        # Ranges may overlap.
        fresh = [entry for key, entry in memberships.items() if key not in self._joined]
        self._joined |= memberships.keys()
        self._imported.memberships += fresh

    def _mroute(self, line: Line) -> None:
        """mroute from IIF [source SOURCE[/LEN]] group GROUP[/LEN] to OIF [OIF ...]"""
        found = _clauses(line.words[1:], ("from", "source", "group", "to"))
        (iif,), (group,) = found["from"], found["group"]
        source = _any(*found.get("source", ["*"]))
        named = list(dict.fromkeys(found.get("to", [])))
        without = [name for name in named if name == iif or name in self._disabled]
        if without:
            self._leave_out(line, f"{join(without)} is the iif or disabled, and no oif")
        oifs = [_pattern(name) for name in named if name not in without]
        if iif in self._disabled:
            raise InvalidArgs(f"{quote(iif)} is disabled")
        ipv4 = ":" not in group
        ttls = {
            name: self._thresholds[name]
            for name in named
            if ipv4 and name not in without and self._thresholds.get(name, 1) != 1
        }
        entry = RouteEntry(source=source, group=group, iif=_pattern(iif), oifs=oifs, ttls=ttls)
        parse_route(entry.source, entry.group, entry.iif, entry.oifs, entry.ttls)
        self._imported.routes.append(entry)


def _clauses(words: Sequence[str], names: Sequence[str]) -> dict[str, list[str]]:
    """Split "from eth0 group 225.1.2.3 to eth1 eth2" by the names of its clauses."""
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    for word in words:
        if word in names and word not in found:
            current = found[word] = []
        elif current is None:
            raise InvalidArgs(f"{quote(word)} is not understood")
        else:
            current.append(word)
    for name in ("from", "group"):
        if name not in found:
            raise InvalidArgs(f"{quote(name)} is missing")
    for name, values in found.items():
        if name != "to" and len(values) != 1:
            raise InvalidArgs(f"{quote(name)} has {len(values)} values, and not one")
    return found


def _any(source: str) -> str:
    return "*" if source in ("0.0.0.0", "::", "0.0.0.0/0", "::/0") else source


def _addresses(text: str) -> list[str]:
    """Name each address of a range: whoever joins it joins them one by one."""
    if "/" not in text:
        return [text]
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise InvalidArgs(f"{quote(text)} is no range of addresses") from None
    if network.num_addresses > _MAX_ADDRESSES:
        raise InvalidArgs(f"{quote(text)} stands for more than {_MAX_ADDRESSES} memberships")
    return [str(address) for address in network]


def _pattern(name: str) -> str:
    """Write "eth+" as shells do."""
    return re.sub(r"\+$", "*", name)


def _at(line: Line, sentence: str) -> str:
    return f"{line.file}:{line.number}: {' '.join(line.words)}: {sentence}"
