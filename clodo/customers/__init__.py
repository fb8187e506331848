"""Customers: what each deployment of theirs consists of, and how one is made, changed and taken away."""
