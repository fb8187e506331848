"""
One release of one target: planned, journaled, judged, and undone when it fails.

Next door: `clodo.workspace` says what is wanted, `clodo.cloudflare` and `clodo.wrangler` act, `clodo.ledger` remembers.
"""
