"""Workers that no address leads to, asked through another Worker that passes requests on; or refused with a way out."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from clodo.errors import BadConfiguration, Refused, ReleaseFailed, SmokeTestInconclusive
from clodo.releases.outcome import Ending, Outcome
from clodo.releases.releasing import Wish
from clodo.releases.rollout import Rollout
from clodo.wrangler.toolchain import Toolchain
from tests.fixtures.embedded_cloud import CloudAccount
from tests.workspace.folders import write

from .numbered import quick
from .stage import keys_of, open_site

COUNTER = """\
name = "counter"
main = "index.js"
compatibility_date = "2026-01-01"
workers_dev = false

[version_metadata]
binding = "VERSION"

[[durable_objects.bindings]]
name = "COUNTS"
class_name = "Counts"

[[migrations]]
tag = "v1"
new_sqlite_classes = ["Counts"]
"""
COUNTER_CODE = """\
import { DurableObject } from "cloudflare:workers";

export class Counts extends DurableObject {
  fetch() {
    return new Response("7");
  }
}

export default {
  async fetch(request, env) {
    const counted = await env.COUNTS.getByName("all").fetch(request);
    return Response.json({ says: SAYS, counted: await counted.text(), version: env.VERSION.id }, { status: STATUS });
  },
};
"""
WEB = """\
name = "web"
main = "index.js"
compatibility_date = "2026-01-01"
workers_dev = true

[version_metadata]
binding = "VERSION"

[[services]]
binding = "COUNTER"
service = "counter"
"""
WEB_CODE = """\
export default {
  fetch(request, env) {
    if (new URL(request.url).pathname === "/count") return PASSED_ON;
    return Response.json({ version: env.VERSION.id });
  },
};
"""
PASSED_ON = "env.COUNTER.fetch(request)"
PORTFOLIO = """\
[portfolio]
name = "stage"

[services.counter]
smoke_tests_through = "web"

[[services.counter.smoke_tests]]
path = "/count"
expect_json = { counted = "7" }
version_json = "version"

[[services.web.smoke_tests]]
path = "/"
version_json = "version"
"""


SIGNING_KEY = secrets.token_hex(16)


class Counting:
    """A workspace of two services: `web`, which everybody reaches, and `counter`, which only `web` reaches."""

    def __init__(self, account: CloudAccount, toolchain: Toolchain, folder: Path) -> None:
        self.account = account
        self.toolchain = toolchain
        self.folder = folder
        write(folder, {"portfolio.toml": PORTFOLIO, "counter/wrangler.toml": COUNTER, "web/wrangler.toml": WEB})
        self.change("one")
        self.pass_on("env.COUNTER.fetch(request)")

    def change(self, says: str, *, status: int = 200) -> None:
        """Change what the counter says, and whether it is well."""
        code = COUNTER_CODE.replace("SAYS", f'"{says}"').replace("STATUS", str(status))
        (self.folder / "counter" / "index.js").write_text(code)

    def pass_on(self, how: str) -> None:
        """Change how `web` asks the counter."""
        (self.folder / "web" / "index.js").write_text(WEB_CODE.replace("PASSED_ON", how))

    def release(self, service: str) -> Outcome:
        """Release one service."""
        with open_site(self.folder, keys_of(self.account), SIGNING_KEY, lambda: self.toolchain) as site:
            rollout = Rollout(site, [site.workspace.find(service)], Wish())
            rollout.survey()
            for wave in rollout.waves_to_release():
                for target in wave:
                    rollout.release(target)
            return rollout.outcomes[0]

    def plan(self, service: str) -> Outcome:
        """Plan a release of one service."""
        with open_site(self.folder, keys_of(self.account), SIGNING_KEY, lambda: self.toolchain) as site:
            rollout = Rollout(site, [site.workspace.find(service)], Wish())
            rollout.survey()
            return rollout.plan()[0]

    def says(self) -> str:
        """Ask as a visitor does."""
        answer: dict[str, str] = self.account.visit(self.account.hostname("web"), "/count").json()
        return answer["says"]


@pytest.fixture
def counting(account: CloudAccount, toolchain: Toolchain, tmp_path: Path) -> Counting:
    """Nothing is released; uploads go the fast way."""
    return Counting(account, quick(toolchain, tmp_path), tmp_path / "workspace")


@pytest.fixture
def live(counting: Counting) -> Counting:
    """Both are live, and no address leads to the counter any more."""
    config = counting.folder / "counter" / "wrangler.toml"
    config.write_text(COUNTER.replace("workers_dev = false", "workers_dev = true"))
    assert counting.release("counter").ending is Ending.LIVE
    assert counting.release("web").ending is Ending.LIVE
    config.write_text(COUNTER)
    off = {"enabled": False, "previews_enabled": False}
    counting.account.result("POST", "/workers/scripts/counter/subdomain", json=off)
    return counting


def test_a_first_version_that_nobody_could_ask_is_refused_before_it_is_uploaded(counting, toolchain):
    """A Worker with Durable Objects and without an address: the plan says so too, with the two ways out."""
    counting.toolchain = toolchain
    planned = counting.plan("counter")
    with pytest.raises(SmokeTestInconclusive, match="nobody could ask its first version") as refused:
        counting.release("counter")

    assert planned.message.startswith("would be refused: counter@production: nobody could ask its first version")
    assert isinstance(refused.value, Refused)
    assert "workers_dev = true, at least for its first release" in (refused.value.hint or "")
    assert "wrangler deploy" in (refused.value.hint or "")
    assert counting.account.result("GET", "/workers/scripts") == []


def test_a_worker_without_an_address_is_asked_through_another(live):
    """The new version is asked at 0 % over the service binding, proven by the version it names, and rolled out."""
    live.change("two")

    outcome = live.release("counter")

    assert outcome.ending is Ending.LIVE
    assert [test.partition(" (")[0] for test in outcome.tests] == ["GET /count"] * 2
    assert live.says() == "two"
    assert live.release("counter").ending is Ending.UNCHANGED


def test_a_version_that_fails_through_another_gets_no_traffic(live):
    """It fails while it has no traffic, and is undone."""
    live.change("two", status=500)

    with pytest.raises(ReleaseFailed, match=r"GET /count at web\..*answered 500"):
        live.release("counter")

    assert live.says() == "one"


def test_one_that_passes_no_headers_on_proves_nothing(live):
    """The live version answers in the new one's place, which is seen, and nothing is released."""
    live.pass_on("env.COUNTER.fetch(request.url)")
    assert live.release("web").ending is Ending.LIVE
    live.change("two")

    with pytest.raises(ReleaseFailed, match="answered, not") as refused:
        live.release("counter")

    assert isinstance(refused.value.__cause__, SmokeTestInconclusive)
    assert live.says() == "one"


def test_without_anybody_to_ask_through_the_hint_names_the_setting(live):
    """A later version that nobody could ask is refused, with the key to write."""
    portfolio = live.folder / "portfolio.toml"
    portfolio.write_text(PORTFOLIO.replace('smoke_tests_through = "web"\n', ""))
    live.change("two")

    with pytest.raises(ReleaseFailed, match="can't be asked before it gets traffic") as refused:
        live.release("counter")

    assert 'smoke_tests_through = "…" under [services.counter]' in (refused.value.hint or "")
    assert live.says() == "one"


@pytest.mark.parametrize(
    ("portfolio", "web", "said"),
    [
        (PORTFOLIO.replace('through = "web"', 'through = "wed"'), WEB, r'portfolio\.toml:5: .*did you mean "web"'),
        (PORTFOLIO.replace('through = "web"', 'through = "counter"'), WEB, r"portfolio\.toml:5: no other service"),
        (PORTFOLIO.partition("[[services.counter")[0], WEB, "smoke_tests_through needs smoke_tests"),
        (PORTFOLIO, WEB.replace("workers_dev = true", "workers_dev = false"), r"portfolio\.toml:5: .*has no address"),
    ],
)
def test_a_way_that_leads_nowhere_is_bad_configuration(counting, portfolio, web, said):
    """An unknown service, itself, nothing to ask, no address: each is named with its line."""
    write(counting.folder, {"portfolio.toml": portfolio, "web/wrangler.toml": web})

    with pytest.raises(BadConfiguration, match=said):
        counting.plan("counter")
