"""Backups: captured, sealed, stored, and proven by reading them back."""
