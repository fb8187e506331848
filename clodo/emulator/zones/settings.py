"""
Settings of zones: which there are, their values, and what each is when nobody changed it.

Source:
    Which there are, and their kinds of values: a recorded ``GET /zones/{id}/settings``, and the SDK's types for those
    that came later; choices are those of the SDK's types; defaults are those that
    https://developers.cloudflare.com/api/resources/zones/subresources/settings/ tells, and otherwise as recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clodo.emulator.envelope import ApiError

#: Assumed.
UNDEFINED_SETTING = 1006
INVALID_VALUE = 1007

ON_OFF = ("on", "off")


@dataclass(frozen=True, slots=True)
class Setting:
    """
    One setting of zones.

    Attributes:
        choices: Values it can have; empty where others are allowed too, of the default's kind.
    """

    default: Any
    choices: tuple[Any, ...] = ON_OFF
    is_editable: bool = True

    def raise_if_unfit(self, setting_id: str, value: Any) -> None:
        """
        Check a value.

        Raises:
            ApiError: The setting can't have it.
        """
        if not self.is_editable:
            raise ApiError(400, INVALID_VALUE, f"The setting {setting_id} is not editable.")
        fits = value in self.choices if self.choices else type(value) is type(self.default)
        if not fits or isinstance(value, bool):
            raise ApiError(400, INVALID_VALUE, f"Invalid value for zone setting {setting_id}.")


_SECONDS = (0, 30, 60, 120, 300, 1200, 1800, 3600, 7200, 10800, 14400, 18000, 28800, 43200, 57600, 72000, 86400)
_DAYS = (172800, 259200, 345600, 432000, 691200, 1382400, 2073600, 2678400, 5356800, 16070400, 31536000)

SETTINGS: Mapping[str, Setting] = {
    "0rtt": Setting("off"),
    "advanced_ddos": Setting("on", is_editable=False),
    "always_online": Setting("on"),
    "always_use_https": Setting("off"),
    "automatic_https_rewrites": Setting("on"),
    "automatic_platform_optimization": Setting(
        {
            "cache_by_device_type": False,
            "cf": False,
            "enabled": False,
            "hostnames": [],
            "wordpress": False,
            "wp_plugin": False,
        },
        (),
    ),
    "brotli": Setting("on"),
    "browser_cache_ttl": Setting(14400, (*_SECONDS, *_DAYS)),
    "browser_check": Setting("on"),
    "cache_level": Setting("aggressive", ("aggressive", "basic", "simplified")),
    "challenge_ttl": Setting(1800, (300, 900, 1800, 2700, 3600, 7200, 10800, 14400, 28800, 57600, 86400, 604800)),
    "china_network_enabled": Setting("off", is_editable=False),
    "ciphers": Setting([], ()),
    "cname_flattening": Setting("flatten_at_root", ("flatten_at_root", "flatten_all")),
    "content_converter": Setting("off"),
    "development_mode": Setting("off"),
    "early_hints": Setting("off"),
    "ech": Setting("on"),
    "edge_cache_ttl": Setting(7200, (*_SECONDS, *_DAYS)),
    "email_obfuscation": Setting("on"),
    "filter_logs_to_cloudflare": Setting("off"),
    "fonts": Setting("off"),
    "h2_prioritization": Setting("off", ("on", "off", "custom")),
    "hotlink_protection": Setting("off"),
    "http2": Setting("on"),
    "http3": Setting("on"),
    "image_resizing": Setting("off", ("on", "off", "open")),
    "ip_geolocation": Setting("on"),
    "ipv6": Setting("on"),
    "log_to_cloudflare": Setting("on"),
    "max_upload": Setting(100, (100, 125, 150, 175, 200, 225, 250, 275, 300, 325, 350, 375, 400, 425, 450, 475, 500)),
    "min_tls_version": Setting("1.0", ("1.0", "1.1", "1.2", "1.3")),
    "minify": Setting({"js": "off", "css": "off", "html": "off"}, ()),
    "mirage": Setting("off"),
    "mobile_redirect": Setting({"status": "off", "mobile_subdomain": None, "strip_uri": False}, ()),
    "nel": Setting({"enabled": True}, ()),
    "opportunistic_encryption": Setting("on"),
    "opportunistic_onion": Setting("on"),
    "orange_to_orange": Setting("off"),
    "origin_error_page_pass_thru": Setting("off"),
    "origin_max_http_version": Setting("2", ("1", "2")),
    "polish": Setting("off", ("off", "lossless", "lossy")),
    "prefetch_preload": Setting("off"),
    "privacy_pass": Setting("on"),
    # Enterprise plans may change it.
    "proxy_read_timeout": Setting(100, (), is_editable=False),
    "pseudo_ipv4": Setting("off", ("off", "add_header", "overwrite_header")),
    "replace_insecure_js": Setting("on"),
    "response_buffering": Setting("off"),
    "rocket_loader": Setting("off"),
    "security_header": Setting(
        {
            "strict_transport_security": {
                "enabled": False,
                "max_age": 0,
                "include_subdomains": False,
                "preload": False,
                "nosniff": False,
            }
        },
        (),
    ),
    "security_level": Setting("medium", ("off", "essentially_off", "low", "medium", "high", "under_attack")),
    "server_side_exclude": Setting("on"),
    "sha1_support": Setting("off", is_editable=False),
    "sort_query_string_for_cache": Setting("off"),
    "speed_brain": Setting("on"),
    "ssl": Setting("full", ("off", "flexible", "full", "strict")),
    "tls_1_2_only": Setting("off"),
    "tls_1_3": Setting("on", ("on", "off", "zrt")),
    "tls_client_auth": Setting("off"),
    "transformations": Setting("off", ("on", "off", "open")),
    "true_client_ip_header": Setting("off"),
    "visitor_ip": Setting("on"),
    "waf": Setting("off"),
    "webp": Setting("off"),
    "websockets": Setting("on"),
}


def setting(setting_id: str) -> Setting:
    """
    Return one setting.

    Raises:
        ApiError: There is none of that name.
    """
    found = SETTINGS.get(setting_id)
    if found is None:
        raise ApiError(400, UNDEFINED_SETTING, f"Undefined zone setting: {setting_id[:60]}")
    return found


def as_json(setting_id: str, changed: Mapping[str, tuple[Any, str]]) -> dict[str, Any]:
    """Return a setting as the API shows it; *changed* holds value and time of those that were changed."""
    found = setting(setting_id)
    value, moment = changed.get(setting_id, (found.default, None))
    return {"id": setting_id, "value": value, "modified_on": moment, "editable": found.is_editable}
