"""The calls that wait to be handled: users take turns, and the queue has limits."""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Collection, Hashable

from mfc_dbus.bus.frames import Frame, Header
from mfc_dbus.bus.large_calls import SMALL

_MAX_CALLS = 64  # of one sender
_MAX_CALLS_OF_USER = 256  # above it each connection may have one; a bus allows a user 256 of them
_MAX_BYTES = 16 * 1024 * 1024  # of all senders
_SHARE = 16 * 1024  # bytes of one sender that have room however much the others send


class CallQueue:
    """A queue for each sender. Users take turns, and so do the senders of each user.

    The bytes of large calls do not count here: see large_calls.py. user_of: returns the user of a
    sender; None while the bus is asked for him, so that all such senders share one turn; or the
    sender's name, where nobody has asked for his user.
    """

    def __init__(self, user_of: Callable[[str], Hashable]) -> None:
        self._user_of = user_of
        self._rows: OrderedDict[Hashable, OrderedDict[str, deque[Frame]]] = OrderedDict()
        self._users: dict[str, Hashable] = {}  # by sender: the user whose row holds his queue
        self._calls: Counter[Hashable] = Counter()  # by user
        self._bytes = 0

    def __bool__(self) -> bool:
        return bool(self._rows)

    def __len__(self) -> int:
        """Return the number of senders whose calls wait."""
        return len(self._users)

    def has_room(self, header: Header) -> bool:
        """Return whether a call with this header may still wait."""
        waiting: Collection[Frame] = ()
        if header.sender in self._users:
            user = self._users[header.sender]
            waiting = self._rows[user][header.sender]
            is_full = user is not None and self._calls[user] >= _MAX_CALLS_OF_USER
            if is_full or len(waiting) >= _MAX_CALLS:
                return False
        weight = _weight(header)
        if self._bytes + weight <= _MAX_BYTES:
            return True
        return sum(_weight(frame.header) for frame in waiting) + weight <= _SHARE

    def put(self, frame: Frame) -> None:
        sender = frame.header.sender
        if sender in self._users:
            user = self._users[sender]
            self._rows[user][sender].append(frame)
            self._calls[user] += 1
        else:
            self._line_up(sender, deque([frame]))
        self._bytes += _weight(frame.header)

    def take(self) -> Frame:
        """Take the oldest call of the sender whose turn it is; he and his user go to the end."""
        user, sender = self._first()
        while self._user_of(sender) != user:  # his user became known while he waited
            self._line_up(sender, self._withdraw(sender))
            user, sender = self._first()
        queue = self._withdraw(sender)
        if user in self._rows:
            self._rows.move_to_end(user)
        frame = queue.popleft()
        if queue:
            self._line_up(sender, queue)
        self._bytes -= _weight(frame.header)
        return frame

    def drop(self, sender: str) -> Collection[Frame]:
        """Take out all calls of a sender."""
        if sender not in self._users:
            return ()
        queue = self._withdraw(sender)
        self._bytes -= sum(_weight(frame.header) for frame in queue)
        return queue

    def _first(self) -> tuple[Hashable, str]:
        """Return the user whose turn it is, and that one of his senders."""
        user, row = next(iter(self._rows.items()))
        return user, next(iter(row))

    def _withdraw(self, sender: str) -> deque[Frame]:
        """Take a sender who waits out of his user's row, with his calls."""
        user = self._users.pop(sender)
        row = self._rows[user]
        queue = row.pop(sender)
        self._calls[user] -= len(queue)
        if not row:
            del self._rows[user], self._calls[user]
        return queue

    def _line_up(self, sender: str, queue: deque[Frame]) -> None:
        user = self._users[sender] = self._user_of(sender)
        self._rows.setdefault(user, OrderedDict())[sender] = queue
        self._calls[user] += len(queue)


def _weight(header: Header) -> int:
    return header.body_length if header.body_length <= SMALL else 0
