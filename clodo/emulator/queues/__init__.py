"""Queues: `store` has queues and consumers, `messages` what waits in them, `deliveries` calls the consumers."""
