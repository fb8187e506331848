"""From one dataset's arguments and fields to one SQL statement; pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from clodo.emulator.analytics.datasets import SHARES, TIMES, Dataset
from clodo.emulator.analytics.store import Value

#: "limit must be positive number and not greater than 10000".
MAX_LIMIT = 10_000

_OPERATORS = {"gt": ">", "lt": "<", "geq": ">=", "leq": "<=", "neq": "!="}
_CONDITION = re.compile(r"^(?P<name>[A-Za-z0-9]+)(?:_(?P<operator>gt|lt|geq|leq|neq|in|notin|like|notlike))?$")
_ORDER = re.compile(r"^(?:(?P<function>sum|avg|max|min|quantiles)_)?(?P<name>[A-Za-z0-9]+)_(?P<direction>ASC|DESC)$")
_QUANTILE = re.compile(r"^(?P<name>[A-Za-z0-9]+?)(?P<share>P\d+)$")


class QuestionRefused(Exception):
    """
    Cloudflare's words for what can't be asked.

    Attributes:
        path: From the root to the node that is wrong.
    """

    def __init__(self, message: str, path: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.path = list(path)


@dataclass(slots=True)
class Question:
    """
    What is asked of a dataset.

    Attributes:
        figures: SQL expression to the column of the answer, in the order they were asked for.

        groups: Expressions that rows are put together by.
    """

    dataset: Dataset
    account_id: str
    figures: dict[str, int] = field(default_factory=dict)
    groups: dict[str, None] = field(default_factory=dict)
    condition: str = "true"
    parameters: list[Value] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    limit: int = MAX_LIMIT

    def column(self, function: str, name: str) -> int:
        """
        Ask for a figure as well and return which column of each row it will be.

        Raises:
            QuestionRefused: The dataset has no such field.
        """
        return self.figures.setdefault(self._figure(function, name), len(self.figures))

    def _figure(self, function: str, name: str) -> str:
        if function == "dimensions":
            text = _dimension(self.dataset, name)
            self.groups[text] = None
            return text
        if function == "count":
            return "count(*)"
        if function == "quantiles":
            match = _QUANTILE.match(name)
            if match and match["name"] in self.dataset.quantiles and match["share"] in SHARES:
                return f"quantile({self.dataset.quantiles[match['name']]}, {SHARES[match['share']]})"
            raise QuestionRefused(f'unknown field "{name}"')
        if function == "avg" and name == "sampleInterval":
            return "count(*) / count(*)"
        measures = self.dataset.measures.get(function, {})
        if name not in measures:
            raise QuestionRefused(f'unknown field "{name}"')
        return f"coalesce({function}({measures[name]}), 0)"

    def take_arguments(self, arguments: Mapping[str, Any], *, now_ms: int, delay_ms: int) -> None:
        """
        Read ``limit``, ``filter`` and ``orderBy``.

        Raises:
            QuestionRefused: One is unknown, malformed or beyond its limit.
        """
        for name in arguments:
            if name not in ("limit", "filter", "orderBy"):
                raise QuestionRefused(f'unknown arg "{name}"')
        limit = arguments.get("limit")
        if limit is not None:
            if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= MAX_LIMIT:
                raise QuestionRefused(f"limit must be positive number and not greater than {MAX_LIMIT}")
            self.limit = limit
        oldest = now_ms - self.dataset.horizon_seconds * 1000
        conditions = [f"account_id = ? AND at <= ? AND at >= ? AND ({self.dataset.only})"]
        self.parameters += [self.account_id, now_ms - delay_ms, oldest]
        given = arguments.get("filter")
        if given is not None:
            conditions.append(self._all_of(given, oldest))
        self.condition = " AND ".join(conditions)
        order = arguments.get("orderBy")
        for entry in order if isinstance(order, list) else [] if order is None else [order]:
            self.order.append(self._ordered(entry))

    def _ordered(self, entry: Any) -> str:
        match = _ORDER.match(entry) if isinstance(entry, str) else None
        if match is None:
            raise QuestionRefused(f'error parsing args: unknown enum "{entry}" in orderBy')
        function = match["function"] or ("count" if match["name"] == "count" else "dimensions")
        return f"{self._figure(function, match['name'])} {match['direction']}"

    def _all_of(self, given: Any, oldest: int) -> str:
        """Return the condition of a filter object, and keep its values."""
        if not isinstance(given, Mapping):
            raise QuestionRefused("error parsing args: filter must be an object")
        parts = []
        for name, value in given.items():
            if name in ("AND", "OR"):
                if not isinstance(value, list):
                    raise QuestionRefused(f"error parsing args: {name} must be a list of filters")
                inner = [self._all_of(entry, oldest) for entry in value]
                if inner:
                    parts.append(f"({f' {name} '.join(inner)})")
                continue
            match = _CONDITION.match(name)
            if match is None:
                raise QuestionRefused(f'unknown filter "{name}"')
            parts.append(self._one(match["name"], match["operator"], value, oldest))
        return f"({' AND '.join(parts)})" if parts else "true"

    def _one(self, name: str, operator: str | None, value: Any, oldest: int) -> str:
        if value is None:
            # A variable that wasn't given filters nothing.
            return "true"
        if name in TIMES:
            times = [_milliseconds(each) for each in _several(value, operator)]
            expression, values = _bucket(name), list[Value](times)
            if operator in ("gt", "geq") and times[0] < oldest - TIMES[name]:
                raise QuestionRefused(f"cannot request data older than {self.dataset.horizon_seconds}s")
        else:
            try:
                expression = _dimension(self.dataset, name)
            except QuestionRefused as refusal:
                raise QuestionRefused(f'unknown filter "{name}"') from refusal
            values = [_plain(each) for each in _several(value, operator)]
        self.parameters += values
        if operator in ("in", "notin"):
            places = ", ".join("?" for _ in values)
            return f"{expression} {'NOT ' if operator == 'notin' else ''}IN ({places})"
        if operator in ("like", "notlike"):
            return f"{expression} {'NOT ' if operator == 'notlike' else ''}LIKE ?"
        return f"{expression} {_OPERATORS.get(operator or '', '=')} ?"

    def sql(self) -> str:
        """Return the statement; its parameters are `parameters`, its columns those that `column` gave out."""
        columns = ", ".join(self.figures) or "count(*)"
        text = f"SELECT {columns} FROM {self.dataset.table} WHERE {self.condition}"  # noqa: S608
        if self.groups:
            text += f" GROUP BY {', '.join(self.groups)}"
        text += " HAVING count(*) > 0"
        if self.order:
            text += f" ORDER BY {', '.join(self.order)}"
        return f"{text} LIMIT {self.limit}"


def fields_of(dataset: Dataset) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each function of a dataset and the names of its fields, for the schema that introspection shows."""
    yield "dimensions", (*TIMES, *dataset.dimensions)
    for function, measures in dataset.measures.items():
        yield function, (*measures, *(["sampleInterval"] if function == "avg" else []))
    if dataset.quantiles:
        yield "quantiles", tuple(f"{name}{share}" for name in dataset.quantiles for share in SHARES)


def _bucket(name: str) -> str:
    return f"(at / {TIMES[name]} * {TIMES[name]})"


def _dimension(dataset: Dataset, name: str) -> str:
    if name in TIMES:
        form = "%Y-%m-%d" if name == "date" else "%Y-%m-%dT%H:%M:%SZ"
        return f"strftime('{form}', {_bucket(name)} / 1000, 'unixepoch')"
    if name not in dataset.dimensions:
        raise QuestionRefused(f'unknown field "{name}"')
    return dataset.dimensions[name]


def _several(value: Any, operator: str | None) -> list[Any]:
    if operator not in ("in", "notin"):
        return [value]
    if not isinstance(value, list):
        raise QuestionRefused(f"error parsing args: a list is needed for _{operator}")
    return value


def _plain(value: Any) -> Value:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int) and abs(value) >= 2**63:
        return float(value)
    if isinstance(value, (str, int, float)):
        return value
    raise QuestionRefused(f"error parsing args: {str(value)[:80]!r} is no value to compare with")


def _milliseconds(value: Any) -> int:
    try:
        text = str(value)
        moment = datetime.fromisoformat(text) if "T" in text else datetime.combine(date.fromisoformat(text), _MIDNIGHT)
    except ValueError as error:
        raise QuestionRefused(f"error parsing args: {str(value)[:80]!r} is no time") from error
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


_MIDNIGHT = datetime.min.time()
