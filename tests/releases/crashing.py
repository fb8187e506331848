"""
Processes that release the shop and kill themselves on the way, forked from one that has imported everything already.

``python -m tests.releases.crashing`` reads one scenario a line, as JSON, and answers each with how its process ended.
"""

from __future__ import annotations

import http.client
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from clodo.errors import ClodoError
from clodo.releases.reconciling import reconcile_releases
from clodo.releases.releasing import Wish
from clodo.releases.rollback import roll_back
from clodo.releases.site import AccountKeys, Site
from clodo.settings import Settings
from clodo.wrangler.toolchain import install

from .stage import TARGET, Stage, open_site, release_shop, roll_back_shop_directly

BEFORE, AFTER = "before", "after"

# What a release writes down, and what it is called in the points at which it may be killed.
WRITTEN = {
    "journal": ("append",),
    "releases": ("create", "set_state"),
    "live": ("put", "forget"),
    "audit": ("append",),
}


@dataclass(frozen=True)
class Point:
    """
    Where a process dies.

    Attributes:
        what: ``upload done`` (the journal's), ``live.put`` (the ledger's), ``request 7`` (the 7th write to the API).

        moment: Before it is done, or after; of a request: after its answer came, before anybody reads it.
    """

    what: str
    moment: str

    def __str__(self) -> str:
        return f"{self.moment} {self.what}"


NOWHERE = Point("nothing", BEFORE)


@dataclass(frozen=True)
class Scenario:
    """What a process does, for whom, and where it dies; *trace* gets a line for each point that it passes."""

    action: str
    folder: str
    account_id: str
    token: str
    url: str
    edge_url: str
    signing_key: str
    node: str
    fingerprint: str
    trace: str
    point: Point

    @classmethod
    def of(cls, stage: Stage, action: str, point: Point, trace: Path) -> Scenario:
        """Return what happens on *stage*."""
        keys = stage.keys
        return cls(
            action=action,
            folder=str(stage.folder),
            account_id=keys.account_id,
            token=keys.token,
            url=keys.base_url,
            edge_url=keys.edge_url or "",
            signing_key=stage.shop.signing_key,
            node=str(stage.toolchain.node),
            fingerprint=stage.toolchain.fingerprint,
            trace=str(trace),
            point=point,
        )


class Crashes:
    """Starts processes that kill themselves; use as a context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = (folder / "crashing.log").open("w+")
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def run(self, stage: Stage, point: Point, action: str = "release") -> bool:
        """Do *action* in a process of its own and say whether it died at *point*; a point it never came to is False."""
        scenario = Scenario.of(stage, action, point, self.trace)
        self.trace.write_text("")
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(scenario)) + "\n")
        self._process.stdin.flush()
        status = int(self._process.stdout.readline() or 1)
        assert status in (0, -signal.SIGKILL), f"ended with {status}:\n{self._said()}"
        return status != 0

    @property
    def trace(self) -> Path:
        """The points that the last process passed, one a line."""
        return self._folder / "trace"

    def passed(self) -> list[str]:
        """Return the points that the last process passed."""
        return self.trace.read_text().splitlines()

    def _said(self) -> str:
        self._log.seek(0)
        return self._log.read()[-5000:]

    def __enter__(self) -> Crashes:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._log.close()


class _Fate:
    """Notes each point that is passed, and kills the process at one of them."""

    def __init__(self, point: Point, trace: Path) -> None:
        self._point = point
        self._trace = trace
        self._lock = threading.Lock()

    def passes(self, what: str, moment: str) -> None:
        with self._lock:
            with self._trace.open("a") as file:
                file.write(f"{moment} {what}\n")
            if Point(what, moment) == self._point:
                os.kill(os.getpid(), signal.SIGKILL)


class _Watched:
    """A part of the ledger whose writes are points."""

    def __init__(self, inner: Any, name: str, fate: _Fate) -> None:
        self._inner, self._name, self._fate = inner, name, fate

    def __getattr__(self, attribute: str) -> Any:
        found = getattr(self._inner, attribute)
        if attribute not in WRITTEN[self._name]:
            return found

        def write(*args: Any, **kwargs: Any) -> Any:
            what = f"{self._name}.{attribute}"
            if self._name == "journal":
                what = f"{args[1]} {args[2].value}"
            elif attribute == "set_state":
                what = f"releases.{args[1].value}"
            elif self._name == "audit":
                what = f"audit {args[1]}"
            self._fate.passes(what, BEFORE)
            result = found(*args, **kwargs)
            self._fate.passes(what, AFTER)
            return result

        return write


class _Between(http.server.ThreadingHTTPServer):
    """Stands between this process and the API, and makes each write a point, counted from 1."""

    daemon_threads = True

    def __init__(self, url: str, fate: _Fate) -> None:
        super().__init__(("127.0.0.1", 0), _Passing)
        self.upstream = urlsplit(url)
        self.fate = fate
        self._count = 0
        self._lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}{self.upstream.path}"

    def number(self) -> int:
        with self._lock:
            self._count += 1
            return self._count


class _Passing(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Between

    def _pass(self) -> None:
        body = self._body()
        writes = _may_write(self.command, self.path, body)
        what = f"request {self.server.number()}" if writes else ""
        if writes:
            self.server.fate.passes(what, BEFORE)
        upstream = http.client.HTTPConnection(
            self.server.upstream.hostname or "", self.server.upstream.port, timeout=60
        )
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _OWN}
        upstream.request(self.command, self.path, body=body, headers=headers)
        answer = upstream.getresponse()
        content = answer.read()
        upstream.close()
        if writes:
            self.server.fate.passes(what, AFTER)
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _OWN:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass  # noqa: N815

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the name it is called by
        """Say nothing."""


def _may_write(method: str, path: str, body: bytes) -> bool:
    """
    Whether a request may leave something behind.

    A tail doesn't, and how often one is opened depends on how soon the edge answers; neither do D1 queries that only
    read, of which there are more the more tables there are.
    """
    if path.endswith("/query"):
        return not json.loads(body)["sql"].lstrip().upper().startswith(("SELECT", "PRAGMA"))
    return method != "GET" and "/tails" not in path


_OWN = ("connection", "content-length", "host", "keep-alive", "transfer-encoding")


def _act(scenario: Scenario) -> None:
    fate = _Fate(scenario.point, Path(scenario.trace))
    between = _Between(scenario.url, fate)
    keys = AccountKeys(scenario.account_id, scenario.token, between.url, scenario.edge_url)
    actions: dict[str, Callable[[Site], object]] = {
        "release": release_shop,
        "reconcile": reconcile_releases,
        "rollback": lambda site: roll_back(site, site.workspace.find(TARGET), Wish()),
        "direct": lambda site: roll_back_shop_directly(site.workspace, keys),
    }
    toolchain = replace(
        install(Settings.from_environment()), node=Path(scenario.node), fingerprint=scenario.fingerprint
    )
    with open_site(Path(scenario.folder), keys, scenario.signing_key, lambda: toolchain) as site:
        for part in WRITTEN:
            setattr(site.ledger, part, _Watched(getattr(site.ledger, part), part, fate))
        try:
            actions[scenario.action](site)
        except ClodoError as error:
            sys.stderr.write(f"{scenario.action}: {type(error).__name__}: {error}\n")


def _serve() -> None:
    for line in sys.stdin:
        values = json.loads(line)
        scenario = Scenario(**{**values, "point": Point(**values["point"])})
        child = os.fork()
        if child == 0:
            status = 1
            # Standard output is for how processes ended.
            os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
            try:
                _act(scenario)
                status = 0
            finally:
                sys.stderr.flush()
                # Without this the child would go on reading our scenarios.
                os._exit(status)
        _, ended = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(ended)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
