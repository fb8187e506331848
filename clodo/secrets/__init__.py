"""Secrets without keeping them: made, compared by fingerprint, rotated, probed."""
