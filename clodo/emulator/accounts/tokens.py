"""API tokens in the database: of their values only the SHA-256 is kept."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any

from clodo.emulator.accounts.caller import Caller
from clodo.emulator.accounts.permission_groups import ACCOUNT, BUCKET, PERMISSION_GROUPS, USER, ZONE
from clodo.emulator.accounts.policies import Policy, account_resources, zone_resources
from clodo.emulator.clock import new_id, now
from clodo.emulator.database import Database, Row
from clodo.emulator.zones.store import Zones

#: What these tables became after the first release of the schema.
STEPS = (
    "ALTER TABLE tokens RENAME COLUMN scopes TO policies",
    "ALTER TABLE tokens ADD COLUMN condition TEXT",
    "ALTER TABLE tokens ADD COLUMN not_before TEXT",
    "ALTER TABLE tokens ADD COLUMN modified_on TEXT",
    "ALTER TABLE tokens ADD COLUMN last_used_on TEXT",
)

#: The last use is noted no more often than this, so that reading costs no write.
NOTED_EVERY = timedelta(minutes=1)

_SELECT = "SELECT tokens.*, users.email FROM tokens JOIN users ON users.id = tokens.user_id"


class Tokens:
    """Whose tokens there are, and what they may do."""

    def __init__(self, database: Database, zones: Zones) -> None:
        self._database = database
        self._zones = zones
        database.upgrade("tokens", STEPS)

    def create(
        self,
        user_id: str,
        account_ids: Sequence[str],
        name: str,
        *,
        owner: str = "user",
        value: str | None = None,
        policies: Sequence[Policy] | None = None,
        expires_on: str | None = None,
        not_before: str | None = None,
        condition: Mapping[str, Any] | None = None,
    ) -> tuple[str, str]:
        """
        Make a token, unless one with this value is there; return its id and its value.

        Args:
            account_ids: What its policies can reach at most.

            policies: None for everything.
        """
        chosen = value or new_token()
        known: str | None = self._database.value("SELECT id FROM tokens WHERE digest = ?", (_digest(chosen),))
        if known is not None:
            return known, chosen
        token_id, moment = new_id(), now()
        self._database.insert(
            "tokens",
            {
                "id": token_id,
                "name": name,
                "digest": _digest(chosen),
                "owner": owner,
                "user_id": user_id,
                "account_ids": list(account_ids),
                "policies": _stored(policies),
                "condition": dict(condition or {}),
                "status": "active",
                "expires_on": expires_on,
                "not_before": not_before,
                "created_on": moment,
                "modified_on": moment,
            },
        )
        return token_id, chosen

    def update(
        self,
        token_id: str,
        *,
        name: str,
        policies: Sequence[Policy],
        status: str,
        expires_on: str | None,
        not_before: str | None,
        condition: Mapping[str, Any],
    ) -> None:
        """Replace everything about a token but its value."""
        self._database.run(
            "UPDATE tokens SET name = ?, policies = ?, status = ?, expires_on = ?, not_before = ?, condition = ?,"
            " modified_on = ? WHERE id = ?",
            (
                name,
                _stored(policies),
                status,
                expires_on,
                not_before,
                json.dumps(dict(condition)),
                now(),
                token_id,
            ),
        )

    def set_status(self, token_id: str, status: str) -> bool:
        """Disable a token or make it active again; False if there is none."""
        return self._database.run("UPDATE tokens SET status = ? WHERE id = ?", (status, token_id)) > 0

    def roll(self, token_id: str) -> str:
        """Give a token a new value and return it; the old one is nobody's from now on."""
        value = new_token()
        with self._database.transaction():
            self._let_go(token_id, value)
            self._database.run(
                "UPDATE tokens SET digest = ?, modified_on = ? WHERE id = ?", (_digest(value), now(), token_id)
            )
        return value

    def delete(self, token_id: str) -> None:
        """Remove a token."""
        with self._database.transaction():
            self._let_go(token_id, None)
            self._database.run("DELETE FROM tokens WHERE id = ?", (token_id,))

    def _let_go(self, token_id: str, value: str | None) -> None:
        """Keep the next start from making the first account's token anew with a value that was given up."""
        kept = self._database.value("SELECT value FROM settings WHERE name = 'first_account'")
        digest = self._database.value("SELECT digest FROM tokens WHERE id = ?", (token_id,))
        keys: dict[str, str | None] = json.loads(kept) if kept else {}
        token = keys.get("token")
        if token is not None and _digest(token) == digest:
            row = {"name": "first_account", "value": {**keys, "token": value}}
            self._database.insert("settings", row, replace=True)

    def of_user(self, user_id: str) -> list[Row]:
        """Return the rows of the user's tokens, oldest first."""
        return self._database.rows(
            "SELECT * FROM tokens WHERE owner = 'user' AND user_id = ? ORDER BY created_on, id", (user_id,)
        )

    def of_account(self, account_id: str) -> list[Row]:
        """Return the rows of the account's own tokens, oldest first."""
        rows = self._database.rows("SELECT * FROM tokens WHERE owner = 'account' ORDER BY created_on, id")
        return [row for row in rows if account_id in json.loads(row["account_ids"])]

    def authenticate(self, value: str) -> Caller | None:
        """
        Return whose token has this value; None if nobody's.

        The look-up is by digest and the digests are compared in constant time: nothing about a token can be
        learnt from how long a refusal takes.
        """
        digest = _digest(value)
        row = self._database.row(f"{_SELECT} WHERE digest = ?", (digest,))
        if row is None or not hmac.compare_digest(row["digest"], digest):
            return None
        if (row["last_used_on"] or "") < now(ago=NOTED_EVERY):
            self._database.run("UPDATE tokens SET last_used_on = ? WHERE id = ?", (now(), row["id"]))
        return self._caller(row)

    def by_id(self, token_id: str) -> tuple[Caller, str] | None:
        """Return whose the token with this id is, and the SHA-256 of its value in hex; None if there is none."""
        row = self._database.row(f"{_SELECT} WHERE tokens.id = ?", (token_id,))
        return None if row is None else (self._caller(row), row["digest"])

    def policies_of(self, row: Row) -> list[Policy]:
        """Return a token's policies, written out for one that may do everything."""
        policies = _policies(row)
        return _everything(row) if policies is None else list(policies)

    def _caller(self, row: Row) -> Caller:
        policies = _policies(row)
        return Caller(
            token_id=row["id"],
            token_name=row["name"],
            owner=row["owner"],
            user_id=row["user_id"],
            email=row["email"],
            status=row["status"],
            expires_on=row["expires_on"],
            account_ids=self._reached(json.loads(row["account_ids"]), policies),
            not_before=row["not_before"],
            policies=policies,
            condition=json.loads(row["condition"] or "{}"),
        )

    def _reached(self, account_ids: Sequence[str], policies: Sequence[Policy] | None) -> tuple[str, ...]:
        if policies is None:
            return tuple(account_ids)
        named = {resource for policy in policies if policy.effect == "allow" for resource in policy.resources}
        return tuple(account_id for account_id in account_ids if self._is_reached(account_id, named))

    def _is_reached(self, account_id: str, named: set[str]) -> bool:
        buckets = (f"{BUCKET}.{account_id}_", f"{BUCKET}.*")
        return (
            not named.isdisjoint(account_resources(account_id))
            or any(name.startswith(buckets) for name in named)
            or any(not named.isdisjoint(zone_resources(zone["id"], account_id)) for zone in self._zones.of(account_id))
        )


def new_token() -> str:
    """Return a fresh API token: 40 characters, like the real ones."""
    return secrets.token_urlsafe(30)


def policies_for(
    names: Sequence[str], user_id: str, account_ids: Sequence[str], zone_ids: Sequence[str] = ()
) -> list[Policy]:
    """
    Return policies that allow permission groups by name, each on the resources of its kind.

    Args:
        names: Such as ``D1 Write``.

        zone_ids: Zones that groups about zones are limited to; all zones of the accounts when empty.

    Raises:
        ValueError: There is no permission group of that name.
    """
    groups = {group.name: group for group in PERMISSION_GROUPS}
    if unknown := sorted(set(names) - set(groups)):
        raise ValueError(f"{unknown[0]!r} is no permission group; known are {', '.join(sorted(groups))}")
    resources = _resources(user_id, account_ids, zone_ids)
    chosen: dict[str, list[str]] = {}
    for name in names:
        chosen.setdefault(groups[name].scope, []).append(groups[name].id)
    return [Policy(new_id(), "allow", tuple(ids), resources[scope]) for scope, ids in chosen.items()]


def _resources(user_id: str, account_ids: Sequence[str], zone_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
    return {
        USER: (f"{USER}.{user_id}",),
        ACCOUNT: tuple(f"{ACCOUNT}.{account_id}" for account_id in account_ids),
        BUCKET: tuple(f"{BUCKET}.{account_id}_default_*" for account_id in account_ids),
        ZONE: tuple(f"{ZONE}.{zone_id}" for zone_id in zone_ids)
        or tuple(f"{ACCOUNT}.{account_id}/{ZONE}.*" for account_id in account_ids),
    }


def _everything(row: Row) -> list[Policy]:
    names = [group.name for group in PERMISSION_GROUPS if row["owner"] == "user" or group.scope != USER]
    made = policies_for(names, row["user_id"], json.loads(row["account_ids"]))
    return [replace(policy, id=f"{number}{row['id'][1:]}") for number, policy in enumerate(made)]


def _policies(row: Row) -> tuple[Policy, ...] | None:
    if row["policies"] is None:
        return None
    return tuple(
        Policy(entry["id"], entry["effect"], tuple(entry["groups"]), tuple(entry["resources"]))
        for entry in json.loads(row["policies"])
    )


def _stored(policies: Sequence[Policy] | None) -> str | None:
    return None if policies is None else json.dumps([asdict(policy) for policy in policies])


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode("utf-8", "surrogateescape")).hexdigest()
