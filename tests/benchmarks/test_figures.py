"""The arithmetic of a comparison, and when a goal counts as reached."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.figures import Comparison, Pair, Run, median_of

RUN = Run(seconds=1.0, cpu_seconds=1.0, server_cpu_seconds=0.0, cloud_cpu_seconds=0.0, requests=1, uploads=0, load=0.5)


def pairs(*seconds: tuple[float, float]) -> tuple[Pair, ...]:
    return tuple(Pair(replace(RUN, seconds=clodo), replace(RUN, seconds=plain)) for clodo, plain in seconds)


def test_ratio_is_taken_pair_by_pair_before_the_median():
    """A slow minute that hits both runs of one pair does not move the ratio; medians of each side would."""
    comparison = Comparison("all changed", pairs((5, 10), (50, 100), (8, 10), (4, 10), (45, 90)), max_ratio=0.6)

    assert comparison.ratio == 0.5
    assert comparison.spread == (0.4, 0.8)
    assert median_of(comparison.clodo, "seconds") / median_of(comparison.plain, "seconds") == 0.8
    assert comparison.is_reached


def test_a_ratio_over_the_goal_is_not_reached():
    """The median decides, not the best pair."""
    comparison = Comparison("all changed", pairs((1, 10), (7, 10), (8, 10)), max_ratio=0.6)

    assert not comparison.is_reached


@pytest.mark.parametrize(
    ("worst", "is_reached"),
    [
        (RUN, True),
        (replace(RUN, requests=10), True),
        (replace(RUN, requests=11), False),
        (replace(RUN, uploads=1), False),
    ],
)
def test_requests_and_uploads_of_every_run_count(worst, is_reached):
    """One run with an upload or too many requests is enough to miss the goal, however fast the others are."""
    plain = replace(RUN, seconds=100.0, requests=500, uploads=20)
    comparison = Comparison("nothing changed", (Pair(RUN, plain), Pair(worst, plain)), max_ratio=0.15, max_requests=10)

    assert comparison.is_reached is is_reached
