"""Route documents in TOML and JSON, and smcroute.conf."""
