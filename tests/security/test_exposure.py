"""Rules on what can be reached, and on what was left on."""

from __future__ import annotations

from pathlib import Path

import pytest

from clodo.security import exposure, upkeep
from clodo.security.asset_headers import parse_headers, read_headers
from clodo.security.subject import Kind, Stage
from clodo.workspace.finding import Severity
from tests.security.subjects import configured, fired, settings, subject

FIRES = [
    (exposure.localhost_url, "API_URL", "http://localhost:8787"),
    (exposure.localhost_url, "API_URL", "https://127.0.0.1/x"),
    (exposure.localhost_url, "API_URL", "https://10.1.2.3/"),
    (exposure.localhost_url, "API_URL", "https://[::1]:3000/"),
    (exposure.localhost_url, "REDIS", "localhost:6379"),
    (exposure.localhost_url, "ORIGINS", "https://example.com,http://localhost:3000"),
    (exposure.localhost_url, "API_URL", "https://api.internal/"),
    (exposure.http_url, "API_URL", "http://api.example.com"),
    (exposure.http_url, "FEED", "ws://feed.example.com/live"),
    (exposure.http_url, "URLS", "https://a.example.com http://b.example.com"),
    (exposure.wildcard_cors, "CORS_ORIGIN", "*"),
    (exposure.wildcard_cors, "ALLOWED_ORIGINS", "https://example.com, *"),
    (exposure.wildcard_cors, "ACCESS_CONTROL_ALLOW_ORIGIN", "https://*"),
    (upkeep.debug_flag, "DEBUG", "true"),
    (upkeep.debug_flag, "APP_DEBUG", "1"),
    (upkeep.debug_flag, "LOG_LEVEL", "debug"),
    (upkeep.debug_flag, "NODE_ENV", "development"),
]
SILENT = [
    (exposure.localhost_url, "API_URL", "https://api.example.com"),
    (exposure.localhost_url, "NOTE", "not on localhost"),
    (exposure.localhost_url, "API_URL", "https://8.8.8.8/"),
    (exposure.http_url, "API_URL", "https://api.example.com"),
    (exposure.http_url, "API_URL", "http://localhost:8787"),
    (exposure.http_url, "XMLNS", "http://www.w3.org/2000/svg"),
    (exposure.http_url, "WORD", "http"),
    (exposure.http_url, "BROKEN", "https://[::1"),
    (exposure.wildcard_cors, "CORS_ORIGIN", "https://example.com"),
    (exposure.wildcard_cors, "CORS_ALLOWED_METHODS", "*"),
    (exposure.wildcard_cors, "GLOB", "*"),
    (exposure.wildcard_cors, "ALLOWED_ORIGINS", "https://*.example.com"),
    (upkeep.debug_flag, "DEBUG", "false"),
    (upkeep.debug_flag, "LOG_LEVEL", "info"),
    (upkeep.debug_flag, "NODE_ENV", "production"),
    (upkeep.debug_flag, "DEBUG_BUCKET", "reports"),
]


def named(rows):
    """Return an id for each row: rule, name and number."""
    return [f"{row[0].name}-{row[1]}-{number}" for number, row in enumerate(rows)]


@pytest.mark.parametrize(("rule", "name", "value"), FIRES, ids=named(FIRES))
@pytest.mark.parametrize("kind", [Kind.VARIABLE, Kind.ENV_FILE])
def test_a_rule_on_addresses_and_switches_fires(rule, name, value, kind):
    """In variables and in env files alike, naming the key and its place."""
    (found,) = fired(rule, subject(Stage.PRODUCTION, settings(kind, **{name: value})))

    assert (found.key, found.place) == (name, "/workspace/file:1")
    assert value not in found.message or len(value) < 3


@pytest.mark.parametrize(("rule", "name", "value"), SILENT, ids=named(SILENT))
def test_a_rule_on_addresses_and_switches_is_silent(rule, name, value):
    """What is fine in production, or speaks of something else, is left alone."""
    assert fired(rule, subject(Stage.PRODUCTION, settings(Kind.VARIABLE, **{name: value}))) == []


def test_development_may_be_on_this_machine():
    """Addresses of this machine and debug switches are what development is for."""
    kept = settings(Kind.VARIABLE, API_URL="http://localhost:8787", DEBUG="true", CORS_ORIGIN="*")

    for rule in (exposure.localhost_url, exposure.http_url, exposure.wildcard_cors, upkeep.debug_flag):
        assert fired(rule, subject(Stage.DEVELOPMENT, kept)) == []


@pytest.mark.parametrize(
    ("text", "fires"),
    [
        ("workers_dev = true", True),
        ("", True),
        ("workers_dev = false\npreview_urls = true", False),
        ('route = { pattern = "a.example.com/*", zone_name = "example.com" }', False),
    ],
)
def test_production_is_not_on_workers_dev(tmp_path, text, fires):
    """On by word or for want of routes it is found; preview URLs alone are fine, and so is staging."""
    found = fired(exposure.workers_dev, configured(tmp_path, text))

    assert [item.severity for item in found] == ([Severity.WARNING] if fires else [])
    assert fired(exposure.workers_dev, configured(tmp_path, text, Stage.STAGING)) == []


@pytest.mark.parametrize(
    ("route", "count"),
    [
        ('"api.example.com/*"', 1),
        ('{ pattern = "*/*", zone_name = "example.com" }', 1),
        ('{ pattern = "api.example.com/*", zone_name = "example.com" }', 0),
        ('{ pattern = "api.example.com/*", zone_id = "a" }', 0),
        ('{ pattern = "api.example.com", custom_domain = true }', 0),
    ],
)
def test_a_route_names_its_zone(tmp_path, route, count):
    """A bare pattern leaves the zone to guessing; a custom domain needs none."""
    found = fired(exposure.unpinned_route, configured(tmp_path, f"routes = [{route}]"))

    assert len(found) == count
    assert all(item.place.endswith("wrangler.toml:3") for item in found)


@pytest.mark.parametrize(
    ("text", "fires"),
    [
        ("", True),
        ('compatibility_date = "2025-11-19"', True),
        ('compatibility_date = "2025-11-20"', False),
        ('compatibility_date = "2026-11-20"', False),
    ],
)
def test_a_compatibility_date_of_more_than_a_year_ago_is_outdated(tmp_path, text, fires):
    """365 days are fine, 366 are not; none at all is not."""
    found = fired(upkeep.outdated_compatibility_date, configured(tmp_path, text))

    assert bool(found) is fires


GOOD = """\
# all pages
/*
  X-Content-Type-Options: nosniff
  Referrer-Policy: no-referrer
  Strict-Transport-Security: max-age=31536000
  Content-Security-Policy: default-src 'self'; frame-ancestors 'none'
"""


def test_assets_without_headers_are_found_where_they_are_declared(tmp_path):
    """Without a _headers file all are missing, and the place is the assets' section."""
    headers = read_headers(tmp_path, declared_at="/w/wrangler.toml:7")

    (found,) = fired(exposure.missing_security_headers, subject(headers=headers))

    assert found.place == "/w/wrangler.toml:7"
    assert "Content-Security-Policy" in found.message
    assert "X-Frame-Options" in found.message


def test_assets_with_all_headers_are_fine(tmp_path):
    """frame-ancestors stands for X-Frame-Options; without assets nothing is asked."""
    (tmp_path / "_headers").write_text(GOOD)

    headers = read_headers(tmp_path, declared_at="x:1")

    assert fired(exposure.missing_security_headers, subject(headers=headers)) == []
    assert fired(exposure.missing_security_headers, subject()) == []


@pytest.mark.parametrize(
    ("changed", "missing"),
    [
        (GOOD.replace("/*", "/app/*"), "X-Content-Type-Options"),
        (GOOD + "  ! Referrer-Policy\n", "Referrer-Policy"),
        (GOOD.replace("; frame-ancestors 'none'", ""), "X-Frame-Options"),
    ],
)
def test_headers_must_be_for_all_paths(changed, missing):
    """A header of some paths, or one that is taken away again, is missing."""
    headers = parse_headers(changed, Path("/w/_headers"))

    (found,) = fired(exposure.missing_security_headers, subject(headers=headers))

    assert missing in found.message
    assert found.place == "/w/_headers:1"


def test_every_origin_with_credentials_is_found_in_headers():
    """A wildcard beside credentials is found at its line; alone, for public assets, it is fine."""
    text = "/*\n  Access-Control-Allow-Origin: *\n"
    both = parse_headers(text + "  Access-Control-Allow-Credentials: true\n", Path("/w/_headers"))

    (found,) = fired(exposure.wildcard_cors, subject(headers=both))

    assert found.place == "/w/_headers:2"
    assert fired(exposure.wildcard_cors, subject(headers=parse_headers(text, Path("/w/_headers")))) == []
