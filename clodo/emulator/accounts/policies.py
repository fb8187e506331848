"""What a token is allowed: policies of permission groups and resources, read and judged."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from clodo.emulator.accounts.permission_groups import ACCOUNT, BUCKET, BY_ID, USER, ZONE
from clodo.emulator.clock import new_id
from clodo.emulator.envelope import ApiError

#: Assumed: Cloudflare's number for a token that can't be made as asked.
INVALID_TOKEN = 1001

_RESOURCE = re.compile(
    rf"^({re.escape(ZONE)}|{re.escape(ACCOUNT)}|{re.escape(USER)})\.(\*|[0-9a-f]{{32}})$"
    rf"|^{re.escape(BUCKET)}\.(\*|[0-9a-f]{{32}}_[a-z]+_[a-z0-9.*-]+)$"
)


@dataclass(frozen=True, slots=True)
class Policy:
    """
    Allow or deny some permission groups on some resources.

    Attributes:
        groups: Ids of permission groups.

        resources: Names of resources; a zone within an account is written ``<account>/<zone>``.
    """

    id: str
    effect: Literal["allow", "deny"]
    groups: tuple[str, ...]
    resources: tuple[str, ...]

    @classmethod
    def from_json(cls, body: Any) -> Policy:
        """
        Read a policy as the API gets it.

        Raises:
            ApiError: The effect, a permission group or a resource is not known.
        """
        if not isinstance(body, dict):
            raise _refusal("each policy must be an object")
        effect = body.get("effect")
        if effect not in ("allow", "deny"):
            raise _refusal("the effect of a policy must be allow or deny")
        groups = body.get("permission_groups")
        if not isinstance(groups, list) or not groups:
            raise _refusal("a policy needs permission_groups")
        ids = tuple(_group(entry) for entry in groups)
        return cls(new_id(), effect, ids, tuple(_resources(body.get("resources"))))

    def as_json(self) -> dict[str, Any]:
        """Return the policy as the API shows it."""
        resources: dict[str, Any] = {}
        for name in self.resources:
            outer, slash, inner = name.partition("/")
            if slash:
                resources.setdefault(outer, {})[inner] = "*"
            else:
                resources[outer] = "*"
        groups = [{"id": group, "name": BY_ID[group].name, "meta": {}} for group in self.groups]
        return {"id": self.id, "effect": self.effect, "resources": resources, "permission_groups": groups}

    def concerns(self, names: Collection[str], resources: Collection[str]) -> bool:
        """Say whether one of these groups on one of these resources is spoken of."""
        return any(BY_ID[group].name in names for group in self.groups) and any(
            resource in resources for resource in self.resources
        )


def read_policies(body: Any) -> tuple[Policy, ...]:
    """
    Read the policies of a token.

    Raises:
        ApiError: There are none, or one is not as it must be.
    """
    if not isinstance(body, list) or not body:
        raise _refusal("a token needs at least one policy")
    return tuple(Policy.from_json(entry) for entry in body)


def is_allowed(policies: Sequence[Policy] | None, names: Collection[str], resources: Collection[str]) -> bool:
    """Say whether one of these groups is allowed on one of these resources, and none denied; None allows all."""
    if policies is None:
        return True
    said = {policy.effect for policy in policies if policy.concerns(names, resources)}
    return said == {"allow"}


def account_resources(account_id: str) -> frozenset[str]:
    """Return the resources that mean this account."""
    return frozenset({f"{ACCOUNT}.{account_id}", f"{ACCOUNT}.*"})


def zone_resources(zone_id: str, account_id: str) -> frozenset[str]:
    """Return the resources that mean this zone: by itself, among all, or among those of its account."""
    names = (f"{ZONE}.{zone_id}", f"{ZONE}.*")
    return frozenset({*names, *(f"{outer}/{name}" for outer in account_resources(account_id) for name in names)})


def user_resources(user_id: str) -> frozenset[str]:
    """Return the resources that mean this user."""
    return frozenset({f"{USER}.{user_id}", f"{USER}.*"})


def bucket_resources(account_id: str, bucket: str, jurisdiction: str = "default") -> frozenset[str]:
    """Return the resources that mean this bucket of R2."""
    owner = f"{BUCKET}.{account_id}_{jurisdiction}"
    return frozenset({f"{owner}_{bucket}", f"{owner}_*", f"{BUCKET}.*"})


def _resources(body: Any) -> Iterator[str]:
    if not isinstance(body, Mapping) or not body:
        raise _refusal("a policy needs resources")
    for name, value in body.items():
        if not _RESOURCE.match(name):
            raise _refusal(f"{name[:100]!r} is no resource")
        if isinstance(value, Mapping):
            if not name.startswith(f"{ACCOUNT}.") or name.startswith(f"{ZONE}.") or not value:
                raise _refusal(f"only zones within an account can be named by an object, not {name[:100]!r}")
            for inner in value:
                if not (_RESOURCE.match(inner) and inner.startswith(f"{ZONE}.")):
                    raise _refusal(f"{inner[:100]!r} is no zone")
                yield f"{name}/{inner}"
        elif value == "*":
            yield name
        else:
            raise _refusal(f'the value of the resource {name!r} must be "*" or an object of zones')


def _group(entry: Any) -> str:
    group = entry.get("id") if isinstance(entry, dict) else None
    if not isinstance(group, str) or group not in BY_ID:
        raise _refusal(f"{str(group)[:100]!r} is no permission group")
    return group


def _refusal(message: str) -> ApiError:
    return ApiError(400, INVALID_TOKEN, f"Invalid token policies: {message}.")
