"""The service and smcroute behind one face, so that the same checks can be made of both."""

import json
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar, NamedTuple, Self

from lab import foreign
from lab.bus import PrivateBus
from lab.daemon import BUS_NAME, PROGRAMS, Daemon
from lab.manager import Manager
from lab.topology import Topology

_TIMEOUT = 10.0


class Route(NamedTuple):
    """oifs: none is a stop. source: "" is any. ttls: thresholds by oif, where not 1.

    Interfaces may be shell patterns.
    """

    group: str
    iif: str
    oifs: Sequence[str] = ()
    source: str = ""
    ttls: Mapping[str, int] = {}
    table: int = 0


class Contender(ABC):
    """A static multicast router on the lab's router. A context manager.

    rules: tables other than the default one, by the interface whose packets go there.
    thresholds: of TTL, by oif, for who has them by interface.
    """

    name: ClassVar[str]

    def __init__(
        self,
        lab: Topology,
        *,
        rules: Mapping[str, int] | None = None,
        thresholds: Mapping[str, int] | None = None,
    ) -> None:
        self.lab = lab
        self.rules = rules or {}
        self.thresholds = thresholds or {}
        self.stack = ExitStack()
        self.home = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="contender-")))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    @abstractmethod
    def start(self) -> None: ...

    @abstractmethod
    def stop(self) -> None:
        """End it, as before a restart."""

    @abstractmethod
    def add(self, route: Route) -> None:
        """Add a route at run time."""

    @abstractmethod
    def add_many(self, routes: Sequence[Route]) -> None:
        """Add routes by one command."""

    @abstractmethod
    def delete(self, route: Route) -> None: ...

    @abstractmethod
    def show_json(self) -> str:
        """What it prints of its routes where JSON is asked for."""

    @abstractmethod
    def join(self, interface: str, group: str, source: str = "") -> None: ...

    @abstractmethod
    def advertise(self, interface: str) -> None:
        """Have switches at an interface told of the router, by its configuration."""

    @abstractmethod
    def configure(self, routes: Sequence[Route]) -> None:
        """Write them into its configuration file."""

    @abstractmethod
    def reload(self) -> None:
        """Have it read its configuration file again."""


class MfcDbus(Contender):
    """Under a service manager that keeps its sockets, as systemd does."""

    name = "mfc-dbus"
    _advertised: Sequence[str] = ()

    def start(self) -> None:
        if not hasattr(self, "_bus"):
            self._bus = self.stack.enter_context(PrivateBus())
            self._manager = self.stack.enter_context(Manager())
            self._write_settings()
        self._daemon = self.stack.enter_context(
            Daemon(
                self._bus.address,
                self.lab.router,
                home=self.home,
                manager=self._manager,
            )
        )

    def stop(self) -> None:
        self._daemon.stop()

    def add(self, route: Route) -> None:
        words = ["mfc", "add", "--iif", route.iif, "--table", str(route.table), *_stream(route)]
        words += ["--oifs", *route.oifs] if route.oifs else ["--stop"]
        for oif, ttl in route.ttls.items():
            words += ["--ttl", f"{oif}={ttl}"]
        self._type(*words)

    def add_many(self, routes: Sequence[Route]) -> None:
        file = self.home / "requests"
        payloads = (
            {"source": r.source, "group": r.group, "iif": r.iif, "oifs": [*r.oifs]} for r in routes
        )
        requests = ({"action": "ADD_MFC", "payload": payload} for payload in payloads)
        file.write_text("".join(f"{json.dumps(request)}\n" for request in requests))
        self._type("batch", str(file))

    def show_json(self) -> str:
        return self._type("--json", "show", "routes")

    def delete(self, route: Route) -> None:
        self._type("mfc", "del", "--table", str(route.table), *_stream(route))

    def join(self, interface: str, group: str, source: str = "") -> None:
        self._type(
            "group", "join", "--interface", interface, *_stream(Route(group, "", (), source))
        )

    def advertise(self, interface: str) -> None:
        self._advertised = [interface]
        self._write_settings()
        self.reload()

    def configure(self, routes: Sequence[Route]) -> None:
        directory = self.home / "configuration" / "routes.d"
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / "routes.toml"
        if not routes:  # a file without any is taken for a mistake
            path.unlink(missing_ok=True)
            return
        path.write_text(
            "".join(
                f'[[route]]\nsource = "{route.source or "*"}"\ngroup = "{route.group}"\n'
                f'iif = "{route.iif}"\noifs = {[*route.oifs]}\n'
                for route in routes
            )
        )

    def reload(self) -> None:
        place = (BUS_NAME, "/" + BUS_NAME.replace(".", "/"), BUS_NAME)
        foreign.busctl(self._bus.address, "call", *place, "Reload", "a{sv}", "0")

    def _write_settings(self) -> None:
        numbers = sorted({*self.rules.values()})
        tables = ["ipv4", "ipv6", *(f"{each}/{n}" for n in numbers for each in ("ipv4", "ipv6"))]
        rules = "".join(f"{iif} = {number}\n" for iif, number in self.rules.items())
        directory = self.home / "configuration"
        directory.mkdir(exist_ok=True)
        advertised = f"[router_discovery]\ninterfaces = {[*self._advertised]}\n"
        (directory / "mfc-dbus.toml").write_text(f"tables = {tables}\n[rules]\n{rules}{advertised}")

    def _type(self, *words: str) -> str:
        return foreign.output(self._bus.address, str(PROGRAMS / "mfc-dbus-cli"), *words)


class Smcroute(Contender):
    """With the interfaces of the lab enabled: one process a table, and rules by hand."""

    name = "smcroute"
    _advertised = ""

    def __init__(
        self,
        lab: Topology,
        *,
        rules: Mapping[str, int] | None = None,
        thresholds: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(lab, rules=rules, thresholds=thresholds)
        self._interfaces = lab.links
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self.stack.callback(self.stop)
        self.configure([])

    def start(self) -> None:
        for number in {0, *self.rules.values()}:
            files = ["-f", str(self._file(number, "conf")), "-P", str(self._file(number, "pid"))]
            table = ["-t", str(number)] if number else []
            with self.lab.router:
                self._processes[number] = subprocess.Popen(
                    ["smcrouted", "-n", "-N", *files, *self._socket(number), *table],
                    stdin=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            self._wait_for(self._file(number, "pid"))
        for iif, number in self.rules.items():
            for option in ("-4", "-6"):
                with self.lab.router:
                    command = ["ip", option, "mrule", "add", "iif", iif, "table", str(number)]
                    subprocess.run(command, check=True)

    def stop(self) -> None:
        for number, process in self._processes.items():
            process.terminate()
            process.wait()
            self._file(number, "pid").unlink(missing_ok=True)
        self._processes.clear()

    def add(self, route: Route) -> None:
        self._control(route.table, "add", *self._words(route))

    def add_many(self, routes: Sequence[Route]) -> None:
        lines = (f"add {' '.join(self._words(route))}\n" for route in routes)
        self._control(0, "-b", input_="".join(lines))

    def show_json(self) -> str:
        return self._control(0, "-j", "show", "routes")

    def delete(self, route: Route) -> None:
        self._control(route.table, "remove", *self._key(route))

    def join(self, interface: str, group: str, source: str = "") -> None:
        self._control(0, "join", interface, *([source] if source else []), group)

    def advertise(self, interface: str) -> None:
        self._advertised = interface
        self.configure([])
        self.stop()
        self.start()  # a reload does not begin it

    def configure(self, routes: Sequence[Route]) -> None:
        for number in {0, *self.rules.values()}:
            lines = [
                f"phyint {name} enable {'mrdisc ' * (name == self._advertised)}"
                f"ttl-threshold {self.thresholds.get(name, 1)}"
                for name in dict.fromkeys([*self._interfaces, *self.lab.links])
            ]
            for route in routes:
                source = f"source {route.source} " if route.source else ""
                iif, *oifs = map(_wildcard, [route.iif, *route.oifs])
                lines.append(f"mroute from {iif} {source}group {route.group} to {' '.join(oifs)}")
            self._file(number, "conf").write_text("\n".join(lines) + "\n")

    def reload(self) -> None:
        for number in self._processes:
            self._control(number, "reload")

    def _words(self, route: Route) -> list[str]:
        return [*self._key(route), *map(_wildcard, route.oifs)]

    def _key(self, route: Route) -> list[str]:
        return [_wildcard(route.iif), *([route.source] if route.source else []), route.group]

    def _file(self, number: int, suffix: str) -> Path:
        return self.home / f"{number}.{suffix}"

    def _socket(self, number: int) -> list[str]:
        return ["-u", str(self._file(number, "sock"))]

    def _control(self, number: int, *words: str, input_: str = "") -> str:
        done = subprocess.run(
            ["smcroutectl", *self._socket(number), *words],
            input=input_,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise OSError(f"smcroutectl {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def _wait_for(self, path: Path) -> None:
        deadline = time.monotonic() + _TIMEOUT
        while not path.exists():
            if time.monotonic() > deadline:
                raise TimeoutError("smcrouted does not start")
            time.sleep(0.01)


def _stream(route: Route) -> list[str]:
    return ["--source", route.source or "*", "--group", route.group]


def _wildcard(name: str) -> str:
    """Write a pattern as smcroute does."""
    return f"{name[:-1]}+" if name.endswith("*") else name
