"""All of the configuration's problems are told, stay in the status, and reloads do not mix."""

import asyncio
import logging
import threading
from pathlib import Path

import pytest

from mfc_dbus.config import configuration, routes_d
from mfc_dbus.config.configuration import Configuration, Loaded
from mfc_dbus.config.routes_d import Files
from mfc_dbus.config.settings import Settings
from mfc_dbus.model.errors import ConfigError, KernelError, TooManyInterfaces

ROUTE = '[[route]]\ngroup = "239.5.5.1"\niif = "eth1"\noifs = ["eth2"]\n'
JOINS = '[[membership]]\ngroup = "239.5.5.1"\ninterface = "ppp7"\n'
PRESENT = {"eth1", "eth2"}


class Etc:
    """A directory of a configuration."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / routes_d.DIRECTORY).mkdir()
        self.configuration = Configuration(path)

    def write(self, name: str, text: str) -> Path:
        path = self.path / name
        path.write_text(text)
        return path

    def routes(self, name: str, text: str) -> Path:
        return self.write(f"{routes_d.DIRECTORY}/{name}", text)

    def status(self, routes: int = 1) -> str:
        return self.configuration.describe(PRESENT, routes)


@pytest.fixture
def etc(tmp_path: Path) -> Etc:
    return Etc(tmp_path)


async def take(settings: Settings, files: Files) -> None:
    """Go by whatever was read."""


def refused(etc: Etc) -> list[str]:
    with pytest.raises(ConfigError) as error:
        asyncio.run(etc.configuration.reload(take))
    return str(error.value).split("\n")


def test_a_reload_tells_the_problems_of_all_files(etc: Etc) -> None:
    settings = etc.write("mfc-dbus.toml", "x = 1\n[limits]\nroutes = -1\n")
    one = etc.routes("one.toml", "?\n")
    two = etc.routes("two.toml", ROUTE.replace('"eth1"', "1").replace("oifs", "oif"))
    etc.routes("three.toml", ROUTE)
    places = [": ".join(problem.split(": ")[:3]) for problem in refused(etc)]
    assert places == [
        f"{settings}: line 1: 'x' is no setting; there are {places[0].partition('are ')[2]}",
        f"{settings}: line 3: {places[1].split(': ')[2]}",
        f"{one}: line 1: '?' is not TOML",
        f"{two}: line 4: route[0].oif",
        f"{two}: line 3: route[0].iif",
        f"{two}: line 1: route[0].oifs",
    ]


def test_of_many_problems_the_first_are_told_and_how_many_there_are(etc: Etc) -> None:
    etc.write("mfc-dbus.toml", "".join(f"x{n} = 1\n" for n in range(30)))
    problems = refused(etc)
    assert len(problems) == 21
    assert problems[-1] == "and 10 more"
    assert "; 30 problems in the configuration: first " in etc.status()


def test_problems_stay_in_the_status_until_they_are_mended(etc: Etc) -> None:
    assert etc.status(0) == "0 routes"
    path = etc.routes("one.toml", "?\n")
    refused(etc)
    assert etc.status() == f"1 route; a problem in the configuration: {path}: line 1: '?' " + (
        "is not TOML: Invalid statement"
    )
    path.write_text(ROUTE)
    asyncio.run(etc.configuration.reload(take))
    assert etc.status() == "1 route"


def test_a_start_goes_without_what_is_broken_and_says_so(
    etc: Etc, caplog: pytest.LogCaptureFixture
) -> None:
    etc.write("mfc-dbus.toml", "x = 1\n")
    etc.routes("one.toml", "?\n")
    etc.routes("two.toml", ROUTE)
    settings, files = etc.configuration.begin()
    assert settings == Settings()
    assert len(files.routes) == 1
    assert "2 problems in the configuration: first " in etc.status()
    *problems, defaults, without = (record.getMessage() for record in caplog.records)
    assert [problem.partition(": ")[0][-8:] for problem in problems] == ["bus.toml", "one.toml"]
    assert defaults.endswith("mfc-dbus.toml has problems: going by the defaults")
    assert without.endswith("routes.d has problems: going without these files")


def test_what_is_refused_when_it_is_done_stays_in_the_status_if_it_is_the_configurations_fault(
    etc: Etc,
) -> None:
    path = etc.routes("one.toml", ROUTE.replace('"eth2"', '"eth*"'))

    async def no_room(settings: Settings, files: Files) -> None:
        raise TooManyInterfaces("There is no room for 'eth33'", "eth33")

    with pytest.raises(ConfigError) as error:
        asyncio.run(etc.configuration.reload(no_room))
    sentence = f"{path}: line 4: route[0].oifs: There is no room for 'eth33'"
    assert str(error.value) == sentence
    assert sentence in etc.status()

    async def no_kernel(settings: Settings, files: Files) -> None:
        raise KernelError("No buffer space")

    with pytest.raises(KernelError):
        asyncio.run(etc.configuration.reload(no_kernel))
    assert sentence in etc.status()
    asyncio.run(etc.configuration.reload(take))
    assert etc.status() == "1 route"


def test_what_is_refused_by_its_index_is_named_with_its_file_and_line(etc: Etc) -> None:
    etc.routes("a.toml", ROUTE)
    etc.routes("b.toml", JOINS.replace(".1", ".2"))
    path = etc.routes("c.toml", JOINS + "\n" + ROUTE.replace(".1", ".2"))

    async def refuse(settings: Settings, files: Files) -> None:
        raise ConfigError("route[1]: It is odd\nmembership[1]: So is this\nand 3 more")

    with pytest.raises(ConfigError) as error:
        asyncio.run(etc.configuration.reload(refuse))
    problems = [
        f"{path}: line 5: route[0]: It is odd",
        f"{path}: line 1: membership[0]: So is this",
    ]
    assert str(error.value).split("\n") == [*problems, "and 3 more"]
    assert problems[0] in etc.status()


def test_interfaces_that_are_not_there_are_warned_of_with_their_place(
    etc: Etc, caplog: pytest.LogCaptureFixture
) -> None:
    one = etc.routes("one.toml", ROUTE + ROUTE.replace("eth1", "eht1").replace(".1", ".2"))
    two = etc.routes("two.toml", JOINS + ROUTE.replace("eth1", "wlan*").replace(".1", ".3"))
    asyncio.run(etc.configuration.reload(take))
    asyncio.run(etc.configuration.warn(PRESENT, 3))
    assert [record.getMessage() for record in caplog.records] == [
        f"{one}: line 7: route[1].iif: There is no interface 'eht1' yet",
        f"{two}: line 6: route[0].iif: No interface matches 'wlan*' yet",
        f"{two}: line 3: membership[0].interface: There is no interface 'ppp7' yet",
    ]
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    absent = "configured interfaces that are not there"
    assert etc.configuration.describe(PRESENT, 3) == f"3 routes; {absent}: 'eht1', 'wlan*', 'ppp7'"
    present = PRESENT | {"wlan7", "ppp7"}
    assert etc.configuration.describe(present, 3) == f"3 routes; {absent}: 'eht1'"
    assert etc.configuration.describe(present | {"eht1"}, 3) == "3 routes"


def test_interfaces_of_the_settings_that_are_not_there_are_warned_of_too(
    etc: Etc, caplog: pytest.LogCaptureFixture
) -> None:
    path = etc.write(
        "mfc-dbus.toml",
        'tables = ["ipv4", "ipv4/7"]\ndiscovery.interfaces = ["eth1", "vlan*"]\n'
        'router_discovery.interfaces = ["eth9"]\n[rules]\neth2 = 7\neth8 = 7\n',
    )
    asyncio.run(etc.configuration.reload(take))
    asyncio.run(etc.configuration.warn(PRESENT, 0))
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: 'discovery.interfaces': No interface matches 'vlan*' yet",
        f"{path}: 'router_discovery.interfaces': There is no interface 'eth9' yet",
        f"{path}: 'rules': There is no interface 'eth8' yet",
    ]
    assert etc.status(0).endswith("that are not there: 'vlan*', 'eth9', 'eth8'")


def test_a_limit_below_what_there_is_is_warned_of(
    etc: Etc, caplog: pytest.LogCaptureFixture
) -> None:
    path = etc.write("mfc-dbus.toml", "[limits]\nroutes = 2\n")
    asyncio.run(etc.configuration.reload(take))
    asyncio.run(etc.configuration.warn(PRESENT, 3))
    (record,) = caplog.records
    assert record.getMessage().startswith(f"{path}: 'limits.routes' is 2, and there are 3 routes")
    assert "'limits.routes' is 2" in etc.status(3)
    assert etc.status(2) == "2 routes"


def test_a_file_name_is_told_with_nothing_that_a_terminal_obeys(etc: Etc) -> None:
    etc.routes("a\x1b[2J\n\udcff.toml", "?\n")
    (problem,) = refused(etc)
    assert problem.startswith(f"{etc.path}/routes.d/a\\x1b[2J\\n\\udcff.toml: line 1: ")
    etc.configuration.begin()
    assert etc.status().isprintable()


def test_of_two_reloads_the_later_one_has_the_last_word(tmp_path: Path) -> None:
    went_on, reads = threading.Event(), 0
    applied: list[int] = []

    def load(_: Path) -> Loaded:
        nonlocal reads
        reads += 1
        mine = reads
        if mine == 1:
            went_on.wait(10)
        return Loaded(Settings(max_routes=mine), Files([], (), {}, ()), ())

    async def apply(settings: Settings, files: Files) -> None:
        applied.append(settings.max_routes)

    async def scenario() -> None:
        etc = Configuration(tmp_path, load)
        first = asyncio.create_task(etc.reload(apply))
        second = asyncio.create_task(etc.reload(apply))
        _, waiting = await asyncio.wait([first, second], timeout=0.1)
        assert len(waiting) == 2
        went_on.set()
        await asyncio.gather(first, second)
        assert etc.settings.max_routes == 2

    asyncio.run(scenario())
    assert applied == [1, 2]
    assert configuration.load(tmp_path).problems == []
