"""D-Bus: messages by a library (backend.py), the connection that carries them (connection.py)."""
