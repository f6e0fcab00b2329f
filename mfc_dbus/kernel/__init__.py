"""The kernel's own terms: thin wrappers that raise OSError, hold no policy and log nothing."""
