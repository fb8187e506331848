"""
The permission groups of API tokens, with their real ids.

Source:
    https://developers.cloudflare.com/fundamentals/api/reference/permissions/; the ids are those of
    ``GET /user/tokens/permission_groups``, the same for everybody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

ACCOUNT = "com.cloudflare.api.account"
ZONE = "com.cloudflare.api.account.zone"
USER = "com.cloudflare.api.user"
BUCKET = "com.cloudflare.edge.r2.bucket"


@dataclass(frozen=True, slots=True)
class PermissionGroup:
    """
    Something a token may be allowed to do.

    Attributes:
        scope: Kind of resource that it counts on.

        category: As the API tells it: ``developer_platform``, ``dns_and_zones``, ….
    """

    id: str
    name: str
    scope: str
    category: str

    def as_json(self) -> dict[str, Any]:
        """Return the group as the API lists it."""
        return {
            "id": self.id,
            "name": self.name,
            "scopes": [self.scope],
            "category": self.category,
            "is_selectable": True,
        }


_DEVELOPER, _DNS, _OTHER, _BILLING = "developer_platform", "dns_and_zones", "other", "account_and_billing"

PERMISSION_GROUPS: tuple[PermissionGroup, ...] = (
    PermissionGroup("eb56a6953c034b9d97dd838155666f06", "Account API Tokens Read", ACCOUNT, _BILLING),
    PermissionGroup("5bc3f8b21c554832afc660159ab75fa4", "Account API Tokens Write", ACCOUNT, _BILLING),
    PermissionGroup("b89a480218d04ceb98b4fe57ca29dc1f", "Account Analytics Read", ACCOUNT, "analytics_and_logs"),
    PermissionGroup("c1fde68c7bcc44588cbb6ddbc16d6480", "Account Settings Read", ACCOUNT, _BILLING),
    PermissionGroup("1af1fa2adc104452b74a9a3364202f20", "Account Settings Write", ACCOUNT, _BILLING),
    PermissionGroup("9c88f9c5bce24ce7af9a958ba9c504db", "Analytics Read", ZONE, "analytics_and_logs"),
    PermissionGroup("0cc3a61731504c89b99ec1be78b77aa0", "API Tokens Read", USER, _OTHER),
    PermissionGroup("686d18d5ac6c441c867cbf6771e58a0a", "API Tokens Write", USER, _OTHER),
    PermissionGroup("e17beae8b8cb423a99b1730f21238bed", "Cache Purge", ZONE, "cache_and_performance"),
    PermissionGroup("192192df92ee43ac90f2aeeffce67e35", "D1 Read", ACCOUNT, _DEVELOPER),
    PermissionGroup("09b2857d1c31407795e75e3fed8617a1", "D1 Write", ACCOUNT, _DEVELOPER),
    PermissionGroup("82e64a83756745bbbb1c9c2701bf816b", "DNS Read", ZONE, _DNS),
    PermissionGroup("4755a26eedb94da69e1066d98aa820be", "DNS Write", ZONE, _DNS),
    PermissionGroup("3518d0f75557482e952c6762d3e64903", "Memberships Read", USER, _OTHER),
    PermissionGroup("9201bc6f42d440968aaab0c6f17ebb1d", "Memberships Write", USER, _OTHER),
    PermissionGroup("b415b70a4fd1412886f164451f20405c", "Page Rules Read", ZONE, "rules_and_configuration"),
    PermissionGroup("ed07f6c337da4195b4e72a1fb2c6bcae", "Page Rules Write", ZONE, "rules_and_configuration"),
    PermissionGroup("e247aedd66bd41cc9193af0213416666", "Pages Read", ACCOUNT, _DEVELOPER),
    PermissionGroup("8d28297797f24fb8a0c332fe0866ec89", "Pages Write", ACCOUNT, _DEVELOPER),
    PermissionGroup("84a7755d54c646ca87cd50682a34bf7c", "Queues Read", ACCOUNT, _DEVELOPER),
    PermissionGroup("366f57075ffc42689627bcf8242a1b6d", "Queues Write", ACCOUNT, _DEVELOPER),
    PermissionGroup("7b7216b327b04b8fbc8f524e1f9b7531", "SSL and Certificates Read", ZONE, "app_security"),
    PermissionGroup("c03055bc037c4ea9afb9a9f104b7b721", "SSL and Certificates Write", ZONE, "app_security"),
    PermissionGroup("8acbe5bb0d54464ab867149d7f7cf8ac", "User Details Read", USER, _OTHER),
    PermissionGroup("55a5e17cc99e4a3fa1f3432d262f2e55", "User Details Write", USER, _OTHER),
    PermissionGroup("bdbcd690c763475a985e8641dddc09f7", "Workers Containers Write", ACCOUNT, _DEVELOPER),
    PermissionGroup("8b47d2786a534c08a1f94ee8f9f599ef", "Workers KV Storage Read", ACCOUNT, _DEVELOPER),
    PermissionGroup("f7f0eda5697f475c90846e879bab8666", "Workers KV Storage Write", ACCOUNT, _DEVELOPER),
    PermissionGroup("6a018a9f2fc74eb6b293b0c548f38b39", "Workers R2 Storage Bucket Item Read", BUCKET, _DEVELOPER),
    PermissionGroup("2efd5506f9c8494dacb1fa10a3e7d5b6", "Workers R2 Storage Bucket Item Write", BUCKET, _DEVELOPER),
    PermissionGroup("b4992e1108244f5d8bfbd5744320c2e1", "Workers R2 Storage Read", ACCOUNT, _DEVELOPER),
    PermissionGroup("bf7481a1826f439697cb59a20b22293e", "Workers R2 Storage Write", ACCOUNT, _DEVELOPER),
    PermissionGroup("2072033d694d415a936eaeb94e6405b8", "Workers Routes Read", ZONE, _DEVELOPER),
    PermissionGroup("28f4b596e7d643029c524985477ae49a", "Workers Routes Write", ZONE, _DEVELOPER),
    PermissionGroup("1a71c399035b4950a1bd1466bbe4f420", "Workers Scripts Read", ACCOUNT, _DEVELOPER),
    PermissionGroup("e086da7e2179491d91ee5f35b3ca210a", "Workers Scripts Write", ACCOUNT, _DEVELOPER),
    PermissionGroup("05880cd1bdc24d8bae0be2136972816b", "Workers Tail Read", ACCOUNT, _DEVELOPER),
    PermissionGroup("c8fed203ed3043cba015a93ad1616f1f", "Zone Read", ZONE, _DNS),
    PermissionGroup("517b21aee92c4d89936c976ba6e4be55", "Zone Settings Read", ZONE, _DNS),
    PermissionGroup("3030687196b94b638145a3953da2b699", "Zone Settings Write", ZONE, _DNS),
    PermissionGroup("e6d2666161e84845a636613608cee8d5", "Zone Write", ZONE, _DNS),
)

BY_ID = {group.id: group for group in PERMISSION_GROUPS}
BY_NAME = {group.name: group for group in PERMISSION_GROUPS}
