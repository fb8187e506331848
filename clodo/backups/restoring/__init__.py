"""Restoring snapshots: planned, shown, carried out under a journal, verified, and undone on failure."""
