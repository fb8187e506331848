"""The arithmetic of a comparison: pairs of runs, medians, and the ratio pair by pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Run:
    """
    One measured run of one side.

    Attributes:
        seconds: From the start of the process to its exit.

        cpu_seconds: Of the process and everything it waited for, user and system.

        server_cpu_seconds: Of the Prefect server, until it was idle again.

        cloud_cpu_seconds: Of the embedded cloud and its Workers, until they were idle again.

        requests: API requests that the embedded cloud counted.

        uploads: Those of them that stored a version.

        load: Load average over the minute before it began.
    """

    seconds: float
    cpu_seconds: float
    server_cpu_seconds: float
    cloud_cpu_seconds: float
    requests: int
    uploads: int
    load: float

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {name: round(value, 3) for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Pair:
    """One run of each side, one right after the other."""

    clodo: Run
    plain: Run

    @property
    def ratio(self) -> float:
        """Clodo's seconds as a share of plain's."""
        return self.clodo.seconds / self.plain.seconds


@dataclass(frozen=True, slots=True)
class Comparison:
    """
    Pairs of runs in one situation.

    Attributes:
        title: The situation, in words.

        pairs: In the order they were measured; never empty.

        max_ratio: What is to be reached.

        max_requests: The same, for Clodo's API requests in one run; None for no such goal.
    """

    title: str
    pairs: tuple[Pair, ...]
    max_ratio: float
    max_requests: int | None = None

    @property
    def clodo(self) -> tuple[Run, ...]:
        """Clodo's runs."""
        return tuple(pair.clodo for pair in self.pairs)

    @property
    def plain(self) -> tuple[Run, ...]:
        """The other side's runs."""
        return tuple(pair.plain for pair in self.pairs)

    @property
    def ratio(self) -> float:
        """The median of the pairs' ratios."""
        return median(pair.ratio for pair in self.pairs)

    @property
    def spread(self) -> tuple[float, float]:
        """The smallest and the largest of the pairs' ratios."""
        ratios = [pair.ratio for pair in self.pairs]
        return min(ratios), max(ratios)

    @property
    def is_reached(self) -> bool:
        """Whether every goal was reached: the median ratio, and the requests of every single run."""
        if self.ratio > self.max_ratio:
            return False
        return self.max_requests is None or all(
            run.requests <= self.max_requests and run.uploads == 0 for run in self.clodo
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "title": self.title,
            "ratio": round(self.ratio, 3),
            "max_ratio": self.max_ratio,
            "max_requests": self.max_requests,
            "is_reached": self.is_reached,
            "pairs": [
                {"clodo": pair.clodo.to_json(), "plain": pair.plain.to_json(), "ratio": round(pair.ratio, 3)}
                for pair in self.pairs
            ],
        }


def median_of(runs: Sequence[Run], name: str) -> float:
    """Return the median of one figure over *runs*."""
    return float(median(getattr(run, name) for run in runs))
