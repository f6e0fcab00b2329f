"""Calls with large bodies: few at once, since each is kept from its first byte to its answer."""

from mfc_dbus.bus.frames import Header

SMALL = 16 * 1024  # bytes; a call with a longer body is large
_MAX_BYTES = 96 * 1024 * 1024  # of all senders


class LargeCalls:
    """Admits one large call of each sender at a time, and no more in all than memory allows."""

    def __init__(self) -> None:
        self._bytes: dict[str, int] = {}  # by sender

    def admit(self, header: Header) -> bool:
        """Return whether there is room for this call; if so, it has to be released once."""
        if header.body_length <= SMALL:
            return True
        if header.sender in self._bytes:
            return False
        if sum(self._bytes.values()) + header.body_length > _MAX_BYTES:
            return False
        self._bytes[header.sender] = header.body_length
        return True

    def release(self, header: Header) -> None:
        if header.body_length > SMALL:
            del self._bytes[header.sender]
