"""What stands in RESULTS.md: each command prints its own section, and puts it there when told to."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib import metadata
from pathlib import Path

from benchmarks.emulator import Figure
from benchmarks.figures import Comparison, Run, median_of
from benchmarks.portfolio import Portfolio
from benchmarks.startup import Start

RESULTS = Path(__file__).parent / "RESULTS.md"

PORTFOLIO = "A portfolio, against plain wrangler"
STARTUP = "Starting"
CONFIG = "Configuration"
DEMO = "The demo"
EMULATOR = "The embedded cloud"
BACKUPS = "Backups"

HOW_MEASURED = """\
Both sides release the same generated services: each a Worker of six modules with a D1 database and two secrets, each
independent of the others. "All changed" is new code, one more migration and another secret in every service, on
Workers that exist; "nothing changed" is the same command once more. Plain is a shell script around
`node_modules/.bin/wrangler` with the pinned Node first on the PATH and no compile cache: `d1 migrations apply`,
`secret bulk` and `deploy` for each service, two services at a time. Clodo is `clodo portfolio deploy --max-parallel
2`. Embedded cloud and Prefect server run before either begins and are idle then; each side has an account of its own.
Seconds are from the start of the process to its exit; after each run every Worker is asked whether it has the new
code, secret and migrations. The sides take turns in going first. The ratio is the median of the pairs' ratios,
smallest and largest in brackets."""

HOW_BACKUPS_ARE_MEASURED = """\
The embedded cloud runs beside both. By hand: one curl that keeps its connection fetches pages of 5,000 rows as JSON,
through `zstd -3` and `age` into a file. Clodo: the process that takes the snapshot, from its first request to the
published manifest; memory is its resident set at the peak. Its archive restores with `age -d | zstd -d | sqlite3`,
which what curl fetched does not. A restore is measured from the plan to the last row compared with the manifest, into a
new database of the cloud; the three commands make a file, and compare nothing. A rollback is
what Clodo sends for one (what is live, the version, a deployment, a look at it) and a request of the Worker that the
version before answers; the cloud counts requests as Cloudflare does, and serves both on the same two cores."""

HOW_EMULATOR_IS_MEASURED = """\
Bare workerd runs the same Worker with its own bundled D1, and takes turns with the embedded cloud, with the same
clients on the same cores; a ratio is the median of the pairs' ratios. Memory is the proportional set size of the cloud
and all its Workers' processes; a Worker is active when it was asked within the last second, and the others have been
left alone for half a minute. Memory during an import or export is the cloud's resident set, looked at every 50 ms."""

BEYOND = """\
What Clodo does in those seconds, and the three commands don't:

- compares all targets with what is live first, by hashes and one list of scripts; what is unchanged starts no
  wrangler;
- holds a lock on each target, asked before each write, and journals each step before and after ({entries} entries a
  release here, each forced to the disk), so that a killed release is finished or undone;
- notes the way back (deployment, version, names of secrets, triggers, D1 bookmark) and takes it, verified, when a
  step fails;
- applies each migration all or nothing, with its checksum;
- asks the live version its smoke tests before the migration and on the new schema;
- uploads code and secrets as one version that gets no traffic, smoke-tests it at its preview URL, and only then rolls
  it out; the three commands put the new secret live with the old code first, and the new code live untested;
- verifies what is live: the version that Cloudflare reports, triggers, and smoke tests proven to come from that
  version;
- keeps the token and the budget of requests from wrangler, waits out 429s for it, and never uploads twice;
- records it all: ledger, audit trail, a run, states and logs of each step in Prefect, a page and an event a release."""


@dataclass(frozen=True, slots=True)
class Machine:
    """
    Where it was measured.

    Attributes:
        processor: As the system calls it.

        versions: Of what was measured, in words.
    """

    cores: int
    processor: str
    versions: str
    day: date

    @classmethod
    def this(cls, toolchain: dict[str, str]) -> Machine:
        """Describe this one; *toolchain* is name to version."""
        tools = {"Python": platform.python_version(), "Prefect": metadata.version("prefect"), **toolchain}
        return cls(
            cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
            processor=_processor(),
            versions=", ".join(f"{name} {version}" for name, version in tools.items()),
            day=datetime.now(UTC).date(),
        )

    def describe(self, loads: Sequence[float]) -> str:
        """Return one sentence; *loads* are the load averages before the runs, one at least."""
        least, most = (f"{load:.1f}" for load in (min(loads), max(loads)))
        load = f"; load average before the runs {least}" + (f" to {most}" if most != least else "")
        return f"{self.day.isoformat()}, {self.cores} cores ({self.processor}), {self.versions}{load}."


def portfolio_section(found: Portfolio, command: str, machine: Machine) -> str:
    """Return the section about a portfolio."""
    situations = (found.changed, found.unchanged)
    loads = [run.load for comparison in situations for run in (*comparison.clodo, *comparison.plain)]
    lines = [
        f"## {PORTFOLIO}",
        "",
        f"`{command}`: {found.services} services, medians of {len(found.changed.pairs)}. {machine.describe(loads)}",
        "",
        "| | Clodo | plain wrangler | ratio | goal | |",
        "|---|---|---|---|---|---|",
        *(_situation(comparison) for comparison in situations),
        "",
        "| in one run, medians | | Clodo | plain wrangler |",
        "|---|---|---|---|",
        *(line for comparison in situations for line in _details(comparison, found.services)),
        "",
        HOW_MEASURED,
        "",
        BEYOND.format(entries=len(found.journal_entries)),
        "",
        "API requests that name one changed service in their path (those to its database do not):",
        "",
    ]
    for side, requests in found.requests_of_one.items():
        listed = ", ".join(f"`{request}`" + (f" ×{count}" if count > 1 else "") for request, count in requests.items())
        lines.append(f"- {side}: {listed}")
    return "\n".join(lines) + "\n"


def startup_section(found: Sequence[Start], command: str, machine: Machine, load: float) -> str:
    """Return the section about starts."""
    return "\n".join([f"## {STARTUP}", "", f"`{command}`. {machine.describe([load])}", "", *_starts(found)]) + "\n"


def config_section(found: Sequence[Start], command: str, machine: Machine, load: float) -> str:
    """Return the section about configuration."""
    return "\n".join([f"## {CONFIG}", "", f"`{command}`. {machine.describe([load])}", "", *_starts(found)]) + "\n"


def demo_section(found: Start, checks: int, command: str, machine: Machine, load: float) -> str:
    """Return the section about the demo."""
    lines = [f"## {DEMO}", "", f"`{command}`: {checks} claims checked, all hold. {machine.describe([load])}", ""]
    return "\n".join([*lines, *_starts([found])]) + "\n"


def emulator_section(found: Sequence[Figure], command: str, machine: Machine, load: float) -> str:
    """Return the section about what the embedded cloud bears."""
    return _figures(EMULATOR, found, command, machine, load, HOW_EMULATOR_IS_MEASURED)


def backups_section(found: Sequence[Figure], command: str, machine: Machine, load: float) -> str:
    """Return the section about backups."""
    return _figures(BACKUPS, found, command, machine, load, HOW_BACKUPS_ARE_MEASURED)


def _figures(title: str, found: Sequence[Figure], command: str, machine: Machine, load: float, how: str) -> str:
    lines = [
        f"## {title}",
        "",
        f"`{command}`. {machine.describe([load])}",
        "",
        "| | measured | goal | |",
        "|---|---|---|---|",
        *(
            f"| {figure.title} | {figure.measured} | {figure.goal} | {_verdict(figure.is_reached)} |"
            for figure in found
        ),
        "",
        how,
    ]
    return "\n".join(lines) + "\n"


def with_section(document: str, section: str) -> str:
    """Return *document* with *section* in the place of the one of the same title, or at its end."""
    title = section.partition("\n")[0]
    old = re.compile(rf"^{re.escape(title)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    if old.search(document):
        return old.sub(lambda _: section + "\n", document).rstrip() + "\n"
    return f"{document.rstrip()}\n\n{section}".lstrip()


def save(section: str, file: Path = RESULTS) -> None:
    """Put *section* into the file."""
    file.write_text(with_section(file.read_text() if file.exists() else "# Results\n", section))


def _situation(comparison: Comparison) -> str:
    low, high = comparison.spread
    goal = f"≤ {comparison.max_ratio:g}"
    if comparison.max_requests is not None:
        goal += f", ≤ {comparison.max_requests} requests, no upload"
    clodo, plain = (median_of(runs, "seconds") for runs in (comparison.clodo, comparison.plain))
    return (
        f"| {comparison.title} | {clodo:.1f} s | {plain:.1f} s | **{comparison.ratio:.2f}** ({low:.2f} to {high:.2f})"
        f" | {goal} | {_verdict(comparison.is_reached)} |"
    )


def _details(comparison: Comparison, services: int) -> list[str]:
    def line(title: str, name: str, unit: str, digits: int) -> str:
        clodo, plain = (f"{median_of(runs, name):.{digits}f}{unit}" for runs in (comparison.clodo, comparison.plain))
        return f"| {comparison.title} | {title} | {clodo} | {plain} |"

    def each(runs: Sequence[Run]) -> str:
        return f"{median_of(runs, 'requests') / services:.1f}"

    return [
        line("API requests", "requests", "", 0),
        f"| {comparison.title} | API requests a service | {each(comparison.clodo)} | {each(comparison.plain)} |",
        line("versions uploaded", "uploads", "", 0),
        line("CPU of the command and what it ran", "cpu_seconds", " s", 1),
        line("CPU of the Prefect server", "server_cpu_seconds", " s", 1),
        line("CPU of the embedded cloud", "cloud_cpu_seconds", " s", 1),
    ]


def _starts(found: Sequence[Start]) -> list[str]:
    lines = ["| | median | smallest to largest | runs | goal | |", "|---|---|---|---|---|---|"]
    for start in found:
        unit, factor, digits = ("ms", 1000, 0) if start.max_seconds < 1 else ("s", 1, 1)
        median, low, high, goal = (
            value * factor for value in (start.median, min(start.seconds), max(start.seconds), start.max_seconds)
        )
        lines.append(
            f"| {start.title} | **{median:.{digits}f} {unit}** | {low:.{digits}f} to {high:.{digits}f} {unit}"
            f" | {len(start.seconds)} | ≤ {goal:g} {unit} | {_verdict(start.is_reached)} |"
        )
    return lines


def _verdict(is_reached: bool) -> str:
    return "reached" if is_reached else "NOT reached"


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except FileNotFoundError:
        return platform.processor() or platform.machine()
    named = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return named[1].strip() if named else platform.machine()
