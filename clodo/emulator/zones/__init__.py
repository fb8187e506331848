"""Zones: the domains that accounts own."""
