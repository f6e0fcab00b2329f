"""A private bus, and the daemon on it in a network namespace, shared by all tests that may."""

import asyncio
import inspect
import pwd
import shutil
from collections.abc import Coroutine, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from lab.bus import BROKER, DAEMON, PrivateBus
from lab.caller import Caller, acting_as
from lab.cli import CLI
from lab.daemon import Daemon
from lab.markdown import Rows, markdown
from lab.netns import Namespace
from lab.polkit import MOCK_POLICY
from lab.privileges import NOBODY

_TABLES = pytest.StashKey[dict[str, Rows]]()
_TIMEOUT = 60
_DEVICES = 34  # more than the 32 VIFs of a table


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine on an event loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(_run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names})))
    return True


async def _run(test: Coroutine[Any, Any, None]) -> None:
    async with asyncio.timeout(_TIMEOUT):
        await test
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, "tasks that nobody ended"


@pytest.fixture
def tables(pytestconfig: pytest.Config) -> dict[str, Rows]:
    """Tables to be printed at the end, by their titles."""
    return pytestconfig.stash.setdefault(_TABLES, {})


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for title, rows in config.stash.get(_TABLES, {}).items():
        terminalreporter.section(title)
        for line in markdown(rows):
            terminalreporter.write_line(line)


@pytest.fixture(scope="session", params=["dbus_next", "dbus_fast"])
def library(request: pytest.FixtureRequest) -> str:
    library: str = request.param
    return library


@pytest.fixture(scope="session", params=[DAEMON, *([BROKER] if shutil.which(BROKER) else [])])
def bus_program(request: pytest.FixtureRequest) -> str:
    program: str = request.param
    return program


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out on dbus-broker: the older library, and tests that are about no library."""
    about_buses = {"dbus_fast"} if not config.getoption("--thorough") else set()

    def is_left_out(item: pytest.Item) -> bool:
        values = _parameters(item)
        return BROKER in values and ("dbus_next" in values or not values >= about_buses)

    left_out = {item: is_left_out(item) for item in items}
    items[:] = [item for item in items if not left_out[item]]
    config.hook.pytest_deselected(items=[item for item, out in left_out.items() if out])


def _parameters(item: pytest.Item) -> set[object]:
    call = getattr(item, "callspec", None)
    return {value for value in call.params.values() if isinstance(value, str)} if call else set()


@pytest.fixture(scope="session")
def network() -> Iterator[Namespace]:
    """eth1 to eth34, in pairs; the first four are up."""
    try:
        namespace = Namespace()
    except PermissionError:
        pytest.skip("network namespaces need root, or: unshare -Urnm")
    with closing(namespace):
        namespace.ip(
            *(
                f"link add name eth{n} type veth peer name eth{n + 1}"
                for n in range(1, _DEVICES, 2)
            ),
            *(f"link set dev eth{n} up" for n in range(1, 5)),
        )
        namespace.wait_until_up(f"eth{n}" for n in range(1, 5))
        yield namespace


@pytest.fixture
def own_network() -> Iterator[Namespace]:
    """A network for a daemon of the test's own: eth1 and eth2, which are up."""
    with closing(Namespace()) as namespace:
        namespace.ip(
            "link add name eth1 type veth peer name eth2",
            "link set dev eth1 up",
            "link set dev eth2 up",
        )
        namespace.wait_until_up(["eth1", "eth2"])
        yield namespace


@pytest.fixture(scope="session")
def _mock_policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bus") / "polkit.conf"
    path.write_text(MOCK_POLICY)
    return path


@pytest.fixture(scope="session")
def bus(_mock_policy: Path, bus_program: str) -> Iterator[PrivateBus]:
    """A bus on which root may be polkit."""
    with PrivateBus(bus_program, includes=[_mock_policy]) as bus:
        yield bus


@pytest.fixture
def own_bus(_mock_policy: Path, bus_program: str) -> Iterator[PrivateBus]:
    """The same for a daemon of the test's own."""
    with PrivateBus(bus_program, includes=[_mock_policy]) as bus:
        yield bus


@pytest.fixture(scope="session")
def _daemon(bus: PrivateBus, network: Namespace, library: str) -> Iterator[Daemon]:
    with Daemon(bus.address, network, library=library) as daemon:
        yield daemon


@pytest.fixture
def daemon(_daemon: Daemon, bus: PrivateBus) -> Iterator[Daemon]:
    """The daemon, with nothing to do; it must outlive the test, and not have been surprised."""
    known = len(_daemon.log)
    yield _daemon
    asyncio.run(_flush(bus))
    assert "Traceback" not in _daemon.log[known:]


@pytest.fixture
def cli(daemon: Daemon, bus: PrivateBus, library: str) -> CLI:
    return CLI(bus.address, library)


@pytest.fixture
def own_daemon(own_bus: PrivateBus, own_network: Namespace, library: str) -> Iterator[Daemon]:
    """A daemon of the test's own, which may end."""
    with Daemon(own_bus.address, own_network, library=library) as daemon:
        yield daemon
        assert "Traceback" not in daemon.log


async def _flush(bus: PrivateBus) -> None:
    async with Caller.at(bus.address) as root:
        await root.flush()
        await root.leave_all()


@pytest.fixture(scope="session")
def nobody() -> int:
    """A uid that is not root's."""
    try:
        with acting_as(NOBODY):
            return NOBODY
    except OSError:
        pytest.skip(f"this user namespace has no uid {NOBODY}: it needs root, or subordinate uids")


@pytest.fixture(scope="session")
def strangers(nobody: int) -> list[int]:
    """Uids that are not root's, nobody's first. The bus wants to know them by name."""
    known = {user.pw_uid for user in pwd.getpwall()}
    return [nobody, *sorted(known - {0, nobody})]
