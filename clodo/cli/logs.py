"""Where log lines go while a command runs: to standard error, masked, and only those that an operator wants."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clodo import logs

_PREFECT = "prefect"
_RUN_LOGGERS = ("prefect.flow_runs", "prefect.task_runs")


def send_to_standard_error(*, debug: bool) -> None:
    """Send the library's own events to standard error; those below a warning only when debugging."""
    if debug:
        logs.configure(level=logging.DEBUG)
    else:
        logs.configure(level=logging.WARNING, sentence=sentence_of)
        for handler in logging.getLogger().handlers:
            if handler.get_name() == logs.HANDLER_NAME:
                handler.addFilter(_is_not_prefects)


_SENTENCES = {
    "cloudflare retry": "Waiting {wait_seconds:.1f} s before {method} {path} is tried again: {reason}.",
    "circuit breaker": "Requests to {host}: the circuit is {now}.",
}


def sentence_of(event: Mapping[str, Any]) -> str | None:
    """Say in a sentence what an operator may see in any command; None for other events."""
    sentence = _SENTENCES.get(str(event.get("event")))
    return sentence and sentence.format_map(event)


def narrate_flows(*, debug: bool) -> None:
    """
    Show what flows and tasks say of themselves, one plain line each, instead of Prefect's own console log.

    What goes to Prefect's API is masked too. With *debug* Prefect's console log stays as it is.
    """
    from prefect.logging.configuration import setup_logging
    from prefect.logging.handlers import APILogHandler, PrefectConsoleHandler

    setup_logging()
    for name in _RUN_LOGGERS:
        for handler in logging.getLogger(name).handlers:
            if isinstance(handler, APILogHandler):
                handler.addFilter(logs.MaskingFilter())
    if debug:
        return
    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler, PrefectConsoleHandler | Narrator):
            root.removeHandler(handler)
    root.addHandler(Narrator())


class Narrator(logging.Handler):
    """
    Prints what our flows and tasks log; of Prefect's own lines only errors, and no tracebacks.

    What wrangler, installs and builds print is in the run's log in Prefect only: it would drown the story.
    """

    def __init__(self) -> None:
        super().__init__()
        self.addFilter(logs.MaskingFilter())

    def emit(self, record: logging.LogRecord) -> None:
        """Print *record*'s text on standard error if it is for an operator."""
        if not _is_for_operators(record):
            return
        try:
            opening = "Warning: " if record.levelno >= logging.WARNING else ""
            print(f"{opening}{record.getMessage()}", file=sys.stderr, flush=True)
        except (OSError, ValueError):
            self.handleError(record)


def _is_for_operators(record: logging.LogRecord) -> bool:
    if record.name.startswith(_RUN_LOGGERS):
        # The engine logs to the same loggers: that a run began, ended, and the traceback of what main() explains.
        is_ours = not _is_by_prefect(record) and not getattr(record, "is_tool_output", False)
        return record.levelno >= logging.INFO and is_ours
    return record.name.startswith(_PREFECT) and record.levelno >= logging.ERROR


def _is_by_prefect(record: logging.LogRecord) -> bool:
    return "prefect" in Path(record.pathname).parts and record.funcName != "print_as_log"


def _is_not_prefects(record: logging.LogRecord) -> bool:
    # Its background threads log under their classes' names.
    return not (record.name.startswith(_PREFECT) or _is_by_prefect(record))
