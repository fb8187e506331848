"""The demo's acts: three services are released, released again, a bad version is undone, a database restored."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from clodo.cli.demo.recovery import Recovery, recover
from clodo.cli.demo.visitors import Visit, Visitors
from clodo.cloudflare.client import Cloudflare
from clodo.errors import ClodoError, Interrupted
from clodo.releases.interruption import times_asked
from clodo.releases.outcome import Ending, Outcome
from clodo.releases.rollout import RolloutFailed

if TYPE_CHECKING:
    from deployments.embedded_cloud import Cloud

SERVICES = ("auth", "api", "web")
DATABASES = {"auth": "demo-auth", "api": "demo-api"}
NAMESPACE = "api-cache"
SECRETS_BLOCK = "demo"
VISITS_BETWEEN = 20

Say = Callable[[str], None]


@dataclass
class Rehearsal:
    """
    A rehearsal and all that was seen of it; the checks ask it, and the cloud, once more.

    Attributes:
        folder: The workspace.

        cloud: Where it is released to.

        signing_key: The secret of ``auth``, made up for this rehearsal.

        first, second, third: How the three rollouts ended, by service; empty for one that never began.

        visits: What everybody saw who came by while the second and the third rollout were under way.

        third_began: How many of the visits had ended by then.

        recovery: The database that was dropped and restored; None when it never came to that.

        problem: Why it was broken off, empty when all acts went as they should.
    """

    folder: Path
    cloud: Cloud
    cloudflare: Cloudflare
    signing_key: str = field(repr=False)
    first: Mapping[str, Outcome] = field(default_factory=dict)
    second: Mapping[str, Outcome] = field(default_factory=dict)
    third: Mapping[str, Outcome] = field(default_factory=dict)
    visits: tuple[Visit, ...] = ()
    third_began: int = 0
    recovery: Recovery | None = None
    problem: str = ""

    @property
    def hostname(self) -> str:
        """Where the website answers."""
        return f"web.{self.cloud.subdomain}.workers.dev"

    def play(self, say: Say) -> None:
        """Play the acts in order; the first that does not end as it should ends the rehearsal."""
        say("Act 1: three services that need each other, released in waves to an account that has none of them.")
        self.first = roll_out(self.folder, "demo, first version")
        if self._is_broken_off("Act 1", self.first):
            return
        with Visitors(self.cloud.edge_url, self.hostname) as visitors:
            try:
                self._play_among(visitors, say)
            finally:
                self.visits = visitors.visits
        if not self.problem:
            self._recover(say)

    def _play_among(self, visitors: Visitors, say: Say) -> None:
        visitors.wait_for(VISITS_BETWEEN)
        say("Act 2: a second version of all three services, with a migration, while visitors read and write.")
        write_workspace(self.folder, "second")
        self.second = roll_out(self.folder, "demo, second version")
        if self._is_broken_off("Act 2", self.second):
            return
        visitors.wait_for(VISITS_BETWEEN)
        say("Act 3: a third version of api, with a migration. It is broken: it must fail its smoke test and be undone.")
        self.third_began = len(visitors.visits)
        write_workspace(self.folder, "third")
        self.third = roll_out(self.folder, "demo, third version")
        visitors.wait_for(VISITS_BETWEEN)

    def _recover(self, say: Say) -> None:
        say("Act 4: a backup; auth's database is dropped, restored, and auth is released with what came back.")
        try:
            self.recovery = recover(self.folder, self.cloudflare, "auth", DATABASES["auth"])
        except Interrupted:
            raise
        except ClodoError as error:
            self.problem = f"Act 4 did not end as it should: {error.message}"

    def _is_broken_off(self, act: str, outcomes: Mapping[str, Outcome]) -> bool:
        bad = next((outcome for outcome in outcomes.values() if outcome.ending is not Ending.LIVE), None)
        if bad is not None:
            self.problem = f"{act} did not end as it should, so the rest is left out. {bad.target} is {bad.ending}"
            self.problem += f": {bad.message}" if bad.message else ", not live"
        return bad is not None


@contextmanager
def rehearsed(folder: Path, cloud: Cloud, say: Say) -> Iterator[Rehearsal]:
    """
    Play all acts in *folder*, which holds the sample workspace; inside, the cloud is as they left it.

    Prefect must be in use, with a block for *cloud* under the name that the workspace's portfolio says.
    """
    with Cloudflare(cloud.account_id, cloud.token, cloud.url) as cloudflare:
        make_resources(cloudflare)
        rehearsal = Rehearsal(folder, cloud, cloudflare, new_signing_key())
        save_secrets(rehearsal.signing_key)
        rehearsal.play(say)
        yield rehearsal


def write_workspace(folder: Path, act: str) -> None:
    """Copy the sources of *act* (``first``, ``second``, ``third``) over what is in *folder*."""
    sample = resources.files("clodo.cli.demo") / "sample" / act
    with resources.as_file(sample) as source:
        shutil.copytree(source, folder, dirs_exist_ok=True)


def make_resources(cloudflare: Cloudflare) -> None:
    """Make the databases and the namespace that the sample's configs name, unless they are there."""
    for name in DATABASES.values():
        if cloudflare.d1.find(name) is None:
            cloudflare.d1.create(name)
    if cloudflare.kv.find(NAMESPACE) is None:
        cloudflare.kv.create(NAMESPACE)


def save_secrets(signing_key: str) -> None:
    """Save the services' secrets in a block, as an operator does in the UI."""
    from pydantic import SecretStr

    from blocks import ServiceSecrets

    block = ServiceSecrets.model_validate({"targets": {"auth@production": {"SIGNING_KEY": SecretStr(signing_key)}}})
    block.save(SECRETS_BLOCK, overwrite=True)


def new_signing_key() -> str:
    """Make up a secret for one rehearsal."""
    return secrets.token_hex(32)


def roll_out(folder: Path, reason: str) -> dict[str, Outcome]:
    """
    Release the whole portfolio through the Prefect flow; return how each service ended, failed ones too.

    Raises:
        Interrupted: Somebody asked to stop meanwhile; what had been begun is put back.
    """
    from flows.roll_out_portfolio import roll_out_portfolio

    asked_before = times_asked()
    try:
        outcomes = tuple(roll_out_portfolio(workspace=str(folder), reason=reason))
    except RolloutFailed as failed:
        outcomes = failed.outcomes
    if times_asked() > asked_before:
        raise Interrupted("Interrupted; what had been begun was put back.")
    return {outcome.target.partition("@")[0]: outcome for outcome in outcomes}
