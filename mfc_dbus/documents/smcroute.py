"""smcroute.conf: turns the configuration of another daemon into entries of a document.

Source: smcroute.conf(5) of smcroute 2.5.6, and its behaviour where the page says nothing.
"""

import glob
import ipaddress
import itertools
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from mfc_dbus.documents import phyints, text_files
from mfc_dbus.documents.entries import MembershipEntry, RouteEntry, to_membership_entry
from mfc_dbus.documents.phyints import Phyint, To
from mfc_dbus.model.addresses import Prefix, format_source, mask, parse_stream
from mfc_dbus.model.errors import InvalidArgs, RequestError
from mfc_dbus.model.interfaces import is_pattern, matches
from mfc_dbus.model.membership import Membership, parse_memberships
from mfc_dbus.model.problems import Problem
from mfc_dbus.model.quoting import join, quote
from mfc_dbus.model.route import parse_route

_MAX_FILES = 1000  # that are included
_MAX_BITS = 12  # a line joins at most 2^12 groups
_BITS = 10  # an entry joins at most 2^10 groups
_MAX_LEFT_OUT = 1000  # sentences on lines that are left out
_MAX_SHOWN = 200  # characters of a line that is left out
_ANY = {"0.0.0.0", "::", "0.0.0.0/0", "::/0"}
_CLAUSES = ("from", "source", "group", "to")


class Line(NamedTuple):
    """A directive, and where it is."""

    file: str
    number: int
    words: Sequence[str]


@dataclass
class Imported:
    """The entries of a document, and a sentence on each line or part that has none.

    more: the number of further sentences, which are not kept.
    """

    routes: list[RouteEntry] = field(default_factory=list)
    memberships: list[MembershipEntry] = field(default_factory=list)
    left_out: list[Problem] = field(default_factory=list)
    more: int = 0

    def leave_out(self, line: Line, sentence: str) -> None:
        if len(self.left_out) < _MAX_LEFT_OUT:
            words = " ".join(line.words)
            shown = words if len(words) <= _MAX_SHOWN else f"{words[:_MAX_SHOWN]}…"
            self.left_out.append(Problem(line.file, line.number, f"{shown}: {sentence}"))
        else:
            self.more += 1


def read(path: str, text: str) -> Imported:
    """Import the text of a file, and the files that it includes."""
    imported = Imported()
    reader = _Reader(imported)
    for line in _Files(path, imported).lines(path, text):
        reader.read(line)
    reader.finish()
    return imported


class _Files:
    """A file and those that it includes, each of which is read once."""

    def __init__(self, path: str, imported: Imported) -> None:
        self._imported = imported
        self._seen = {Path(path).resolve()}
        self._room = text_files.MAX_BYTES

    def lines(self, path: str, text: str) -> Iterator[Line]:
        for number, whole in enumerate(text.split("\n"), 1):
            words = _words(whole)
            line = Line(path, number, words)
            if words and words[0].startswith("include"):
                yield from self._included(line)
            elif words:
                yield line

    def _included(self, line: Line) -> Iterator[Line]:
        if len(line.words) != 2:
            self._imported.leave_out(line, "an include names one file or pattern")
            return
        (_, name) = line.words
        pattern = str(Path(line.file).parent / name) if line.file != "-" else name
        found = sorted(itertools.islice(glob.iglob(pattern), _MAX_FILES + 1))  # noqa: PTH207 - the pattern may be absolute
        if not found and not glob.has_magic(name):
            self._imported.leave_out(line, f"there is no file {quote(name)}")
        for each in found:
            try:
                data = self._read(Path(each))
            except OSError as error:
                self._imported.leave_out(line, f"{each}: {error.strerror}")
            else:
                yield from self.lines(each, data.decode(errors="replace"))
            if len(self._seen) > _MAX_FILES:
                self._imported.leave_out(line, f"more than {_MAX_FILES} files are included")
                return

    def _read(self, path: Path) -> bytes:
        """Read a file that was not read before. Raises OSError."""
        resolved = path.resolve()
        if resolved in self._seen:
            return b""
        self._seen.add(resolved)
        data = text_files.read(resolved, self._room)
        self._room -= len(data)
        return data


def _words(line: str) -> list[str]:
    """Split a line at the white space of C, up to its comment."""
    words = re.findall(r"[^ \t\v\f\r]+", line)
    return list(itertools.takewhile(lambda word: not word.startswith("#"), words))


class _Mroute(NamedTuple):
    """A line that asks for a route."""

    line: Line
    iif: str
    to: To
    number: int


class _Reader:
    def __init__(self, imported: Imported) -> None:
        self._imported = imported
        self._phyints: list[Phyint] = []
        self._mrdisc: Line | None = None
        self._joined: set[Membership] = set()
        self._mroutes: dict[tuple[str, str], list[_Mroute]] = {}  # by source and group
        self._count = 0
        self._lengths: set[tuple[int, int]] = set()  # of their prefixes
        self._directives: dict[str, Callable[[Line], None]] = {
            "phyint": self._phyint,
            "mgroup": self._mgroup,
            "ssmgroup": self._mgroup,
            "mroute": self._mroute,
        }

    def read(self, line: Line) -> None:
        word = line.words[0]
        found = (do for name, do in self._directives.items() if word.startswith(name))
        directive = next(found, None)
        if directive is None:
            self._leave_out(line, f"there is no directive {quote(word)}")
            return
        with self._leaving_out(line):
            directive(line)

    def finish(self) -> None:
        """Make the routes: only when all lines are read their interfaces are known."""
        for (source, group), mroutes in self._mroutes.items():
            last = {each.iif: each for each in mroutes}
            for mroute in last.values():
                with self._leaving_out(mroute.line):
                    self._make(source, group, mroute, mroutes)
        if self._mrdisc and (names := phyints.advertised(self._phyints)):
            self._leave_out(
                self._mrdisc,
                f"mrdisc is a setting: write interfaces = {json.dumps(names)} "
                "under [router_discovery] in mfc-dbus.toml",
            )

    @contextmanager
    def _leaving_out(self, line: Line) -> Iterator[None]:
        try:
            yield
        except RequestError as error:
            self._leave_out(line, str(error))

    def _leave_out(self, line: Line, sentence: str) -> None:
        self._imported.leave_out(line, sentence)

    def _phyint(self, line: Line) -> None:
        """phyint IFNAME [enable|disable] [mrdisc] [ttl-threshold TTL]"""
        if len(line.words) < 2:
            raise InvalidArgs("it names no interface")
        _, name, *words = line.words
        phyint, ignored = Phyint(name), []
        while words:
            word = words.pop(0)
            if word.startswith(("enable", "disable")):
                phyint = phyint._replace(enabled=word.startswith("enable"))
            elif word.startswith("ttl-threshold") and words:
                ttl = words.pop(0)
                if ttl.isascii() and ttl.isdigit() and 1 <= int(ttl[:4]) <= 255:
                    phyint = phyint._replace(ttl=int(ttl))
                else:
                    ignored.append(ttl)
            elif word.startswith("mrdisc"):
                phyint = phyint._replace(mrdisc=True)
                self._mrdisc = line
            else:
                ignored.append(word)
        self._phyints.append(phyint)
        self._ignore(line, ignored)

    def _mgroup(self, line: Line) -> None:
        """mgroup from IIF [source SOURCE[/LEN]] group GROUP[/LEN]"""
        clauses = self._clauses(line)
        interface = clauses["from"]
        if interface.endswith("+"):
            raise InvalidArgs(f"a membership is of one interface, and {quote(interface)} of many")
        source = _source(clauses)
        for group in _parts(_network(clauses["group"], "Group")):
            memberships = parse_memberships(group, source, interface).memberships()
            fresh = [each for each in memberships if each not in self._joined]
            self._joined.update(fresh)
            if len(fresh) == len(memberships):
                entry = MembershipEntry(source=source, group=group, interface=interface)
                self._imported.memberships.append(entry)
            else:  # the rest was joined by other lines
                self._imported.memberships += map(to_membership_entry, fresh)

    def _mroute(self, line: Line) -> None:
        """mroute from IIF [source SOURCE[/LEN]] group GROUP[/LEN] to OIF [OIF ...]"""
        clauses = self._clauses(line)
        source, group = _source(clauses), _network(clauses["group"], "Group")
        sources, groups = parse_stream(source, group)
        self._lengths.add((sources.length, groups.length))
        to = To(clauses.get("to", "").split(), len(self._phyints))
        mroutes = self._mroutes.setdefault((source, group), [])
        self._count += 1
        mroutes.append(_Mroute(line, clauses["from"], to, self._count))

    def _make(self, source: str, group: str, mroute: _Mroute, mroutes: Sequence[_Mroute]) -> None:
        """Make the route of an iif, from all lines on it. Raises RequestError for one left out.

        mroutes: all lines of this source and group. mroute: the last of them with this iif.
        """
        iif, last = mroute.iif, mroutes[-1]
        exact = source != "*" and "/" not in source + group
        if exact and iif != last.iif:
            where = f"{last.line.file}:{last.line.number}"
            raise InvalidArgs(f"of one source and one group the last iif counts, that of {where}")
        if not exact:
            self._check_first(source, group, mroute, mroutes)
        iifs = list(phyints.chosen([To([iif], mroute.to.known)], self._phyints, ipv4=False))
        if not iifs:
            raise InvalidArgs(f"{quote(iif)} is disabled")
        if exact and len(iifs) > 1:
            raise InvalidArgs(
                f"some of {quote(iif)} are disabled, and a route of one source and one group has "
                "one iif, or one pattern"
            )
        lines = [each.to for each in mroutes if phyints.covers(each.iif, iif)]
        oifs = phyints.chosen(lines, self._phyints, ipv4=":" not in group)
        ttls = {name: ttl for name, ttl in oifs.items() if ttl != 1}
        for name in iifs:
            if is_pattern(name):
                words = (word for line in lines for word in line.words)
                hairpin = any(phyints.overlap(iif, word) for word in words)
            else:
                hairpin = any(matches(oif, name) for oif in oifs)
            parse_route(source, group, name, [*oifs], ttls, hairpin=hairpin)
            self._imported.routes.append(
                RouteEntry(
                    source=source, group=group, iif=name, oifs=[*oifs], ttls=ttls, hairpin=hairpin
                )
            )

    def _check_first(
        self, source: str, group: str, mroute: _Mroute, mroutes: Sequence[_Mroute]
    ) -> None:
        """Raise InvalidArgs for a route of many streams that smcroute never takes.

        Of such routes smcroute takes the first that covers a stream, and we the most specific one.
        A route that smcroute takes for some interfaces only is made, and a sentence tells of it.
        """
        number = next(each.number for each in mroutes if each.iif == mroute.iif)
        sources, groups = parse_stream(source, group)
        for source_length, group_length in sorted(self._lengths):
            if source_length > sources.length or group_length > groups.length:
                continue
            wider = (
                format_source(Prefix(mask(sources.address, source_length), source_length)),
                str(Prefix(mask(groups.address, group_length), group_length)),
            )
            for first in self._mroutes.get(wider, []) if wider != (source, group) else []:
                where = f"{first.line.file}:{first.line.number}"
                if first.number < number and phyints.covers(first.iif, mroute.iif):
                    raise InvalidArgs(f"smcroute takes that of {where} instead, which is wider")
                if first.number < number and phyints.overlap(first.iif, mroute.iif):
                    self._leave_out(
                        mroute.line, f"smcroute takes that of {where} for {quote(first.iif)}"
                    )

    def _clauses(self, line: Line) -> dict[str, str]:
        """Split "from eth0 group 225.1.2.3 to eth1 eth2" by the names of its clauses."""
        found: dict[str, str] = {}
        ignored: list[str] = []
        words = [*line.words[1:]]
        while words:
            word = words.pop(0)
            name = next((each for each in _CLAUSES if word.startswith(each)), None)
            if name == "to":
                found[name], words = " ".join(words), []
            elif name and words:
                found[name] = words.pop(0)
            else:
                ignored.append(word)
        for name in ("from", "group"):
            if name not in found:
                raise InvalidArgs(f"{quote(name)} is missing")
        self._ignore(line, ignored)
        return found

    def _ignore(self, line: Line, words: Sequence[str]) -> None:
        if words:
            self._leave_out(line, f"smcroute does not understand {join(words)} either")


def _source(clauses: dict[str, str]) -> str:
    source = _network(clauses.get("source", "0.0.0.0"), "Source")
    return "*" if source in _ANY else source


def _network(text: str, what: str) -> str:
    """Write an address or a prefix, with the bits after the prefix set to 0."""
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise InvalidArgs(f"{what} {quote(text)} is no address and no prefix") from None
    exact = network.prefixlen == network.max_prefixlen
    return str(network.network_address if exact else network)


def _parts(group: str) -> list[str]:
    """Split a prefix of groups into prefixes of at most 2^_BITS groups. Raises InvalidArgs."""
    network = ipaddress.ip_network(group)
    bits = network.max_prefixlen - network.prefixlen
    if bits > _MAX_BITS:
        raise InvalidArgs(f"{quote(group)} stands for more than {1 << _MAX_BITS} memberships")
    if bits <= _BITS:
        return [group]
    return [str(each) for each in network.subnets(prefixlen_diff=bits - _BITS)]
