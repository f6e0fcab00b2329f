"""D-Bus: bytes of messages (frames, backend, codec), and connections (connection, blocking)."""
