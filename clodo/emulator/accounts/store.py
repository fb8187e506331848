"""Who there is: users, accounts, tokens."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clodo.emulator.clock import new_id, now
from clodo.emulator.config import AccountKeys
from clodo.emulator.database import Database, Row
from clodo.emulator.envelope import ApiError
from clodo.emulator.zones.store import Zones
from clodo.errors import BadUsage

ACCOUNT_ID = re.compile(r"^[0-9a-f]{32}$")

#: A workers.dev subdomain is one DNS label; the numbers are the real API's for the two ways it can be unfit.
SUBDOMAIN = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
SUBDOMAIN_INVALID = 10031
SUBDOMAIN_TAKEN = 10032


@dataclass(frozen=True, slots=True)
class Caller:
    """
    Who makes a call.

    Attributes:
        token_id: 32 hex digits.

        owner: ``user`` or ``account``; tokens of accounts have no user behind them that `/user` could show.

        account_ids: Accounts that the token reaches.
    """

    token_id: str
    token_name: str
    owner: str
    user_id: str
    email: str
    status: str
    expires_on: str | None
    account_ids: tuple[str, ...]

    @property
    def is_active(self) -> bool:
        """Whether the token may be used now."""
        return self.status == "active" and (self.expires_on is None or self.expires_on > now())

    @property
    def author(self) -> dict[str, str]:
        """Return what is noted as the author of a version or deployment."""
        return {"id": self.user_id, "email": self.email}


class Accounts:
    """Accounts and tokens in the database."""

    def __init__(self, database: Database, zones: Zones) -> None:
        self._database = database
        self._zones = zones

    def first(
        self, account_id: str | None, token: str | None, subdomain: str | None, zones: Sequence[str]
    ) -> AccountKeys:
        """
        Return the first account, made when there is none yet.

        Raises:
            BadUsage: The id is not 32 hex digits, or the subdomain is taken or no DNS label.
        """
        if account_id is not None and not ACCOUNT_ID.match(account_id):
            raise BadUsage(f"account id {account_id!r}: 32 hex digits are needed")
        kept = self._database.row("SELECT value FROM settings WHERE name = 'first_account'")
        kept_keys: dict[str, str] = json.loads(kept["value"]) if kept else {}
        chosen = account_id or kept_keys.get("account_id") or new_id()
        if subdomain is not None:
            try:
                self._raise_if_unfit(subdomain, chosen)
            except ApiError as error:
                raise BadUsage(f"workers.dev subdomain {subdomain!r}: {error.message}") from error
        chosen_token = token or (kept_keys.get("token") if kept_keys.get("account_id") == chosen else None)
        with self._database.transaction():
            if self.account(chosen) is None:
                self._make_account(chosen, "Embedded account", subdomain)
            elif subdomain is not None:
                self.set_subdomain(chosen, subdomain)
            final_token = chosen_token or new_token()
            self._keep_token(final_token, "first token", chosen)
            for name in zones:
                self._zones.ensure(chosen, name)
            self._database.insert(
                "settings",
                {"name": "first_account", "value": {"account_id": chosen, "token": final_token}},
                replace=True,
            )
        return self.keys(chosen, final_token)

    def create(
        self, *, name: str = "Account", subdomain: str | None = None, zone: str | None = None, scope: str = "user"
    ) -> AccountKeys:
        """Make an account with a user, a token and a zone of its own."""
        account_id, token = new_id(), new_token()
        with self._database.transaction():
            self._make_account(account_id, name, subdomain)
            self._keep_token(token, "made with the account", account_id, owner=scope)
            self._zones.ensure(account_id, zone or f"{account_id[:12]}.example")
        return self.keys(account_id, token)

    def add_token(
        self, account_ids: Sequence[str], *, name: str, owner: str = "user", expires_on: str | None = None
    ) -> tuple[str, str]:
        """Make a further token of the first account's user; return its id and the token itself."""
        for account_id in account_ids:
            if self.account(account_id) is None:
                raise ApiError(404, 7003, f"no account {account_id}")
        token = new_token()
        return self._keep_token(token, name, *account_ids, owner=owner, expires_on=expires_on), token

    def set_token_status(self, token_id: str, status: str) -> bool:
        """Disable a token or make it active again; False if there is none."""
        return self._database.run("UPDATE tokens SET status = ? WHERE id = ?", (status, token_id)) > 0

    def keys(self, account_id: str, token: str) -> AccountKeys:
        """Return what a client needs to use the account with *token*."""
        account = self.account(account_id)
        assert account is not None
        zones = self._zones.of_accounts([account_id])
        return AccountKeys(
            account_id=account_id,
            token=token,
            subdomain=account["subdomain"],
            zone=zones[0]["name"] if zones else None,
            zone_id=zones[0]["id"] if zones else None,
        )

    def account(self, account_id: str) -> Row | None:
        """Return the account's row."""
        return self._database.row("SELECT * FROM accounts WHERE id = ?", (account_id,))

    def accounts(self, account_ids: Sequence[str]) -> list[Row]:
        """Return the rows of those accounts, by name."""
        marks = ", ".join("?" for _ in account_ids)
        return self._database.rows(f"SELECT * FROM accounts WHERE id IN ({marks}) ORDER BY name, id", account_ids)  # noqa: S608

    def authenticate(self, token: str) -> Caller | None:
        """
        Return whose *token* is; None if nobody's.

        The look-up is by digest and the digests are compared in constant time: nothing about a token can be
        learnt from how long a refusal takes.
        """
        digest = _digest(token)
        row = self._database.row(
            "SELECT tokens.*, users.email FROM tokens JOIN users ON users.id = tokens.user_id WHERE digest = ?",
            (digest,),
        )
        if row is None or not hmac.compare_digest(row["digest"], digest):
            return None
        return _caller(row)

    def token_by_id(self, token_id: str) -> tuple[Caller, str] | None:
        """
        Return whose the token with this id is, and the SHA-256 of its value in hex; None if there is no such token.

        R2's keys are made of the two: the id is the access key id, the digest the secret access key.

        Source:
            https://developers.cloudflare.com/r2/api/tokens/#get-s3-api-credentials-from-an-api-token
        """
        row = self._database.row(
            "SELECT tokens.*, users.email FROM tokens JOIN users ON users.id = tokens.user_id WHERE tokens.id = ?",
            (token_id,),
        )
        return None if row is None else (_caller(row), row["digest"])

    def subdomain(self, account_id: str) -> str | None:
        """Return the account's workers.dev subdomain."""
        value: str | None = self._database.value("SELECT subdomain FROM accounts WHERE id = ?", (account_id,))
        return value

    def subdomains(self) -> dict[str, str]:
        """Return every workers.dev subdomain with the account that has it."""
        rows = self._database.rows("SELECT id, subdomain FROM accounts WHERE subdomain IS NOT NULL")
        return {row["subdomain"]: row["id"] for row in rows}

    def set_subdomain(self, account_id: str, subdomain: str | None) -> None:
        """
        Take a workers.dev subdomain.

        Raises:
            ApiError: Somebody else has it, or it can't be a DNS label.
        """
        if subdomain is not None:
            self._raise_if_unfit(subdomain, account_id)
        self._database.run("UPDATE accounts SET subdomain = ? WHERE id = ?", (subdomain, account_id))

    def _raise_if_unfit(self, subdomain: str, account_id: str) -> None:
        if not SUBDOMAIN.match(subdomain):
            raise ApiError(400, SUBDOMAIN_INVALID, "Subdomain is invalid: it must be a single DNS label.")
        owner = self._database.value("SELECT id FROM accounts WHERE subdomain = ?", (subdomain,))
        if owner not in (None, account_id):
            raise ApiError(409, SUBDOMAIN_INVALID, "Subdomain is unavailable, please try a different one.")

    def _make_account(self, account_id: str, name: str, subdomain: str | None) -> None:
        user_id, moment = new_id(), now()
        chosen = subdomain or f"w-{account_id[:10]}"
        self._raise_if_unfit(chosen, account_id)
        self._database.insert(
            "users", {"id": user_id, "email": f"operator-{account_id[:8]}@example.com", "created_on": moment}
        )
        self._database.insert(
            "accounts",
            {"id": account_id, "name": name, "subdomain": chosen, "created_on": moment, "user_id": user_id},
        )

    def _keep_token(
        self, token: str, name: str, *account_ids: str, owner: str = "user", expires_on: str | None = None
    ) -> str:
        digest = _digest(token)
        known: str | None = self._database.value("SELECT id FROM tokens WHERE digest = ?", (digest,))
        if known is not None:
            return known
        account = self.account(account_ids[0])
        assert account is not None
        token_id = new_id()
        row: dict[str, Any] = {
            "id": token_id,
            "name": name,
            "digest": digest,
            "owner": owner,
            "user_id": account["user_id"],
            "account_ids": list(account_ids),
            "scopes": None,
            "status": "active",
            "expires_on": expires_on,
            "created_on": now(),
        }
        self._database.insert("tokens", row)
        return token_id


def _caller(row: Row) -> Caller:
    return Caller(
        token_id=row["id"],
        token_name=row["name"],
        owner=row["owner"],
        user_id=row["user_id"],
        email=row["email"],
        status=row["status"],
        expires_on=row["expires_on"],
        account_ids=tuple(json.loads(row["account_ids"])),
    )


def new_token() -> str:
    """Return a fresh API token: 40 characters, like the real ones."""
    return secrets.token_urlsafe(30)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
