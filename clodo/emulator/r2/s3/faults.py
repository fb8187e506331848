"""Faults as S3 clients see them: XML, with S3's codes."""

from __future__ import annotations

from starlette.responses import Response

from clodo.emulator.faults import Dialect, FaultRule
from clodo.emulator.r2.s3.documents import document
from clodo.emulator.r2.s3.objects import xml

#: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html; 429 is R2's for too many writes to one key.
_CODES = {
    400: "InvalidRequest",
    401: "Unauthorized",
    403: "AccessDenied",
    404: "NoSuchKey",
    405: "MethodNotAllowed",
    409: "OperationAborted",
    412: "PreconditionFailed",
    429: "TooManyRequests",
    501: "NotImplemented",
    503: "ServiceUnavailable",
}


def refuse(rule: FaultRule) -> Response:
    """Return the answer that a fault gives."""
    code = _CODES.get(rule.status, "InternalError")
    answer = xml(document("Error", [("Code", code), ("Message", rule.message)], namespace=None), rule.status)
    if rule.retry_after is not None:
        answer.headers["Retry-After"] = f"{rule.retry_after:g}"
    return answer


S3_DIALECT = Dialect(b"application/xml", b'<?xml version="1.0" encod', refuse)
