"""Whom a change takes something from, so that a right reaches no further than it says (pure).

A question to polkit names streams by source and group, the interface on which they arrive (iif) and
those by which they leave (oifs). Whoever is granted it may decide on these packets, as long as they
leave by these oifs. So a change is asked for by all of its packets, with the oifs of before and of
after:

- What ends: the route that is deleted or replaced, as it is.
- What comes: the new route, as it is.
- What is taken: packets on which another route decided, be it that it forwarded or stopped them.
  They have the source and group of the new route, and the iif and oifs of the other one.

A route takes packets from the routes that are less specific than it, where it shares streams with
them (`Routes.best` has the order). More specific ones keep theirs. What is taken depends on how the
kernel holds the new route:

- A route of one stream from one interface is an entry of the kernel that has the last word on its
  stream, and drops what arrives elsewhere. So it takes the stream from every route that covers it,
  on whichever interface. This holds for a stop, which has no oifs, as for any other.
- All others (prefixes, patterns as iif, any source) take only what arrives on their own iif. The
  kernel would match an entry of any source also with what arrives on one of its oifs; where another
  route decides on that, the entry is not made, and its streams are learned (see `NativeRoutes`).

To delete a route takes packets from nobody else. Its streams go where the other routes say, and
whoever made these was granted them with all of their streams. A stop of one stream from one
interface does hold the stream back on the others, too: whoever wants to rely on that names the iif
on which the stream arrives.

To enable a route is to add it, to disable it is to delete it, and to change it is to replace it,
also where its iif and so its key becomes another. One that is not enabled takes nothing, and is
asked for all the same.

A route takes nothing from more specific ones, also where these came first: whoever adds a wide one
later finds in `Routes` what is kept from it, and can delete that.

Routes count as they are desired. One whose interface is missing loses its packets too, later.

That a stream which arrives on two interfaces moves between the routes of both takes packets, and no
right: whoever can send them there can do that. A join takes nothing from anybody.
"""

from collections.abc import Mapping
from typing import NamedTuple

from mfc_dbus.model.addresses import format_source
from mfc_dbus.model.errors import AccessDenied
from mfc_dbus.model.interfaces import is_pattern, matches, may_meet, precedence
from mfc_dbus.model.route import Route
from mfc_dbus.routing.routes import Routes

# Each question may be a password prompt; and a stranger chooses how many there would be.
_MAX_LOSERS = 16
_MAX_LOOKED_AT = 4096


class Question(NamedTuple):
    """A question to polkit.

    details: what a rule may decide by. purpose: what a password would be typed for, the end of the
    prompt's sentence; polkit fills in the details that it names, as $(group).
    """

    details: Mapping[str, str]
    purpose: str


BULK = Question({"bulk": "true"}, "change many multicast routes at once")
MANY_MEMBERSHIPS = BULK._replace(purpose="change many multicast memberships at once")


class Loser(NamedTuple):
    """A route that a new one takes packets from, and on which interfaces."""

    route: Route
    iif: str


class Touched(NamedTuple):
    """What a change of one route touches beside the new route.

    old: the route that is deleted or replaced. losers: None are too many to ask for each.
    """

    old: Route | None
    losers: tuple[Loser, ...] | None = ()

    def questions(self, new: Route | None) -> list[Question]:
        """Make the questions that polkit has to say yes to, each once."""
        asked = []
        if self.old is not None:
            what = "delete the multicast route" if new is None else "replace the multicast route"
            asked.append(_question(what, route_details(self.old)))
        if new is not None:
            asked.append(_question("add the multicast route", route_details(new)))
        if self.losers is None:
            asked.append(BULK)
        elif new is not None:
            asked += [
                _question(
                    "take from a wider multicast route the stream",
                    route_details(new) | {"iif": iif, "oifs": _oifs(loser)},
                )
                for loser, iif in self.losers
            ]
        told = [each.details for each in asked]
        return [each for index, each in enumerate(asked) if each.details not in told[:index]]


def touched(routes: Routes, new: Route, moved: Route | None = None) -> Touched:
    """Find what adding a route touches, or replacing the one of its key.

    moved: the one that it replaces, where that has another key.
    """
    old = moved or routes.get(new.key)
    if not new.enabled:
        return Touched(old)
    losers: list[Loser] = []
    # The interfaces on which a more specific route decides on all that the new one is for.
    decided = []
    if old is not None and old.enabled and old.key == new.key:
        if old.is_sg_on_one_iif:
            return Touched(old)  # what the new route takes, the old one has taken before
        decided.append(old.iif)
    sharing = routes.sharing(new.source, new.group, "*" if new.is_sg_on_one_iif else new.iif)
    for looked_at, other in enumerate(sharing):
        if looked_at == _MAX_LOOKED_AT:
            return Touched(old, None)
        iif = _taken_on(new, other) if other is not None else None
        if other is None or iif is None or any(_within(iif, each) for each in decided):
            continue
        if other is not old:
            if len(losers) == _MAX_LOSERS:
                return Touched(old, None)
            losers.append(Loser(other, iif))
        if other.source.covers(new.source):
            decided.append(other.iif)
    return Touched(old, tuple(losers))


def check_touched(shown: Touched, now: Touched) -> None:
    """Raise AccessDenied where a change touches other routes now than those polkit was shown."""
    if shown == now:
        return
    if shown.old != now.old:
        raise AccessDenied(f"Route {shown.old or now.old} was changed meanwhile: try again")
    raise AccessDenied("Routes that it takes streams from were changed meanwhile: try again")


def route_details(route: Route) -> dict[str, str]:
    """Write a route as a question."""
    return {
        "source": format_source(route.source),
        "group": str(route.group),
        "iif": route.iif,
        "oifs": _oifs(route),
        "table": str(route.table),
    }


def _question(what: str, details: Mapping[str, str]) -> Question:
    """Ask for packets. what: what is done to them, up to the words that name them."""
    oifs = "$(oifs)" if details["oifs"] else "nowhere"
    where = "" if details["table"] == "0" else " in table $(table)"
    return Question(details, f"{what} ($(source), $(group)) from $(iif) to {oifs}{where}")


def ask_for_membership(verb: str, source: str, group: str, interface: str) -> Question:
    """Ask for memberships. verb: what is done with them. Source and group may be prefixes."""
    details = {"source": source, "group": group, "iif": interface}
    return Question(details, f"{verb} ($(source), $(group)) on $(iif)")


def _oifs(route: Route) -> str:
    return " ".join(oif.name for oif in route.oifs)


def _specificity(route: Route) -> tuple[int, int, tuple[bool, int, str]]:
    return route.group.length, route.source.length, precedence(route.iif)


def _taken_on(new: Route, other: Route) -> str | None:
    """Return the interfaces on which a new route takes packets of another, None where on none."""
    if _specificity(other) >= _specificity(new):
        return None
    if new.is_sg_on_one_iif:
        return other.iif
    if not may_meet(new.iif, other.iif):
        return None
    # A name and a pattern share the name; what two patterns share, nobody knows.
    return other.iif if is_pattern(new.iif) and not is_pattern(other.iif) else new.iif


def _within(iif: str, other: str) -> bool:
    """Return whether all interfaces of one name or pattern are known to be among another's."""
    return iif == other or (not is_pattern(iif) and matches(other, iif))
