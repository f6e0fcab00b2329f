"""/etc/mfc-dbus/routes.d/*.toml: documents whose routes and memberships are there as long as the
files are.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Self

from mfc_dbus.document import Document, from_toml
from mfc_dbus.errors import ConfigError, InvalidArgs
from mfc_dbus.model import Key, Membership, Route
from mfc_dbus.problems import Problems, with_lines

DIRECTORY = "routes.d"
_MAX_LISTED = 20


class Files(NamedTuple):
    """What the files say, those that are in order, and what is wrong with the others."""

    routes: Sequence[Route]
    memberships: Sequence[Membership]
    problems: Sequence[str]

    def check(self) -> Self:
        """Let all files be in order. Raises ConfigError, which names file, line and key."""
        if self.problems:
            more = len(self.problems) - _MAX_LISTED
            last = [f"and {more} more"] if more > 0 else []
            raise ConfigError("\n".join([*self.problems[:_MAX_LISTED], *last]))
        return self


def load(directory: Path) -> Files:
    """Read all files, in the order of their names."""
    routes: list[Route] = []
    memberships: list[Membership] = []
    owners: dict[Key, str] = {}
    problems: list[str] = []
    for path in _paths(directory / DIRECTORY, problems):
        try:
            document = _read(path, owners)
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f"{path}: {getattr(error, 'strerror', error)}")
        except InvalidArgs as error:
            problems += [f"{path}: {line}" for line in str(error).split("\n")]
        else:
            file = str(path)
            for route in document.routes:
                routes.append(replace(route, persistent=True, file=file))
                owners[route.key] = file
            for membership in document.memberships:
                memberships.append(replace(membership, persistent=True, file=file))
                owners[membership.key] = file
    return Files(routes, memberships, problems)


def _paths(directory: Path, problems: list[str]) -> Iterator[Path]:
    try:
        yield from sorted(path for path in directory.iterdir() if path.suffix == ".toml")
    except FileNotFoundError:
        return
    except OSError as error:
        problems.append(f"{directory}: {error.strerror}")


def _read(path: Path, owners: Mapping[Key, str]) -> Document:
    """owners: in which file each route and membership is that was read before."""
    text = path.read_text()
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
