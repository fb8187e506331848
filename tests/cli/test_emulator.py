"""`clodo emulator status|reset|fault` beside a running cloud."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import typer
from typer.main import get_command

from clodo.cli.main import app, main
from clodo.emulator.config import CloudConfig
from clodo.emulator.server import EmbeddedCloud
from clodo.wrangler.toolchain import Toolchain
from tests.fixtures.embedded_cloud import account_of

WORKERS = {
    "script",
    "version_id",
    "requests",
    "errors",
    "responses",
    "in_flight",
    "memory_bytes",
    "percentage",
}
"""What a command's help names of each Worker, beyond what it names of the whole."""


def keys_in_help(*words: str) -> set[str]:
    """Return the keys that the help of a command says its JSON has."""
    root = get_command(app)
    for word in words:
        root = root.get_command(typer.Context(root), word)  # type: ignore[attr-defined]
    return set(re.findall(r'"(\w+)"', (root.callback.__doc__ or "").partition("With --json")[2]))


@pytest.fixture
def running(tmp_path: Path, toolchain: Toolchain) -> Iterator[EmbeddedCloud]:
    """A cloud on a folder of its own."""
    config = CloudConfig(data=tmp_path / "data", workerd=toolchain.workerd, port=0, zones=("shop.example",))
    with EmbeddedCloud(config) as cloud:
        yield cloud


def test_status_shows_what_runs(running: EmbeddedCloud, capsys: pytest.CaptureFixture[str]) -> None:
    """The running cloud is found by its folder; no key is printed."""
    status = main(["emulator", "status", "--data", str(running.config.data), "--json"])
    printed = capsys.readouterr().out
    table = main(["emulator", "status", "--data", str(running.config.data)])

    assert (status, table) == (0, 0)
    document = json.loads(printed)
    assert document["url"] == running.url
    assert set(document) == keys_in_help("emulator", "status") - WORKERS
    assert document["workers"] == []
    assert running.account.token not in printed
    assert running.admin_token not in printed


def test_faults_are_armed_listed_and_cleared(running: EmbeddedCloud, capsys: pytest.CaptureFixture[str]) -> None:
    """A fault added on the command line strikes the next call, and is gone when cleared."""
    where = ["--data", str(running.config.data)]
    headers = {"Authorization": f"Bearer {running.account.token}"}
    options = ["--method", "GET", "--status", "503", "--retry-after", "1"]
    added = main(["emulator", "fault", "add", "^/user$", *options, *where])
    struck = httpx.get(f"{running.url}/user", headers=headers, trust_env=False)
    capsys.readouterr()
    main(["emulator", "fault", "list", "--json", *where])
    listed = json.loads(capsys.readouterr().out)
    main(["emulator", "fault", "clear", *where])
    main(["emulator", "fault", "list", *where])

    assert added == 0
    assert (struck.status_code, struck.headers["retry-after"]) == (503, "1")
    assert [(rule["id"], rule["struck"]) for rule in listed] == [("fault-1", 1)]
    assert set(listed[0]) == keys_in_help("emulator", "fault", "add") | {"seen", "struck"}
    assert "No fault is armed." in capsys.readouterr().out


def test_a_token_has_the_permissions_that_were_named(
    running: EmbeddedCloud, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its value alone is printed; it may do what was named, in the zone that was named, and nothing else."""
    where = ["--data", str(running.config.data)]
    made = main(["emulator", "token", "ci", "--permission", "DNS Write", "--zone", "shop.example", *where])
    value = capsys.readouterr().out.strip()
    unknown = main(["emulator", "token", "--permission", "DNS Edit", *where])
    nowhere = main(["emulator", "token", "--permission", "DNS Write", "--zone", "no.example", *where])
    headers = {"Authorization": f"Bearer {value}"}
    records = httpx.get(f"{running.url}/zones/{running.account.zone_id}/dns_records", headers=headers, trust_env=False)
    databases = httpx.get(
        f"{running.url}/accounts/{running.account.account_id}/d1/database", headers=headers, trust_env=False
    )

    assert (made, unknown, nowhere) == (0, 2, 10)
    assert (records.status_code, databases.status_code) == (200, 403)
    assert "DNS Write" in capsys.readouterr().err


def test_a_worker_misbehaves_until_told_otherwise(running: EmbeddedCloud, capsys: pytest.CaptureFixture[str]) -> None:
    """A Worker's visitors get the ordered errors, until that is ended."""
    where = ["--data", str(running.config.data)]
    seen = []
    with account_of(running, running.account) as account:
        account.put_worker("shop")
        main(["emulator", "fault", "worker", "shop", "--error-rate", "1", "--error-status", "503", *where])
        seen.append(account.visit(account.hostname("shop")).status_code)
        main(["emulator", "fault", "worker", "shop", "--end", *where])
        seen.append(account.visit(account.hostname("shop")).status_code)

    assert seen == [503, 200]
    assert "behaves again" in capsys.readouterr().out


def test_a_worker_that_is_not_there_does_not_misbehave(
    running: EmbeddedCloud, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unknown Worker, version or account is status 10 and one sentence; no wish at all is 2."""
    where = ["--data", str(running.config.data)]
    with account_of(running, running.account) as account:
        account.put_worker("shop")
        nobody = main(["emulator", "fault", "worker", "NOPE", "--drop", *where])
        said = capsys.readouterr()
        ended = main(["emulator", "fault", "worker", "NOPE", "--end", *where])
        no_version = main(["emulator", "fault", "worker", "shop", "--version", "0" * 8, "--drop", *where])
        nothing = main(["emulator", "fault", "worker", "shop", *where])
        answered = account.visit(account.hostname("shop")).status_code

    assert (nobody, ended, no_version, nothing) == (10, 10, 10, 2)
    assert said.out == ""
    assert said.err.splitlines() == [
        f"Error: the account {running.account.account_id} has no Worker called NOPE",
        "Try: `clodo emulator status` lists Workers and versions.",
    ]
    assert "has no version 00000000" in capsys.readouterr().err
    assert answered == 200


def test_an_impossible_fault_is_bad_usage(running: EmbeddedCloud, capsys: pytest.CaptureFixture[str]) -> None:
    """What can't be armed is status 2 with a sentence."""
    status = main(["emulator", "fault", "add", "(", "--data", str(running.config.data)])

    assert status == 2
    assert "not a fault" in capsys.readouterr().err


def test_nothing_runs_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a running cloud, status is 10 and says how to start one."""
    status = main(["emulator", "status", "--data", str(tmp_path / "none")])

    assert status == 10
    assert "clodo emulator start" in capsys.readouterr().err


def test_reset_deletes_only_what_is_its_own_and_idle(
    running: EmbeddedCloud, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A running cloud isn't reset (11), a folder of other things neither (2), nor anything without a yes (4)."""
    data = running.config.data
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()

    while_running = main(["emulator", "reset", "--data", str(data), "--yes"])
    foreign = main(["emulator", "reset", "--data", str(tmp_path / "mine"), "--yes"])
    running.stop()
    unasked = main(["emulator", "reset", "--data", str(data)])
    there = data.exists()
    done = main(["emulator", "reset", "--data", str(data), "--yes"])
    again = main(["emulator", "reset", "--data", str(data), "--yes", "--json"])

    assert (while_running, foreign, unasked, done, again) == (11, 2, 4, 0, 0)
    assert there
    assert not data.exists()
    assert (tmp_path / "mine" / "file").exists()
    assert '"deleted": null' in capsys.readouterr().out


def test_status_lists_workers_that_nobody_asked(running: EmbeddedCloud, capsys: pytest.CaptureFixture[str]) -> None:
    """Every live version is in the table with its share of the traffic, whether anybody has asked it or not."""
    with account_of(running, running.account) as account:
        account.put_worker("quiet")
        first = account.put_worker("split")
        version = account.upload_version("split")["id"]
        live = account.result("GET", "/workers/scripts/split/deployments")["deployments"][0]["versions"][0]
        account.deploy("split", (live["version_id"], 90), (version, 10))
        account.visit(account.hostname("quiet"))
    main(["emulator", "status", "--data", str(running.config.data)])

    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert first["id"] == "split"
    assert [line[:1] + line[2:6] for line in lines if line[0] in ("quiet", "split")] == [
        ["quiet", "100", "%", "1", "0"],
        ["split", "90", "%", "0", "0"],
        ["split", "10", "%", "0", "0"],
    ]
