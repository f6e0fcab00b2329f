"""The dispatcher with the real daemon: what scripts hear, and how they are run."""

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.bus import PrivateBus
from lab.cli import CLI
from lab.daemon import Daemon
from lab.dispatcher import Dispatcher
from lab.netns import Namespace
from lab.packets import Run, Sender

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="scripts must belong to root")

IPV4, IPV6 = socket.AF_INET, socket.AF_INET6
STREAMS = {IPV4: ("10.1.0.10", "239.1.2.3"), IPV6: ("fd01::10", "ff3e::123")}
ADD = ["mfc", "add", "-s", "10.1.0.10", "-g", "239.1.2.3", "-i", "eth1", "-o", "eth2"]
DELETE = ["mfc", "del", "-s", "10.1.0.10", "-g", "239.1.2.3"]
ROUTE = "10.1.0.10,239.1.2.3"


@pytest.fixture(scope="session")
def library() -> str:
    """The daemon's own choice: what it tells is the same with each."""
    return ""


@pytest.fixture
def own_cli(own_bus: PrivateBus, own_daemon: Daemon) -> CLI:
    return CLI(own_bus.address)


@pytest.fixture
def dispatcher(own_bus: PrivateBus, own_daemon: Daemon, tmp_path: Path) -> Iterator[Dispatcher]:
    """It runs, with a script `a` that has heard that the service is up."""
    dispatcher = Dispatcher(own_bus.address, tmp_path, "--timeout=2")
    dispatcher.add("a")
    with dispatcher:
        dispatcher.until_told("service-up service")
        yield dispatcher
    assert "Traceback" not in dispatcher.log


def do(cli: CLI, *words: str) -> None:
    done = cli(*words)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_script_hears_what_becomes_of_a_route_in_order(
    dispatcher: Dispatcher, own_cli: CLI, own_network: Namespace
) -> None:
    do(own_cli, *ADD, "--comment", "a comment")
    dispatcher.until(lambda: len(dispatcher.told()) == 4)
    added, raised, *interfaces = dispatcher.events()
    assert dispatcher.told()[:2] == [f"route-add {ROUTE}", f"route-up {ROUTE}"]
    assert sorted(dispatcher.told()[2:]) == ["interface-up eth1", "interface-up eth2"]
    assert added["route"]["comment"] == "a comment"
    assert (added["old"], raised["route"]["state"]) == (None, "active")
    assert (added["cause"]["cause"], added["cause"]["uid"]) == ("call", 0)
    assert added["generation"] == raised["generation"] == 1
    assert {each["cause"]["cause"] for each in interfaces} == {"interface"}


@pytest.mark.parametrize("family", [IPV4, IPV6], ids=["ipv4", "ipv6"])
def test_each_action_is_heard_in_both_families(
    family: socket.AddressFamily, dispatcher: Dispatcher, own_cli: CLI, own_network: Namespace
) -> None:
    source, group = STREAMS[family]
    route = f"{source},{group}"
    names = ["-s", source, "-g", group]
    do(own_cli, "mfc", "add", *names, "-i", "eth1", "-o", "eth2")
    dispatcher.until(lambda: len(dispatcher.told()) == 4)
    do(own_cli, "mfc", "change", *names, "--comment", "x")
    dispatcher.until(lambda: f"route-change {route}" in dispatcher.told())
    (dispatcher.heard / "a").unlink()

    own_network.ip("link set dev eth1 down")  # eth2 loses its carrier with it
    dispatcher.until(lambda: len(dispatcher.told()) >= 3)
    told = dispatcher.told(without="route-change")
    assert sorted(told) == ["interface-down eth1", "interface-down eth2", f"route-down {route}"]
    down = next(each for each in dispatcher.events() if each["action"] == "route-down")
    assert (down["old"]["state"], down["route"]["state"]) == ("active", "waiting")
    assert (down["cause"]["cause"], "eth1" in down["route"]["reason"]) == ("interface", True)
    own_network.ip("link set dev eth1 up")
    dispatcher.until(lambda: len(dispatcher.told(without="route-change")) >= 6)
    assert sorted(dispatcher.told(without="route-change")[3:]) == [
        "interface-up eth1",
        "interface-up eth2",
        f"route-up {route}",
    ]
    (dispatcher.heard / "a").unlink()

    do(own_cli, "group", "join", *names, "--interface", "eth1")
    do(own_cli, "group", "leave", *names, "--interface", "eth1")
    do(own_cli, "mfc", "del", *names)
    dispatcher.until_told(
        *(f"membership-{each} {route}" for each in ("join", "up", "down", "leave")),
        f"route-down {route}",
        f"route-remove {route}",
    )


def test_what_has_caused_an_event_is_told(
    dispatcher: Dispatcher, own_cli: CLI, own_daemon: Daemon
) -> None:
    do(own_cli, *ADD, "--timeout", "1")
    dispatcher.until(lambda: f"route-remove {ROUTE}" in dispatcher.told())
    file = own_daemon.home / "configuration/routes.d/a.toml"
    file.parent.mkdir()
    entry = 'group = "239.1.2.4"\ninterface = "eth1"\ncomment = "{}"\n'
    for comment in "ab":
        file.write_text("[[membership]]\n" + entry.format(comment))
        do(own_cli, "reload")
    dispatcher.until(lambda: "membership-change *,239.1.2.4" in dispatcher.told())
    causes = {each["action"]: each["cause"]["cause"] for each in dispatcher.events()}
    assert (causes["route-add"], causes["route-remove"]) == ("call", "expiry")
    assert causes["membership-join"] == causes["membership-change"] == "reload"


def test_an_interface_that_is_deleted_is_down_and_its_membership_too(
    dispatcher: Dispatcher, own_cli: CLI, own_network: Namespace
) -> None:
    do(own_cli, *ADD)
    do(own_cli, "group", "join", "-g", "239.1.2.3", "--interface", "eth2")
    dispatcher.until(lambda: len(dispatcher.told()) == 6)
    (dispatcher.heard / "a").unlink()
    own_network.ip("link del dev eth1")
    dispatcher.until(lambda: len(dispatcher.told(without="route-change")) >= 4)
    assert sorted(dispatcher.told(without="route-change")) == [
        "interface-down eth1",
        "interface-down eth2",
        "membership-down *,239.1.2.3",
        f"route-down {ROUTE}",
    ]


@pytest.mark.parametrize("family", [IPV4, IPV6], ids=["ipv4", "ipv6"])
def test_streams_are_heard_of_when_they_are_learned_and_when_not_covered(
    family: socket.AddressFamily, dispatcher: Dispatcher, own_cli: CLI, own_network: Namespace
) -> None:
    source, group = STREAMS[family]
    prefix, other = {IPV4: ("239.1.0.0/16", "239.2.0.1"), IPV6: ("ff3e::/64", "ff3e:1::1")}[family]
    own_network.ip("link add name eth3 type veth peer name eth4", "link set dev eth3 up")
    do(own_cli, "mfc", "add", "-g", prefix, "-i", "eth1", "-o", "eth3")
    with contextlib.ExitStack() as stack:
        run = Run(family)
        learned, unrouted = (
            stack.enter_context(contextlib.closing(Sender(run, own_network, "eth2", source, to)))
            for to in (group, other)
        )
        learned.send(3)
        unrouted.send(1)
        stream = f"{source},{group}"
        dispatcher.until(lambda: f"stream-begin {stream}" in dispatcher.told())
        dispatcher.until(lambda: f"unrouted {source},{other}" in dispatcher.told())
    event = next(each for each in dispatcher.events() if each["action"] == "unrouted")
    assert event["stream"] == {"source": source, "group": other, "iif": "eth1", "table": 0}
    do(own_cli, "mfc", "del", "-g", prefix)
    dispatcher.until(lambda: f"stream-end {stream}" in dispatcher.told())
    begin = next(each for each in dispatcher.events() if each["action"] == "stream-begin")
    assert begin["stream"]["oifs"] == ["eth3"]


def test_the_environment_has_the_event(dispatcher: Dispatcher, own_cli: CLI) -> None:
    dispatcher.write("a", f"#!/bin/sh\nenv | sort >{dispatcher.heard}/$2\ntouch $0.done\n")
    do(own_cli, *ADD, "--comment", "two words")
    dispatcher.until((dispatcher.heard / "interface-up").exists)
    lines = (dispatcher.heard / "route-add").read_text().splitlines()
    environment = dict(line.split("=", 1) for line in lines)
    assert environment["MFC_COMMENT"] == "two words"
    assert environment["MFC_OIFS"] == "eth2"
    assert (environment["MFC_UID"], environment["MFC_CAUSE"]) == ("0", "call")
    assert environment["DBUS_SYSTEM_BUS_ADDRESS"] == own_cli.environment["DBUS_SYSTEM_BUS_ADDRESS"]
    assert "STATE_DIRECTORY" not in environment
    lines = (dispatcher.heard / "interface-up").read_text().splitlines()
    assert dict(line.split("=", 1) for line in lines)["MFC_INTERFACE"] in ("eth1", "eth2")


def test_a_restart_of_the_service_is_heard_and_no_route_twice(
    own_bus: PrivateBus, own_network: Namespace, tmp_path: Path, library: str
) -> None:
    home = tmp_path / "daemon"
    home.mkdir()
    dispatcher = Dispatcher(own_bus.address, tmp_path)
    dispatcher.add("a")
    cli = CLI(own_bus.address)
    with Daemon(own_bus.address, own_network, library=library, home=home) as daemon:
        do(cli, *ADD)
        with dispatcher:
            dispatcher.until_told(
                "service-up service",
                "interface-up eth1",
                "interface-up eth2",
                f"route-add {ROUTE}",
                f"route-up {ROUTE}",
            )
            daemon.kill()
            dispatcher.until_told("service-down service")
            with Daemon(own_bus.address, own_network, library=library, home=home):
                dispatcher.until_told("service-up service")
                do(cli, *DELETE)
                dispatcher.until_told(f"route-down {ROUTE}", f"route-remove {ROUTE}")


def test_what_happens_while_it_is_away_is_heard_once(dispatcher: Dispatcher, own_cli: CLI) -> None:
    do(own_cli, *ADD)
    dispatcher.until(lambda: len(dispatcher.told()) == 4)
    (dispatcher.heard / "a").unlink()
    assert dispatcher.stop() == 0
    do(own_cli, *ADD[:5], "239.9.9.9", *ADD[6:])
    do(own_cli, *DELETE)
    dry = dispatcher.run("--once", "--dry-run")
    assert [json.loads(line)["action"] for line in dry.stdout.splitlines()] == [
        "route-down",
        "route-remove",
        "route-add",
        "route-up",
    ]
    for _ in range(2):
        assert dispatcher.run("--once").returncode == 0
    other = ROUTE.replace("239.1.2.3", "239.9.9.9")
    assert dispatcher.told() == [
        f"route-down {ROUTE}",
        f"route-remove {ROUTE}",
        f"route-add {other}",
        f"route-up {other}",
    ]
    assert {each["cause"]["cause"] for each in dispatcher.events()} == {"start"}


# How scripts are run


def test_a_script_that_hangs_is_ended_with_its_group_and_the_next_one_runs(
    dispatcher: Dispatcher, own_cli: CLI
) -> None:
    told = dispatcher.heard / "pid"
    dispatcher.write("0", f"#!/bin/sh\nsleep 1000 &\necho $! >>{told}\nsleep 1000\n")
    do(own_cli, *ADD)
    dispatcher.until(lambda: len(dispatcher.told()) == 2)
    pids = told.read_text().split()
    assert len(pids) >= 2
    assert not Path(f"/proc/{pids[0]}").exists()
    assert f"0 took more than 2 s and was ended: {ROUTE} route-add" in dispatcher.log


def test_a_script_that_does_not_hear_sigterm_is_killed(
    dispatcher: Dispatcher, own_cli: CLI
) -> None:
    dispatcher.write("0", "#!/bin/sh\ntrap '' TERM\n[ $2 = route-add ] || exit 0\nsleep 1000\n")
    do(own_cli, *ADD)
    dispatcher.until(lambda: f"route-add {ROUTE}" in dispatcher.told())
    assert "0 took more than 2 s and was ended" in dispatcher.log


def test_what_a_script_leaves_behind_when_it_ends_goes_on_and_nobody_waits_for_it(
    dispatcher: Dispatcher, own_cli: CLI
) -> None:
    dispatcher.write("0", f"#!/bin/sh\nsleep 30 &\necho $! >>{dispatcher.heard}/pid\n")
    do(own_cli, *ADD)
    dispatcher.until(lambda: len(dispatcher.told()) == 4)
    pids = (dispatcher.heard / "pid").read_text().split()
    assert len(pids) == 4
    for pid in map(int, pids):
        os.kill(pid, signal.SIGKILL)


def test_megabytes_of_output_stop_nothing(dispatcher: Dispatcher, own_cli: CLI) -> None:
    dispatcher.write("0", "#!/bin/sh\nhead -c 5000000 /dev/zero | tr '\\0' x\nexit 3\n")
    do(own_cli, *ADD)
    dispatcher.until(lambda: len(dispatcher.told()) == 4)
    assert f"0 failed with status 3: {ROUTE} route-add" in dispatcher.log


def test_nobody_waits_for_a_script_of_no_wait_d(dispatcher: Dispatcher, own_cli: CLI) -> None:
    dispatcher.add("z", "exec sleep 1000", waits=False)
    do(own_cli, *ADD)
    dispatcher.until(lambda: len(dispatcher.told()) == 4)
    assert len(dispatcher.told("z")) == 4
    dispatcher.until(lambda: dispatcher.log.count("z took more than 2 s and was ended") == 4)


def test_odd_files_are_told_of_once_and_stop_nothing(dispatcher: Dispatcher, own_cli: CLI) -> None:
    dispatcher.write("no-interpreter", "#!/nonexistent\n")
    dispatcher.write("not-executable", "").chmod(0o644)
    dispatcher.write("writable", "").chmod(0o777)
    dispatcher.write("empty", "")
    dispatcher.write("x~", "")
    os.mkfifo(dispatcher.scripts / "fifo")
    (dispatcher.scripts / "directory").mkdir()
    (dispatcher.scripts / "dangling").symlink_to("nowhere")
    do(own_cli, *ADD)
    do(own_cli, *DELETE)
    dispatcher.until(lambda: f"route-remove {ROUTE}" in dispatcher.told())
    log = dispatcher.log
    for name in ("not-executable", "writable", "fifo", "directory", "dangling"):
        assert log.count(f"/{name} is not run: ") == 1
    assert "no-interpreter cannot be started: No such file" in log
    assert "empty cannot be started: Exec format error" in log
    assert "x~" not in log
    listed = dispatcher.run("--list").stdout.splitlines()
    assert listed[0] == f"{dispatcher.scripts}/a"
    assert f"{dispatcher.scripts}/writable is not run: others than root can write to it" in listed


def test_more_events_than_can_wait_are_a_resync(dispatcher: Dispatcher, own_cli: CLI) -> None:
    dispatcher.write(
        "a",
        f'#!/bin/sh\ncase "$1$2" in *,239.7.*0route-add | *resync) echo "$1 $2" '
        f">>{dispatcher.heard}/b;; *,239.0.*) sleep 1;; esac\n",
    )
    for number in range(10):  # whose events take time enough for all the others to come
        do(own_cli, "mfc", "add", "-g", f"239.0.0.{number}", "-i", "eth1", "-o", "eth2")
    routes = [
        {"group": f"239.7.{n // 250}.{n % 250}", "iif": "eth1", "oifs": ["eth2"], "enabled": False}
        for n in range(10_500)
    ]
    assert own_cli("apply", "-", "--merge", given=json.dumps({"route": routes})).returncode == 0
    dispatcher.until((dispatcher.heard / "b").exists, 60)
    first = (dispatcher.heard / "b").read_text().splitlines()[0]
    assert first == "service resync"
    dispatcher.kill()  # else it would go on for some time


def test_two_dispatchers_do_not_share_a_state(dispatcher: Dispatcher) -> None:
    done = dispatcher.run()
    assert (done.returncode, "Another dispatcher uses" in done.stderr) == (1, True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_when_the_bus_has_gone_it_ends_to_be_started_anew(
    number: signal.Signals, dispatcher: Dispatcher, own_bus: PrivateBus
) -> None:
    own_bus.process.send_signal(number)
    assert dispatcher.process.wait(20) == 1
    assert "The bus has gone" in dispatcher.log


def test_a_state_that_scripts_have_spoiled_is_begun_anew(
    dispatcher: Dispatcher, own_cli: CLI
) -> None:
    dispatcher.stop()
    for each in dispatcher.state.iterdir():
        each.write_bytes(b"nonsense" * 1000)
    dispatcher.start()
    dispatcher.until_told("service-up service")
    assert "What scripts have heard is lost" in dispatcher.log


def test_it_can_be_stopped_while_the_service_hangs(
    dispatcher: Dispatcher, own_daemon: Daemon
) -> None:
    dispatcher.stop()
    own_daemon.process.send_signal(signal.SIGSTOP)
    dispatcher.start()
    time.sleep(1)
    assert dispatcher.stop() == 0
    own_daemon.process.send_signal(signal.SIGCONT)


def test_what_is_left_when_it_is_stopped_goes_on_after_the_next_start(
    dispatcher: Dispatcher, own_cli: CLI
) -> None:
    """The event that is under way when the time for what waits is over."""
    dispatcher.kill()
    dispatcher.command.append("--timeout=20")
    dispatcher.start()
    dispatcher.add("0", "exec sleep 12")
    dispatcher.add("b")
    do(own_cli, *ADD)
    dispatcher.until(lambda: len(dispatcher.told("0")) == 1)
    assert dispatcher.stop() == 0
    assert (len(dispatcher.told("0")), dispatcher.told("b")) == (1, [])
    dispatcher.add("0")
    dispatcher.start()
    dispatcher.until(lambda: len(dispatcher.told("b")) == 4)
    assert dispatcher.told("0") == dispatcher.told() == dispatcher.told("b")


def test_a_script_that_outlives_the_dispatcher_is_waited_for_and_ended_in_time(
    dispatcher: Dispatcher, own_cli: CLI
) -> None:
    order = dispatcher.heard / "order"
    dispatcher.add("0", f"[ $2 = route-add ] || exit 0\nsleep 1.5\necho 0 >>{order}")
    dispatcher.add("1", f"[ $2 = route-add ] || exit 0\nsleep 1000\necho 1 >>{order}")
    dispatcher.add("2", f"echo 2 >>{order}")
    do(own_cli, *ADD)
    for name in ("0", "1"):
        dispatcher.until(lambda name=name: bool(dispatcher.told(name)))  # type: ignore[misc]
        dispatcher.kill()
        dispatcher.start()
    dispatcher.until(lambda: len(dispatcher.told("2")) >= 4)
    assert order.read_text().split() == ["0", "2", "2", "2", "2"]
    assert dispatcher.told("0") == dispatcher.told("1") == dispatcher.told("2")
    assert f"1 took more than 2 s and was ended: {ROUTE} route-add" in dispatcher.log


def test_a_second_signal_ends_a_script_that_runs(dispatcher: Dispatcher, own_cli: CLI) -> None:
    dispatcher.write("0", f"#!/bin/sh\ntouch {dispatcher.heard}/begun\nexec sleep 1000\n")
    do(own_cli, *ADD)
    dispatcher.until((dispatcher.heard / "begun").exists)
    dispatcher.process.send_signal(signal.SIGTERM)
    time.sleep(0.1)
    dispatcher.process.send_signal(signal.SIGTERM)
    assert dispatcher.process.wait(20) == 0
