"""Reads /etc/mfc-dbus/routes.d/*.toml: documents whose routes and memberships last as long as the
files.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from mfc_dbus.documents import text_files, toml_text
from mfc_dbus.documents.document import Document, from_toml
from mfc_dbus.documents.problem_lines import with_lines
from mfc_dbus.model.desired import Key
from mfc_dbus.model.errors import InvalidArgs
from mfc_dbus.model.membership import Membership
from mfc_dbus.model.problems import KeyPath, Problems, write_path
from mfc_dbus.model.quoting import printable
from mfc_dbus.model.route import Route

DIRECTORY = "routes.d"
_PATH = re.compile(r"(route|membership)\[(\d+)\]")


class File(NamedTuple):
    """A file without problems.

    first: by section, the index that its first route or membership has among those of all files.
    places: for each of its memberships the index of its entry, which may be a prefix.
    """

    name: str
    text: str
    first: Mapping[str, int]
    places: Sequence[int] = ()


class Place(NamedTuple):
    """The place of a value in a file."""

    file: File
    path: KeyPath


class Files(NamedTuple):
    """What the files without problems say, and the problems of the others.

    interfaces: the names and patterns of interfaces, each with the place where it stands first.
    """

    routes: list[Route]
    memberships: Sequence[Membership]
    interfaces: Mapping[str, Place]
    problems: Sequence[str]
    files: Sequence[File] = ()

    def locate(self, problems: Sequence[str]) -> list[str]:
        """Return problems with file and line in the place of the path that they begin with.

        Such a path is one of all files together, "route[17]: ". Takes as long as reading the files.
        """
        matches = [_PATH.match(problem) for problem in problems]
        places = iter(write_places([self._find(match) for match in matches if match]))
        return [
            f"{next(places)}{problem[match.end() :]}" if match else problem
            for problem, match in zip(problems, matches, strict=True)
        ]

    def _find(self, match: re.Match[str]) -> Place:
        section, index = match[1], int(match[2])
        file = [file for file in self.files if file.first[section] <= index][-1]
        index -= file.first[section]
        return Place(file, (section, file.places[index] if section == "membership" else index))


def write_places(places: Sequence[Place]) -> list[str]:
    """Return each place as text: file, line and key. Takes as long as reading the files."""
    paths: dict[str, list[KeyPath]] = {}
    for file, path in places:
        paths.setdefault(file.name, []).append(path)
    texts = {file.name: file.text for file, _ in places}
    lines = {name: toml_text.lines(texts[name], paths[name]) for name in paths}
    return [
        f"{file.name}: line {lines[file.name][path]}: {write_path(path)}" for file, path in places
    ]


def load(directory: Path) -> Files:
    """Read all files, in the order of their names."""
    routes: list[Route] = []
    memberships: list[Membership] = []
    interfaces: dict[str, Place] = {}
    owners: dict[Key, str] = {}
    problems: list[str] = []
    read: list[File] = []
    for path in paths(directory / DIRECTORY, problems):
        name = printable(str(path))
        try:
            text = text_files.decode(text_files.read(path))
            document = parse(text, owners)
        except OSError as error:
            problems.append(f"{name}: {error.strerror}")
        except InvalidArgs as error:
            problems += [f"{name}: {line}" for line in str(error).split("\n")]
        else:
            first = {"route": len(routes), "membership": len(memberships)}
            file = File(name, text, first, document.places)
            read.append(file)
            for interface, key in _interfaces(document):
                interfaces.setdefault(interface, Place(file, key))
            for index, route in enumerate(document.routes):
                document.routes[index] = replace(route, persistent=True, file=name)
            routes += document.routes
            memberships += [
                replace(each, persistent=True, file=name) for each in document.memberships
            ]
            owners |= dict.fromkeys(keys(document), name)
    return Files(routes, memberships, interfaces, problems, read)


def keys(document: Document) -> Iterator[Key]:
    """Yield what makes each route and membership of a file another than those of other files."""
    yield from (route.key for route in document.routes)
    yield from (each.key for each in document.memberships)


def _interfaces(document: Document) -> Iterator[tuple[str, KeyPath]]:
    """Yield the names and patterns of interfaces in a document, each with its path."""
    for index, route in enumerate(document.routes):
        yield route.iif, ("route", index, "iif")
        for oif in route.oifs:
            yield oif.name, ("route", index, "oifs")
    for index, join in enumerate(document.joins):
        yield join.interface, ("membership", index, "interface")


def paths(directory: Path, problems: list[str]) -> Iterator[Path]:
    """Yield the files of a directory in the order in which they are read, or add a problem."""
    try:
        yield from sorted(path for path in directory.iterdir() if path.suffix == ".toml")
    except FileNotFoundError:
        return
    except OSError as error:
        problems.append(f"{printable(str(directory))}: {error.strerror}")


def parse(text: str, owners: Mapping[Key, str]) -> Document:
    """Read the text of a file.

    owners: the names of the files that were read before, by the keys of what is in them. Raises
    InvalidArgs, with a line for each problem: "line 7: route[1].iif: ...".
    """
    document = from_toml(text)
    if document.empty:
        # An editor or a full disk may have left it so, and all that it had would be deleted.
        raise InvalidArgs("It has no routes and no memberships: delete it, if it is to have none")
    problems = Problems()
    for index, each in enumerate(document.routes):
        if there := owners.get(each.key):
            problems.add(("route", index), InvalidArgs(f"Route {each} is in {there} already"))
    for index, one in zip(document.places, document.memberships, strict=True):
        if there := owners.get(one.key):
            sentence = f"Membership {one} is in {there} already"
            problems.add(("membership", index), InvalidArgs(sentence))
    try:
        problems.check()
    except InvalidArgs as error:
        raise InvalidArgs(with_lines(str(error), text)) from None
    return document
