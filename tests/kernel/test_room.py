"""Whose streams have room: those that flow, whatever others ask for or send.

up0 ──┐ router ┌── down0
      ├────────┤
up1 ──┘        └── down1
"""

import socket
import subprocess
from collections import defaultdict
from collections.abc import Sequence

import pytest
from lab.privileges import NOBODY, become, in_child, is_mapped
from lab.routing import Routing
from lab.topology import Topology

ROOM = 50
WIDE = {socket.AF_INET: "239.0.0.0/8", socket.AF_INET6: "ff1e::/16"}
STEM = {socket.AF_INET: "239.33.7.", socket.AF_INET6: "ff1e::7:"}


pytestmark = pytest.mark.watching("up*", max_learned=ROOM)


def groups(lab: Topology, count: int) -> list[str]:
    return [f"{STEM[lab.family]}{number}" for number in range(1, count + 1)]


def look_up(lab: Topology, asked: Sequence[str], source: str, iif: str) -> None:
    """Ask the kernel for routes, as somebody without any privilege."""
    if not is_mapped(NOBODY):
        pytest.skip("this user namespace has root alone")
    commands = "".join(f"route get {group} from {source} iif {iif}\n" for group in asked)
    version = "-4" if lab.family == socket.AF_INET else "-6"

    def run() -> str:
        lab.router.enter()
        become(NOBODY)
        command = ["ip", version, "-force", "-batch", "-"]
        done = subprocess.run(command, input=commands, capture_output=True, text=True)
        return done.stdout + done.stderr

    answer = in_child(run)
    if lab.family == socket.AF_INET:
        assert answer.count("multicast") == len({*asked})


@pytest.mark.parametrize("iif", ["up0", "up1"])
def test_streams_that_somebody_only_looks_up_leave_room_and_are_not_told_of(
    lab: Topology, routing: Routing, iif: str
) -> None:
    routing.add("*", WIDE[lab.family], "up0", ["down0"])
    look_up(lab, groups(lab, 80), lab.addresses.source, iif)
    for _ in range(2):
        routing.hear()
    # The kernel holds four packets until the stream is learned: at this rate, those of 40 ms.
    with routing.hearing(), lab.sender().flow(100) as flow:
        flow.wait_for(50)
    assert lab.arrived() == {"down0": flow.sent}
    assert routing.unrouted() == []
    assert len(routing.learned()) <= ROOM


def test_the_stream_itself_that_somebody_looks_up_is_forwarded(
    lab: Topology, routing: Routing
) -> None:
    routing.add("*", WIDE[lab.family], "up0", ["down0"])
    look_up(lab, [lab.addresses.group], lab.addresses.source, "up0")
    sender = lab.sender()
    first = sender.send(1)
    routing.hear()
    sent = sender.send(29)
    assert lab.arrived() == {"down0": first + sent}


def test_a_stream_that_somebody_looks_up_is_told_of_when_it_arrives(
    lab: Topology, routing: Routing
) -> None:
    look_up(lab, [lab.addresses.group], lab.addresses.source, "up1")
    routing.hear()
    lab.sender("up1").send(1)
    assert routing.unrouted() == [(lab.addresses.source, lab.addresses.group, "up1")]


def test_only_ipv4_asks_for_who_looks_up(lab: Topology, routing: Routing) -> None:
    look_up(lab, groups(lab, 3), lab.addresses.source, "up0")
    upcalls = routing.mroutes[lab.family].upcalls(10)
    assert [upcall.has_packet for upcall in upcalls] == [False] * (
        3 if lab.family == socket.AF_INET else 0
    )
    lab.sender().send(1)
    (upcall,) = routing.mroutes[lab.family].upcalls(10)
    assert upcall.has_packet


def test_a_flood_of_streams_of_one_packet_pushes_out_none_that_flows(
    lab: Topology, routing: Routing
) -> None:
    routing.add("*", WIDE[lab.family], "up0", ["down0"])
    with routing.hearing(), lab.sender().flow(100) as flow:
        flow.wait_for(30)
        for group in groups(lab, 200):
            sender = lab.sender(group=group)
            sender.send(1)
            sender.close()
        flow.wait_for(10)
        late = lab.sender(source=lab.addresses.other_source)
        with late.flow(100) as other:
            other.wait_for(30)
    arrived: dict[tuple[str, str], list[int]] = defaultdict(list)
    for packet in lab.packets()["down0"]:
        arrived[packet.source, packet.group].append(packet.number)
    addresses = lab.addresses
    assert arrived[addresses.source, addresses.group] == flow.sent
    assert arrived[addresses.other_source, addresses.group] == other.sent
