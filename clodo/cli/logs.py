"""Where log lines go while a command runs: never to standard output."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import structlog

_PREFECT = "prefect."
_RUN_LOGGERS = ("prefect.flow_runs", "prefect.task_runs")


def send_to_standard_error(*, debug: bool) -> None:
    """Send the library's own events to standard error; those below a warning only when debugging."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if debug else logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )


def narrate_flows(*, debug: bool) -> None:
    """
    Show what flows and tasks say of themselves, one plain line each, instead of Prefect's own console log.

    With *debug* Prefect's console log stays as it is.
    """
    from prefect.logging.configuration import setup_logging
    from prefect.logging.handlers import PrefectConsoleHandler

    setup_logging()
    if debug:
        return
    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler, PrefectConsoleHandler | Narrator):
            root.removeHandler(handler)
    root.addHandler(Narrator())


class Narrator(logging.Handler):
    """Prints what our flows and tasks log; of all others only warnings, and no tracebacks."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print *record*'s text on standard error if it is for an operator."""
        if not _is_for_operators(record):
            return
        try:
            text = record.getMessage()
            opening = "Warning: " if record.levelno >= logging.WARNING else ""
            print(f"{opening}{text}", file=sys.stderr, flush=True)
        except (OSError, ValueError):
            self.handleError(record)


def _is_for_operators(record: logging.LogRecord) -> bool:
    if record.name.startswith(_RUN_LOGGERS):
        # The engine logs to the same loggers: that a run began, ended, and the traceback of what main() explains.
        return record.levelno >= logging.INFO and not _is_prefects(record)
    if record.name.startswith(_PREFECT):
        return record.levelno >= logging.ERROR
    return record.levelno >= logging.WARNING


def _is_prefects(record: logging.LogRecord) -> bool:
    return "prefect" in Path(record.pathname).parts and record.funcName != "print_as_log"
