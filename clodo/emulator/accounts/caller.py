"""Who makes a call."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clodo.emulator.accounts.policies import (
    Policy,
    account_resources,
    bucket_resources,
    is_allowed,
    user_resources,
    zone_resources,
)
from clodo.emulator.clock import now


@dataclass(frozen=True, slots=True)
class Caller:
    """
    Who makes a call.

    Attributes:
        token_id: 32 hex digits.

        owner: ``user`` or ``account``; tokens of accounts have no user behind them that `/user` could show.

        account_ids: Accounts that the token reaches, themselves or a zone of theirs.

        policies: What the token may do there; None for everything.

        condition: ``{request_ip: {in: […], not_in: […]}}``: networks that it may, or may not, be used from.
    """

    token_id: str
    token_name: str
    owner: str
    user_id: str
    email: str
    status: str
    expires_on: str | None
    account_ids: tuple[str, ...]
    not_before: str | None = None
    policies: tuple[Policy, ...] | None = None
    condition: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_active(self) -> bool:
        """Whether the token may be used now."""
        return self.current_status == "active" and (self.not_before is None or self.not_before <= now())

    @property
    def current_status(self) -> str:
        """``active``, ``disabled`` or ``expired``."""
        is_expired = self.expires_on is not None and self.expires_on <= now()
        return "expired" if is_expired else self.status

    @property
    def author(self) -> dict[str, str]:
        """Return what is noted as the author of a version or deployment."""
        return {"id": self.user_id, "email": self.email}

    def may(self, groups: Collection[str], resources: Collection[str]) -> bool:
        """Say whether the token has one of these permission groups (by name) on one of these resources."""
        return is_allowed(self.policies, groups, resources)

    def may_in_account(self, groups: Collection[str], account_id: str) -> bool:
        """Say whether the token has one of these permission groups on this account."""
        return account_id in self.account_ids and self.may(groups, account_resources(account_id))

    def may_in_zone(self, groups: Collection[str], zone_id: str, account_id: str) -> bool:
        """Say whether the token has one of these permission groups on this zone."""
        return account_id in self.account_ids and self.may(groups, zone_resources(zone_id, account_id))

    def may_in_bucket(self, groups: Collection[str], account_id: str, bucket: str) -> bool:
        """Say whether the token has one of these permission groups on this bucket, or on its whole account."""
        resources = account_resources(account_id) | bucket_resources(account_id, bucket)
        return account_id in self.account_ids and self.may(groups, resources)

    def may_as_user(self, groups: Collection[str]) -> bool:
        """Say whether the token is a user's, with one of these permission groups on that user."""
        return self.owner == "user" and self.may(groups, user_resources(self.user_id))

    def comes_from_the_right_place(self, address: str) -> bool:
        """Say whether the token's condition lets it be used from this address."""
        networks: Mapping[str, Sequence[str]] = self.condition.get("request_ip") or {}
        wanted, unwanted = networks.get("in") or (), networks.get("not_in") or ()
        return (not wanted or _is_within(address, wanted)) and not _is_within(address, unwanted)


def _is_within(address: str, networks: Sequence[str]) -> bool:
    client = ipaddress.ip_address(address)
    return any(client in ipaddress.ip_network(network, strict=False) for network in networks)
