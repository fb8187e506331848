"""The official SDK reads every answer about accounts, tokens, zones and records with its strictest validation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cloudflare import Cloudflare

from clodo.emulator.accounts.permission_groups import BY_NAME
from tests.emulator.dns.test_records import TYPES
from tests.fixtures.embedded_cloud import CloudAccount

#: Settings that a recorded answer or the documentation has and the SDK's types don't, or not so.
UNKNOWN_TO_THE_SDK = {
    *("filter_logs_to_cloudflare", "log_to_cloudflare", "minify", "mobile_redirect", "visitor_ip"),
    *("ech", "fonts", "speed_brain"),
}

#: The SDK's type for these says that a comment is never null; recorded answers for other types have null.
NEEDS_A_COMMENT = {"OPENPGPKEY"}


@pytest.fixture
def client(account: CloudAccount) -> Iterator[Cloudflare]:
    """A client that refuses every answer that isn't as its schema says."""
    with Cloudflare(
        api_token=account.token, base_url=account.cloud.url, max_retries=0, _strict_response_validation=True
    ) as made:
        yield made


def problems_of(operations: dict[str, Callable[[], Any]]) -> str:
    """Run each operation and return what went wrong with which."""
    problems = {}
    for name, operation in operations.items():
        try:
            operation()
        except Exception as error:  # noqa: BLE001 -- all that is wrong is to be seen at once
            problems[name] = f"{type(error).__name__}: {error}"
    return "\n".join(f"{name}: {problem}" for name, problem in problems.items())


def test_identity_validates(account: CloudAccount, client: Cloudflare) -> None:
    """Accounts, members, roles, memberships, user, tokens of both kinds, and both audit logs."""
    me = {"account_id": account.account_id}
    resources: Any = {f"com.cloudflare.api.account.{account.account_id}": "*"}
    policies: Any = [{"effect": "allow", "permission_groups": [{"id": BY_NAME["D1 Read"].id}], "resources": resources}]
    wanted: Any = {"name": "sdk", "policies": policies, "expires_on": "2099-01-01T00:00:00Z"}
    condition: Any = {"request_ip": {"in": ["127.0.0.0/8"]}}
    mine = client.user.tokens.create(**wanted, condition=condition)
    ours = client.accounts.tokens.create(**me, **wanted)
    assert mine is not None
    assert ours is not None
    assert mine.id is not None
    assert ours.id is not None
    mine_id, ours_id = mine.id, ours.id
    member = next(iter(client.accounts.members.list(**me)))
    role = next(iter(client.accounts.roles.list(**me)))
    membership = next(iter(client.memberships.list()))
    assert member.id is not None
    assert membership.id is not None
    member_id, membership_id = member.id, membership.id
    moment = datetime.now(UTC)
    days = {"since": (moment - timedelta(days=1)).date(), "before": (moment + timedelta(days=1)).date()}

    assert (
        problems_of(
            {
                "accounts.list": lambda: list(client.accounts.list()),
                "accounts.get": lambda: client.accounts.get(**me),
                "accounts.update": lambda: client.accounts.update(
                    **me, id=account.account_id, name="renamed", type="standard"
                ),
                "accounts.members.get": lambda: client.accounts.members.get(member_id, **me),
                "accounts.roles.get": lambda: client.accounts.roles.get(role.id, **me),
                "memberships.get": lambda: client.memberships.get(membership_id=membership_id),
                "user.get": client.user.get,
                "user.edit": lambda: client.user.edit(first_name="Ada", country="GB"),
                "user.tokens.list": lambda: list(client.user.tokens.list()),
                "user.tokens.get": lambda: client.user.tokens.get(mine_id),
                "user.tokens.update": lambda: client.user.tokens.update(mine_id, **wanted, status="disabled"),
                "user.tokens.value.update": lambda: client.user.tokens.value.update(mine_id),
                "user.tokens.permission_groups.list": lambda: list(client.user.tokens.permission_groups.list()),
                "user.tokens.verify": client.user.tokens.verify,
                "user.tokens.delete": lambda: client.user.tokens.delete(mine_id),
                "accounts.tokens.list": lambda: list(client.accounts.tokens.list(**me)),
                "accounts.tokens.get": lambda: client.accounts.tokens.get(ours_id, **me),
                "accounts.tokens.update": lambda: client.accounts.tokens.update(ours_id, **me, **wanted),
                "accounts.tokens.value.update": lambda: client.accounts.tokens.value.update(ours_id, **me),
                "accounts.tokens.permission_groups.list": lambda: list(
                    client.accounts.tokens.permission_groups.list(**me)
                ),
                "accounts.tokens.permission_groups.get": lambda: client.accounts.tokens.permission_groups.get(**me),
                "accounts.tokens.delete": lambda: client.accounts.tokens.delete(ours_id, **me),
                "audit_logs.list": lambda: list(client.audit_logs.list(**me)),
                "accounts.logs.audit.list": lambda: list(client.accounts.logs.audit.list(**me, **days)),
                "accounts.subscriptions.get": lambda: list(
                    client.accounts.subscriptions.get(account_id=account.account_id)
                ),
            }
        )
        == ""
    )


def test_zones_validate(account: CloudAccount, client: Cloudflare) -> None:
    """Zones, their settings, certificates, DNSSEC and subscription."""
    here = {"zone_id": account.zone_id}
    made = client.zones.create(account={"id": account.account_id}, name=f"sdk-{account.zone}")
    assert made is not None
    pack = next(iter(client.ssl.certificate_packs.list(**here)))

    assert (
        problems_of(
            {
                "zones.list": lambda: list(client.zones.list(name=account.zone, status="active")),
                "zones.get": lambda: client.zones.get(**here),
                "zones.edit": lambda: client.zones.edit(**here, paused=False),
                "zones.activation_check": lambda: client.zones.activation_check.trigger(zone_id=made.id),
                "zones.delete": lambda: client.zones.delete(zone_id=made.id),
                "zones.settings.get": lambda: client.zones.settings.get("min_tls_version", **here),
                "zones.settings.edit": lambda: client.zones.settings.edit("ssl", **here, value="strict"),
                "zones.plans.list": lambda: list(client.zones.plans.list(**here)),
                "zones.subscriptions.get": lambda: client.zones.subscriptions.get(**here),
                "ssl.certificate_packs.get": lambda: client.ssl.certificate_packs.get(pack.id, **here),
                "ssl.verification.get": lambda: client.ssl.verification.get(**here),
                "ssl.universal.settings.get": lambda: client.ssl.universal.settings.get(**here),
                "ssl.universal.settings.edit": lambda: client.ssl.universal.settings.edit(**here, enabled=True),
                "cache.purge": lambda: client.cache.purge(**here, purge_everything=True),
                "dns.settings.zone.get": lambda: client.dns.settings.zone.get(**here),
                "dns.settings.zone.edit": lambda: client.dns.settings.zone.edit(**here, soa={"ttl": 600}),
                "dns.dnssec.edit": lambda: client.dns.dnssec.edit(**here, status="active"),
                "dns.dnssec.get": lambda: client.dns.dnssec.get(**here),
                "dns.dnssec.delete": lambda: client.dns.dnssec.delete(**here),
            }
        )
        == ""
    )


@pytest.mark.exhaustive
def test_every_setting_validates(account: CloudAccount, client: Cloudflare) -> None:
    """Each setting of a zone, one by one; there are sixty-five."""
    here = {"zone_id": account.zone_id}
    settings = [entry["id"] for entry in account.api.get(f"/zones/{account.zone_id}/settings").json()["result"]]
    operations: dict[str, Callable[[], Any]] = {
        name: lambda name=name: client.zones.settings.get(name, **here)  # type: ignore[misc]
        for name in settings
        if name not in UNKNOWN_TO_THE_SDK
    }

    assert len(settings) >= 50
    assert problems_of(operations) == ""


def test_records_validate(account: CloudAccount, client: Cloudflare) -> None:
    """Records of every type, made, listed, changed, batched, exported, imported and deleted."""
    here: Any = {"zone_id": account.zone_id}
    records = client.dns.records
    made = records.create(
        **here, type="A", name="sdk", content="192.0.2.1", ttl=300, comment="noted", tags=["team:web"], proxied=False
    )
    assert made is not None
    again: Any = {"type": "A", "name": "sdk", "content": "192.0.2.2", "ttl": 1}
    operations: dict[str, Callable[[], Any]] = {
        f"create {kind} {number}": lambda kind=kind, number=number, body=body: records.create(  # type: ignore[misc]
            **here, type=kind, name=f"host-{number}", ttl=1, comment="x" if kind in NEEDS_A_COMMENT else "", **body
        )
        for number, (kind, body, _, _) in enumerate(TYPES)
    }
    operations |= {
        "list": lambda: list(records.list(**here, per_page=5)),
        "list filtered": lambda: list(
            records.list(**here, name={"contains": "sdk"}, tag={"exact": "team:web"}, match="all", order="name")
        ),
        "get": lambda: records.get(made.id, **here),
        "update": lambda: records.update(made.id, **here, **again),
        "edit": lambda: records.edit(made.id, **here, **again, comment="changed"),
        "batch": lambda: records.batch(
            **here,
            posts=[{"type": "TXT", "name": "batch", "content": "one", "ttl": 1}],
            patches=[{"id": made.id, "ttl": 300}],  # type: ignore[list-item]
        ),
        "usage": lambda: client.dns.usage.zone.get(**here),
        "export": lambda: records.export(**here),
        "import": lambda: records.import_(**here, file="imported 300 IN A 192.0.2.9\n"),
        "delete": lambda: records.delete(made.id, **here),
    }

    assert problems_of(operations) == ""
    assert [record.name for record in records.list(**here, name={"contains": "imported"})] == [
        f"imported.{account.zone}"
    ]
