"""What the log tells of changes: sentences, and for the journal the values that they are made of.

This is the only table of our messages: `data/mfc-dbus.catalog` explains each of them to whoever
reads the journal with `journalctl --catalog`.
"""

import logging
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from mfc_dbus.model.addresses import FAMILY_NAMES
from mfc_dbus.model.cause import Author, Cause, CauseKind
from mfc_dbus.model.desired import Desired
from mfc_dbus.model.route import Route, TableId
from mfc_dbus.model.status import MembershipStatus, Status


class Message(StrEnum):
    """The kinds of messages, each with its MESSAGE_ID."""

    ROUTE_ADDED = "1c16125429374178bfce59abe01febe3"
    ROUTE_CHANGED = "f6679efa070d4147a3ab63e4f5b78bd2"
    ROUTE_DELETED = "b589cf9ef4d0469e9c363a6e36e49f3b"
    ROUTE_EXPIRED = "4d1483fac9dc427eae9d2598ba2dd6eb"
    ROUTE_STATE = "dd7c7dff1c9140b599a447c38817a92b"
    ROUTE_RESTORED = "5b7edd44f4604613be0a811610b4ac1a"
    MEMBERSHIP_JOINED = "76b02f6b24bf47bab814af7395ba3553"
    MEMBERSHIP_CHANGED = "8d2b880b69ff4b73a67e73aa8c802d17"
    MEMBERSHIP_LEFT = "65d25ba46c2a479488dee1442a97bbb1"
    MEMBERSHIP_STATE = "9c710b8f9ead4420a7d5a821809c4b10"
    MEMBERSHIP_RESTORED = "f092560f60c74e36a0e402d35a28e164"
    SUMMARY = "59abd308753f4bd085ba1f559e002a56"
    REFUSED = "e92864069afd40a5b8429d95ab1dd441"
    LEFT_OUT = "7d35834781ea406e81e808e590116d6b"
    TABLE_OURS = "845c710f362548c3868317ec9d74db2e"
    TABLE_NOT_OURS = "49ab5ed14e05464e80a63aea0c1b6668"
    FOREIGN_CHANGE = "45b7c98930a84e1c8e3ccbe9b94e538c"
    KERNEL_REFUSED = "088520ac2535437e9d4c5b5a61307c85"
    MEMBERSHIP_LOST = "d199238cfdf9462f81d0dd6b7eeeb639"
    TOO_MANY_STREAMS = "a1b4a419fdc24ed9ad7f014d559400a1"
    STORE_FAILED = "9910ec784d73492cb6012f053179102b"
    STORE_WORKS = "41b1fbbcaf4a40828cfb7cad2cb78de7"
    CONFIGURATION = "35a191f742e54eedac8fb460463ef5cf"
    UNDECIDED = "ca06ba69d1b242abbbbbb010c9cc8ae3"
    INTERNAL_ERROR = "cc1d74f807ae4d4e938326da3f1b9078"


class Record(NamedTuple):
    """A message, its sentence, and what it is about.

    before, after: the route or membership. old_state, state, reason: how it was and how it is now.
    result: the name of the error of what was refused. more: other fields of the journal, by their
    names, of which one may have several values.
    """

    message: Message
    sentence: str
    cause: Cause | None = None
    before: Desired | None = None
    after: Desired | None = None
    old_state: str = ""
    state: str = ""
    reason: str = ""
    result: str = "done"
    more: Mapping[str, Sequence[str]] = {}


def about(
    message: Message, what: Desired | None = None, /, **more: str | int
) -> Mapping[str, Record]:
    """Return the `extra` by which a line of the log has a MESSAGE_ID and fields in the journal.

    what: the route or membership as it should be. more: other fields, by their names.
    """
    fields = {name.upper(): [str(value)] for name, value in more.items()}
    return {"about": Record(message, "", after=what, more=fields)}


def about_table(message: Message, table: TableId, **more: str | int) -> Mapping[str, Record]:
    """Return the `extra` of a line about a table."""
    return about(message, table=table.number, family=FAMILY_NAMES[table.family], **more)


def logger_of(name: str, message: Message) -> logging.LoggerAdapter[logging.Logger]:
    """Return a logger of whose lines each is such a message."""
    return logging.LoggerAdapter(logging.getLogger(name), about(message))


class _Words(NamedTuple):
    """The messages about one kind of thing, and the words for it."""

    noun: str
    put: Message
    changed: Message
    gone: Message
    state: Message
    restored: Message
    put_word: str
    gone_word: str


_ROUTE = _Words(
    "route",
    Message.ROUTE_ADDED,
    Message.ROUTE_CHANGED,
    Message.ROUTE_DELETED,
    Message.ROUTE_STATE,
    Message.ROUTE_RESTORED,
    "added",
    "deleted",
)
_MEMBERSHIP = _Words(
    "membership",
    Message.MEMBERSHIP_JOINED,
    Message.MEMBERSHIP_CHANGED,
    Message.MEMBERSHIP_LEFT,
    Message.MEMBERSHIP_STATE,
    Message.MEMBERSHIP_RESTORED,
    "joined",
    "left",
)
_MAX_SENTENCE = 500  # characters of an error, which may have a line for each problem
_USUAL_STATES = ("active", "disabled", "joined")

_Status = Status | MembershipStatus


def record(cause: Cause, before: _Status | None, now: _Status | None) -> Record:
    """Tell of a route or membership that has become another, or is in another state.

    before, now: None where there was or is none; not both.
    """
    words = _ROUTE if isinstance(now or before, Status) else _MEMBERSHIP
    known = Record(
        words.state,
        "",
        cause,
        before[0] if before else None,
        now[0] if now else None,
        before.state if before else "",
        now.state if now else "",
        now.reason if now else "",
    )
    if now is None:
        assert before is not None
        return _gone(known, words, before[0])
    what, state = now[0], _state(now)
    if before is None:
        sentence = f"{_subject(cause)} {words.put_word} {_name(what, words)}{_way(what)}{state}"
        return known._replace(message=words.put, sentence=sentence)
    if before[0] != what:
        disabled = ": disabled," if isinstance(what, Route) and not what.enabled else ""
        sentence = f"{_subject(cause)} changed {_name(what, words)}{disabled}{_way(what)}{state}"
        return known._replace(message=words.changed, sentence=sentence)
    reason = f": {now.reason}" if now.reason else ""
    return known._replace(sentence=f"{words.noun.title()} {what} is {now.state}{reason}")


def restored(cause: Cause, now: _Status) -> Record:
    """Tell of a route or membership with which the service has started."""
    words = _ROUTE if isinstance(now, Status) else _MEMBERSHIP
    sentence = f"Restored {_name(now[0], words)}{_way(now[0])}{_state(now)}"
    return Record(words.restored, sentence, cause, None, now[0], "", now.state, now.reason)


def summary(cause: Cause, what: str, **counts: int) -> Record:
    """Tell what a change of many has done. what: ends the sentence that begins with its author."""
    more = {name.upper(): [str(count)] for name, count in counts.items()}
    return Record(Message.SUMMARY, f"{_subject(cause)} {what}", cause, more=more)


def left_out(count: int, what: str, author: Author | None = None) -> Record:
    """Tell how many messages there would be more, and about whom, if about one user."""
    more = {"LEFT_OUT": [str(count)]} | ({"UID": [str(author.uid)]} if author else {})
    return Record(Message.LEFT_OUT, f"and {count} more {what}", more=more)


def refused(
    cause: Cause, member: str, result: str, sentence: str, asked: Mapping[str, str]
) -> Record:
    """Tell of a call that was refused. result: the name of its error. asked: what it asked for, as
    polkit is told of it.
    """
    more = {name.upper(): [value] for name, value in asked.items() if value}
    if "OIFS" in more:
        more["OIF"] = more.pop("OIFS")[0].split()
    stream = f" for ({asked['source']}, {asked['group']})" if "group" in asked else ""
    text = f"{_subject(cause)} was refused {member}{stream}: {sentence[:_MAX_SENTENCE]}"
    return Record(Message.REFUSED, text, cause, result=result, more=more)


def _subject(cause: Cause) -> str:
    if cause.kind is CauseKind.RELOAD:
        return "The configuration"
    return str(cause.author) if cause.author else "Somebody"


def _gone(known: Record, words: _Words, what: Desired) -> Record:
    if known.cause is not None and known.cause.kind is CauseKind.EXPIRY:
        sentence = f"{words.noun.title()} {what} has ended: its time has run out"
        return known._replace(message=Message.ROUTE_EXPIRED, sentence=sentence)
    subject = _subject(known.cause) if known.cause else "Somebody"
    where = f" from {what.iif}" if isinstance(what, Route) else ""
    sentence = f"{subject} {words.gone_word} {_name(what, words)}{where}"
    return known._replace(message=words.gone, sentence=sentence)


def _name(what: Desired, words: _Words) -> str:
    return f"{words.noun} {what}"


def _way(what: Desired) -> str:
    if not isinstance(what, Route):
        return ""
    return f" from {what.iif} to {' '.join(oif.name for oif in what.oifs) or 'nowhere'}"


def _state(now: _Status) -> str:
    if now.state in _USUAL_STATES:
        return ""
    return f"; it is {now.state}" + (f": {now.reason}" if now.reason else "")
