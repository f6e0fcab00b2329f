"""Reads all of /etc/mfc-dbus, at the start and at each reload, and reports its problems.

Problems, and interfaces that are named and missing, stay in the service manager's status until they
are gone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mfc_dbus.config import routes_d
from mfc_dbus.config import settings as settings_file
from mfc_dbus.config.routes_d import DIRECTORY, Files, Place, write_places
from mfc_dbus.config.settings import Settings
from mfc_dbus.loop.slices import let_go
from mfc_dbus.loop.worker import aside
from mfc_dbus.model.errors import ConfigError, TooManyInterfaces
from mfc_dbus.model.interfaces import expand, is_pattern, matches
from mfc_dbus.model.journal import Message, logger_of
from mfc_dbus.model.quoting import join, quote

log = logger_of(__name__, Message.CONFIGURATION)

_MAX_LISTED = 20  # problems in an error or the log; of more only the number is given
_MAX_NAMED = 5  # interfaces in the status

Apply = Callable[[Settings, Files], Awaitable[None]]


class Loaded(NamedTuple):
    """What the files say. There are no settings where their file has problems."""

    settings: Settings | None
    files: Files
    problems: Sequence[str]


def load(directory: Path) -> Loaded:
    """Read all files of a directory, and list the problems of all of them."""
    settings, problems = None, []
    try:
        settings = settings_file.load(directory)
    except ConfigError as error:
        problems = str(error).split("\n")
    files = routes_d.load(directory)
    return Loaded(settings, files, [*problems, *files.problems])


class Configuration:
    """The configuration that the service goes by, and the problems of its files.

    settings: those in force. problems: those that the last reading of the files found.
    """

    def __init__(self, directory: Path, load: Callable[[Path], Loaded] = load) -> None:
        self.settings = Settings()
        self.problems: Sequence[str] = ()
        self._directory = directory
        self._load = load
        self._interfaces: Sequence[str] = ()
        self._places: Mapping[str, Place | str] = {}  # of interfaces, until `warn` has named them
        self._reloading = asyncio.Lock()

    def begin(self) -> tuple[Settings, Files]:
        """Read the files for the start, which goes on without broken files, and logs which."""
        loaded = self._load(self._directory)
        for problem in _shorten(loaded.problems):
            log.error("%s", problem)
        if loaded.settings is None:
            log.error(
                "%s has problems: going by the defaults", self._directory / settings_file.FILE
            )
        if loaded.files.problems:
            log.error("%s has problems: going without these files", self._directory / DIRECTORY)
        self._remember(loaded.settings or Settings(), loaded.files)
        self.problems = loaded.problems
        return self.settings, loaded.files

    async def reload(self, apply: Apply) -> None:
        """Read the files again, and have `apply` make the service go by them.

        Reloads are done one after the other.

        Raises ConfigError, with a line for each problem, and what `apply` raises.
        """
        async with self._reloading:  # or older files might be applied last
            loaded = await aside(self._load, self._directory)
            try:
                if loaded.settings is None or loaded.problems:
                    raise ConfigError("\n".join(loaded.problems))
                await apply(loaded.settings, loaded.files)
            except ConfigError as error:
                self.problems = loaded.problems or await aside(
                    loaded.files.locate, str(error).split("\n")
                )
                raise ConfigError("\n".join(_shorten(self.problems))) from error
            except TooManyInterfaces as error:
                places = _find_places(loaded.files, error.interface)
                where = "".join(f"{place}: " for place in await _write(places))
                self.problems = [f"{where}{error}"]
                raise ConfigError(self.problems[0]) from error
            finally:
                await let_go(loaded.files.routes)  # they are many where they were refused
            self._remember(loaded.settings, loaded.files)

    async def warn(self, present: Collection[str], routes: int) -> None:
        """Log, once for each reading of the files, what is no error and yet may be a mistake.

        present: the interfaces that there are.
        """
        known, self._places = self._places, {}
        absent = [name for name in self._find_absent(present) if name in known]
        listed = absent[:_MAX_LISTED]
        places = await _write([known[name] for name in listed])
        warnings = [
            f"{place}: {_lacking(name)}" for place, name in zip(places, listed, strict=True)
        ]
        if len(absent) > _MAX_LISTED:
            warnings.append(f"There are {len(absent) - _MAX_LISTED} more such interfaces")
        if routes > self.settings.max_routes:
            warnings.append(self._excess(routes))
        for warning in warnings:
            log.warning("%s", warning)

    def describe(self, present: Collection[str], routes: int) -> str:
        """Return the sentence that the service manager shows."""
        parts = [f"{routes} route{'' if routes == 1 else 's'}"]
        if self.problems:
            count = len(self.problems)
            what = "a problem" if count == 1 else f"{count} problems"
            first = self.problems[0] if count == 1 else f"first {self.problems[0]}"
            parts.append(f"{what} in the configuration: {first}")
        absent = self._find_absent(present)
        if absent:
            more = len(absent) - _MAX_NAMED
            named = join(absent[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
            parts.append(f"configured interfaces that are not there: {named}")
        if routes > self.settings.max_routes:
            parts.append(self._excess(routes))
        return "; ".join(parts)

    @property
    def _settings_path(self) -> Path:
        return self._directory / settings_file.FILE

    def _remember(self, settings: Settings, files: Files) -> None:
        self.settings = settings
        self.problems = ()
        named = {
            "discovery.interfaces": settings.discovery_interfaces,
            "router_discovery.interfaces": settings.router_discovery_interfaces,
            "rules": settings.rules,
        }
        path = self._settings_path
        places = {name: f"{path}: '{key}'" for key, names in named.items() for name in names}
        self._places = {**places, **files.interfaces}
        self._interfaces = [*self._places]

    def _find_absent(self, present: Collection[str]) -> Sequence[str]:
        """Return the configured names and patterns of which none of these interfaces is one."""
        lacking = [name for name in self._interfaces if name not in present]
        return [name for name in lacking if not is_pattern(name) or not any(expand(name, present))]

    def _excess(self, routes: int) -> str:
        return (
            f"{self._settings_path}: 'limits.routes' is {self.settings.max_routes}, and "
            f"there are {routes} routes: these stay, and no more are taken"
        )


def _lacking(name: str) -> str:
    if is_pattern(name):
        return f"No interface matches {quote(name)} yet"
    return f"There is no interface {quote(name)} yet"


def _find_places(files: Files, interface: str) -> Sequence[Place]:
    """Return the first place, if any, where a file has an interface or a pattern that is for it."""
    return [place for name, place in files.interfaces.items() if matches(name, interface)][:1]


async def _write(places: Sequence[Place | str]) -> list[str]:
    """Return places as text. Those in files of routes.d take as long as reading the files."""
    in_files = [place for place in places if isinstance(place, Place)]
    written = iter(await aside(write_places, in_files) if in_files else ())
    return [next(written) if isinstance(place, Place) else place for place in places]


def _shorten(problems: Sequence[str]) -> list[str]:
    more = len(problems) - _MAX_LISTED
    return [*problems[:_MAX_LISTED], *([f"and {more} more"] if more > 0 else [])]
