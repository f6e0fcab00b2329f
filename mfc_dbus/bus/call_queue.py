"""The calls that wait to be handled: one of each user in turn, and no more than can be kept."""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Hashable

from mfc_dbus.bus.frames import Frame, Header
from mfc_dbus.bus.large_calls import SMALL

_MAX_CALLS = 64  # of one sender
_MAX_CALLS_OF_USER = 256  # then one of each of his connections, of which a bus lets him have 256
_MAX_BYTES = 16 * 1024 * 1024  # of all senders
_SHARE = 16 * 1024  # bytes of one sender that have room however much the others send


class Turns:
    """A queue for each sender. Users have their turns round robin, and so have the senders of each.
    Large calls are accounted for elsewhere.

    user_of: whose connection a sender is; where nobody knows yet, he is a user of his own.
    """

    def __init__(self, user_of: Callable[[str], Hashable]) -> None:
        self._user_of = user_of
        self._rows: OrderedDict[Hashable, OrderedDict[str, deque[Frame]]] = OrderedDict()
        self._users: dict[str, Hashable] = {}  # in whose row each sender is who has a queue
        self._calls: Counter[Hashable] = Counter()  # in each row
        self._bytes = 0

    def __bool__(self) -> bool:
        return bool(self._rows)

    def __len__(self) -> int:
        """How many senders have calls that wait."""
        return len(self._users)

    def has_room(self, header: Header) -> bool:
        """Whether a call with this header may still wait."""
        user = self._users.get(header.sender)
        waiting = self._rows[user][header.sender] if user is not None else ()
        if waiting and (len(waiting) >= _MAX_CALLS or self._calls[user] >= _MAX_CALLS_OF_USER):
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
        """Take the oldest call of the sender whose turn it is: he and his user go to the end."""
        user, sender, queue = self._withdraw()
        while self._user_of(sender) != user:  # that became known while he waited
            self._line_up(sender, queue)
            user, sender, queue = self._withdraw()
        frame = queue.popleft()
        if queue:
            self._line_up(sender, queue)
        self._bytes -= _weight(frame.header)
        return frame

    def _withdraw(self) -> tuple[Hashable, str, deque[Frame]]:
        """Take out whose turn it is, with all his calls; the others of his user go to the end."""
        user, row = self._rows.popitem(last=False)
        sender, queue = row.popitem(last=False)
        if row:
            self._rows[user] = row
            self._calls[user] -= len(queue)
        else:
            del self._calls[user]
        del self._users[sender]
        return user, sender, queue

    def _line_up(self, sender: str, queue: deque[Frame]) -> None:
        user = self._users[sender] = self._user_of(sender)
        self._rows.setdefault(user, OrderedDict())[sender] = queue
        self._calls[user] += len(queue)


def _weight(header: Header) -> int:
    return header.body_length if header.body_length <= SMALL else 0
