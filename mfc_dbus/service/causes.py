"""Who or what makes a change, as the signals of changes have it."""

import time

from mfc_dbus.bus.backend import Variant
from mfc_dbus.model.cause import Cause


def describe_cause(cause: Cause) -> dict[str, Variant]:
    """Return a cause, and the present time."""
    described = {
        "cause": Variant("s", cause.kind),
        "action": Variant("s", cause.act),
        "time": Variant("t", time.time_ns() // 1000),
    }
    if cause.author is not None:
        described["uid"] = Variant("u", cause.author.uid)
        described["user"] = Variant("s", cause.author.user)
        described["sender"] = Variant("s", cause.author.sender)
        described["pid"] = Variant("u", cause.author.pid)
    if cause.undoes:
        described["undoes"] = Variant("t", cause.undoes)
    return described
