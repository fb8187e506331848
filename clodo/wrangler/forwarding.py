"""What the gateway does with one request of wrangler's: budget, lock, waiting, repeating, stamping, looking."""

from __future__ import annotations

import hmac
import itertools
import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from typing import Any
from urllib.parse import unquote

import httpx

from clodo.cloudflare.budget import Budget, Lane
from clodo.cloudflare.clock import SYSTEM_CLOCK, Clock
from clodo.errors import ClodoError, CloudflareUnavailable, OutcomeUnknown, PlanIsStale, Refused, WranglerFailed
from clodo.wrangler.uploads import Asset, Stamp, Upload, parse_upload, render_upload, stamp_upload

Guard = Callable[[], None]

_ATTEMPTS = 4
_UPLOAD_ATTEMPTS = 3
# A version may show up in the list a moment after it was stored.
_LOOKS_AFTER_FAILURE_SECONDS = (0.0, 0.5, 1.5)
# No answer came at all: it may still be being stored.
_LOOKS_AFTER_SILENCE_SECONDS = (0.0, 1.0, 2.0, 4.0, 8.0)
_VERSIONS_LOOKED_AT = 25
# wrangler's own HTTP client gives up when headers don't come for 300 s.
DEFAULT_PATIENCE = timedelta(seconds=240)

_UPLOAD_PATH = re.compile(r"^/accounts/(?P<account>[^/]+)/workers/scripts/(?P<worker>[^/]+)(?P<versions>/versions)?$")
_ASSET_SESSION_PATH = re.compile(r"^/accounts/[^/]+/workers/scripts/[^/]+/assets-upload-session$")
_JWT_PATH = re.compile(r"^(/accounts/[^/]+/workers/assets/upload(/[^/]+)?|/pages/assets/[^/]+)$")
_JWT_SOURCE_PATH = re.compile(r"/(assets-upload-session|workers/assets/upload(/[^/]+)?|upload-token)$")

# Writes that leave the same state however often they are sent.
_REPEATABLE = (
    re.compile(r"^PUT /accounts/[^/]+/workers/scripts/[^/]+/(routes|schedules|domains/records)$"),
    re.compile(r"^PATCH /accounts/[^/]+/workers/scripts/[^/]+/(script-settings|secrets-bulk)$"),
    re.compile(r"^POST /accounts/[^/]+/workers/scripts/[^/]+/(subdomain|assets-upload-session|domains/changeset)$"),
    re.compile(r"^POST /accounts/[^/]+/workers/assets/upload(/[^/]+)?$"),
    re.compile(r"^POST /pages/assets/[^/]+$"),
    re.compile(r"^PUT /accounts/[^/]+/storage/kv/namespaces/[^/]+/(bulk|values/.+)$"),
    re.compile(r"^POST /accounts/[^/]+/storage/kv/namespaces/[^/]+/bulk/get$"),
    re.compile(r"^PUT /accounts/[^/]+/r2/buckets/[^/]+/objects/.+$"),
    re.compile(r"^POST /accounts/[^/]+/d1/database/[^/]+/export$"),
    re.compile(r"^POST /graphql$"),
)
# POST, but nothing is changed: no lock is needed for them.
_READS_BY_POST = (
    re.compile(r"^POST /accounts/[^/]+/storage/kv/namespaces/[^/]+/bulk/get$"),
    re.compile(r"^POST /graphql$"),
)

_DROPPED_REQUEST_HEADERS = frozenset(
    {"host", "connection", "keep-alive", "transfer-encoding", "content-length", "accept-encoding", "authorization"}
    | {"expect", "te", "trailer", "upgrade", "proxy-authorization", "proxy-connection"}
)
_DROPPED_ANSWER_HEADERS = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "content-length", "content-encoding", "trailer", "upgrade"}
)


@dataclass(frozen=True, slots=True)
class Request:
    """
    One request as it came from wrangler.

    Attributes:
        path: Below ``/client/v4``, percent-encoding untouched, without the query.

        query: Without the question mark.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer for wrangler; ``json`` is its body when that is a JSON object, else None."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    json: Mapping[str, Any] | None = field(default=None, repr=False)

    @property
    def result(self) -> Any:
        """The envelope's ``result``, None when there is none."""
        return self.json.get("result") if self.json else None

    @property
    def is_success(self) -> bool:
        """True if Cloudflare did what was asked."""
        return self.status < 400 and (self.json is None or bool(self.json.get("success")))


@dataclass(frozen=True, slots=True)
class Call:
    """
    One request that was sent to Cloudflare, and what came of it.

    Attributes:
        path: Below ``/client/v4``, without the query.

        status: HTTP status, 0 when no answer came.

        code: Cloudflare's error number, 0 when there is none.

        message: Cloudflare's error messages, or what the network said; empty when all went well.

        seconds: From sending to the whole answer.

        retry_after: What Cloudflare asked us to wait, in seconds; None if it didn't.
    """

    method: str
    path: str
    status: int
    code: int = 0
    message: str = ""
    seconds: float = 0.0
    retry_after: float | None = None

    @property
    def is_failure(self) -> bool:
        """True if it was not answered, or answered with an error."""
        return self.status == 0 or self.status >= 400 or bool(self.message)

    @property
    def is_write(self) -> bool:
        """True if it may have changed something."""
        return _is_write(self.method, self.path)


@dataclass(frozen=True, slots=True)
class Stored:
    """
    A version that Cloudflare has stored for this session.

    Attributes:
        has_preview: None for a first deploy: Cloudflare's answer to it doesn't say.

        was_found: It was there already when we looked, after an attempt whose outcome nobody knew.
    """

    version_id: str
    tag: str
    content_sha256: str
    has_preview: bool | None
    startup_time_ms: int | None
    was_found: bool


class _Lost(Enum):
    """Ways in which no usable answer came."""

    NOT_SENT = auto()
    BROKEN_OFF = auto()
    SILENCE = auto()


class Forwarder:
    """
    Carries the requests of one wrangler call to Cloudflare.

    Every method may be called from several threads at once: wrangler sends some requests in parallel.

    Attributes:
        calls: Every request sent, in the order of their answers.

        stored: The version that was uploaded, None so far.

        compared: In compare mode, what would have been uploaded.

        failure: Why nothing is forwarded any more: the error that the command must raise.

        has_sent_write: A write was sent, answered or not.
    """

    def __init__(
        self,
        client: httpx.Client,
        *,
        budget: Budget,
        lane: Lane = Lane.RELEASE,
        stamp: Stamp | None = None,
        worker: str | None = None,
        guard: Guard | None = None,
        compare: bool = False,
        must_be_first: bool = False,
        patience: timedelta = DEFAULT_PATIENCE,
        clock: Clock = SYSTEM_CLOCK,
        mask: Callable[[str], str] = str,
    ) -> None:
        self.has_sent_write = False
        self.calls: list[Call] = []
        self.stored: Stored | None = None
        self.compared: Upload | None = None
        self.failure: BaseException | None = None
        self._client = client
        self._budget = budget
        self._lane = lane
        self._stamp = stamp
        self._worker = worker
        self._guard = guard
        self._compare = compare
        self._must_be_first = must_be_first
        self._patience = patience
        self._clock = clock
        self._upload_lock = threading.Lock()
        self._first_answers: dict[tuple[str, str, str], Answer] = {}
        self._assets: dict[str, Asset] = {}
        self._tokens: set[str] = set()
        self._is_closed = False
        self._mask = mask

    def close(self) -> None:
        """Forward nothing any more, whoever asks."""
        self._is_closed = True

    def knows_token(self, token: str, path: str) -> bool:
        """True if *token* was issued by Cloudflare within this session, for the asset upload that *path* is."""
        return bool(_JWT_PATH.match(path)) and any(is_same_token(token, issued) for issued in tuple(self._tokens))

    def handle(self, request: Request, *, bearer: str | None = None) -> Answer:
        """
        Answer one request, from Cloudflare or in its stead.

        Args:
            bearer: Sent instead of the real token; for uploads that Cloudflare authorises by a token of its own.

        Raises:
            ClodoError: The request must not be sent, or nobody knows what became of it. Nothing else is forwarded
                afterwards.
        """
        self._raise_if_closed()
        if upload := self._uploads_to(request):
            return self._handle_upload(request, upload["worker"], is_version=bool(upload["versions"]))
        if self._compare and _is_write(request.method, request.path):
            return self._stand_in(request)
        if _ASSET_SESSION_PATH.match(request.path):
            self._note_manifest(request)
        answer = self._forward(request, bearer=bearer)
        if _JWT_SOURCE_PATH.search(request.path) and isinstance(answer.result, Mapping) and answer.result.get("jwt"):
            self._tokens.add(str(answer.result["jwt"]))
        return answer

    def fail(self, error: BaseException) -> Answer:
        """Note why this session has failed, and return what wrangler is told: a refusal that it doesn't repeat."""
        if self.failure is None:
            self.failure = error
        said = error.message if isinstance(error, ClodoError) else type(error).__name__
        return refusal(said)

    def _uploads_to(self, request: Request) -> re.Match[str] | None:
        match = _UPLOAD_PATH.match(request.path)
        if match is None or request.method != ("POST" if match["versions"] else "PUT"):
            return None
        return match if self._stamp is not None or self._compare else None

    # Uploads

    def _handle_upload(self, request: Request, worker: str, *, is_version: bool) -> Answer:
        if self._worker is not None and unquote(worker) != self._worker:
            raise WranglerFailed(f"wrangler was about to upload {unquote(worker)} instead of {self._worker}")
        if self._must_be_first and is_version:
            # wrangler has found a Worker where there was none, and would replace what it serves.
            raise PlanIsStale(
                f"{unquote(worker)}: was made by somebody else since this release was planned",
                hint="Run it again: it will be released as a Worker that exists.",
            )
        # One at a time: an impatient wrangler may repeat an upload while the first is still under way.
        with self._upload_lock:
            self._raise_if_closed()
            upload = parse_upload(request.headers.get("content-type", ""), request.body, self._assets)
            if self._stamp is None:
                self.compared = upload
                return refusal("compared only: nothing is uploaded")
            key = (request.method, request.path, upload.content_sha256)
            if key not in self._first_answers:
                answer, was_found = self._upload(request, upload, self._stamp, is_version=is_version)
                if not answer.is_success:
                    return answer
                self.stored = _stored(answer, self._stamp, upload, is_version=is_version, was_found=was_found)
                self._first_answers[key] = _without_preview(answer) if is_version else answer
            return self._first_answers[key]

    def _upload(self, request: Request, upload: Upload, stamp: Stamp, *, is_version: bool) -> tuple[Answer, bool]:
        """Store the version once, and only once, whatever happens on the way."""
        tag = stamp.tag(upload.content_sha256)
        versions = request.path if is_version else f"{request.path}/versions"
        if stamp.look_first and (found := self._look_for(tag, versions, (0.0,))):
            return _as_answer(found, is_version=is_version), True
        content_type, body = render_upload(stamp_upload(upload, stamp))
        stamped = Request(
            request.method, request.path, request.query, {**request.headers, "content-type": content_type}, body
        )
        for attempt in range(_UPLOAD_ATTEMPTS):
            answer = self._send_through_limits(stamped)
            if answer is _Lost.NOT_SENT:
                self._pause(attempt)
                continue
            if isinstance(answer, Answer) and answer.status < 500 and answer.json is not None:
                return answer, False
            silence = answer is _Lost.SILENCE
            looks = _LOOKS_AFTER_SILENCE_SECONDS if silence else _LOOKS_AFTER_FAILURE_SECONDS
            if found := self._look_for(tag, versions, looks):
                return _as_answer(found, is_version=is_version), True
            if silence:
                # It may be stored yet, after we looked: sending it again could make a second version.
                raise OutcomeUnknown(
                    f"{request.path}: Cloudflare did not answer the upload, and no version {tag} is to be seen",
                    hint="Look at the Worker's versions in a minute; the release can then be resumed.",
                )
            self._pause(attempt)
        raise CloudflareUnavailable(
            f"{request.path}: {_UPLOAD_ATTEMPTS} attempts to upload failed, and no version was stored;"
            f" the last: {self._last_trouble()}",
            hint="Try again in a few minutes.",
        )

    def _look_for(self, tag: str, versions_path: str, looks: Iterable[float]) -> Mapping[str, Any] | None:
        """
        Return the version with *tag* as Cloudflare describes it, None if there surely is none.

        Raises:
            OutcomeUnknown: Cloudflare couldn't be asked.
        """
        for seconds in looks:
            if seconds:
                self._clock.sleep(seconds)
            listed = self._look(Request("GET", versions_path, f"per_page={_VERSIONS_LOOKED_AT}"), tag)
            items = listed.get("items") if isinstance(listed, Mapping) else None
            for item in items or ():
                if (item.get("annotations") or {}).get("workers/tag") == tag:
                    whole = self._look(Request("GET", f"{versions_path}/{item['id']}"), tag)
                    return whole if isinstance(whole, Mapping) else dict(item)
        return None

    def _look(self, request: Request, tag: str) -> Any:
        answer = self._forward(request)
        if answer.status == 404:
            return None
        if not answer.is_success or answer.json is None:
            raise OutcomeUnknown(
                f"{request.path}: nobody knows whether version {tag} was stored: {self._last_trouble()}",
                hint="Try again in a few minutes; the release can be resumed.",
            )
        return answer.result

    # Everything else

    def _note_manifest(self, request: Request) -> None:
        manifest = json.loads(request.body or b"{}").get("manifest") or {}
        self._assets = {path: Asset(str(file["hash"]), int(file["size"])) for path, file in manifest.items()}

    def _stand_in(self, request: Request) -> Answer:
        """Answer a write that compare mode keeps from Cloudflare."""
        if _ASSET_SESSION_PATH.match(request.path):
            self._note_manifest(request)
            return _envelope(201, {"jwt": "compared-only", "buckets": []})
        return refusal("compared only: nothing is written")

    def _forward(self, request: Request, *, bearer: str | None = None) -> Answer:
        """Send a request that isn't an upload, repeating it where that is safe."""
        is_write = _is_write(request.method, request.path)
        may_repeat = not is_write or _is_repeatable(request.method, request.path)
        answer: Answer | _Lost = _Lost.NOT_SENT
        for attempt in range(_ATTEMPTS):
            if attempt:
                self._pause(attempt - 1)
            answer = self._send_through_limits(request, bearer=bearer)
            if isinstance(answer, Answer) and answer.status < 500:
                return answer
            if answer is not _Lost.NOT_SENT and not may_repeat:
                break
        is_upload = is_write and _UPLOAD_PATH.match(request.path) is not None
        # wrangler would send an upload again after a 5xx, and make a second version of what may be stored already.
        if isinstance(answer, Answer) and not is_upload:
            return answer
        if is_write and answer is not _Lost.NOT_SENT:
            raise OutcomeUnknown(
                f"{request.method} {request.path}: sent, but no answer came: {self._last_trouble()}",
                hint="Look whether it was done before repeating it.",
            )
        raise CloudflareUnavailable(
            f"{request.method} {request.path}: {self._last_trouble()}", hint="Check the network, then try again."
        )

    def _send_through_limits(self, request: Request, *, bearer: str | None = None) -> Answer | _Lost:
        """Send once, within the budget; wait out every 429 that is over before our patience."""
        gives_up_at = self._clock.monotonic() + self._patience.total_seconds()
        for attempt in itertools.count():
            left = timedelta(seconds=max(0.0, gives_up_at - self._clock.monotonic()))
            self._budget.take(self._lane, 1, deadline=left)
            self._raise_if_closed()
            if _is_write(request.method, request.path):
                if self._guard is not None:
                    self._guard()
                self.has_sent_write = True
            answer = self._send(request, bearer=bearer)
            if isinstance(answer, _Lost) or answer.status != 429:
                return answer
            asked = _retry_after(answer, self._clock)
            if asked:
                self._budget.cooldown(asked)
            wait = (asked if asked is not None else min(2.0**attempt, 30.0)) + self._clock.jitter()
            if self._clock.monotonic() + wait > gives_up_at:
                return answer
            self._clock.sleep(wait)
        raise AssertionError("counting ended")

    def _send(self, request: Request, *, bearer: str | None) -> Answer | _Lost:
        headers = {name: value for name, value in request.headers.items() if name not in _DROPPED_REQUEST_HEADERS}
        if bearer is not None:
            headers["authorization"] = f"Bearer {bearer}"
        url = f"{str(self._client.base_url).rstrip('/')}{request.path}" + (f"?{request.query}" if request.query else "")
        started = time.monotonic()
        lost, said = None, ""
        try:
            response = self._client.request(request.method, url, headers=headers, content=request.body)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            lost, said = _Lost.NOT_SENT, _say(error)
        except httpx.TimeoutException as error:
            lost, said = _Lost.SILENCE, _say(error)
        except httpx.RequestError as error:
            lost, said = _Lost.BROKEN_OFF, _say(error)
        seconds = time.monotonic() - started
        if lost is not None:
            self.calls.append(Call(request.method, request.path, 0, message=self._mask(said), seconds=seconds))
            return lost
        answer = _answer(response)
        code, message = _error_of(answer)
        is_cut = answer.json is None and bool(answer.body) and _claims_json(answer) and not _is_value(request.path)
        if is_cut:
            message = "an answer that isn't JSON"
        retry_after = _retry_after(answer, self._clock)
        self.calls.append(
            Call(request.method, request.path, answer.status, code, self._mask(message), seconds, retry_after)
        )
        # Half an answer is as good as none.
        return _Lost.BROKEN_OFF if is_cut else answer

    def _pause(self, attempt: int) -> None:
        self._clock.sleep(0.5 * 2**attempt * (0.5 + self._clock.jitter()))
        self._raise_if_closed()

    def _raise_if_closed(self) -> None:
        if self.failure is not None:
            raise self.failure
        if self._is_closed:
            raise Refused("this wrangler call is over")

    def _last_trouble(self) -> str:
        for call in reversed(self.calls):
            if call.is_failure:
                return f"{call.status or 'no answer'}, {call.message}"
        return "an answer that can't be read"


def is_same_token(one: str, other: str) -> bool:
    """Compare two tokens in a time that doesn't depend on where they differ."""
    return hmac.compare_digest(one.encode("utf-8", "surrogateescape"), other.encode("utf-8", "surrogateescape"))


def refusal(message: str, status: int = 409) -> Answer:
    """Return an error of ours in Cloudflare's envelope; by default one that wrangler doesn't repeat."""
    body = {"success": False, "errors": [{"code": 0, "message": f"Clodo: {message}"}], "messages": [], "result": None}
    return Answer(status, {"content-type": "application/json"}, json.dumps(body).encode(), body)


def _envelope(status: int, result: Mapping[str, Any]) -> Answer:
    body = {"success": True, "errors": [], "messages": [], "result": result}
    return Answer(status, {"content-type": "application/json"}, json.dumps(body).encode(), body)


def _as_answer(version: Mapping[str, Any], *, is_version: bool) -> Answer:
    """Give wrangler the answer that it would have had, made from the version that was found."""
    if is_version:
        found: dict[str, Any] = {"startup_time_ms": None, **version}
        found["metadata"] = {"has_preview": _has_preview(version), **(version.get("metadata") or {})}
        found["resources"] = {"script": {}, **(version.get("resources") or {})}
        return _envelope(200, found)
    return _envelope(200, {"deployment_id": str(version["id"]).replace("-", ""), "metadata": version.get("metadata")})


def _without_preview(answer: Answer) -> Answer:
    """Keep wrangler from asking for the preview's address, which costs a request and which we know."""
    result = dict(answer.result)
    result["metadata"] = {**(result.get("metadata") or {}), "has_preview": False}
    return _envelope(answer.status, result)


def _stored(answer: Answer, stamp: Stamp, upload: Upload, *, is_version: bool, was_found: bool) -> Stored:
    result = answer.result if isinstance(answer.result, Mapping) else {}
    identifier = str(result.get("id" if is_version else "deployment_id") or "")
    digits = identifier.replace("-", "").lower()
    if not re.fullmatch(r"[0-9a-f]{32}", digits):
        raise OutcomeUnknown(
            f"Cloudflare took the upload but named no version (it said {identifier!r})",
            hint="Look at the Worker's versions; the release can then be resumed.",
        )
    startup = result.get("startup_time_ms")
    return Stored(
        version_id=f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}",
        tag=stamp.tag(upload.content_sha256),
        content_sha256=upload.content_sha256,
        has_preview=_has_preview(result) if is_version else None,
        startup_time_ms=startup if isinstance(startup, int) else None,
        was_found=was_found,
    )


def _has_preview(version: Mapping[str, Any]) -> bool:
    metadata = version.get("metadata") or {}
    # The SDK's model says hasPreview, wrangler reads has_preview.
    return bool(metadata.get("has_preview", metadata.get("hasPreview", False)))


def _answer(response: httpx.Response) -> Answer:
    headers = {name: value for name, value in response.headers.items() if name not in _DROPPED_ANSWER_HEADERS}
    parsed: Mapping[str, Any] | None = None
    if response.content[:1] == b"{":
        try:
            whole = json.loads(response.content)
        except ValueError:
            whole = None
        parsed = whole if isinstance(whole, dict) else None
    return Answer(response.status_code, headers, response.content, parsed)


def _claims_json(answer: Answer) -> bool:
    return "json" in answer.headers.get("content-type", "") and answer.body[:1] != b"["


def _error_of(answer: Answer) -> tuple[int, str]:
    if answer.json is None or "success" not in answer.json:
        return 0, f"HTTP {answer.status}" if answer.status >= 400 else ""
    errors = [error for error in answer.json.get("errors") or () if isinstance(error, Mapping)]
    if answer.json["success"] or not errors:
        return 0, f"HTTP {answer.status}" if answer.status >= 400 else ""
    code = errors[0].get("code")
    return int(code) if isinstance(code, int) else 0, "; ".join(str(error.get("message", "")) for error in errors)


def _retry_after(answer: Answer, clock: Clock) -> float | None:
    value = answer.headers.get("retry-after", "")
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - clock.now()).total_seconds()) if value else None
    except (TypeError, ValueError):
        return None


def _is_write(method: str, path: str) -> bool:
    if method in ("GET", "HEAD", "OPTIONS"):
        return False
    return not any(pattern.match(f"{method} {path}") for pattern in _READS_BY_POST)


def _is_repeatable(method: str, path: str) -> bool:
    return any(pattern.match(f"{method} {path}") for pattern in _REPEATABLE)


def _is_value(path: str) -> bool:
    """True if the answer is what a user stored, in whatever form."""
    return "/values/" in path or "/objects/" in path


def _say(error: httpx.RequestError) -> str:
    return str(error) or type(error).__name__
