"""What the Prefect UI offers: every deployment resolves, and registering it twice changes nothing."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.flows import Flow, load_flow_from_entrypoint

import blocks
from blocks import CloudflareAccount
from clodo.errors import BadConfiguration
from clodo.settings import child_environment
from deployments.register import WORK_POOL, Declared, declared_deployments, prefect_file, register

ROOT = Path(__file__).parents[2]
NAMES = [declared.name for declared in declared_deployments()]


def named(name: str) -> Declared:
    return next(declared for declared in declared_deployments() if declared.name == name)


def flow_of(declared: Declared) -> Flow[..., object]:
    return load_flow_from_entrypoint(declared.entrypoint, use_placeholder_flow=False)


@pytest.mark.parametrize("name", NAMES)
def test_every_entrypoint_is_a_module_that_has_the_flow(name):
    """Entrypoints name modules, not files, which would put flows/ first on the path for good."""
    declared = named(name)
    before = list(sys.path)

    flow = flow_of(declared)

    assert ":" not in declared.entrypoint
    assert sys.path == before
    assert f"{flow.fn.__module__}.{flow.fn.__name__}" == declared.entrypoint


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_is_one_of_the_flow(name):
    """A default or a schedule's parameter that the flow doesn't take would fail at run time only."""
    declared = named(name)
    known = set(flow_of(declared).parameters.properties)

    assert set(declared.parameters) <= known
    for schedule in declared.schedules:
        assert set(schedule.parameters) <= known


@pytest.mark.parametrize("name", NAMES)
def test_every_field_of_a_form_explains_itself(name):
    """Each parameter has a type, a description, and a default unless nothing could be meant without it."""
    schema = flow_of(named(name)).parameters

    assert set(schema.required) <= {"target", "targets", "name", "service", "flag", "value"}
    for parameter, properties in schema.properties.items():
        assert properties.get("description"), parameter
        assert {"type", "anyOf", "$ref", "allOf"} & set(properties), parameter


def test_numbers_and_choices_are_limited_in_the_form():
    """What has a range or a set of values is refused by the form, before a run is made."""
    portfolio = flow_of(named("portfolio")).parameters.properties
    migrate = flow_of(named("database")).parameters

    assert (portfolio["max_parallel"]["minimum"], portfolio["max_parallel"]["maximum"]) == (1, 16)
    assert portfolio["reason"]["maxLength"] == 500
    assert migrate.definitions["Which"]["enum"] == ["expand", "contract", "all"]


@pytest.mark.parametrize("file", sorted((ROOT / "flows").glob("*.py")))
def test_no_flow_has_the_name_of_a_standard_module(file):
    """A flows/secrets.py would shadow Python's own once somebody loads a flow by its file."""
    assert file.stem not in sys.stdlib_module_names


def test_every_flow_has_a_deployment():
    """Whoever opens the UI finds each flow there."""
    flows = {file.stem for file in (ROOT / "flows").glob("[a-z]*.py")}

    assert {declared.entrypoint.split(".")[1] for declared in declared_deployments()} == flows


def test_a_key_that_is_not_registered_is_refused(tmp_path):
    """A misspelt key in prefect.yaml is an error that says where, not silence."""
    document = yaml.safe_load(prefect_file().read_text())
    document["deployments"][1]["concurency_limit"] = 3
    file = tmp_path / "prefect.yaml"
    file.write_text(yaml.safe_dump(document))

    with pytest.raises(BadConfiguration, match="concurency_limit"):
        declared_deployments(file)


@pytest.mark.parametrize("text", ["deployments:\n  - [", "name: x\n", "- 1\n"])
def test_a_file_without_deployments_is_refused(tmp_path, text):
    """What is no prefect.yaml is said in a sentence."""
    file = tmp_path / "prefect.yaml"
    file.write_text(text)

    with pytest.raises(BadConfiguration, match=r"prefect\.yaml"):
        declared_deployments(file)


def test_an_installed_package_carries_prefect_yaml():
    """The wheel puts prefect.yaml where register looks for it, and shows the blocks to Prefect."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())

    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"] == {
        "prefect.yaml": "deployments/prefect.yaml"
    }
    assert project["project"]["entry-points"]["prefect.collections"] == {"clodo": blocks.__name__}


def test_registering_twice_gives_the_same(prefect_server, tmp_path):
    """Block types, work pool, blocks and deployments are there once, however often they are registered."""
    account = CloudflareAccount(account_id="0" * 32, api_token="hush-44b0")

    first = register(workspace=tmp_path, blocks={"twice": account})
    before = _seen()
    second = register(workspace=tmp_path, blocks={"twice": account.model_copy()})

    assert second == first
    assert _seen() == before
    assert {"release-target/release", "reconcile/reconcile"} <= set(first.deployments)
    assert first.deployments == tuple(
        f"{flow_of(declared).name}/{declared.name}" for declared in declared_deployments()
    )


def test_a_registered_deployment_is_what_the_file_says(prefect_server, tmp_path):
    """Workspace, limit, pool, schedule and entrypoint arrive at the server as they were written."""
    register(workspace=tmp_path)

    with get_client(sync_client=True) as client:
        portfolio = client.read_deployment_by_name("roll-out-portfolio/portfolio")
        reconcile = client.read_deployment_by_name("reconcile/reconcile")
        pool = client.read_work_pool(WORK_POOL)

    assert portfolio.parameters == {"workspace": str(tmp_path)}
    assert portfolio.global_concurrency_limit is not None
    assert portfolio.global_concurrency_limit.limit == 1
    assert portfolio.concurrency_options is not None
    assert portfolio.concurrency_options.collision_strategy.value == "ENQUEUE"
    assert portfolio.work_pool_name == WORK_POOL
    assert portfolio.entrypoint == "flows.roll_out_portfolio.roll_out_portfolio"
    assert portfolio.enforce_parameter_schema is True
    assert [(schedule.slug, schedule.active) for schedule in reconcile.schedules] == [
        ("every-quarter-of-an-hour", True)
    ]
    assert pool.type == "process"


@pytest.mark.exhaustive
def test_what_an_operator_set_on_the_pool_stays(prefect_server, tmp_path):
    """Registering again doesn't take back the limit that somebody chose in the UI."""
    from prefect.client.schemas.actions import WorkPoolUpdate

    register(workspace=tmp_path)
    with get_client(sync_client=True) as client:
        client.update_work_pool(WORK_POOL, WorkPoolUpdate(concurrency_limit=7))

        register(workspace=tmp_path)

        assert client.read_work_pool(WORK_POOL).concurrency_limit == 7


@pytest.mark.exhaustive
def test_prefects_own_deploy_command_takes_the_file(prefect_server, tmp_path):
    """A team registers with `prefect deploy --all` at a server of its own."""
    register(workspace=tmp_path)
    words = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    environment = {**child_environment(without=("PREFECT_",)), "PREFECT_API_URL": prefect_server}

    ended = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    with get_client(sync_client=True) as client:
        assert client.read_deployment_by_name("reconcile/reconcile").pull_steps in (None, [])


def _seen() -> tuple[list[str], list[str], list[str]]:
    with get_client(sync_client=True) as client:
        types = client.request("POST", "/block_types/filter", json={}).json()
        return (
            sorted(item["slug"] for item in types),
            sorted(item.name for item in client.read_work_pools()),
            sorted(f"{item.name} {item.parameters} {len(item.schedules)}" for item in client.read_deployments()),
        )
