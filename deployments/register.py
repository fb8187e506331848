"""Tells a Prefect server what Clodo brings: block types, saved blocks, the work pool and the deployments."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from prefect.blocks.core import Block
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyLimitConfig, VersionInfo
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from prefect.deployments.runner import RunnerDeployment
from prefect.events import DeploymentTriggerTypes
from prefect.exceptions import ObjectNotFound
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.types.entrypoint import EntrypointType
from prefect.workers.process import ProcessWorker
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blocks import ALL_BLOCKS
from clodo.errors import BadConfiguration
from deployments.failures import named_as_ours

WORK_POOL = "clodo"


class WorkPoolChoice(BaseModel):
    """Which work pool a deployment's runs go to, and how they differ from the pool's usual."""

    model_config = ConfigDict(extra="forbid")

    name: str
    work_queue_name: str | None = None
    job_variables: dict[str, Any] = Field(default_factory=dict)


class Schedule(BaseModel):
    """When a deployment runs by itself; the slug lets a changed file change the same schedule."""

    model_config = ConfigDict(extra="forbid")

    slug: str
    cron: str | None = None
    interval: float | None = Field(default=None, description="Seconds.")
    timezone: str = "UTC"
    active: bool = True
    parameters: dict[str, Any] = Field(default_factory=dict)

    def as_prefect(self) -> dict[str, Any]:
        """Return it as Prefect's deployments take it."""
        rule = (
            CronSchedule(cron=self.cron, timezone=self.timezone)
            if self.cron is not None
            else IntervalSchedule.model_validate({"interval": self.interval, "timezone": self.timezone})
        )
        return {"schedule": rule, "active": self.active, "parameters": self.parameters, "slug": self.slug}


class Declared(BaseModel):
    """One entry under ``deployments`` in ``prefect.yaml``; a key we don't register is refused."""

    model_config = ConfigDict(extra="forbid")

    name: str
    entrypoint: str
    description: str
    tags: list[str] = Field(default_factory=list)
    parameters: dict[str, Any] = Field(default_factory=dict)
    work_pool: WorkPoolChoice
    concurrency_limit: ConcurrencyLimitConfig | None = None
    schedules: list[Schedule] = Field(default_factory=list)
    triggers: list[DeploymentTriggerTypes] = Field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Registered:
    """
    What a server now knows, by name.

    Attributes:
        block_types: Slugs.

        blocks: ``type-slug/name`` of those that were saved.

        deployments: ``flow/deployment``.
    """

    work_pool: str
    block_types: tuple[str, ...]
    blocks: tuple[str, ...]
    deployments: tuple[str, ...]


def prefect_file() -> Path:
    """Return the path of ``prefect.yaml``: inside the installed package, or at the root of its source."""
    here = Path(__file__).resolve().parent
    packaged = here / "prefect.yaml"
    return packaged if packaged.exists() else here.parent / "prefect.yaml"


def declared_deployments(file: Path | None = None) -> tuple[Declared, ...]:
    """
    Read the deployments of *file*, Clodo's own ``prefect.yaml`` by default.

    Raises:
        BadConfiguration: It has a key or value that makes no sense; the message says where.
    """
    file = file or prefect_file()
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
        return tuple(Declared.model_validate(entry) for entry in document["deployments"])
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadConfiguration(f"{file}: deployments: {where}: {first['msg']}") from error
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise BadConfiguration(f"{file}: not a list of deployments under `deployments`") from error


def register(
    *, workspace: Path | None = None, blocks: Mapping[str, Block] | None = None, file: Path | None = None
) -> Registered:
    """
    Tell the Prefect server in use all that Clodo brings; doing it again changes nothing but what has changed.

    The pool's own limit is set once; what an operator makes of it in the UI stays.

    Args:
        workspace: Default of the flows' ``workspace`` parameter, so that a form needs only the target.

        blocks: Blocks to save, by name; those of the same name and type are replaced.

        file: Another ``prefect.yaml``.

    Raises:
        ServerUnavailable: The server doesn't answer.

        NotAuthorised: It wants another auth string.
    """
    with named_as_ours():
        for block in ALL_BLOCKS:
            block.register_type_and_schema()
        make_work_pool()
        saved = tuple(_save(name, block) for name, block in (blocks or {}).items())
        deployments = tuple(_deploy(declared, workspace) for declared in declared_deployments(file))
    return Registered(WORK_POOL, tuple(block.get_block_type_slug() for block in ALL_BLOCKS), saved, deployments)


def make_work_pool() -> None:
    """Make the process work pool unless it is there."""
    with get_client(sync_client=True) as client:
        try:
            client.read_work_pool(WORK_POOL)
        except ObjectNotFound:
            client.create_work_pool(
                WorkPoolCreate(
                    name=WORK_POOL,
                    type="process",
                    description="Runs Clodo's flows as processes of one machine.",
                    base_job_template=ProcessWorker.get_default_base_job_template(),
                    # A run is a Python process of some 200 MB that drives wrangler; more than this gains nothing.
                    concurrency_limit=max(4, os.cpu_count() or 1),
                )
            )


def _save(name: str, block: Block) -> str:
    block.save(name, overwrite=True)
    return f"{block.get_block_type_slug()}/{name}"


def _deploy(declared: Declared, workspace: Path | None) -> str:
    flow: Flow[..., Any] = load_flow_from_entrypoint(declared.entrypoint, use_placeholder_flow=False)
    parameters = dict(declared.parameters)
    if workspace is not None and "workspace" in flow.parameters.properties:
        parameters.setdefault("workspace", str(workspace))
    deployment = RunnerDeployment.from_flow(
        flow,
        name=declared.name,
        description=declared.description,
        tags=declared.tags,
        parameters=parameters,
        concurrency_limit=declared.concurrency_limit,
        triggers=list(declared.triggers),
        version=version("clodo"),
        work_pool_name=declared.work_pool.name,
        work_queue_name=declared.work_pool.work_queue_name,
        job_variables=declared.work_pool.job_variables,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    deployment.apply(
        schedules=[schedule.as_prefect() for schedule in declared.schedules],
        # Said by us, or Prefect would ask git about the folder that we happen to be in.
        version_info=VersionInfo(type="prefect:simple", version=version("clodo")),
    )
    return deployment.full_name
