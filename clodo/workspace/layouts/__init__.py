"""Older ways to lay out a workspace, read as they are: nothing in them is run, and each value keeps its place."""
