"""What systemd is told, by a datagram socket that is really there, and what it hands back."""

import os
import resource
import secrets
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from mfc_dbus.daemon.sdnotify import ServiceManager, kept_fds

_MAX_MESSAGE = 4096
_MAX_FDS = 8
FIRST = 3  # SD_LISTEN_FDS_START


class Manager:
    """systemd's end of the socket."""

    def __init__(self, address: str) -> None:
        self.environment = {"NOTIFY_SOCKET": address}
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._sock.bind(address.replace("@", "\0", 1) if address.startswith("@") else address)

    def told(self) -> list[str]:
        """The assignments of the next message, which has no file descriptor."""
        assignments, fds = self.told_with_fds()
        assert fds == []
        return assignments

    def told_with_fds(self) -> tuple[list[str], list[int]]:
        message, fds, _, _ = socket.recv_fds(self._sock, _MAX_MESSAGE, _MAX_FDS)
        return message.decode().split("\n"), fds

    def told_nothing_more(self) -> bool:
        try:
            self._sock.recv(_MAX_MESSAGE)
        except BlockingIOError:
            return True
        return False

    def close(self) -> None:
        self._sock.close()


@pytest.fixture
def service(manager: Manager) -> Iterator[ServiceManager]:
    with ServiceManager(manager.environment) as service:
        yield service


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    abstract = request.param == "abstract"
    manager = Manager(f"@mfc-dbus-{secrets.token_hex(8)}" if abstract else str(tmp_path / "notify"))
    yield manager
    manager.close()


# Telling


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}])
def test_without_a_service_manager_nobody_is_told(environment: dict[str, str]) -> None:
    nobody = ServiceManager(environment)
    nobody.notify("READY=1")
    nobody.keep("mroute-ipv4", 0)
    nobody.forget("mroute-ipv4")
    assert nobody.watchdog == 0


def test_a_service_manager_that_has_gone_ends_nothing_and_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "gone")}) as gone:
        gone.notify("READY=1")
    assert "does not hear READY=1" in caplog.text


def test_that_it_hears_nothing_is_logged_once_until_it_has_heard_something(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "notify"
    with ServiceManager({"NOTIFY_SOCKET": str(path)}) as service:
        for _ in range(3):
            service.notify("WATCHDOG=1")
        assert len(caplog.records) == 1
        manager = Manager(str(path))
        service.notify("WATCHDOG=1")
        assert manager.told() == ["WATCHDOG=1"]
        manager.close()
        for _ in range(3):
            service.notify("WATCHDOG=1")
        assert len(caplog.records) == 2


def test_it_is_told_by_a_process_that_can_open_nothing_more(
    manager: Manager, service: ServiceManager
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        service.notify("READY=1")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert manager.told() == ["READY=1"]


def test_a_start_or_an_end_may_take_longer(manager: Manager, service: ServiceManager) -> None:
    service.tell_of_long_work(2)
    assert manager.told() == ["EXTEND_TIMEOUT_USEC=2000000"]


def test_a_status_is_told_when_it_is_another_one(manager: Manager, service: ServiceManager) -> None:
    for status in ("1 route", "1 route", "a\nb\x1b", "x" * 9000):
        service.describe(status)
    assert manager.told() == ["STATUS=1 route"]
    assert manager.told() == ["STATUS=a\\nb\\x1b"]
    (long,) = manager.told()
    assert long.startswith("STATUS=xxx")
    assert len(long) < 1100
    assert manager.told_nothing_more()


def test_each_message_is_its_assignments_a_line_each(
    manager: Manager, service: ServiceManager
) -> None:
    service.notify("READY=1")
    service.notify("RELOADING=1", "MONOTONIC_USEC=7", "STATUS=Größe")
    service.notify("WATCHDOG=1")
    assert manager.told() == ["READY=1"]
    assert manager.told() == ["RELOADING=1", "MONOTONIC_USEC=7", "STATUS=Größe"]
    assert manager.told() == ["WATCHDOG=1"]
    assert manager.told_nothing_more()


def test_what_is_kept_goes_along_under_its_name_and_stays_open_here(
    manager: Manager, service: ServiceManager
) -> None:
    reading, writing = os.pipe()
    service.keep("mroute-ipv4", writing)
    assignments, (copy,) = manager.told_with_fds()
    assert assignments == ["FDSTORE=1", "FDNAME=mroute-ipv4", "FDPOLL=0"]
    for fd in (writing, copy):
        os.write(fd, b".")
        os.close(fd)
    assert os.read(reading, 3) == b".."
    os.close(reading)
    service.forget("mroute-ipv4")
    assert manager.told() == ["FDSTOREREMOVE=1", "FDNAME=mroute-ipv4"]


def test_it_leaves_no_file_descriptor_open(manager: Manager, service: ServiceManager) -> None:
    before = os.listdir("/proc/self/fd")  # noqa: PTH208 - names
    service.notify("WATCHDOG=1")
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208


# The watchdog


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, 0),
        ({"WATCHDOG_PID": str(os.getpid())}, 0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getppid())}, 0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30),
        ({"WATCHDOG_USEC": "1500000"}, 1.5),
    ],
    ids=["none", "none for us", "another's", "ours", "of nobody by name"],
)
def test_the_watchdog_is_ours_or_there_is_none(environment: dict[str, str], seconds: float) -> None:
    assert ServiceManager(environment).watchdog == seconds


# What was kept


@pytest.fixture
def inheritable(monkeypatch: pytest.MonkeyPatch) -> dict[int, bool]:
    """What became of file descriptors, of which this process has others under those numbers."""
    became: dict[int, bool] = {}
    monkeypatch.setattr(os, "set_inheritable", became.__setitem__)
    return became


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "mroute-ipv4"},
        {"LISTEN_PID": "", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "mroute-ipv4"},
        {"LISTEN_PID": str(os.getppid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "mroute-ipv4"},
        {"LISTEN_PID": str(os.getpid())},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "0"},
    ],
    ids=["nothing", "of nobody", "of an empty pid", "of another", "without a count", "none"],
)
def test_what_was_kept_for_another_process_is_not_touched(
    environment: dict[str, str], inheritable: dict[int, bool]
) -> None:
    assert kept_fds(environment) == []
    assert inheritable == {}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("mroute-ipv4:mroute-ipv6", ["mroute-ipv4", "mroute-ipv6"]),
        ("stored:mroute-ipv4", ["stored", "mroute-ipv4"]),
        ("mroute-ipv4:", ["mroute-ipv4", "unknown"]),
        ("mroute-ipv4", ["mroute-ipv4", "unknown"]),
        (None, ["unknown", "unknown"]),
        ("a:b:c", ["a", "b"]),
    ],
)
def test_what_was_kept_is_told_by_name_and_nobody_inherits_it(
    names: str | None, expected: Sequence[str], inheritable: dict[int, bool]
) -> None:
    environment = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2"}
    if names is not None:
        environment["LISTEN_FDNAMES"] = names
    assert kept_fds(environment) == list(zip(expected, (FIRST, FIRST + 1), strict=True))
    assert inheritable == {FIRST: False, FIRST + 1: False}
