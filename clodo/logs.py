"""Logs: structlog and the standard library through one set-up, with secrets masked before anything is written."""

from __future__ import annotations

import logging
import re
import sys
import threading
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, TextIO

import structlog

MASK = "***"
# Shorter values occur in ordinary words; masking them would hide the log, not the secret.
SHORTEST_SECRET = 6

# What gives a token away even when nobody registered it: an Authorization header, a token in a JSON body or assignment,
# and Cloudflare's own prefixed tokens.
_LOOKS_SECRET = (
    re.compile(r"(?P<kept>\b(?:Bearer|Basic)\s+)[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE),
    re.compile(
        r"(?P<kept>\b(?:[a-z0-9]+[_-])*(?:api[_-]?token|api[_-]?key|access[_-]?token|auth[_-]?key|authorization|password|secret)"
        r"[\"']?\s*[:=]\s*[\"']?)(?!(?:Bearer|Basic)\s)[^\s\"',;&}\]]{8,}",
        re.IGNORECASE,
    ),
    re.compile(r"(?P<kept>\b)(?:cfut|cfat|cfk)_[A-Za-z0-9_-]{16,}"),
)
# Fields that hold a secret whatever it looks like.
_SECRET_FIELD = re.compile(
    r"(?:^|[_-])(?:token|api[_-]?key|auth[_-]?key|authorization|password|passwd|secret)$", re.IGNORECASE
)


class SecretMask:
    """Knows secret values and replaces them, in text and in anything nested; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: set[str] = set()
        # The longest first, so that a secret which holds another one is masked whole.
        self._spellings: tuple[str, ...] = ()

    def register(self, value: str) -> None:
        """Mask *value* from now on; values shorter than 6 characters are left alone."""
        if len(value) < SHORTEST_SECRET:
            return
        with self._lock:
            if value in self._values:
                return
            self._values.add(value)
            new = _spellings(value).difference(self._spellings)
            # Nearly sorted already, which sorting makes use of: a fleet has thousands of secrets.
            self._spellings = tuple(sorted((*self._spellings, *new), key=len, reverse=True))

    def text(self, text: str) -> str:
        """Return *text* without secrets."""
        for spelling in self._spellings:
            # One search for each is as fast as a pattern of all of them, which takes a minute to compile for 1,000.
            if spelling in text:
                text = text.replace(spelling, MASK)
        for looks_secret in _LOOKS_SECRET:
            text = looks_secret.sub(rf"\g<kept>{MASK}", text)
        return text

    def value(self, value: Any) -> Any:
        """Return *value* without secrets in any text, key or element; what is no container or text stays as it is."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, bytes | bytearray):
            return self.text(bytes(value).decode("utf-8", "backslashreplace"))
        if isinstance(value, Mapping):
            return {self.value(key): self.field(key, item) for key, item in value.items()}
        if isinstance(value, tuple):
            items = [self.value(item) for item in value]
            # A named tuple takes its fields one by one.
            return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if isinstance(value, set | frozenset):
            return type(value)(self.value(item) for item in value)
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, BaseException):
            return self.text(f"{type(value).__name__}: {value}")
        shown = repr(value)
        masked = self.text(shown)
        return value if masked == shown else masked

    def field(self, key: object, item: Any) -> Any:
        """Return the *item* of a field without secrets; all of it is one if *key* says so."""
        if isinstance(key, str) and _SECRET_FIELD.search(key) and item not in (None, "") and not isinstance(item, bool):
            return MASK
        return self.value(item)


def _spellings(value: str) -> set[str]:
    """Return a secret as it may stand in a log: itself, inside a JSON string, and inside a Python repr."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    lines = {line for line in value.splitlines() if len(line) >= SHORTEST_SECRET} if "\n" in value else set()
    return {value, escaped, repr(value)[1:-1]} | lines


PROCESS_SECRETS = SecretMask()


def register_secret(value: str) -> None:
    """Mask *value* in everything that this process logs from now on."""
    PROCESS_SECRETS.register(value)


class MaskSecrets:
    """The structlog processor that masks; place it after those that render exceptions, before the renderer."""

    def __init__(self, mask: SecretMask = PROCESS_SECRETS) -> None:
        self._mask = mask

    def __call__(self, _logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Return the event without secrets."""
        return {str(self._mask.value(key)): self._mask.field(key, item) for key, item in event.items()}


class MaskingFilter(logging.Filter):
    """The same for the standard library's logging: message, arguments, exception and extra fields."""

    def __init__(self, mask: SecretMask = PROCESS_SECRETS) -> None:
        super().__init__()
        self._mask = mask

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask *record* in place and let it pass."""
        _mask_record(record, self._mask)
        for name, extra in list(record.__dict__.items()):
            if name not in _OWN_FIELDS:
                record.__dict__[name] = self._mask.field(name, extra)
        return True


_OWN_FIELDS = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}


def _mask_record(record: logging.LogRecord, mask: SecretMask) -> None:
    arguments = record.args
    if isinstance(record.msg, str):
        # Put together first: a secret may stand half in the message and half in an argument.
        try:
            text = record.getMessage()
        except (TypeError, ValueError, KeyError):
            # Arguments that don't fit: logging reports that itself, with what it finds in the record.
            record.msg, record.args = mask.text(record.msg), mask.value(arguments)
        else:
            masked = mask.text(text)
            if masked != text:
                record.msg, record.args = masked, None
    else:
        record.msg, record.args = mask.value(record.msg), mask.value(arguments)
    if record.exc_info and record.exc_info[0] is not None:
        record.exc_text = record.exc_text or logging.Formatter().formatException(record.exc_info)
        # A formatter that renders the exception again would bring the secret back.
        record.exc_info = None
    if record.exc_text:
        record.exc_text = mask.text(record.exc_text)
    if record.stack_info:
        record.stack_info = mask.text(record.stack_info)


def mask_every_record(mask: SecretMask = PROCESS_SECRETS) -> None:
    """
    Mask the standard library's records as they are made, for every handler of this process, whoever added it.

    Extra fields are added to a record later; for those a handler needs a `MaskingFilter`.
    """
    factory = logging.getLogRecordFactory()
    inner = getattr(factory, "unmasked", factory)

    def make(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record: logging.LogRecord = inner(*args, **kwargs)
        _mask_record(record, mask)
        return record

    make.unmasked = inner  # type: ignore[attr-defined]
    logging.setLogRecordFactory(make)


def _keep_exception(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    record = event.get("_record")
    if isinstance(record, logging.LogRecord) and record.exc_text:
        event["exception"] = record.exc_text
    return event


def configure(
    *,
    level: int = logging.INFO,
    as_json: bool = False,
    stream: TextIO | None = None,
    mask: SecretMask = PROCESS_SECRETS,
    sentence: Callable[[Mapping[str, Any]], str | None] = lambda _: None,
) -> None:
    """
    Send every log of this process to *stream*, masked.

    Clodo's own events (structlog) and the standard library's records take the same road; calling it again replaces
    what the first call set up.

    Args:
        level: The lowest level that is shown.

        as_json: One JSON object a line, else lines for people.

        stream: Where to; stderr by default, since stdout belongs to results.

        mask: Which secrets.

        sentence: Says an event in words of its own, or None; not with *as_json*.
    """
    mask_every_record(mask)
    target = stream if stream is not None else sys.stderr
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    console = structlog.dev.ConsoleRenderer(colors=target.isatty(), exception_formatter=structlog.dev.plain_traceback)

    def for_people(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
        return sentence(event) or console(logger, method, event)

    renderer: Any = structlog.processors.JSONRenderer() if as_json else for_people
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.processors.format_exc_info,
            MaskSecrets(mask),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(target)
    handler.set_name(HANDLER_NAME)
    handler.addFilter(MaskingFilter(mask))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, _keep_exception],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                MaskSecrets(mask),
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    for old in [each for each in root.handlers if each.get_name() == HANDLER_NAME]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    # httpx tells each request by itself, with its query; ours says more and knows what to leave out.
    for chatty in ("httpx", "httpcore"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


HANDLER_NAME = "clodo"
