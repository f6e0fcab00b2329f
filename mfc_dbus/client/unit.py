"""The service's systemd unit, read over the same bus."""

from typing import Any, NamedTuple

from mfc_dbus.bus.errors import BusError
from mfc_dbus.bus.names import PROPERTIES
from mfc_dbus.client.errors import bad_reply
from mfc_dbus.client.remote import TIMEOUT, Bus, client_errors

_SYSTEMD = "org.freedesktop.systemd1"
# The name of the unit, written as systemd writes names in object paths.
_PATH = "/org/freedesktop/systemd1/unit/mfc_2ddbus_2eservice"
_UNKNOWN = 2**64 - 1  # systemd's word for a figure that it does not have


class UnitInfo(NamedTuple):
    """The state of mfc-dbus.service, by systemd."""

    state: str  # ActiveState: active, reloading, inactive, failed, activating, deactivating
    since: int  # when it became active, in microseconds since 1970; 0: it is not active
    pid: int  # of the daemon; 0: there is none
    restarts: int  # automatic ones, after failures
    memory: int  # bytes of its processes and of the kernel for them; 0: unknown
    status: str  # the daemon's own words

    def to_json(self) -> dict[str, Any]:
        return self._asdict()


async def read_unit(bus: Bus) -> UnitInfo | None:
    """Read the unit; None where systemd or the unit is missing. Raises ClientError."""
    names = {
        "Unit": ["LoadState", "ActiveState", "ActiveEnterTimestamp"],
        "Service": ["MainPID", "NRestarts", "MemoryCurrent", "StatusText"],
    }
    asked = [(f"{_SYSTEMD}.{kind}", name) for kind, of_kind in names.items() for name in of_kind]
    with client_errors():
        try:
            values = [await _get(bus, *each) for each in asked]
        except BusError:
            return None
    with bad_reply():
        loaded, state, since, pid, restarts, memory, status = values
        if loaded != "loaded":
            return None
        since = since if state == "active" else 0
        return UnitInfo(state, since, pid, restarts, 0 if memory == _UNKNOWN else memory, status)


async def _get(bus: Bus, interface: str, name: str) -> Any:
    (variant,) = await bus.call(
        _SYSTEMD,
        _PATH,
        PROPERTIES,
        "Get",
        "ss",
        [interface, name],
        timeout=TIMEOUT,
        activate=False,
        returns="v",
    )
    return variant.value
