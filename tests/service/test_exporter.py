"""The exporter, with scrapers of ours and a real Prometheus, inside a network of their own."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from lab.bus import PrivateBus
from lab.cli import CLI
from lab.daemon import PROGRAMS, Daemon
from lab.metrics import one, promtool, read
from lab.netns import Namespace

EXAMPLES = Path(__file__).parents[2] / "data/doc/examples"
OPENMETRICS = "application/openmetrics-text;version=1.0.0"
CLIENTS = 32
ADD = ["mfc", "add", "-s", "10.1.0.10", "-g", "239.1.2.3", "-i", "eth1", "-o", "eth2"]


class Exporter:
    """mfc-dbus-exporter in a network; it listens when the constructor returns."""

    def __init__(
        self,
        address: str,
        network: Namespace,
        *words: str,
        listen: str = "127.0.0.1:0",
        sock: socket.socket | None = None,
    ) -> None:
        environment = os.environ | {"DBUS_SYSTEM_BUS_ADDRESS": address}
        command = [str(PROGRAMS / "mfc-dbus-exporter"), "--listen", listen, *words]
        fds: Sequence[int] = ()
        if sock is not None:  # as systemd hands it over
            fds = [sock.fileno()]
            handing = f'exec 3<&{sock.fileno()} && LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"'
            command = ["bash", "-c", handing, "bash", *command]
        self.network = network
        with network:
            self.process = subprocess.Popen(
                command, env=environment, stderr=subprocess.PIPE, text=True, pass_fds=fds
            )
        assert self.process.stderr
        self.told = self.process.stderr.readline()
        host, _, port = self.told.rpartition(" ")[2].strip().rpartition(":")
        self.host, self.port = host.strip("[]"), int(port or 0)

    def connect(self) -> socket.socket:
        with self.network:
            return socket.create_connection((self.host, self.port), timeout=20)

    def ask(
        self, path: str = "/metrics", method: str = "GET", accept: str = ""
    ) -> tuple[int, str, str]:
        """The status, the type and the text of an answer."""
        connection = http.client.HTTPConnection(self.host, self.port)
        connection.sock = self.connect()
        connection.request(method, path, headers={"Accept": accept})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, answer.headers["Content-Type"], text

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def close(self) -> None:
        self.end()
        assert self.process.stderr
        self.process.stderr.close()


@contextlib.contextmanager
def exporting(address: str, network: Namespace, *words: str, **options: Any) -> Iterator[Exporter]:
    with contextlib.closing(Exporter(address, network, *words, **options)) as exporter:
        yield exporter


@pytest.fixture
def exporter(daemon: Daemon, bus: PrivateBus, network: Namespace) -> Iterator[Exporter]:
    with exporting(bus.address, network) as exporter:
        yield exporter
        assert exporter.process.poll() is None


def until(condition: Callable[[], bool]) -> None:
    """Ask again and again: Prometheus tells of nothing by itself."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_each_scraper_gets_the_format_that_it_reads(exporter: Exporter, cli: CLI) -> None:
    assert cli(*ADD).returncode == 0
    status, type_, text = exporter.ask(accept=OPENMETRICS)
    assert (status, type_.partition(";")[0]) == (200, "application/openmetrics-text")
    assert one(read(text), "mfc_routes", family="ipv4", table="0", state="active") == 1
    status, type_, text = exporter.ask()
    assert (status, type_.partition(";")[0]) == (200, "text/plain")
    promtool("check", "metrics", text=text)


def test_other_pages_and_methods_are_refused(exporter: Exporter) -> None:
    assert 'href="/metrics"' in exporter.ask("/")[2]
    assert exporter.ask("/metrics?name[]=mfc_up")[0] == 200
    assert exporter.ask("/etc/passwd")[0] == 404
    assert exporter.ask(method="POST")[0] == 405
    assert exporter.ask(method="HEAD") == (200, exporter.ask()[1], "")


@pytest.mark.parametrize(
    "request_",
    [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /metrics GOPHER/1\r\n\r\n",
        b"\xff\xfe\0" * 30 + b"\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
        b"x" * 100_000,
    ],
)
def test_what_is_no_request_is_answered_as_such(request_: bytes, exporter: Exporter) -> None:
    with exporter.connect() as sock, contextlib.suppress(ConnectionError):
        sock.sendall(request_)
        answer = sock.recv(4096)
        assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert exporter.ask()[0] == 200


def test_however_many_connect_and_do_not_ask_a_scraper_is_answered(exporter: Exporter) -> None:
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(exporter.connect()) for _ in range(2 * CLIENTS)]
        assert exporter.ask()[0] == 200
        with contextlib.suppress(ConnectionError):
            assert silent[0].recv(1) == b""


def test_a_service_that_is_away_is_told_and_so_is_its_return(
    own_bus: PrivateBus, own_network: Namespace, library: str
) -> None:
    with exporting(own_bus.address, own_network) as exporter:
        assert one(read(exporter.ask(accept=OPENMETRICS)[2]), "mfc_up") == 0
        with Daemon(own_bus.address, own_network, library=library):
            until(lambda: one(read(exporter.ask(accept=OPENMETRICS)[2]), "mfc_up") == 1)
        assert exporter.end() == 0


def test_when_the_bus_has_gone_it_ends_to_be_started_anew(
    own_bus: PrivateBus, own_network: Namespace
) -> None:
    with exporting(own_bus.address, own_network) as exporter:
        own_bus.stop()
        with contextlib.suppress(ConnectionError, http.client.HTTPException):
            assert exporter.ask()[0] == 503
        assert exporter.process.wait(20) == 1


def test_it_listens_on_the_loopback_alone_or_on_the_socket_that_systemd_has(
    daemon: Daemon, bus: PrivateBus, network: Namespace
) -> None:
    for where in ("0.0.0.0:9942", "10.0.0.1:1", "localhost:1", "127.0.0.1:99999", "9942"):
        done = subprocess.run(
            [PROGRAMS / "mfc-dbus-exporter", "--listen", where], capture_output=True, text=True
        )
        assert (done.returncode, "--listen" in done.stderr) == (2, True)
    with exporting(bus.address, network, listen="[::1]:0") as exporter:
        assert (exporter.host, exporter.ask()[0]) == ("::1", 200)
    with network:
        sock = socket.create_server(("0.0.0.0", 0))
    with sock, exporting(bus.address, network, sock=sock) as exporter:
        assert exporter.host == "0.0.0.0"
        assert exporter.ask()[0] == 200


# A real Prometheus

CONFIGURATION = """
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [RULES]
scrape_configs:
  - job_name: mfc-dbus
    static_configs: [{targets: ["127.0.0.1:PORT"]}]
"""


class Prometheus:
    """Prometheus in the network of the exporter; it ends with the context."""

    def __init__(self, exporter: Exporter, directory: Path) -> None:
        rules = EXAMPLES / "mfc-dbus.rules.yml"
        configuration = directory / "prometheus.yml"
        configuration.write_text(
            CONFIGURATION.replace("RULES", str(rules)).replace("PORT", str(exporter.port))
        )
        self._network = exporter.network
        with self._network, socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        with self._network:
            self.process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={configuration}",
                    f"--storage.tsdb.path={directory / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self._port}",
                ],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )

    def __enter__(self) -> "Prometheus":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def ask(self, path: str) -> Any:
        """The data that its API answers with; None while it starts."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port)
        try:
            with self._network:
                connection.connect()
            connection.request("GET", f"/api/v1/{path}")
            answer = connection.getresponse()
            return json.loads(answer.read())["data"] if answer.status == 200 else None
        except OSError:
            return None
        finally:
            connection.close()

    def value(self, expression: str) -> float | None:
        data = self.ask(f"query?query={expression}")
        return float(data["result"][0]["value"][1]) if data and data["result"] else None


def test_prometheus_scrapes_it_and_the_alerts_of_the_example_see_a_route_that_waits(
    exporter: Exporter, cli: CLI, tmp_path: Path
) -> None:
    if not shutil.which("prometheus"):
        pytest.skip("there is no Prometheus")
    assert cli(*ADD).returncode == 0
    with Prometheus(exporter, tmp_path) as prometheus:
        until(lambda: prometheus.value("up") == 1)
        until(lambda: prometheus.value('mfc_route_active{group="239.1.2.3"}') == 1)
        assert prometheus.value('mfc_route_packets_total{group="239.1.2.3"}') == 0
        assert prometheus.value('mfc_vifs_free{family="ipv4"}') == 30
        assert prometheus.value("ALERTS") is None
        assert (
            cli("mfc", "add", "-g", "239.1.2.4", "-i", "new", "-o", "eth2", "--wait").returncode
            == 0
        )
        until(lambda: prometheus.value('ALERTS{alertname="MulticastRoutesWaiting"}') == 1)
