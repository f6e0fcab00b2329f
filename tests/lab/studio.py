"""A studio: cameras that send, a router with the service, and rooms that receive.

    cam-a ──┐           ┌── control
    cam-b ──┤ router,   ├── record
    audio ──┤ mfc-dbusd ├── monitor
    remote ─┘           └── uplink

Every cable ends in one namespace outside. Streams flow for as long as the studio is open.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from lab.netns import Namespace
from lab.packets import Run, Sender

INS = ("cam-a", "cam-b", "audio", "remote")
OUTS = ("control", "record", "monitor", "uplink")
_TICK = 0.1  # seconds between the packets of a stream, which are sent at once
_PAYLOAD = 1200


class Flow(NamedTuple):
    """A stream that somebody sends. packets: in each tick."""

    iif: str
    source: str
    group: str
    packets: int = 1
    padding: int = _PAYLOAD


FEW = (
    Flow("cam-a", "10.0.1.10", "239.10.1.1", 40),
    Flow("cam-b", "10.0.2.10", "239.10.1.2", 8),
    Flow("audio", "10.0.3.10", "239.20.1.1", 2, 100),
)


def many(count: int) -> list[Flow]:
    """Return so many streams, of rates that differ."""
    return [
        Flow(
            INS[n % 3],
            f"10.0.{n % 3 + 1}.{10 + n // 3 % 200}",
            f"239.10.{n // 100 + 2}.{n % 100 + 1}",
            1 + n % 4 // 3,
            (60, 200, 600, 1200, 1200)[n % 5],
        )
        for n in range(count)
    ]


class Studio:
    """The router's interfaces, and streams that flow into them; it ends with the stack."""

    def __init__(self, stack: contextlib.ExitStack, router: Namespace | None = None) -> None:
        self.router = router or stack.enter_context(contextlib.closing(Namespace()))
        self._outside = stack.enter_context(contextlib.closing(Namespace()))
        for number, link in enumerate((*INS, *OUTS), 1):
            self.router.ip(
                f"link add name {link} type veth peer name {link} netns {self._outside.path}",
                f"address add 10.0.{number}.1/24 dev {link}",
                f"link set dev {link} up",
            )
            self._outside.ip(f"link set dev {link} up")
        self.router.wait_until_up((*INS, *OUTS))
        self._outside.wait_until_up((*INS, *OUTS))
        self._run = Run(socket.AF_INET)
        self._stack = stack
        self._flows: list[tuple[Sender, int]] = []
        self._stopped = threading.Event()
        thread = threading.Thread(target=self._send)
        thread.start()
        stack.callback(thread.join)
        stack.callback(self._stopped.set)

    def play(self, flows: Iterable[Flow]) -> None:
        """Send these streams from now on, in the place of those before."""
        self._flows = [
            (
                self._stack.enter_context(
                    contextlib.closing(
                        Sender(
                            self._run,
                            self._outside,
                            flow.iif,
                            flow.source,
                            flow.group,
                            padding=flow.padding,
                        )
                    )
                ),
                flow.packets,
            )
            for flow in flows
        ]

    def unplug(self, link: str) -> None:
        self._outside.ip(f"link set dev {link} down")

    def plug(self, link: str) -> None:
        self._outside.ip(f"link set dev {link} up")

    def _send(self) -> None:
        due = time.monotonic()
        while not self._stopped.wait(max(0.0, due - time.monotonic())):
            for sender, packets in self._flows:
                with contextlib.suppress(OSError):  # the cable is unplugged
                    sender.send(packets)
            due += _TICK


def document(flows: Sequence[Flow], oifs: Sequence[Sequence[str]]) -> list[dict[str, object]]:
    """Return routes for these streams, as a document has them; each gets the next of the oifs."""
    return [
        {
            "source": flow.source,
            "group": flow.group,
            "iif": flow.iif,
            "oifs": [*oifs[n % len(oifs)]],
        }
        for n, flow in enumerate(flows)
    ]
