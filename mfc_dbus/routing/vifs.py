"""Which interface has which VIF number in one routing table, and how many uses it has (pure)."""

from collections.abc import Iterator, Set
from typing import NamedTuple

from mfc_dbus.kernel.abi import TTLs
from mfc_dbus.model.errors import TooManyInterfaces
from mfc_dbus.model.quoting import quote
from mfc_dbus.model.route import MAX_VIFS, Oif

_MOST_REMEMBERED = 1024


class Vif(NamedTuple):
    """An interface in the kernel's table; `references` counts the routes that use it.

    With none it is only watched, and gives its place to one that a route needs.
    """

    number: int
    name: str
    ifindex: int
    references: int


class Vifs:
    """At most 32 VIFs. Small enough that a change is tried on a copy, and kept if it went well."""

    def __init__(self, vifs: dict[str, Vif] | None = None) -> None:
        self._vifs = vifs or {}
        # What very many entries have the same, until another interface has a number.
        self._numbers: dict[tuple[str, tuple[Oif, ...]], tuple[int, TTLs]] = {}

    def __iter__(self) -> Iterator[Vif]:
        return iter(self._vifs.values())

    def __len__(self) -> int:
        return len(self._vifs)

    def __getitem__(self, name: str) -> Vif:
        return self._vifs[name]

    def __contains__(self, name: str) -> bool:
        return name in self._vifs

    def name_of(self, ifindex: int) -> str | None:
        """Return the interface that a device has a VIF as, None where it has none."""
        return next((vif.name for vif in self if vif.ifindex == ifindex), None)

    @property
    def used(self) -> frozenset[str]:
        """The interfaces that routes use."""
        return frozenset(vif.name for vif in self if vif.references)

    def numbers(self, iif: str, oifs: tuple[Oif, ...]) -> tuple[int, TTLs]:
        """Write interfaces as the kernel's entries do: the VIF of the iif, and TTLs by VIF."""
        found = self._numbers.get((iif, oifs))
        if found is None:
            if len(self._numbers) >= _MOST_REMEMBERED:
                self._numbers.clear()
            ttls = tuple(sorted([(self[oif.name].number, oif.ttl) for oif in oifs]))
            found = self._numbers[iif, oifs] = (self[iif].number, ttls)
        return found

    def copy(self) -> "Vifs":
        return Vifs(dict(self._vifs))

    def hold(self, vif: Vif) -> None:
        """Take up a VIF that the kernel has."""
        self._numbers.clear()
        self._vifs[vif.name] = vif

    def drop(self, name: str) -> None:
        """Forget a VIF that nobody uses."""
        self._numbers.clear()
        del self._vifs[name]

    def make_room(self, names: Set[str]) -> list[Vif]:
        """Forget as many of those that no route uses as it takes for these interfaces to fit."""
        lacking = len(self._vifs.keys() | names) - MAX_VIFS
        if lacking <= 0:
            return []
        idle = [vif for vif in self if not vif.references and vif.name not in names]
        for vif in idle[-lacking:]:
            self.drop(vif.name)
        return idle[-lacking:]

    def acquire(self, name: str, ifindex: int, uses: int = 1) -> bool:
        """Count more uses. True: the interface had no VIF, and has the lowest free number now.

        Raises TooManyInterfaces where none is free.
        """
        vif = self._vifs.get(name)
        if vif:
            self._vifs[name] = vif._replace(references=vif.references + uses)
            return False
        taken = {vif.number for vif in self}
        number = next((n for n in range(MAX_VIFS) if n not in taken), None)
        if number is None:
            raise too_many(name)
        self._numbers.clear()
        self._vifs[name] = Vif(number, name, ifindex, uses)
        return True

    def release(self, name: str, uses: int = 1) -> Vif | None:
        """Count fewer uses. Return the VIF if these were the last, and None otherwise."""
        vif = self._vifs[name]
        if vif.references > uses:
            self._vifs[name] = vif._replace(references=vif.references - uses)
            return None
        self._numbers.clear()
        return self._vifs.pop(name)


def too_many(name: str) -> TooManyInterfaces:
    """Make the error of an interface for which there is no VIF left."""
    return TooManyInterfaces(
        f"Interface {quote(name)} would be the {MAX_VIFS + 1}rd of the routing table, and "
        f"the kernel knows {MAX_VIFS}",
        interface=name,
    )
