"""The calls that wait to be handled: one of each sender in turn, and no more than can be kept."""

from collections import OrderedDict, deque

from mfc_dbus.bus.frames import Frame, Header
from mfc_dbus.bus.large import SMALL

_MAX_CALLS = 64  # of one sender
_MAX_BYTES = 16 * 1024 * 1024  # of all senders
_SHARE = 16 * 1024  # bytes of one sender that have room however much the others send


class Turns:
    """A queue for each sender, served round robin. Large calls are accounted for elsewhere."""

    def __init__(self) -> None:
        self._queues: OrderedDict[str, deque[Frame]] = OrderedDict()
        self._bytes = 0

    def __bool__(self) -> bool:
        return bool(self._queues)

    def has_room(self, header: Header) -> bool:
        """Whether a call with this header may still wait."""
        waiting = self._queues.get(header.sender, ())
        if len(waiting) >= _MAX_CALLS:
            return False
        weight = _weight(header)
        if self._bytes + weight <= _MAX_BYTES:
            return True
        return sum(_weight(frame.header) for frame in waiting) + weight <= _SHARE

    def put(self, frame: Frame) -> None:
        self._queues.setdefault(frame.header.sender, deque()).append(frame)
        self._bytes += _weight(frame.header)

    def take(self) -> Frame:
        """Take the oldest call of the sender whose turn it is, who goes to the end of the row."""
        sender, queue = self._queues.popitem(last=False)
        frame = queue.popleft()
        if queue:
            self._queues[sender] = queue
        self._bytes -= _weight(frame.header)
        return frame


def _weight(header: Header) -> int:
    return header.body_length if header.body_length <= SMALL else 0
