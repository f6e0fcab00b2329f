"""What becomes of packets that may wait in the kernel until a daemon has answered it."""

import time
from collections.abc import Mapping, Sequence

from lab.topology import Topology

_TIMEOUT = 10.0

Arrived = dict[str, list[int]]  # numbers of packets, by link, where any came


def deliveries(
    lab: Topology, expected: Mapping[str, Sequence[int]], timeout: float = _TIMEOUT
) -> Arrived:
    """Return what arrives until all that is expected has, and what came beside it.

    Also where it does not all come, after some seconds: for the caller to compare.
    """
    wanted = {name: sorted(numbers) for name, numbers in expected.items() if numbers}
    come: Arrived = {}
    deadline = time.monotonic() + timeout
    while True:
        for name, numbers in lab.arrived().items():
            come[name] = sorted(come.get(name, []) + numbers)
        complete = all({*numbers} <= {*come.get(name, [])} for name, numbers in wanted.items())
        if complete or time.monotonic() > deadline:
            return come
        time.sleep(0.01)
