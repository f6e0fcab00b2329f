"""What the service costs, beside the bare kernel and others."""
