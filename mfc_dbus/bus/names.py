"""The names that the D-Bus specification gives."""

BUS = "org.freedesktop.DBus"
BUS_PATH = "/org/freedesktop/DBus"

PROPERTIES = f"{BUS}.Properties"
INTROSPECTABLE = f"{BUS}.Introspectable"
PEER = f"{BUS}.Peer"

ERROR = f"{BUS}.Error"
INVALID_ARGS = f"{ERROR}.InvalidArgs"
INVALID_SIGNATURE = f"{ERROR}.InvalidSignature"
LIMITS_EXCEEDED = f"{ERROR}.LimitsExceeded"
UNKNOWN_METHOD = f"{ERROR}.UnknownMethod"
