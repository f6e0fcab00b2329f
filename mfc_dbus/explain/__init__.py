"""Why a stream is forwarded or not: findings from what was seen of it. Pure."""
