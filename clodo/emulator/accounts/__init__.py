"""Accounts, their users, and the tokens that speak for them."""
