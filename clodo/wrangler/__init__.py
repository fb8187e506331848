"""The real wrangler as typed calls: the pinned toolchain, the gateway it talks through, and the commands."""
