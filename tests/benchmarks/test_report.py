"""Sections of RESULTS.md: what they say, and how one takes the place of the one before."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from benchmarks.figures import Comparison, Pair, Run
from benchmarks.portfolio import Portfolio
from benchmarks.report import Machine, portfolio_section, startup_section, with_section
from benchmarks.startup import Start

MACHINE = Machine(cores=2, processor="A processor", versions="Python 3.11.7", day=date(2026, 11, 20))
RUN = Run(
    seconds=6.0, cpu_seconds=9.0, server_cpu_seconds=1.0, cloud_cpu_seconds=0.5, requests=34, uploads=2, load=0.25
)


def portfolio(clodo_seconds):
    pair = Pair(replace(RUN, seconds=clodo_seconds), replace(RUN, seconds=10.0, load=1.75))
    return Portfolio(
        services=2,
        changed=Comparison("all changed", (pair,), 0.6),
        unchanged=Comparison(
            "nothing changed", (Pair(replace(RUN, seconds=1.0, requests=1, uploads=0), RUN),), 0.2, 10
        ),
        journal_entries=("upload intent", "upload done"),
        requests_of_one={"clodo": {"POST workers/scripts/<worker>/versions": 1, "GET x": 2}},
    )


def test_a_section_says_command_machine_load_and_verdict():
    """Figures stand beside the command that gives them, the load they were taken under, and the goal."""
    section = portfolio_section(portfolio(5.0), "the command", MACHINE)

    assert "`the command`: 2 services, medians of 1. 2026-11-20, 2 cores (A processor), Python 3.11.7" in section
    assert "load average before the runs 0.2 to 1.8." in section
    assert "| all changed | 5.0 s | 10.0 s | **0.50** (0.50 to 0.50) | ≤ 0.6 | reached |" in section
    assert "| all changed | API requests a service | 17.0 | 17.0 |" in section
    assert "- clodo: `POST workers/scripts/<worker>/versions`, `GET x` ×2" in section


def test_a_goal_that_is_missed_is_called_so():
    """Nothing is rounded into success."""
    section = portfolio_section(portfolio(6.1), "the command", MACHINE)

    assert "**0.61** (0.61 to 0.61) | ≤ 0.6 | NOT reached |" in section


def test_short_times_are_shown_in_milliseconds():
    """A start that may take under a second is shown in milliseconds, a longer one in seconds."""
    starts = (Start("quick", (0.1, 0.3, 0.2), 0.35), Start("slow", (1.0, 1.2, 1.1), 2.0))

    section = startup_section(starts, "the command", MACHINE, 0.5)

    assert "| quick | **200 ms** | 100 to 300 ms | 3 | ≤ 350 ms | reached |" in section
    assert "| slow | **1.1 s** | 1.0 to 1.2 s | 3 | ≤ 2 s | reached |" in section


def test_a_section_takes_the_place_of_its_predecessor_and_leaves_the_others():
    """Saving twice keeps one section of each title, in the order they first came."""
    document = with_section(with_section("# Results\n", "## One\n\nold\n"), "## Two\n\nkept\n")

    changed = with_section(document, "## One\n\nnew\n")

    assert changed == "# Results\n\n## One\n\nnew\n\n## Two\n\nkept\n"
    assert with_section(changed, "## One\n\nnew\n") == changed
