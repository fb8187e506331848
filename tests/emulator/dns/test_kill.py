"""Records, zones, settings and tokens that were acknowledged outlive kill -9."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import httpx
import pytest

from clodo.emulator.accounts.permission_groups import BY_NAME
from clodo.wrangler.toolchain import Toolchain
from tests.emulator.test_server import Process


@pytest.mark.exhaustive
def test_no_acknowledged_record_or_token_is_lost_to_kill(tmp_path: Path, toolchain: Toolchain) -> None:
    """While batches, tokens and settings are written as they come, kill -9: all is there, and batches are whole."""
    first = Process(tmp_path / "data", toolchain.workerd, "--zone", "unit.example")
    root = f"{first.state['url']}/zones/{first.state['zone_id']}"
    tokens_root = f"{first.state['url']}/user/tokens"
    headers = {"Authorization": f"Bearer {first.state['token']}"}
    resources = {f"com.cloudflare.api.account.{first.state['account_id']}": "*"}
    groups = [{"id": BY_NAME["D1 Read"].id}]
    policies = [{"effect": "allow", "permission_groups": groups, "resources": resources}]
    records: list[str] = []
    tokens: list[str] = []
    settings: list[int] = []

    def write() -> None:
        number = 0
        with httpx.Client(headers=headers, trust_env=False) as api:
            while True:
                number += 1
                pair = [{"type": "A", "name": f"{half}{number}", "content": f"192.0.2.{number % 250}"} for half in "ab"]
                try:
                    made = api.post(f"{root}/dns_records/batch", json={"posts": pair}).json()["result"]["posts"]
                    records.extend(record["id"] for record in made)
                    token = api.post(tokens_root, json={"name": f"t{number}", "policies": policies})
                    tokens.append(token.json()["result"]["value"])
                    seconds = (120, 300, 1200, 1800)[number % 4]
                    api.patch(f"{root}/settings/browser_cache_ttl", json={"value": seconds}).raise_for_status()
                    settings.append(seconds)
                except httpx.TransportError:
                    return

    writer = threading.Thread(target=write)
    writer.start()
    while len(tokens) < 40 and writer.is_alive():
        time.sleep(0.005)
    first.process.kill()
    first.process.wait()
    writer.join()
    first.api.close()
    second = Process(tmp_path / "data", toolchain.workerd)
    root = f"{second.state['url']}/zones/{second.state['zone_id']}"
    with httpx.Client(headers=headers, trust_env=False) as api:
        listed = api.get(f"{root}/dns_records", params={"per_page": 5000}).json()["result"]
        setting = api.get(f"{root}/settings/browser_cache_ttl").json()["result"]["value"]
        path = f"{second.state['url']}/accounts/{second.state['account_id']}/d1/database"
        used = [api.get(path, headers={"Authorization": f"Bearer {value}"}).status_code for value in tokens]
    second.end()
    names = {record["name"] for record in listed}

    assert len(tokens) >= 40
    assert set(records) <= {record["id"] for record in listed}
    assert all(name.replace("a", "b", 1) in names for name in names if name.startswith("a"))
    assert set(used) == {200}
    # The last setting that was acknowledged, or the one that was being written.
    assert setting in (settings[-1], (120, 300, 1200, 1800)[(len(settings) + 1) % 4])
