"""/etc/mfc-dbus/routes.d/*.toml: documents whose routes and memberships are there as long as the
files are.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from mfc_dbus import toml
from mfc_dbus.document import Document, from_toml
from mfc_dbus.errors import InvalidArgs
from mfc_dbus.model import Key, Membership, Route
from mfc_dbus.problems import Problems, with_lines, write_path
from mfc_dbus.quoting import printable

DIRECTORY = "routes.d"


class Place(NamedTuple):
    """A value in a file: where it is, which takes reading the text once more."""

    file: str
    path: toml.Path
    text: str

    def __str__(self) -> str:
        line = toml.lines(self.text, [self.path])[self.path]
        return f"{self.file}: line {line}: {write_path(self.path)}"


class Files(NamedTuple):
    """What the files say, those that are in order, and what is wrong with the others.

    interfaces: the names and patterns of interfaces, and where each stands first.
    """

    routes: Sequence[Route]
    memberships: Sequence[Membership]
    interfaces: Mapping[str, Place]
    problems: Sequence[str]


def load(directory: Path) -> Files:
    """Read all files, in the order of their names."""
    routes: list[Route] = []
    memberships: list[Membership] = []
    interfaces: dict[str, Place] = {}
    owners: dict[Key, str] = {}
    problems: list[str] = []
    for path in _paths(directory / DIRECTORY, problems):
        file = printable(str(path))
        try:
            text = path.read_text()
            document = _read(text, owners)
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f"{file}: {getattr(error, 'strerror', error)}")
        except InvalidArgs as error:
            problems += [f"{file}: {line}" for line in str(error).split("\n")]
        else:
            for index, route in enumerate(document.routes):
                routes.append(replace(route, persistent=True, file=file))
                owners[route.key] = file
                for name in route.interfaces:
                    if name not in interfaces:
                        key = "iif" if name == route.iif else "oifs"
                        interfaces[name] = Place(file, ("route", index, key), text)
            for index, membership in enumerate(document.memberships):
                memberships.append(replace(membership, persistent=True, file=file))
                owners[membership.key] = file
                name = membership.interface
                if name not in interfaces:
                    interfaces[name] = Place(file, ("membership", index, "interface"), text)
    return Files(routes, memberships, interfaces, problems)


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
    problems = Problems()
    for index, each in enumerate(document.routes):
        if there := owners.get(each.key):
            problems.add(("route", index), InvalidArgs(f"Route {each} is in {there} already"))
    for index, one in enumerate(document.memberships):
        if there := owners.get(one.key):
            sentence = f"Membership {one} is in {there} already"
            problems.add(("membership", index), InvalidArgs(sentence))
    try:
        problems.check()
    except InvalidArgs as error:
        raise InvalidArgs(with_lines(str(error), text)) from None
    return document
