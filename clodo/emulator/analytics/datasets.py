"""
The datasets: which fields each has, and what a field is in SQL.

Sources: https://developers.cloudflare.com/analytics/graphql-api/features/data-sets/, the pages "Metrics and analytics"
of Workers, D1, KV and R2, and the queries in wrangler (``d1 info``, ``d1 insights``, ``r2 bucket info``). Microseconds
and milliseconds are as there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

#: ``dimension → length of its bucket in milliseconds``.
TIMES: Mapping[str, int] = MappingProxyType(
    {
        "date": 86_400_000,
        "datetime": 1_000,
        "datetimeMinute": 60_000,
        "datetimeFiveMinutes": 300_000,
        "datetimeFifteenMinutes": 900_000,
        "datetimeHour": 3_600_000,
        "datetimeSixHours": 21_600_000,
    }
)
#: ``P50`` and the like in the names of quantiles.
SHARES: Mapping[str, float] = MappingProxyType(
    {"P25": 0.25, "P50": 0.5, "P75": 0.75, "P90": 0.9, "P95": 0.95, "P99": 0.99, "P999": 0.999}
)
#: "cannot request data older than 2678400s": 31 days.
HORIZON_SECONDS = 2_678_400
#: Of Workers' invocations, "for dates up to three months ago".
WORKERS_HORIZON_SECONDS = 90 * 86_400


@dataclass(frozen=True, slots=True)
class Dataset:
    """
    A dataset of an account.

    Attributes:
        table: Where its rows are.

        dimensions: Field to SQL expression, besides the times of `TIMES`.

        measures: Function (``sum``, ``avg``, ``max``, ``min``) to its fields, each with the SQL of one row's figure.

        quantiles: Field without its ``P50`` to the SQL of one row's figure.

        only: Condition on rows of the table.
    """

    table: str
    dimensions: Mapping[str, str]
    measures: Mapping[str, Mapping[str, str]]
    quantiles: Mapping[str, str] = field(default_factory=dict)
    only: str = "true"
    horizon_seconds: int = HORIZON_SECONDS


_INVOCATION_SUMS = {
    "requests": "1",
    "errors": "status NOT IN ('success', 'clientDisconnected')",
    "clientDisconnects": "status = 'clientDisconnected'",
    "subrequests": "subrequests",
    "cpuTimeUs": "cpu_us",
    "wallTime": "wall_us",
    # GB-seconds at 128 MB, what a Worker may use.
    "duration": "wall_us / 1e6 * 0.128",
    "requestDuration": "wall_us",
    "responseBodySize": "bytes",
}
_INVOCATION_FIGURES = {
    "cpuTime": "cpu_us",
    "wallTime": "wall_us",
    "duration": "wall_us / 1e6 * 0.128",
    "requestDuration": "wall_us",
    "responseBodySize": "bytes",
}
_INVOCATION_DIMENSIONS = {
    "scriptName": "script",
    "scriptTag": "script_tag",
    "scriptVersion": "version_id",
    "environmentName": "'production'",
    "status": "status",
    "usageModel": "'standard'",
    "eventType": "event",
    "dispatchNamespaceName": "''",
    # No number: SQL takes one in GROUP BY for a column's.
    "isDispatcher": "status IS NULL",
    "coloCode": "'LOC'",
}
_QUERY_FIGURES = {
    "queryDurationMs": "duration_ms",
    "rowsRead": "rows_read",
    "rowsWritten": "rows_written",
    "rowsReturned": "rows_returned",
}

DATASETS: Mapping[str, Dataset] = MappingProxyType(
    {
        "workersInvocationsAdaptive": Dataset(
            "invocations",
            _INVOCATION_DIMENSIONS,
            {
                "sum": _INVOCATION_SUMS,
                "avg": {**_INVOCATION_FIGURES, "subrequests": "subrequests"},
                "max": _INVOCATION_FIGURES,
                "min": _INVOCATION_FIGURES,
            },
            _INVOCATION_FIGURES,
            only="script NOT LIKE 'pages-worker--%'",
            horizon_seconds=WORKERS_HORIZON_SECONDS,
        ),
        # Asked for beside the former by many dashboards.
        "pagesFunctionsInvocationsAdaptiveGroups": Dataset(
            "invocations",
            _INVOCATION_DIMENSIONS,
            {"sum": _INVOCATION_SUMS},
            _INVOCATION_FIGURES,
            only="script LIKE 'pages-worker--%'",
            horizon_seconds=WORKERS_HORIZON_SECONDS,
        ),
        "d1AnalyticsAdaptiveGroups": Dataset(
            "database_queries",
            {"databaseId": "database_id", "databaseRole": "'primary'", "servedByRegion": "region"},
            {
                "sum": {
                    "readQueries": "NOT is_write",
                    "writeQueries": "is_write",
                    "rowsRead": "rows_read",
                    "rowsWritten": "rows_written",
                    "queryBatchResponseBytes": "batch_bytes",
                    "queryBatchTimeMs": "batch_ms",
                },
                "avg": {
                    "rowsRead": "rows_read",
                    "rowsWritten": "rows_written",
                    "queryBatchResponseBytes": "batch_bytes",
                    "queryBatchTimeMs": "batch_ms",
                },
            },
            {"queryBatchTimeMs": "batch_ms", "queryBatchResponseBytes": "batch_bytes"},
        ),
        "d1QueriesAdaptiveGroups": Dataset(
            "database_queries",
            {
                "databaseId": "database_id",
                "query": "query",
                "error": "error != ''",
                "databaseRole": "'primary'",
                "servedByRegion": "region",
            },
            {"sum": _QUERY_FIGURES, "avg": _QUERY_FIGURES, "max": _QUERY_FIGURES, "min": _QUERY_FIGURES},
            _QUERY_FIGURES,
        ),
        "d1StorageAdaptiveGroups": Dataset(
            "sizes", {"databaseId": "resource"}, {"max": {"databaseSizeBytes": "bytes"}}, only="kind = 'd1'"
        ),
        "kvOperationsAdaptiveGroups": Dataset(
            "key_operations",
            {
                "namespaceId": "namespace_id",
                "actionType": "action",
                "result": "result",
                "responseStatusCode": "status",
                "coloCode": "'LOC'",
            },
            {"sum": {"requests": "requests", "objectBytes": "bytes"}},
            {"latencyMs": "latency_ms", "objectBytes": "bytes"},
        ),
        "kvStorageAdaptiveGroups": Dataset(
            "sizes",
            {"namespaceId": "resource"},
            {"max": {"keyCount": "count", "byteCount": "bytes"}},
            only="kind = 'kv'",
        ),
        "r2OperationsAdaptiveGroups": Dataset(
            "object_operations",
            {
                "bucketName": "bucket",
                "objectName": "object",
                "actionType": "action",
                "actionStatus": "result",
                "responseStatusCode": "status",
                "storageClass": "storage_class",
            },
            {"sum": {"requests": "1", "responseBytes": "bytes", "responseObjectSize": "bytes"}},
        ),
        "r2StorageAdaptiveGroups": Dataset(
            "sizes",
            {"bucketName": "resource", "storageClass": "'Standard'"},
            {
                "max": {
                    "objectCount": "count",
                    "payloadSize": "bytes",
                    "metadataSize": "metadata_bytes",
                    "uploadCount": "uploads",
                }
            },
            only="kind = 'r2'",
        ),
    }
)
