"""What a queue may hold and how it may be set, in Cloudflare's numbers."""

from __future__ import annotations

#: https://developers.cloudflare.com/queues/platform/limits/
MAX_MESSAGE_BYTES = 128_000
MAX_BATCH_MESSAGES = 100
MAX_BATCH_BYTES = 256_000
MAX_DELAY_SECONDS = 86_400
MAX_PULL_BATCH = 100
MAX_VISIBILITY_MS = 12 * 3600 * 1000
MAX_RETRIES = 100
MAX_WAIT_MS = 60_000
MAX_CONCURRENCY = 250
MIN_RETENTION_SECONDS = 60
MAX_RETENTION_SECONDS = 14 * 86_400
MAX_BACKLOG_BYTES = 25 * 1000**3

#: https://developers.cloudflare.com/queues/configuration/configure-queues/
DEFAULT_RETENTION_SECONDS = 4 * 86_400
DEFAULT_BATCH_SIZE = 10
DEFAULT_WAIT_MS = 5_000
DEFAULT_RETRIES = 3

#: https://developers.cloudflare.com/queues/configuration/pull-consumers/
DEFAULT_PULL_BATCH = 5
DEFAULT_VISIBILITY_MS = 30_000

#: Batches out at once of a consumer without max_concurrency; what workerd's own queues take.
CONCURRENCY = 8
