"""What scripts are told: the events that lead from what they have heard to how things are (pure).

A thing is a route, a membership, an interface, a stream or the service, and its value is what JSON
has of it. An event also says what the scripts have heard of its thing once it is over, so that the
events that are still due can always be found again: see `events_of`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

Value = Mapping[str, Any]

SERVICE = "service"  # the first argument of a script where it is about the service
REMOVED = "removed"  # the state of a route or membership that is no more
_UNHEARD = ""  # its state while scripts have not heard yet that it is up
_STATE = ("state", "reason")


class Kind(StrEnum):
    """The kinds of things, by the names that they have in JSON."""

    SERVICE = "service"
    INTERFACE = "interface"
    MEMBERSHIP = "membership"
    ROUTE = "route"
    STREAM = "stream"


class Thing(NamedTuple):
    """Identifies a thing. key: what its kind calls it."""

    kind: Kind
    key: tuple[str, ...]


class CausedBy(NamedTuple):
    """Who or what has caused an event, as far as that is known."""

    cause: str = ""
    action: str = ""
    uid: int | None = None
    user: str = ""
    sender: str = ""
    pid: int = 0


class Event(NamedTuple):
    """One thing that scripts are told.

    told: how the thing is, or was last where it has gone. old: how it was before. left: what the
    scripts have heard of it after this event; None: that there is none. thing: None where nothing
    is kept of it. time: microseconds since 1970.
    """

    action: str
    kind: Kind
    told: Value
    old: Value | None = None
    thing: Thing | None = None
    left: Value | None = None
    cause: CausedBy | None = None
    generation: int | None = None
    time: int = 0

    @property
    def subject(self) -> str:
        """What the event is about, as the first argument of scripts."""
        if self.kind is Kind.SERVICE:
            return SERVICE
        if self.kind is Kind.INTERFACE:
            return str(self.told["name"])
        return f"{self.told['source']},{self.told['group']}"

    def to_json(self) -> dict[str, Any]:
        """Return what scripts read from their standard input."""
        return {
            "action": self.action,
            "time": self.time,
            "generation": self.generation,
            "cause": self.cause._asdict() if self.cause else None,
            str(self.kind): self.told,
            "old": self.old,
        }


class _Actions(NamedTuple):
    """The actions for one kind of thing; empty: scripts are not told.

    up: the state in which a thing of this kind is up, empty where it has no such states.
    """

    put: str
    gone: str
    changed: str = ""
    raised: str = ""
    lowered: str = ""
    up: str = ""


_ACTIONS = {
    Kind.SERVICE: _Actions("service-up", "service-down"),
    Kind.INTERFACE: _Actions("interface-up", "interface-down"),
    Kind.MEMBERSHIP: _Actions(
        "membership-join",
        "membership-leave",
        "membership-change",
        "membership-up",
        "membership-down",
        "joined",
    ),
    Kind.ROUTE: _Actions(
        "route-add", "route-remove", "route-change", "route-up", "route-down", "active"
    ),
    Kind.STREAM: _Actions("stream-begin", "stream-end"),
}
_NEEDED: dict[Kind, Sequence[str]] = {
    Kind.SERVICE: ["instance"],
    Kind.INTERFACE: ["name"],
    Kind.MEMBERSHIP: ["source", "group", *_STATE],
    Kind.ROUTE: ["source", "group", *_STATE],
    Kind.STREAM: ["source", "group"],
}
UNROUTED = "unrouted"
RESYNC = "resync"
ACTIONS = (*(name for each in _ACTIONS.values() for name in each[:5] if name), UNROUTED, RESYNC)


def is_whole(kind: Kind, value: Value) -> bool:
    """Return whether a value that was kept, maybe by another version, has what events need."""
    return all(isinstance(value.get(name), str) for name in _NEEDED[kind])


def events_of(thing: Thing, before: Value | None, after: Value | None) -> Iterator[Event]:
    """Yield the events that lead from what scripts have heard of a thing to how it is.

    A thing comes before it is up, and is down before it goes; what is said of it changes while it
    is down, if it is down before or after. When only some of the events are over, the events from
    the last one's `left` to `after` are the others.
    """
    actions = _ACTIONS[thing.kind]

    def event(action: str, told: Value, old: Value | None, left: Value | None) -> Event:
        return Event(action, thing.kind, told, old, thing, left)

    if before is None:
        if after is None:
            return
        is_up = _is_up(actions, after)
        heard = {**after, "state": _UNHEARD} if is_up else after
        yield event(actions.put, after, None, heard)
        if is_up:
            yield event(actions.raised, after, heard, after)
    elif after is None:
        gone = {**before, "state": REMOVED} if actions.up else before
        if _is_up(actions, before):
            heard = {**before, "state": _UNHEARD}
            yield event(actions.lowered, gone, before, heard)
        yield event(actions.gone, gone, before, None)
    elif actions.changed and before != after:
        yield from _changes(event, actions, before, after)
    elif thing.kind is Kind.SERVICE and before != after:  # another process of it
        yield event(actions.gone, before, before, None)
        yield event(actions.put, after, None, after)


def _changes(
    event: Callable[[str, Value, Value | None, Value | None], Event],
    actions: _Actions,
    before: Value,
    after: Value,
) -> Iterator[Event]:
    was_up, is_up = _is_up(actions, before), _is_up(actions, after)
    heard = before
    if was_up and not is_up:
        heard = {**before, **_state(after)}
        yield event(actions.lowered, heard, before, heard)
    if not was_up and is_up:
        changed = {**after, **_state(before)}
        if changed != heard:
            yield event(actions.changed, after, before, changed)
        yield event(actions.raised, after, before, after)
    elif heard != after:
        yield event(actions.changed, after, heard, after)


def _is_up(actions: _Actions, value: Value) -> bool:
    return bool(actions.up) and value["state"] == actions.up


def _state(value: Value) -> dict[str, Any]:
    return {name: value[name] for name in _STATE}
