"""The values that all packages share, and the errors of the domain (pure)."""
