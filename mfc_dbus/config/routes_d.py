"""/etc/mfc-dbus/routes.d/*.toml: documents whose routes and memberships are there as long as the
files are.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from mfc_dbus.documents import text_files as textfiles
from mfc_dbus.documents import toml_text as toml
from mfc_dbus.documents.document import Document, from_toml
from mfc_dbus.documents.problem_lines import Problems, with_lines, write_path
from mfc_dbus.model.errors import InvalidArgs
from mfc_dbus.model.quoting import printable
from mfc_dbus.model.route import Key, Membership, Route

DIRECTORY = "routes.d"
_PATH = re.compile(r"(route|membership)\[(\d+)\]")


class File(NamedTuple):
    """A file that is in order.

    first: of its routes and of its memberships, the index of the first among those of all files.
    places: for each of its memberships the index of its entry, which may be a prefix.
    """

    name: str
    text: str
    first: Mapping[str, int]
    places: Sequence[int] = ()


class Place(NamedTuple):
    """A value in a file."""

    file: File
    path: toml.Path


class Files(NamedTuple):
    """What the files say, those that are in order, and what is wrong with the others.

    interfaces: the names and patterns of interfaces, and where each stands first.
    """

    routes: Sequence[Route]
    memberships: Sequence[Membership]
    interfaces: Mapping[str, Place]
    problems: Sequence[str]
    files: Sequence[File] = ()

    def locate(self, problems: Sequence[str]) -> list[str]:
        """Say of problems that begin with a path, "route[17]: ", in which file and line they are.

        Takes as long as reading the files.
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
    """Name file, line and key of each. Takes as long as reading the files."""
    paths: dict[str, list[toml.Path]] = {}
    for file, path in places:
        paths.setdefault(file.name, []).append(path)
    texts = {file.name: file.text for file, _ in places}
    lines = {name: toml.lines(texts[name], paths[name]) for name in paths}
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
    for path in _paths(directory / DIRECTORY, problems):
        name = printable(str(path))
        try:
            text = textfiles.decode(textfiles.read(path))
            document = _read(text, owners)
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
            routes += [replace(each, persistent=True, file=name) for each in document.routes]
            memberships += [
                replace(each, persistent=True, file=name) for each in document.memberships
            ]
            owners |= dict.fromkeys((route.key for route in document.routes), name)
            owners |= dict.fromkeys((one.key for one in document.memberships), name)
    return Files(routes, memberships, interfaces, problems, read)


def _interfaces(document: Document) -> Iterator[tuple[str, toml.Path]]:
    """Yield the names and patterns of interfaces, and the path of each."""
    for index, route in enumerate(document.routes):
        yield route.iif, ("route", index, "iif")
        for oif in route.oifs:
            yield oif.name, ("route", index, "oifs")
    for index, join in enumerate(document.joins):
        yield join.interface, ("membership", index, "interface")


def _paths(directory: Path, problems: list[str]) -> Iterator[Path]:
    try:
        yield from sorted(path for path in directory.iterdir() if path.suffix == ".toml")
    except FileNotFoundError:
        return
    except OSError as error:
        problems.append(f"{printable(str(directory))}: {error.strerror}")


def _read(text: str, owners: Mapping[Key, str]) -> Document:
    """owners: in which file each route and membership is that was read before."""
    document = from_toml(text)
    if document.empty:
        # An editor or a full disk may have left it so, and what it had would be deleted.
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
