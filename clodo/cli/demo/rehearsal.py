"""The demo's acts: a workspace of three services is released, released again, and a bad version is undone."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from clodo.cli.demo.visitors import Visitors
from clodo.cloudflare.client import Cloudflare
from clodo.releases.outcome import Outcome
from clodo.releases.rollout import RolloutFailed

if TYPE_CHECKING:
    from deployments.everything import Running

SERVICES = ("auth", "api", "web")
DATABASES = {"auth": "demo-auth", "api": "demo-api"}
NAMESPACE = "api-cache"
SECRETS_BLOCK = "demo"

Say = Callable[[str], None]


@dataclass
class Rehearsal:
    """
    A rehearsal and all that was seen of it; the checks ask it, and the cloud, once more.

    Attributes:
        folder: The workspace.

        signing_key: The secret of ``auth``, made up for this rehearsal.

        first, second, third: How the three rollouts ended, by service.

        third_began: How many visits had ended when the third rollout began.

        visitors: Everybody who came by meanwhile.
    """

    folder: Path
    running: Running
    cloudflare: Cloudflare
    signing_key: str = field(repr=False)
    visitors: Visitors
    first: Mapping[str, Outcome] = field(default_factory=dict)
    second: Mapping[str, Outcome] = field(default_factory=dict)
    third: Mapping[str, Outcome] = field(default_factory=dict)
    second_ended: float = 0.0
    third_began: int = 0

    @property
    def hostname(self) -> str:
        """Where the website answers."""
        return hostname_of(self.running)


def hostname_of(running: Running) -> str:
    """Return where the website answers."""
    return f"web.{running.cloud.subdomain}.workers.dev"


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
    """Release the whole portfolio through the Prefect flow; return how each service ended, failed ones too."""
    from flows.roll_out_portfolio import roll_out_portfolio

    try:
        outcomes = tuple(roll_out_portfolio(workspace=str(folder), reason=reason))
    except RolloutFailed as failed:
        outcomes = failed.outcomes
    return {outcome.target.partition("@")[0]: outcome for outcome in outcomes}


def rehearse(rehearsal: Rehearsal, say: Say) -> None:
    """Play the second and the third act while the visitors come and go."""
    visitors = rehearsal.visitors
    visitors.wait_for(20)
    say("Act 2: a second version of all three services, with a migration.")
    write_workspace(rehearsal.folder, "second")
    rehearsal.second = roll_out(rehearsal.folder, "demo, second version")
    rehearsal.second_ended = time.monotonic()
    visitors.wait_for(20)
    say("Act 3: a third version of api, with a migration. It fails its smoke test and must be undone.")
    rehearsal.third_began = len(visitors.visits)
    write_workspace(rehearsal.folder, "third")
    rehearsal.third = roll_out(rehearsal.folder, "demo, third version")
    visitors.wait_for(20)
