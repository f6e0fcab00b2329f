"""What is asked for at one time: where that is too much for a message, its halves."""

from typing import NamedTuple

from mfc_dbus.names import ANY_SOURCE

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


ALL = Part()


def _halves(prefix: str) -> list[str]:
    import ipaddress

    network = ipaddress.ip_network(prefix)
    return [] if network.prefixlen == network.max_prefixlen else [*map(str, network.subnets())]
