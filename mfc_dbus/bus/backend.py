"""The D-Bus library: dbus-fast where it is installed, else dbus-next. No other module imports it.

It encodes and decodes the bodies of messages. Headers and the socket are handled by our own code:
either library's lets any local user end or stall the service (a full socket buffer counts as a lost
bus, a body decodes for seconds before anyone asked for it, an unknown header field ends the
connection, every connection stops after 2^32 messages).
"""

import importlib
import importlib.util
import io
import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from mfc_dbus.bus.errors import DecodeError
from mfc_dbus.bus.frames import Header, MessageType, write_header

_LIBRARIES = ("dbus_fast", "dbus_next")
# The libraries keep the signatures that they have seen, dbus-next all and dbus-fast 4,096 of them,
# and a stranger can invent ones that take 40 kB each.
_MAX_SIGNATURES = 128


def _choose() -> str:
    forced = os.environ.get("MFC_DBUS_BACKEND")
    if forced and forced not in _LIBRARIES:
        raise ImportError(f"MFC_DBUS_BACKEND is '{forced}', and not one of {_LIBRARIES}")
    return forced or next(name for name in _LIBRARIES if importlib.util.find_spec(name))


LIBRARY = _choose()
_library = importlib.import_module(LIBRARY)
_private = f"{LIBRARY}._private"
_Marshaller: Any = importlib.import_module(f"{_private}.marshaller").Marshaller
_Unmarshaller: Any = importlib.import_module(f"{_private}.unmarshaller").Unmarshaller
_signature: Any = importlib.import_module(f"{LIBRARY}.signature")
_signatures: Any = getattr(_signature.SignatureTree, "_cache", {})  # of dbus-next
_signature_tree: Any = getattr(_signature, "get_signature_tree", None)  # of dbus-fast

Variant: Any = _library.Variant

# The values of a message's body, or the body as it goes over the wire.
Body = Sequence[Any] | bytes | bytearray


def encode(signature: str, body: Sequence[Any]) -> bytes:
    """Encode a body; struct values are lists, variants are `Variant`."""
    return bytes(_Marshaller(signature, list(body)).marshall())


def decode(signature: str, body: bytes | bytearray, order: str = "<") -> list[Any]:
    """Decode a body; order: its byte order, "<" or ">" as in struct. Raises DecodeError."""
    if not body and not signature:
        return []
    _forget_signatures()
    unmarshaller = _Unmarshaller(io.BytesIO(_small_header(order, len(body), signature) + body))
    try:
        unmarshaller.unmarshall()
        values: list[Any] = unmarshaller.message.body
    except Exception as error:  # the libraries name no errors, and a stranger wrote the bytes
        raise DecodeError(str(error)) from error
    return values


@lru_cache(maxsize=256)
def _small_header(order: str, length: int, signature: str) -> bytes:
    """Write what comes before a body, since the libraries decode whole messages only."""
    return write_header(
        Header(order, MessageType.METHOD_RETURN, 0, 1, length, reply_serial=1, signature=signature)
    )


def _forget_signatures() -> None:
    if len(_signatures) > _MAX_SIGNATURES:
        _signatures.clear()
    if _signature_tree and _signature_tree.cache_info().currsize > _MAX_SIGNATURES:
        _signature_tree.cache_clear()
