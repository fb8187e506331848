"""Rules on credentials: each fires where it must, and is silent where it must."""

from __future__ import annotations

import base64
import secrets as randomness

import pytest

from clodo.security import credentials
from clodo.security.subject import Kind, Stage
from clodo.workspace.finding import Severity
from tests.security.subjects import STRONG, fired, settings, subject

HEX_16 = "8f14e45fceea167a5a36dedd4bea2543"

FIRES = [
    (credentials.dummy_key, Kind.SECRET, "STRIPE_KEY", "sk_test_4eC39HqLyjWDarjtT1zdp7dc"),
    (credentials.dummy_key, Kind.VARIABLE, "PUBLISHABLE", "pk_test_TYooMQauvdEDq54NiTphI7jx"),
    (credentials.dummy_key, Kind.VARIABLE, "TURNSTILE_SECRET", "1x0000000000000000000000000000000AA"),
    (credentials.dummy_key, Kind.SECRET, "MAIL_KEY", "your-api-key-here"),
    (credentials.dummy_key, Kind.SECRET, "MAIL_KEY", "CHANGEME"),
    (credentials.dummy_key, Kind.SECRET, "MAIL_KEY", "dummy-value-1234"),
    (credentials.dummy_key, Kind.ENV_FILE, "API_TOKEN", "test-token"),
    (credentials.dummy_key, Kind.VARIABLE, "API_KEY", "{{API_KEY}}"),
    (credentials.weak_secret, Kind.SECRET, "KEY", "short"),
    (credentials.weak_secret, Kind.SECRET, "KEY", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
    (credentials.weak_secret, Kind.SECRET, "KEY", "abcdefghijklmnopqrstuvwxyz0123456789"),
    (credentials.weak_secret, Kind.SECRET, "KEY", "supersecretpassword123"),
    (credentials.weak_secret, Kind.SECRET, "KEY", "qwertyuiop-admin-2024"),
    (credentials.weak_secret, Kind.SECRET, "KEY", "abababababababababab"),
    (credentials.weak_secret, Kind.SECRET, "KEY", "correct-horse-battery-staple"),
    (credentials.short_jwt_secret, Kind.SECRET, "JWT_SECRET", HEX_16),
    (credentials.short_jwt_secret, Kind.SECRET, "JWT", "nZ8vN2xW5tK7mB4cR9pL3"),
    (credentials.short_jwt_secret, Kind.SECRET, "AUTH_JWT_SIGNING_KEY", "Zq8vN2xW5tK7mB4cR9pL3sD6fG1hJ0y"),
    (credentials.credential_in_vars, Kind.VARIABLE, "STRIPE", "sk_live_51H8vK2eZvKYlo2C9xQ7bT4n"),
    (credentials.credential_in_vars, Kind.VARIABLE, "API_KEY", STRONG),
    (credentials.credential_in_vars, Kind.VARIABLE, "mail.apiToken", STRONG),
    (credentials.credential_in_vars, Kind.VARIABLE, "DATABASE_URL", "postgres://shop:h4rdT0Gu3ss@db.example.com/shop"),
    (credentials.credential_in_vars, Kind.VARIABLE, "DEPLOY", "cfut_" + "a1B2c3D4e5" * 4),
    (credentials.credential_in_env_file, Kind.ENV_FILE, "AWS", "AKIAQYLPMN5HXG7Z2K4J"),
    (credentials.credential_in_env_file, Kind.ENV_FILE, "SMTP_PASSWORD", "vK2eZvKYlo2C9xQ7bT4n"),
    (credentials.credential_in_env_file, Kind.ENV_FILE, "PEM", "-----BEGIN RSA PRIVATE KEY-----\nMIIE"),
]
SILENT = [
    (credentials.dummy_key, Kind.VARIABLE, "GREETING", "test-run"),
    (credentials.dummy_key, Kind.VARIABLE, "PUBLIC_KEY", "placeholder"),
    (credentials.dummy_key, Kind.SECRET, "STRIPE_KEY", "sk_live_51H8vK2eZvKYlo2C9xQ7bT4n"),
    (credentials.dummy_key, Kind.SECRET, "KEY", "latest-nothing-8fj3k2lq"),
    (credentials.weak_secret, Kind.SECRET, "KEY", STRONG),
    (credentials.weak_secret, Kind.SECRET, "KEY", HEX_16),
    (credentials.weak_secret, Kind.SECRET, "WEBHOOK_URL", "https://hooks.example.com/x"),
    (credentials.weak_secret, Kind.SECRET, "ACCOUNT_ID", "acct_12"),
    (credentials.weak_secret, Kind.SECRET, "KEY", "changeme"),
    (credentials.weak_secret, Kind.VARIABLE, "KEY", "short"),
    (credentials.short_jwt_secret, Kind.SECRET, "JWT_SECRET", HEX_16 * 2),
    (credentials.short_jwt_secret, Kind.SECRET, "JWT_SECRET", base64.urlsafe_b64encode(bytes(range(32))).decode()),
    (credentials.short_jwt_secret, Kind.SECRET, "JWT_ISSUER", "shop"),
    (credentials.short_jwt_secret, Kind.SECRET, "JWT_PUBLIC_KEY", "short"),
    (credentials.short_jwt_secret, Kind.SECRET, "JWT_KEY", "-----BEGIN PRIVATE KEY-----"),
    (credentials.short_jwt_secret, Kind.SECRET, "API_KEY", HEX_16),
    (credentials.credential_in_vars, Kind.VARIABLE, "PUBLIC_KEY", STRONG),
    (credentials.credential_in_vars, Kind.VARIABLE, "TURNSTILE_SITE_KEY", "0x4AAAAAAADnPIDROrmt1Wwj"),
    (credentials.credential_in_vars, Kind.VARIABLE, "TOKEN_TTL_SECONDS", "86400000000000"),
    (credentials.credential_in_vars, Kind.VARIABLE, "API_KEY_HEADER", "x-very-custom-api-key-header"),
    (credentials.credential_in_vars, Kind.VARIABLE, "AUTH_URL", "https://auth.example.com/realms/shop"),
    (credentials.credential_in_vars, Kind.VARIABLE, "CUSTOMER_ID", "a3f1c0de9b8e4d5f8a7b6c5d4e3f2a1b"),
    (credentials.credential_in_vars, Kind.VARIABLE, "TITLE", "The key to success is a secret"),
    (credentials.credential_in_vars, Kind.SECRET, "API_KEY", STRONG),
    (credentials.credential_in_env_file, Kind.ENV_FILE, "CUSTOMER_DOMAIN", "shop.example.com"),
    (credentials.credential_in_env_file, Kind.ENV_FILE, "API_KEY", "$API_KEY_FROM_ELSEWHERE"),
    (credentials.credential_in_env_file, Kind.ENV_FILE, "DATABASE_URL", "postgres://shop:${PASSWORD}@db/shop"),
]


def named(rows):
    """Return an id for each row: rule, name and number."""
    return [f"{row[0].name}-{row[2]}-{number}" for number, row in enumerate(rows)]


@pytest.mark.parametrize(("rule", "kind", "name", "value"), FIRES, ids=named(FIRES))
def test_a_rule_fires_without_quoting_the_value(rule, kind, name, value):
    """It names rule, key and place, says what to do, and never shows the value."""
    (found,) = fired(rule, subject(Stage.PRODUCTION, settings(kind, **{name: value})))

    assert (found.rule, found.key, found.severity) == (rule.name, name, Severity.CRITICAL)
    assert found.place == "/workspace/file:1"
    assert found.remedy
    assert found.message.startswith(name)
    assert value not in f"{found!r} {found.describe()} {found.to_json()}"


@pytest.mark.parametrize(("rule", "kind", "name", "value"), SILENT, ids=named(SILENT))
def test_a_rule_is_silent_where_nothing_is_wrong(rule, kind, name, value):
    """Strong keys, public ones, and names that only sound like credentials are left alone."""
    assert fired(rule, subject(Stage.PRODUCTION, settings(kind, **{name: value}))) == []


def test_what_random_generators_give_is_never_weak_and_never_a_dummy():
    """Random values of 128 bits in hex and base64 pass, many of them."""
    for _ in range(500):
        for value in (randomness.token_hex(16), randomness.token_urlsafe(16)):
            looked_at = subject(Stage.PRODUCTION, settings(Kind.SECRET, KEY=value))

            assert fired(credentials.weak_secret, looked_at) == []
            assert fired(credentials.dummy_key, looked_at) == []


def test_a_secret_of_another_environment_is_shared():
    """The finding names the other targets; without any there is none."""
    kept = settings(Kind.SECRET, KEY=STRONG, OTHER=STRONG)

    (found,) = fired(credentials.shared_secret, subject(Stage.PRODUCTION, kept, twins={"KEY": ("api@staging",)}))

    assert (found.key, found.severity) == ("KEY", Severity.CRITICAL)
    assert "api@staging" in found.message
    assert fired(credentials.shared_secret, subject(Stage.PRODUCTION, kept)) == []


def test_a_secret_that_nobody_keeps_is_missing():
    """What a service needs and a block lacks is named, at every stage."""
    lacking = settings(Kind.SECRET, KEY="")

    severities = [fired(credentials.missing_secret, subject(stage, missing=lacking))[0].severity for stage in Stage]

    assert severities == [Severity.CRITICAL, Severity.CRITICAL, Severity.WARNING]
    assert fired(credentials.missing_secret, subject()) == []


def test_a_stage_makes_a_finding_lighter_or_none():
    """A placeholder is critical in production, a warning in staging, and nothing in development."""
    kept = settings(Kind.SECRET, KEY="changeme")

    found = {stage: fired(credentials.dummy_key, subject(stage, kept)) for stage in Stage}

    assert found[Stage.PRODUCTION][0].severity is Severity.CRITICAL
    assert found[Stage.STAGING][0].severity is Severity.WARNING
    assert found[Stage.DEVELOPMENT] == []


@pytest.mark.parametrize(
    ("environment", "is_protected", "stage"),
    [
        ("production", False, Stage.PRODUCTION),
        ("eu-west", True, Stage.PRODUCTION),
        ("eu-west", False, Stage.STAGING),
        ("dev", False, Stage.DEVELOPMENT),
    ],
)
def test_an_environments_stage_is_known_by_name_and_protection(environment, is_protected, stage):
    """What is protected counts as production, whatever its name."""
    assert Stage.of(environment, is_protected=is_protected) is stage
