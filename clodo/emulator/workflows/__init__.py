"""Workflows: `definitions` reads what a deploy says, `store` keeps it; no instances of them are run."""
