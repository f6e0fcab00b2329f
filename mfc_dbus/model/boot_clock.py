"""The clock by which routes expire: setting the time does not move it, and it counts sleep, too."""

import time


def since_boot() -> int:
    """Return the time since the system was booted, in nanoseconds."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
