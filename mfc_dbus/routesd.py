"""/etc/mfc-dbus/routes.d/*.toml: documents whose routes are there as long as the files are."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from mfc_dbus.document import Document, from_toml
from mfc_dbus.errors import ConfigError, InvalidArgs
from mfc_dbus.model import Route, RouteKey

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
            document = from_toml(path.read_text())
            _check_new(document, routes)
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


def _check_new(document: Document, routes: dict[RouteKey, Route]) -> None:
    if document.memberships:
        raise InvalidArgs("membership[0]: This version of the service joins no groups")
    for index, route in enumerate(document.routes):
        if route.key in routes:
            there = routes[route.key].file
            raise InvalidArgs(f"route[{index}]: Route {route} is in {there} already")
