"""What switches are told of the router, by the real daemon.

up0 ──┐ router,  ┌── down0
      ├ mfc-dbusd┤
up1 ──┘          └── down1
"""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from lab.bus import PrivateBus
from lab.caller import Caller
from lab.daemon import CONFIGURATION, Daemon
from lab.manager import Manager
from lab.mrd import Listener, Message
from lab.topology import Topology

from mfc_dbus.kernel.mroute import MRoute

IPV4, IPV6 = socket.AF_INET, socket.AF_INET6
FAMILIES = [IPV4, IPV6]
ADVERTISEMENT, TERMINATION = "advertisement", "termination"
SOCKETS = ("mroute-ipv4", "mroute-ipv6")


def settings(*interfaces: str) -> str:
    return f"[router_discovery]\ninterfaces = {list(interfaces)}\ninterval = 4\n"


@pytest.fixture
def lab() -> Iterator[Topology]:
    with Topology(IPV4, downstreams=2, upstreams=2) as lab:
        for number, name in enumerate(lab.links):
            lab.router.ip(
                f"address add 10.9.{number}.1/24 dev {name}",
                f"address add fe80::{number + 1}/64 dev {name} nodad",
            )
        yield lab


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "configuration").mkdir()
    (tmp_path / "configuration" / CONFIGURATION).write_text(settings("up0"))
    return tmp_path


@pytest.fixture
def far_ends(lab: Topology) -> Iterator[dict[str, Listener]]:
    with ExitStack() as stack:
        yield {name: stack.enter_context(Listener(lab.outside, name)) for name in lab.links}


def heard(listener: Listener, kind: str, times: int = 1) -> list[Message]:
    """What was said when this was, so often in each family."""
    said: list[Message] = []
    for family in FAMILIES:
        while [(each.family, each.kind) for each in said].count((family, kind)) < times:
            said += listener.until(lambda _: True)
    return said


def kinds(said: list[Message]) -> set[tuple[int, str]]:
    return {(each.family, each.kind) for each in said}


def both(kind: str) -> set[tuple[int, str]]:
    return {(family, kind) for family in FAMILIES}


async def test_it_is_said_where_the_settings_say_so_and_a_reload_counts(
    own_bus: PrivateBus, lab: Topology, home: Path, far_ends: dict[str, Listener]
) -> None:
    with Daemon(own_bus.address, lab.router, home=home) as daemon:
        said = heard(far_ends["up0"], ADVERTISEMENT, times=2)
        assert kinds(said) == both(ADVERTISEMENT)
        assert {each.interval for each in said} == {4}
        assert {each.source for each in said} == {"10.9.0.1", "fe80::1"}

        daemon.configure(settings("up1", "down*"))
        async with Caller.at(own_bus.address) as root:
            await root.reload()
        goodbyes = [each for each in heard(far_ends["up0"], TERMINATION) if each.interval == 0]
        assert kinds(goodbyes) == both(TERMINATION)
        assert len(goodbyes) == len(FAMILIES)
        for name in ("up1", "down0", "down1"):
            assert kinds(heard(far_ends[name], ADVERTISEMENT)) == both(ADVERTISEMENT)
        heard(far_ends["up1"], ADVERTISEMENT, times=3)
        assert far_ends["up0"].so_far() == []

        # Nobody keeps its sockets, so this stop ends the routes.
        assert daemon.stop() == 0
        assert both(TERMINATION) <= kinds(heard(far_ends["up1"], TERMINATION))
        assert "Traceback" not in daemon.log
    assert far_ends["up0"].so_far() == []


def test_it_goes_on_after_kill_9_and_a_restart_says_no_goodbye(
    own_bus: PrivateBus, lab: Topology, home: Path, far_ends: dict[str, Listener]
) -> None:
    up0 = far_ends["up0"]
    with Manager() as manager, ExitStack() as stack:

        def start() -> Daemon:
            return stack.enter_context(
                Daemon(own_bus.address, lab.router, home=home, manager=manager)
            )

        daemon = start()
        heard(up0, ADVERTISEMENT)
        manager.wait_for(*SOCKETS)
        daemon.kill()
        up0.so_far()

        daemon = start()
        assert kinds(heard(up0, ADVERTISEMENT)) == both(ADVERTISEMENT)
        assert daemon.status()["CapEff"] == "0" * 16
        assert daemon.stop() == 0
        lab.packets()
        assert TERMINATION not in {each.kind for each in up0.so_far()}

        daemon = start()
        assert kinds(heard(up0, ADVERTISEMENT)) == both(ADVERTISEMENT)
        assert "WARNING" not in daemon.log


def test_nothing_is_said_from_a_table_that_somebody_else_owns(
    own_bus: PrivateBus, lab: Topology, home: Path, far_ends: dict[str, Listener]
) -> None:
    up0 = far_ends["up0"]
    with lab.router:
        other = MRoute(IPV4)
    with other:
        other.init()
        with Daemon(own_bus.address, lab.router, home=home):
            said: list[Message] = []
            while len(said) < 3:
                said += up0.until(lambda _: True)
            assert kinds(said) == {(IPV6, ADVERTISEMENT)}
            other.close()
            up0.until(lambda message: message.family == IPV4)


def test_a_link_that_is_plugged_in_again_is_told_anew(
    own_bus: PrivateBus, lab: Topology, home: Path, far_ends: dict[str, Listener]
) -> None:
    (home / "configuration" / CONFIGURATION).write_text(
        '[router_discovery]\ninterfaces = ["up0"]\ninterval = 180\n'
    )
    with Daemon(own_bus.address, lab.router, home=home):
        heard(far_ends["up0"], ADVERTISEMENT, times=3)
        lab.outside.ip("link set dev up0 down")
        lab.router.ip("link show dev up0")  # which has the kernel tell of it now
        lab.outside.ip("link set dev up0 up")
        with Listener(lab.outside, "up0") as again:
            assert kinds(heard(again, ADVERTISEMENT)) == both(ADVERTISEMENT)
