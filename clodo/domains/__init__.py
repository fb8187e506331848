"""Domains: which zones a token sees, whom they serve, and whether requests for a hostname reach its Worker."""
