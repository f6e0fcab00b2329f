"""Tells of a service that does not answer, which it cannot do itself: needs no privilege."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

from mfc_dbus.model.findings import Code, Level
from mfc_dbus.model.quoting import quote

if TYPE_CHECKING:
    from mfc_dbus.client import Client, FindingInfo
    from mfc_dbus.kernel.dump import HeldEntry
    from mfc_dbus.model.addresses import Prefix

_PATIENCE = 5.0  # seconds; it answers within 50 ms
_REMEDY = "systemctl restart mfc-dbus"


async def find(
    client: "Client", source: str, group: str, table: int, *, here: bool
) -> "FindingInfo | None":
    """Return what is seen of a service that hangs; None where it answers. Raises ClientError.

    source, group: as they were typed. here: whether it is a service of this machine.
    """
    from mfc_dbus.client import ClientError, FindingInfo

    try:
        await client.ping(_PATIENCE)
    except ClientError as error:
        if error.name != "Timeout":
            raise
    else:
        return None
    sentence = f"The service did not answer in {_PATIENCE:.0f} s: it hangs. The kernel forwards by "
    sentence += "the routes that it has, and no stream is learned and no interface followed"
    evidence: dict[str, object] = {"seconds": _PATIENCE}
    if here:
        from mfc_dbus.cli.raw_sockets import unread
        from mfc_dbus.model.addresses import FAMILY_NAMES, parse_asked
        from mfc_dbus.model.errors import InvalidArgs

        with suppress(InvalidArgs, OSError):
            asked = parse_asked(source, group)
            waiting = unread(FAMILY_NAMES[asked[1].family])
            evidence["unread-bytes"] = waiting
            if waiting:
                sentence += f". {waiting} bytes of the kernel's questions were not read"
            if found := next(_unresolved(*asked, table), None):
                evidence["unresolved"] = True
                sentence += f", and the kernel waits for an answer about {quote(found)}"
    return FindingInfo(Code.SERVICE_STUCK, Level.PROBLEM, sentence, _REMEDY, evidence)


def _unresolved(source: "Prefix", group: "Prefix", table: int) -> Iterator[str]:
    """Yield the streams of the group that the kernel has asked about in vain."""
    from mfc_dbus.kernel.dump import MOST_READ, entries
    from mfc_dbus.model.addresses import format_address

    shown: Iterator[HeldEntry] = islice(entries(group.family, table), MOST_READ)
    for each in shown:
        is_ours = not source.length or each.source == source.address
        if not each.resolved and each.group == group.address and is_ours:
            yield f"({format_address(each.source)}, {format_address(each.group)})"
