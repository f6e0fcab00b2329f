"""In the sandbox of its unit the service sees all that it needs to explain a stream."""

import json
import shlex
import socket

from lab.flows import Flows
from lab.installed import Installed
from lab.stage import STREAMS, Network, Stream


def codes(installed: Installed, stream: Stream) -> list[str]:
    """What an ordinary user is told of a stream."""
    words = ("--json", "explain", stream.senders[0], stream.group, "--seconds", "1")
    told = installed.cli(*words, user="alice", check=False).stdout
    return [finding["code"] for finding in json.loads(told)]


def test_what_flows_and_what_the_reverse_path_filter_drops_is_explained_to_anybody(
    installed: Installed, network: Network, flows: Flows
) -> None:
    assert [codes(installed, stream) for stream in STREAMS] == [["flowing"]] * len(STREAMS)
    stream = next(each for each in STREAMS if each.family == socket.AF_INET)
    network.router.ip(f"route add {stream.senders[0]}/32 dev down1")
    network.router.sysctl("ipv4/conf/up/rp_filter", 1)
    assert codes(installed, stream) == ["rp-filter"]
    network.router.sysctl("ipv4/conf/up/rp_filter", 0)
    assert codes(installed, stream) == ["flowing"]


def test_an_interface_that_is_down_is_told_after_what_decides(
    installed: Installed, network: Network
) -> None:
    (stream, *_) = STREAMS
    installed.add(stream)
    network.router.ip("link set dev down1 down")
    assert codes(installed, stream)[:1] == ["nothing-arrives"]
    assert "interface-down" in codes(installed, stream)


def test_a_service_that_hangs_is_told_and_after_the_remedy_the_streams_flow(
    installed: Installed, network: Network, flows: Flows
) -> None:
    (stream, *_) = STREAMS
    installed.machine.run("kill", "-STOP", installed.show("MainPID"))
    words = ("--json", "explain", stream.senders[0], stream.group)
    (finding,) = json.loads(installed.cli(*words, user="alice", check=False).stdout)
    assert finding["code"] == "service-stuck"
    installed.machine.run(*shlex.split(finding["remedy"]))
    assert [codes(installed, each) for each in STREAMS] == [["flowing"]] * len(STREAMS)
