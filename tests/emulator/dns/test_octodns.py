"""octoDNS, unmodified, keeps a zone of the embedded cloud."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from octodns.manager import Manager

from tests.fixtures.embedded_cloud import CloudAccount

#: One of each type that octoDNS and Cloudflare both know.
ONE_OF_EACH: dict[str, Any] = {
    "": [
        {"type": "ALIAS", "value": "www.unit.example."},
        {"type": "MX", "values": [{"preference": 10, "exchange": "mx1.unit.example."}]},
        {"type": "TXT", "values": ["v=spf1 include:_spf.unit.example -all", "a\\; b"]},
        {"type": "CAA", "values": [{"flags": 0, "tag": "issue", "value": "letsencrypt.org"}]},
    ],
    "www": [
        {"type": "A", "ttl": 300, "values": ["192.0.2.1", "192.0.2.2"]},
        {"type": "AAAA", "ttl": 300, "value": "2001:db8::1"},
    ],
    "proxied": {"type": "A", "value": "192.0.2.9", "octodns": {"cloudflare": {"proxied": True, "auto-ttl": True}}},
    "noted": {
        "type": "CNAME",
        "value": "www.unit.example.",
        "octodns": {"cloudflare": {"comment": "kept by octoDNS", "tags": ["team:web"]}},
    },
    "sub": [
        {"type": "NS", "values": ["ns1.elsewhere.example.", "ns2.elsewhere.example."]},
        {
            "type": "DS",
            "values": [
                {
                    "key_tag": 60485,
                    "algorithm": 5,
                    "digest_type": 1,
                    "digest": "2BB183AF5F22588179A53B0A98631FAD1A292118",
                }
            ],
        },
    ],
    "_sip._tcp": {
        "type": "SRV",
        "values": [{"priority": 10, "weight": 20, "port": 5060, "target": "sip.example."}],
    },
    "loc": {
        "type": "LOC",
        "value": {
            **{"lat_degrees": 37, "lat_minutes": 46, "lat_seconds": 46.5, "lat_direction": "N"},
            **{"long_degrees": 122, "long_minutes": 23, "long_seconds": 35.0, "long_direction": "W"},
            **{"altitude": 5.0, "size": 100.0, "precision_horz": 10.0, "precision_vert": 2.0},
        },
    },
    "naptr": {
        "type": "NAPTR",
        "value": {
            **{"order": 10, "preference": 100, "flags": "S", "service": "SIP+D2U"},
            **{"regexp": "!^.*$!sip:info@unit.example!", "replacement": "."},
        },
    },
    "ptr": {"type": "PTR", "value": "www.unit.example."},
    "ssh": {"type": "SSHFP", "value": {"algorithm": 4, "fingerprint_type": 2, "fingerprint": "bf6b6825d2977c51" * 4}},
    "_443._tcp": {
        "type": "TLSA",
        "value": {
            **{"certificate_usage": 3, "selector": 1, "matching_type": 1},
            "certificate_association_data": "0c72ac70b745ac19998811b131d662c9" * 2,
        },
    },
    "svcb": {
        "type": "SVCB",
        "value": {"svcpriority": 1, "targetname": "www.unit.example.", "svcparams": {"alpn": ["h2", "h3"]}},
    },
    "https": {"type": "HTTPS", "value": {"svcpriority": 1, "targetname": ".", "svcparams": {"alpn": ["h2"]}}},
}


@pytest.fixture
def manager(account: CloudAccount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Manager:
    """octoDNS with a zone of 300 records in files, and the account's zone to bring it to."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    config = {
        "providers": {
            "files": {
                "class": "octodns.provider.yaml.YamlProvider",
                "directory": str(tmp_path),
                "enforce_order": False,
            },
            "cloudflare": {
                "class": "octodns_cloudflare.CloudflareProvider",
                "token": account.token,
                "api_url": account.cloud.url,
                "retry_period": 0,
            },
        },
        "zones": {f"{account.zone}.": {"sources": ["files"], "targets": ["cloudflare"]}},
    }
    (tmp_path / "octodns.yaml").write_text(yaml.safe_dump(config))
    records = ONE_OF_EACH | {
        f"host-{number}": {"type": "A", "value": f"198.51.100.{number % 250 + 1}"} for number in range(290)
    }
    (tmp_path / f"{account.zone}.yaml").write_text(yaml.safe_dump(records))
    return Manager(str(tmp_path / "octodns.yaml"))


def test_octodns_brings_a_zone_to_300_records_and_then_plans_nothing(account: CloudAccount, manager: Manager) -> None:
    """A first sync makes every record of every type; a second finds nothing to do; a third applies a change."""
    made = manager.sync(dry_run=False)
    records = account.api.get(f"/zones/{account.zone_id}/dns_records?per_page=1000").json()["result"]
    planned = Manager(manager_file(manager)).sync(dry_run=True)
    zone_file = Path(manager_file(manager)).with_name(f"{account.zone}.yaml")
    wanted = yaml.safe_load(zone_file.read_text())
    del wanted["host-0"]
    wanted["host-1"]["value"] = "203.0.113.77"
    zone_file.write_text(yaml.safe_dump(wanted))
    changed = Manager(manager_file(manager)).sync(dry_run=False)
    planned_again = Manager(manager_file(manager)).sync(dry_run=True)

    assert made >= 300
    assert len(records) >= 300
    assert {record["type"] for record in records} == {
        *("A", "AAAA", "CAA", "CNAME", "DS", "HTTPS", "LOC", "MX", "NAPTR", "NS", "PTR", "SRV", "SSHFP", "SVCB"),
        *("TLSA", "TXT"),
    }
    assert (planned, changed, planned_again) == (0, 2, 0)


def manager_file(manager: Manager) -> str:
    """Return the file that octoDNS was configured from, since each sync begins with a fresh Manager."""
    path: Path = next(Path(source.directory) for source in manager.providers.values() if hasattr(source, "directory"))
    return str(path / "octodns.yaml")
