"""What R2 refuses, with its numbers, S3's names for them, and the sentences."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import apsw

from clodo.errors import ClodoError


@dataclass(frozen=True, slots=True)
class Refusal:
    """
    One thing that R2 may say no with.

    Attributes:
        status: HTTP status.

        number: Cloudflare's, shown by the API and by bindings.

        name: ``Code`` in S3's XML.

    Source:
        https://developers.cloudflare.com/r2/api/error-codes/
    """

    status: int
    number: int
    name: str
    message: str

    def saying(self, message: str) -> Refusal:
        """Return the same refusal with another sentence."""
        return replace(self, message=message)


class R2Refused(ClodoError):
    """R2 says no; each of its three doors (API, S3, binding) says it in its own way."""

    def __init__(self, refusal: Refusal, details: Mapping[str, str] | None = None) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
        #: Further elements of S3's document.
        self.details = details or {}


UNAUTHORIZED = Refusal(401, 10002, "Unauthorized", "Unauthorized")
ACCESS_DENIED = Refusal(403, 10003, "AccessDenied", "Access Denied")
BUCKET_EXISTS = Refusal(
    409, 10004, "BucketAlreadyOwnedByYou", "The bucket you tried to create already exists, and you own it."
)
INVALID_BUCKET_NAME = Refusal(400, 10005, "InvalidBucketName", "The specified bucket name is not valid.")
NO_SUCH_BUCKET = Refusal(404, 10006, "NoSuchBucket", "The specified bucket does not exist.")
NO_SUCH_KEY = Refusal(404, 10007, "NoSuchKey", "The specified key does not exist.")
BUCKET_NOT_EMPTY = Refusal(409, 10008, "BucketNotEmpty", "The bucket you tried to delete is not empty.")
ENTITY_TOO_SMALL = Refusal(
    400, 10011, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed object size."
)
METADATA_TOO_LARGE = Refusal(
    400, 10012, "MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size."
)
INCOMPLETE_BODY = Refusal(
    400,
    10013,
    "IncompleteBody",
    "You did not provide the number of bytes specified by the Content-Length HTTP header.",
)
INVALID_DIGEST = Refusal(400, 10014, "InvalidDigest", "The checksum or Content-MD5 you specified is not valid.")
#: 403, as miniflare's authors found; the table says 400.
EXPIRED_REQUEST = Refusal(403, 10018, "ExpiredRequest", "Request has expired")
INVALID_OBJECT_NAME = Refusal(400, 10020, "InvalidObjectName", "The specified object name is not valid.")
INVALID_MAX_KEYS = Refusal(400, 10022, "InvalidMaxKeys", "MaxKeys params must be positive integer <= 1000.")
NO_SUCH_UPLOAD = Refusal(404, 10024, "NoSuchUpload", "The specified multipart upload does not exist.")
INVALID_PART = Refusal(400, 10025, "InvalidPart", "One or more of the specified parts could not be found.")
#: As S3 says it; the number is R2's of an invalid range.
INVALID_PART_NUMBER = Refusal(416, 10039, "InvalidPartNumber", "The requested partnumber is not satisfiable.")
INVALID_ARGUMENT = Refusal(400, 10029, "InvalidArgument", "Invalid Argument")
PRECONDITION_FAILED = Refusal(
    412, 10031, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold."
)
MISSING_CONTENT_LENGTH = Refusal(411, 10033, "MissingContentLength", "You must provide the Content-Length HTTP header.")
SIGNATURE_DOES_NOT_MATCH = Refusal(
    403,
    10035,
    "SignatureDoesNotMatch",
    "The request signature we calculated does not match the signature you provided."
    " Check your secret access key and signing method.",
)
BAD_DIGEST = Refusal(400, 10037, "BadDigest", "The checksum you specified did not match what we received.")
INVALID_RANGE = Refusal(416, 10039, "InvalidRange", "The requested range is not satisfiable")
UNEVEN_PARTS = Refusal(400, 10048, "InvalidPart", "All non-trailing parts must have the same length.")
REPEATED_PARTS = UNEVEN_PARTS.saying("There was a problem with the multipart upload.")
#: Its number is assumed.
NO_SUCH_LIFECYCLE = Refusal(404, 10060, "NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist.")
NO_SUCH_CORS = Refusal(404, 10059, "NoSuchCORSConfiguration", "The CORS configuration does not exist.")
OBJECT_LOCKED = Refusal(403, 10069, "ObjectLockedByBucketPolicy", "The object is locked by the bucket policy.")
ENTITY_TOO_LARGE = Refusal(
    400, 100100, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed object size."
)

# Not in Cloudflare's table: S3's own names; the numbers are ours.
#: To a preflight; word for word what the real one says, whatever the reason is that no rule lets it in.
CORS_NOT_CONFIGURED = Refusal(403, 10002, "Unauthorized", "CORS not configured for this bucket")
CORS_WITHOUT_ORIGIN = Refusal(400, 10063, "BadRequest", "Insufficient information. Origin request header needed.")
INVALID_ENCRYPTION_ALGORITHM = Refusal(
    400,
    10061,
    "InvalidEncryptionAlgorithmError",
    "The encryption request that you specified is not valid. The valid value is AES256.",
)
ENCRYPTION_NOT_APPLICABLE = Refusal(
    400, 10062, "InvalidRequest", "The encryption parameters are not applicable to this object."
)
KEY_OF_OBJECT_NEEDED = ENCRYPTION_NOT_APPLICABLE.saying(
    "The object was stored using a form of Server Side Encryption."
    " The correct parameters must be provided to retrieve the object."
)
KEY_OF_UPLOAD_NEEDED = ENCRYPTION_NOT_APPLICABLE.saying(
    "The multipart upload initiate requested encryption."
    " Subsequent part requests must include the appropriate encryption parameters."
)
KEY_DIFFERS_FROM_UPLOADS = ENCRYPTION_NOT_APPLICABLE.saying(
    "The provided encryption parameters did not match the ones used originally."
)
#: Their numbers are those that Alchemy's provider knows; the sentences, and the number of overlaps, are assumed.
NO_NOTIFICATIONS = Refusal(404, 11015, "NoEventNotificationConfig", "This bucket has no event notifications.")
NO_SUCH_NOTIFICATION = Refusal(
    404, 11011, "EventNotificationConfigNotFound", "No event notifications of this bucket go to this queue."
)
OVERLAPPING_NOTIFICATIONS = Refusal(
    409,
    11020,
    "EventNotificationConflict",
    "Rules for a queue must not overlap by prefix and suffix, whatever they do.",
)
NO_SUCH_DOMAIN = Refusal(404, 10050, "NoSuchDomain", "The specified custom domain does not exist on this bucket.")
MALFORMED_XML = Refusal(
    400,
    10040,
    "MalformedXML",
    "The XML you provided was not well formed or did not validate against our published schema.",
)
ROUTE_NOT_FOUND = Refusal(404, 10064, "RouteNotFound", "No route matches this url.")
INVALID_STORAGE_CLASS = Refusal(400, 10065, "InvalidStorageClass", "The storage class specified is not valid.")
INVALID_REQUEST = Refusal(400, 10066, "InvalidRequest", "Invalid Request")
NO_SUCH_TAGS = Refusal(404, 10067, "NoSuchTagSet", "The TagSet does not exist.")
NO_OBJECT_LOCK = Refusal(
    404,
    10068,
    "ObjectLockConfigurationNotFoundError",
    "Object Lock configuration does not exist for this bucket.",
)
NO_REPLICATION = Refusal(
    404, 10070, "ReplicationConfigurationNotFoundError", "The replication configuration was not found."
)
NOT_IMPLEMENTED = Refusal(501, 10044, "NotImplemented", "This operation is not implemented.")
TIME_TOO_SKEWED = Refusal(
    403,
    10046,
    "RequestTimeTooSkewed",
    "The difference between the request time and the server's time is too large.",
)
PAYLOAD_HASH_DIFFERS = Refusal(
    400,
    10047,
    "XAmzContentSHA256Mismatch",
    "The provided 'x-amz-content-sha256' header does not match what was computed.",
)
#: Not Cloudflare's; the real one has no full disk.
NO_SPACE_LEFT = Refusal(
    507, 10507, "InsufficientStorage", "The disk of the embedded cloud is full; nothing was changed."
)

#: A limit on the size of files (`ulimit -f`) is the same to whoever uploads.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def full_disk_named() -> Iterator[None]:
    """Turn a disk that is full, the file system's or SQLite's word for it, into a refusal."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise R2Refused(NO_SPACE_LEFT) from error
        raise
    except apsw.FullError as error:
        raise R2Refused(NO_SPACE_LEFT) from error
