"""What is asked for at one time: where that is too much for a message, its halves."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple

from mfc_dbus.client.errors import ClientError
from mfc_dbus.names import ANY_SOURCE

if TYPE_CHECKING:
    from mfc_dbus.documents.entries import Report

_GROUPS = ("224.0.0.0/4", "ff00::/8")


class Part(NamedTuple):
    """Entries of a prefix of groups and of sources; None stands for all of them.

    exact, exact_source: those of just this prefix, and none of a prefix in it.
    """

    group: str | None = None
    source: str | None = None
    exact: bool = False
    exact_source: bool = False

    def halves(self) -> list["Part"]:
        """Split the groups in two, or the sources of what is a single group; nothing is left to
        split where there is no half.
        """
        if self.group is None:
            return [self._replace(group=group) for group in _GROUPS]
        if not self.exact and (groups := _halves(self.group)):
            return [self._replace(group=group) for group in groups]
        if self.exact_source or self.source == ANY_SOURCE:
            return []
        every = "::/0" if ":" in self.group else "0.0.0.0/0"
        return [self._replace(source=source) for source in _halves(self.source or every)]

    def rest(self) -> "Part | None":
        """Return what is in neither half: entries that are for all of the prefix."""
        if self.group is None:
            return None
        if not self.exact and _halves(self.group):
            return self._replace(exact=True)
        if self.source is None:
            return self._replace(source=ANY_SOURCE)
        return self._replace(exact_source=True)

    def options(self) -> dict[str, str | bool]:
        """Return what says so in the filter of Describe."""
        words = {"group": self.group, "source": self.source}
        flags = {"exact": self.exact, "exact-source": self.exact_source}
        chosen: dict[str, str | bool] = {name: word for name, word in words.items() if word}
        return chosen | {name: True for name, flag in flags.items() if flag}


ALL = Part()


async def describe(ask: Callable[[Part], Awaitable["Report"]], part: Part = ALL) -> "Report":
    """Return all of a part; where `ask` raises LimitExceeded for it, by its parts."""
    from mfc_dbus.documents.entries import Report

    try:
        return await ask(part)
    except ClientError as error:
        halves = part.halves() if error.name == "LimitExceeded" else []
        if not halves:
            raise
    whole = Report()
    for each in (part.rest(), *halves):
        if each is not None:
            found = await describe(ask, each)
            whole.route += found.route
            whole.membership += found.membership
    return whole


def _halves(prefix: str) -> list[str]:
    import ipaddress

    network = ipaddress.ip_network(prefix)
    return [] if network.prefixlen == network.max_prefixlen else [*map(str, network.subnets())]
