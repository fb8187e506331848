"""Queues, as far as deploying Workers asks for them: queues and their consumers; no messages are kept yet."""
