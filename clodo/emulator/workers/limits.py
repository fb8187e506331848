"""Cloudflare's numbers for Workers, each with its source."""

from __future__ import annotations

#: 64 MiB before compression, https://developers.cloudflare.com/workers/platform/limits/#worker-size
MAX_SCRIPT_BYTES = 64 * 1024 * 1024

#: The upload as a whole: the API gateway's limit on a body.
MAX_UPLOAD_BYTES = 100 * 1024 * 1024

#: Parts of an upload; far above what any bundler makes.
MAX_PARTS = 10_000

#: "the last 100 uploaded versions", https://developers.cloudflare.com/workers/configuration/versions-and-deployments/
MAX_DEPLOYABLE_VERSIONS = 100

#: Versions that one deployment may split its traffic between; the same page.
MAX_VERSIONS_IN_DEPLOYMENT = 2

#: Deployments that the API lists; the same page.
MAX_LISTED_DEPLOYMENTS = 10

#: Bytes of each annotation, from the API's schema; a message is cut instead of refused.
MAX_ANNOTATION_BYTES = {
    "workers/tag": 100,
    "workers/alias": 63,
    "workers/commit_sha": 64,
    "workers/pull_request_number": 20,
    "workers/pull_request_title": 512,
    "workers/pull_request_url": 512,
    "workers/repository_url": 512,
}
MAX_MESSAGE_BYTES = 1000

#: https://developers.cloudflare.com/workers/platform/limits/#environment-variables
MAX_VARIABLE_BYTES = 5 * 1024
MAX_VARIABLES = 128

#: https://developers.cloudflare.com/workers/platform/limits/#cron-triggers-per-account is by account; per script:
MAX_SCHEDULES = 250

#: https://developers.cloudflare.com/workers/static-assets/ : "20,000 files", "25 MiB" each
MAX_ASSETS = 100_000
MAX_ASSET_BYTES = 25 * 1024 * 1024

#: Of a dispatch namespace; assumed.
MAX_NAMESPACE_NAME = 64
