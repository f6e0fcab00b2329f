"""The names under which the service is known."""

BUS_NAME = "org.example.MulticastForwarding"
INTERFACE = "org.example.MulticastForwarding"
OBJECT_PATH = "/org/example/MulticastForwarding"

ANY_SOURCE = "*"  # as the source of a route or membership
