"""What was freed goes back to the system: what keeps the daemon from growing by repetition."""

import subprocess
import sys

from lab.ground import Ground

from mfc_dbus.model.route import parse_route

# A large block that is freed tells glibc to take others from the heap, where a small block that
# stays keeps all before it.
_GROWTH = """\
import resource
from pathlib import Path
from mfc_dbus.daemon import heap

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

heap.bound()
del (large := [bytes(30 << 20)])[:]
before = resident()
blocks = [bytearray(b"x" * (1 << 20 if n % 2 else 1 << 12)) for n in range(80)]
del blocks[1::2]
print(resident() - before)
"""


def test_large_blocks_that_are_freed_go_back_though_small_ones_stay() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _GROWTH], check=True, stdout=subprocess.PIPE, timeout=60
    )
    assert int(done.stdout) < 4 << 20  # of 40 MiB


def test_a_route_that_takes_the_place_of_another_shares_its_key() -> None:
    ground = Ground("eth0", "eth1", "eth2")
    ground.add("10.0.0.1", "239.1.1.1", "eth0", "eth1")
    (before,) = ground.routes()
    ground.apply(parse_route("10.0.0.1", "239.1.1.1", "eth0", ["eth2"]))
    (after,) = ground.routes()
    assert after.oifs != before.oifs
    assert after.key is before.key
    assert after.source is after.key.source
    assert after.group is after.key.group
