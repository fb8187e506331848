"""
Limits of DNS records, and the numbers of their refusals.

Source:
    https://developers.cloudflare.com/dns/manage-dns-records/reference/record-attributes/ and …/reference/ttl/;
    81058 is recorded; the other numbers and sentences are from public bug reports of 2022 to 2026, or assumed where
    it says so.
"""

from __future__ import annotations

from clodo.emulator.envelope import ApiError

#: Seconds; 1 means "automatic". (30 on Enterprise plans.)
MIN_TTL, MAX_TTL, AUTOMATIC_TTL = 60, 86_400, 1

#: Of the paid plans, whose limits the embedded cloud has.
MAX_RECORDS = 3_500
MAX_BATCH_CHANGES = 3_500
MAX_COMMENT_CHARACTERS = 500
MAX_TAGS = 20
MAX_TAG_NAME_CHARACTERS, MAX_TAG_VALUE_CHARACTERS = 32, 100
MAX_CONTENT_BYTES = 4_096
MAX_COMBINED_TXT_BYTES = 8_192

INVALID_NAME = (9000, "DNS name is invalid.")
#: Assumed number, known sentence.
INVALID_TYPE = (9002, "DNS record type is invalid.")
INVALID_PROXIED = (9003, "Invalid 'proxied' value, must be a boolean.")
NOT_PROXIABLE = (9004, "This record type cannot be proxied.")
INVALID_IPV4 = (9005, "Content for A record must be a valid IPv4 address.")
INVALID_IPV6 = (9006, "Content for AAAA record must be a valid IPv6 address.")
INVALID_CNAME = (9007, "Content for CNAME record is invalid.")
INVALID_MX = (9009, "Content for MX record must be a hostname.")
#: Assumed number.
INVALID_CONTENT = 9010
CONTENT_TOO_LONG = (9015, f"Record content exceeds the allowed length of {MAX_CONTENT_BYTES} wire format bytes.")
INVALID_TTL = (9021, f"Invalid TTL. Must be between {MIN_TTL} and {MAX_TTL} seconds, or 1 for Automatic.")
#: Assumed number.
INVALID_PRIORITY = (9025, "Invalid priority, priority must be set and be between 0 and 65535.")
#: The sentence names the field.
MISSING_DATA = 9101
#: Assumed number.
INVALID_DATA = 9102
#: Assumed number.
INVALID_COMMENT = (9301, f"Comment must be a string of at most {MAX_COMMENT_CHARACTERS} characters.")
TOO_MANY_TAGS = 9300
#: Assumed number.
INVALID_TAG = 9302
#: Assumed number.
INVALID_SETTINGS = 9303

NO_SUCH_RECORD = (81044, "Record does not exist.")
TOO_MANY_RECORDS = (81045, "Record quota exceeded.")
ADDRESS_EXISTS = (81053, "An A, AAAA, or CNAME record with that host already exists.")
CNAME_EXISTS = (81054, "A CNAME record with that host already exists.")
NS_EXISTS = (81056, "NS records with that host already exist.")
#: Until about 2024 it was 81057, "The record already exists."
IDENTICAL_EXISTS = (81058, "An identical record already exists.")
#: Assumed number.
NEEDS_NS = (81062, "A DS record needs an NS record with that host.")
TXT_TOO_LONG = (
    83011,
    f"Combined content length of records with this name and type exceeds {MAX_COMBINED_TXT_BYTES} bytes.",
)
#: Assumed.
READ_ONLY = (1043, "This record is managed by a Worker's custom domain and is read-only.")
BATCH_TOO_LARGE = (9304, f"A batch may have {MAX_BATCH_CHANGES} changes at most.")
#: Assumed.
INVALID_QUERY = 9305


def refusal(code: int, message: str, status: int = 400) -> ApiError:
    """Return the answer that says no."""
    return ApiError(status, code, message)
