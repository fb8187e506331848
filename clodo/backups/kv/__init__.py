"""KV in snapshots: one line of JSON a key."""
