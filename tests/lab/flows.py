"""Streams that never pause, and what of them is lost while something happens to the router."""

import contextlib
import threading
from collections import defaultdict
from collections.abc import Iterable

from lab.packets import Fence, Packet, Run
from lab.stage import (
    FAMILIES,
    RECEIVERS,
    SENDER,
    Network,
    Stream,
    kept,
    open_collectors,
    open_senders,
)


class Flows:
    """Every stream of the stage, at 1,000 packets a second, until it is stopped."""

    def __init__(self, stack: contextlib.ExitStack, network: Network) -> None:
        runs = {family: Run(family) for family in FAMILIES}
        self._network = network
        self._fence = kept(stack, Fence(network.hosts[SENDER], network.router))
        self._collectors = open_collectors(stack, network.hosts, runs)
        self._arrived: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        self._running = stack.enter_context(contextlib.ExitStack())
        self._stopped = threading.Event()
        collecting = threading.Thread(target=self._collect)
        collecting.start()
        self._running.callback(collecting.join)
        self._running.callback(self._stopped.set)
        self._flows = {
            stream: self._running.enter_context(senders[0].flow())
            for stream, senders in open_senders(stack, network, runs).items()
        }

    def go_on(self) -> None:
        """Return when each stream has sent 500 packets more."""
        for flow in self._flows.values():
            flow.wait_for(500)

    def stop(self) -> None:
        """Stop sending, and wait for what is on its way."""
        self._running.close()
        mark = self._fence.follow(["eth0"], RECEIVERS)
        for (link, _), collector in self._collectors.items():
            self._note(link, collector.until(mark, ["eth0"])["eth0"])

    @property
    def sent(self) -> dict[Stream, int]:
        return {stream: len(flow.sent) for stream, flow in self._flows.items()}

    @property
    def wrong(self) -> dict[str, int]:
        """How many packets were lost or came twice, by stream and receiver, where any did."""
        tally = {}
        for stream, flow in self._flows.items():
            for link in RECEIVERS:
                arrived = self._arrived[stream.group, link]
                expected = flow.sent if link in stream.oifs else []
                if sorted(arrived) != expected:
                    missing = len(set(expected) - set(arrived))
                    extra = len(arrived) - len(expected) + missing
                    tally[f"{stream} to {link}"] = missing + extra
        return tally

    def counters(self) -> dict[Stream, int]:
        """How many packets the kernel counted for each stream's entry."""
        counted = {
            entry["dst"]: int(entry["packets"])
            for option in ("-4", "-6")
            for entry in self._network.router.ip_json("mroute show", option, "-s")
        }
        return {stream: counted.get(stream.group, 0) for stream in self._flows}

    def _collect(self) -> None:
        """Make room: a collector holds some seconds of packets."""
        while not self._stopped.wait(0.2):
            for (link, _), collector in self._collectors.items():
                self._note(link, collector.so_far())

    def _note(self, link: str, packets: Iterable[Packet]) -> None:
        for packet in packets:
            self._arrived[packet.group, link].append(packet.number)
