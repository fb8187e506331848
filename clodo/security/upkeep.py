"""Rules on what was left on or left behind: debug switches, and the date whose behaviour a Worker asks for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from clodo.security.rule import Hit, rule
from clodo.security.shapes import words_of
from clodo.security.subject import Kind, Subject
from clodo.workspace.finding import Severity

OLDEST_DAYS = 365
_ON = frozenset({"1", "true", "yes", "on", "*", "debug", "trace", "verbose", "all"})
_DEBUG_LEVELS = frozenset({"debug", "trace", "verbose", "silly", "all"})
_NOT_PRODUCTION = frozenset({"development", "dev", "local", "test", "testing", "debug"})


@rule(
    "debug-flag",
    title="A switch for debugging that is on",
    remedy="Switch it off for this environment.",
    production=Severity.WARNING,
    staging=Severity.NOTE,
)
def debug_flag(subject: Subject) -> Iterator[Hit]:
    """Find debug switches, log levels below info, and the word for another environment."""
    for setting in subject.of_kind(Kind.VARIABLE, Kind.ENV_FILE):
        words = set(words_of(setting.name))
        value = setting.text.strip().lower()
        if words & {"DEBUG", "VERBOSE", "TRACE"} and value in _ON:
            yield Hit(setting.name, setting.place, f"{setting.name} is on")
        elif {"LOG", "LEVEL"} <= words and value in _DEBUG_LEVELS:
            yield Hit(setting.name, setting.place, f"{setting.name} logs more than production should")
        elif setting.name.upper() in ("NODE_ENV", "ENVIRONMENT", "ENV", "APP_ENV") and value in _NOT_PRODUCTION:
            yield Hit(setting.name, setting.place, f"{setting.name} names another environment than production")


@rule(
    "outdated-compatibility-date",
    title=f"A compatibility date more than {OLDEST_DAYS} days old, or none",
    remedy="Set compatibility_date to a recent day, and test what changed since.",
    production=Severity.WARNING,
    staging=Severity.NOTE,
    development=Severity.NOTE,
)
def outdated_compatibility_date(subject: Subject) -> Iterator[Hit]:
    """Find Workers that ask for the runtime's behaviour of more than a year ago."""
    if subject.config is None:
        return
    place = subject.config.place_of("compatibility_date")
    given = subject.config.compatibility_date
    if given is None:
        yield Hit("compatibility_date", place, "compatibility_date is missing")
        return
    days = (subject.today - date.fromisoformat(given)).days
    if days > OLDEST_DAYS:
        yield Hit("compatibility_date", place, f"compatibility_date is {days} days old")


RULES = (debug_flag, outdated_compatibility_date)
