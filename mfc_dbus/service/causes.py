"""Who or what makes a change, as the signals of changes have it."""

import functools
import struct
import time

from mfc_dbus.bus.backend import Variant, encode
from mfc_dbus.model.cause import Cause

_TIME = struct.Struct("<Q")


def describe_cause(cause: Cause) -> bytes:
    """Return a cause, and the present time, encoded as a body of type a{sv}."""
    return _encode_before_time(cause) + _TIME.pack(time.time_ns() // 1000)


@functools.lru_cache(maxsize=64)
def _encode_before_time(cause: Cause) -> bytes:
    """Encode all but the time, which comes last. A caller makes many changes one after another."""
    described = {"cause": Variant("s", cause.kind), "action": Variant("s", cause.act)}
    if cause.author is not None:
        described["uid"] = Variant("u", cause.author.uid)
        described["user"] = Variant("s", cause.author.user)
        described["sender"] = Variant("s", cause.author.sender)
        described["pid"] = Variant("u", cause.author.pid)
    if cause.undoes:
        described["undoes"] = Variant("t", cause.undoes)
    described["time"] = Variant("t", 0)
    return encode("a{sv}", [described])[: -_TIME.size]
