"""What credentials look like: by the shape of a value, and by the words of a name."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

SHAPES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("a private key", re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----")),
    ("a Cloudflare API token", re.compile(r"\bcf(?:ut|at|k)_[A-Za-z0-9_-]{20,}")),
    ("an AWS access key", re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b")),
    ("a Stripe live key", re.compile(r"\b[sr]k_live_[A-Za-z0-9]{16,}")),
    ("a webhook signing secret", re.compile(r"\bwhsec_[A-Za-z0-9+/=]{24,}")),
    ("a GitHub token", re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{50,})")),
    ("a GitLab token", re.compile(r"\bglpat-[A-Za-z0-9_-]{20,}")),
    ("a Slack token", re.compile(r"\bxox[abposr]-[A-Za-z0-9-]{10,}")),
    ("a SendGrid key", re.compile(r"\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}")),
    ("an OpenAI or Anthropic key", re.compile(r"\bsk-(?:proj-|ant-)?[A-Za-z0-9_-]{32,}")),
    ("a Google API key", re.compile(r"\bAIza[A-Za-z0-9_-]{35}")),
    ("an npm token", re.compile(r"\bnpm_[A-Za-z0-9]{36}")),
    ("a signed JSON Web Token", re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{16,}")),
    ("a URL with a password in it", re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s/:@]*:(?![$<{*])[^\s/:@]{3,}@")),
)
"""Name and pattern of credentials that nobody takes for anything else."""

# https://docs.stripe.com/keys, https://developers.cloudflare.com/turnstile/troubleshooting/testing/
DUMMY_GLOBS = (
    "test",
    "test-*",
    "test_*",
    "*-test-key",
    "*_test_key",
    "dummy*",
    "*-dummy",
    "*_dummy",
    "fake*",
    "example*",
    "*-example",
    "sample*",
    "placeholder*",
    "change-me*",
    "change_me*",
    "changeme*",
    "change-this*",
    "replace-me*",
    "replace_me*",
    "replaceme*",
    "replace-with-*",
    "replace_with_*",
    "your-*",
    "your_*",
    "*-here",
    "*_here",
    "xxxx*",
    "todo*",
    "fixme*",
    "tbd",
    "none",
    "null",
    "undefined",
    "foo",
    "bar",
    "foobar*",
    "secret",
    "password",
    "admin",
    "letmein*",
    "12345*",
    "abc123*",
    "<*>",
    "${*}",
    "{{*}}",
    "akiaiosfodnn7example",
)
"""Values that stand where a key should; letters' case does not matter."""

TEST_KEY_GLOBS = (
    "sk_test_*",
    "pk_test_*",
    "rk_test_*",
    "whsec_test*",
    "sk-test-*",
    "sk_sandbox_*",
    "[123]x0000000000000000000000000000000aa",
    "[123]x00000000000000000000[ab][ab]",
)
"""Keys that services give out for trying things; they are known whatever the variable's name is."""

_CREDENTIAL_WORDS = frozenset(
    [
        "KEY",
        "APIKEY",
        "TOKEN",
        "SECRET",
        "PASSWORD",
        "PASSWD",
        "PWD",
        "PASS",
        "PASSPHRASE",
        "CREDENTIAL",
        "CREDENTIALS",
        "AUTH",
        "SALT",
        "PEPPER",
        "SIGNING",
    ]
)
_NO_CREDENTIAL_WORDS = frozenset(
    [
        "PUBLIC",
        "PUBLISHABLE",
        "SITE",
        "SITEKEY",
        "URL",
        "URI",
        "HOST",
        "DOMAIN",
        "ID",
        "IDS",
        "NAME",
        "HEADER",
        "TTL",
        "EXPIRY",
        "EXPIRES",
        "EXPIRATION",
        "PREFIX",
        "LENGTH",
        "SIZE",
        "TYPE",
        "ALGORITHM",
        "ALG",
        "ISSUER",
        "AUDIENCE",
        "ENABLED",
        "REQUIRED",
        "MODE",
        "PATH",
        "FILE",
        "ENDPOINT",
        "REALM",
        "VERSION",
        "ROTATION",
        "DAYS",
        "HOURS",
        "MINUTES",
        "SECONDS",
        "LIMIT",
        "COUNT",
        "PROVIDER",
        "METHOD",
        "EMAIL",
        "USER",
        "USERNAME",
        "COOKIE",
        "NAMESPACE",
        "PATTERN",
        "MAX",
        "MIN",
        "FORMAT",
        "SCOPE",
        "SCOPES",
        "DOCS",
    ]
)


def shape_of(text: str) -> str | None:
    """Return what kind of credential *text* holds, None when it looks like none."""
    return next((name for name, pattern in SHAPES if pattern.search(text)), None)


def is_dummy(text: str) -> bool:
    """Whether *text* stands where a key should: a placeholder, or what everybody types."""
    lowered = text.strip().lower()
    return any(fnmatchcase(lowered, glob) for glob in DUMMY_GLOBS)


def is_test_key(text: str) -> bool:
    """Whether *text* is a key that a service gives out for trying things."""
    lowered = text.strip().lower()
    return any(fnmatchcase(lowered, glob) for glob in TEST_KEY_GLOBS)


def words_of(name: str) -> tuple[str, ...]:
    """Return the words of a name in capitals: ``stripe.apiKey`` is STRIPE, API, KEY."""
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return tuple(word for word in re.split(r"[^A-Za-z0-9]+", split.upper()) if word)


def names_a_credential(name: str) -> bool:
    """Whether a setting of this name would hold a credential: ``API_KEY`` does, ``PUBLIC_KEY`` and ``KEY_ID`` don't."""
    words = words_of(name)
    return any(word in _CREDENTIAL_WORDS for word in words) and not any(word in _NO_CREDENTIAL_WORDS for word in words)
