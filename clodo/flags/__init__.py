"""Feature flags: declared in files, delivered as variables or through KV, decided by a stable hash."""
