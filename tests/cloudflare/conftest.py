"""What all tests of the Cloudflare client share."""

from __future__ import annotations

from hypothesis import settings

# A busy machine is no failure: nothing here depends on how long an example takes.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
