"""/etc/mfc-dbus/routes.d/*.toml: documents whose routes are there as long as the files are."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from mfc_dbus.document import Document, from_toml
from mfc_dbus.errors import ConfigError, InvalidArgs
from mfc_dbus.model import Route, RouteKey
from mfc_dbus.problems import Problems, with_lines

DIRECTORY = "routes.d"
_MAX_LISTED = 20


class Files(NamedTuple):
    """What the files say, those that are in order, and what is wrong with the others."""

    routes: Sequence[Route]
    problems: Sequence[str]

    def check(self) -> Sequence[Route]:
        """Get the routes of all files. Raises ConfigError, which names file, line and key."""
        if self.problems:
            more = len(self.problems) - _MAX_LISTED
            last = [f"and {more} more"] if more > 0 else []
            raise ConfigError("\n".join([*self.problems[:_MAX_LISTED], *last]))
        return self.routes


def load(directory: Path) -> Files:
    """Read all files, in the order of their names."""
    routes: dict[RouteKey, Route] = {}
    problems: list[str] = []
    for path in _paths(directory / DIRECTORY, problems):
        try:
            document = _read(path, routes)
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f"{path}: {getattr(error, 'strerror', error)}")
        except InvalidArgs as error:
            problems += [f"{path}: {line}" for line in str(error).split("\n")]
        else:
            for route in document.routes:
                routes[route.key] = replace(route, persistent=True, file=str(path))
    return Files(list(routes.values()), problems)


def _paths(directory: Path, problems: list[str]) -> Iterator[Path]:
    try:
        yield from sorted(path for path in directory.iterdir() if path.suffix == ".toml")
    except FileNotFoundError:
        return
    except OSError as error:
        problems.append(f"{directory}: {error.strerror}")


def _read(path: Path, others: Mapping[RouteKey, Route]) -> Document:
    text = path.read_text()
    document = from_toml(text)
    problems = Problems()
    if document.memberships:
        sentence = "This version of the service joins no groups"
        problems.add(("membership", 0), InvalidArgs(sentence))
    for index, route in enumerate(document.routes):
        if route.key in others:
            there = others[route.key].file
            problems.add(("route", index), InvalidArgs(f"Route {route} is in {there} already"))
    try:
        problems.check()
    except InvalidArgs as error:
        raise InvalidArgs(with_lines(str(error), text)) from None
    return document
