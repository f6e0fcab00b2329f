"""The test ground: network namespaces, exact packet counts, a private bus, the real daemon."""
