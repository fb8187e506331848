"""Whether an operation may go on, given what is there: If-Match and its kin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal, NamedTuple

from clodo.emulator.r2.records import StoredObject

Outcome = Literal["holds", "not modified", "failed"]


class EtagMatch(NamedTuple):
    """
    One entity tag of a condition.

    Attributes:
        value: Without quotes; None matches any.
    """

    value: str | None
    is_weak: bool = False


@dataclass(frozen=True, slots=True)
class Conditions:
    """
    What must be true of the object that is there.

    Attributes:
        matches, differs: Entity tags of If-Match and If-None-Match; None without.

        uploaded_before, uploaded_after: Milliseconds since 1970; None without.

        to_the_second: Times are compared in whole seconds, as headers write them.
    """

    matches: tuple[EtagMatch, ...] | None = None
    differs: tuple[EtagMatch, ...] | None = None
    uploaded_before: int | None = None
    uploaded_after: int | None = None
    to_the_second: bool = False

    def outcome(self, found: StoredObject | None) -> Outcome:
        """Say whether all conditions hold for *found*, and if not, whether that means "you have it already"."""
        if found is None:
            return "holds" if self.matches is None and self.uploaded_after is None else "failed"
        if self.matches is not None:
            if not any(tag.value is None or (tag.value == found.etag and not tag.is_weak) for tag in self.matches):
                return "failed"
        elif self.uploaded_before is not None and not self._is_before(found.uploaded, self.uploaded_before):
            return "failed"
        if self.differs is not None:
            if any(tag.value is None or tag.value == found.etag for tag in self.differs):
                return "not modified"
        elif self.uploaded_after is not None and not self._truncated(self.uploaded_after) < self._truncated(
            found.uploaded
        ):
            return "not modified"
        return "holds"

    def hold(self, found: StoredObject | None) -> bool:
        """Say whether all conditions hold for *found*."""
        return self.outcome(found) == "holds"

    def _is_before(self, uploaded: int, moment: int) -> bool:
        # If-Unmodified-Since includes the second it names; the binding's uploadedBefore doesn't.
        return uploaded // 1000 <= moment // 1000 if self.to_the_second else uploaded < moment

    def _truncated(self, moment: int) -> int:
        return moment // 1000 if self.to_the_second else moment


NO_CONDITIONS = Conditions()


def from_headers(headers: Mapping[str, str], prefix: str = "") -> Conditions:
    """
    Read conditions from HTTP headers; dates that are none are ignored, as HTTP says.

    Args:
        prefix: Before the names, such as ``x-amz-copy-source-``.
    """
    return Conditions(
        matches=_tags(headers.get(f"{prefix}if-match")),
        differs=_tags(headers.get(f"{prefix}if-none-match")),
        uploaded_before=_milliseconds(headers.get(f"{prefix}if-unmodified-since")),
        uploaded_after=_milliseconds(headers.get(f"{prefix}if-modified-since")),
        to_the_second=True,
    )


def from_binding(given: Mapping[str, Any] | None) -> Conditions:
    """Read conditions from a binding's ``onlyIf``."""
    if not given:
        return NO_CONDITIONS
    before, after = given.get("uploadedBefore"), given.get("uploadedAfter")
    return Conditions(
        matches=_binding_tags(given.get("etagMatches")),
        differs=_binding_tags(given.get("etagDoesNotMatch")),
        uploaded_before=None if before is None else int(before),
        uploaded_after=None if after is None else int(after),
        to_the_second=bool(given.get("secondsGranularity")),
    )


def _binding_tags(given: Sequence[Mapping[str, str]] | None) -> tuple[EtagMatch, ...] | None:
    if given is None:
        return None
    return tuple(
        EtagMatch(None if tag["type"] == "wildcard" else tag.get("value", ""), tag["type"] == "weak") for tag in given
    )


def _tags(value: str | None) -> tuple[EtagMatch, ...] | None:
    if value is None:
        return None
    found = []
    for piece in value.split(","):
        text = piece.strip()
        is_weak = text.startswith("W/")
        text = text.removeprefix("W/").strip('"')
        found.append(EtagMatch(None if text == "*" else text, is_weak))
    return tuple(found)


def _milliseconds(value: str | None) -> int | None:
    if not value:
        return None
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000) if moment > datetime(1970, 1, 1, tzinfo=UTC) else 0
