"""Rules on credentials: those that are none, those that are too weak, and those that lie where anybody reads them."""

from __future__ import annotations

from collections.abc import Iterator

from clodo.security.rule import Hit, rule
from clodo.security.shapes import is_dummy, is_test_key, names_a_credential, shape_of, words_of
from clodo.security.strength import estimated_bits, key_bytes
from clodo.security.subject import Kind, Setting, Subject
from clodo.workspace.finding import Severity

WEAKEST_LENGTH = 12
WEAKEST_BITS = 64.0
JWT_KEY_BYTES = 32
"""HS256 wants a key of at least the hash's size (RFC 7518, 3.2)."""
CREDENTIAL_BITS = 40.0
"""Below it, what a variable with a credential's name holds is more likely a word than a key."""

_NO_KEY = frozenset(
    ["URL", "URI", "HOST", "HOSTNAME", "DOMAIN", "ID", "EMAIL", "USER", "USERNAME", "NAME", "ENDPOINT", "DSN"]
)


@rule(
    "dummy-key",
    title="A placeholder or a service's test key where a key should be",
    remedy="Put the real value in: `clodo secrets generate` makes keys, `clodo secrets import` takes those of others.",
    production=Severity.CRITICAL,
    staging=Severity.WARNING,
)
def dummy_key(subject: Subject) -> Iterator[Hit]:
    """Find placeholders, and test keys of payment services and the like."""
    for setting in subject.settings:
        is_credential = setting.kind is Kind.SECRET or names_a_credential(setting.name)
        if is_test_key(setting.text):
            yield _hit(setting, "is a key for testing")
        elif is_credential and is_dummy(setting.text):
            yield _hit(setting, "is a placeholder, not a key")


@rule(
    "weak-secret",
    title=f"A secret of under {WEAKEST_LENGTH} characters, or of an estimated entropy under {WEAKEST_BITS:.0f} bits",
    remedy="Replace it by one that nobody can guess: `clodo secrets rotate`, or `clodo secrets generate --replace`.",
    production=Severity.CRITICAL,
    staging=Severity.WARNING,
    development=Severity.NOTE,
)
def weak_secret(subject: Subject) -> Iterator[Hit]:
    """Find secrets that are easy to guess; those that plainly are no keys (addresses, ids) are left out."""
    for setting in subject.of_kind(Kind.SECRET):
        if is_dummy(setting.text) or is_test_key(setting.text) or _is_no_key(setting):
            continue
        bits = estimated_bits(setting.text)
        if len(setting.text) < WEAKEST_LENGTH:
            yield _hit(setting, f"has {len(setting.text)} characters, fewer than {WEAKEST_LENGTH}")
        elif bits < WEAKEST_BITS:
            yield _hit(setting, f"is easy to guess: about {bits:.0f} bits, under {WEAKEST_BITS:.0f}")


@rule(
    "short-jwt-secret",
    title=f"A key for signing JSON Web Tokens under {8 * JWT_KEY_BYTES} bits",
    remedy="Replace it by a key of 256 bits or more: `clodo secrets rotate`, or `clodo secrets generate --kind jwt`.",
    production=Severity.CRITICAL,
    staging=Severity.WARNING,
    development=Severity.NOTE,
)
def short_jwt_secret(subject: Subject) -> Iterator[Hit]:
    """Find keys of HS256 that are shorter than its hash."""
    for setting in subject.of_kind(Kind.SECRET):
        words = words_of(setting.name)
        if "JWT" not in words and "JWK" not in words:
            continue
        if "-----BEGIN" in setting.text or setting.text.lstrip().startswith("{") or _is_no_key(setting):
            continue
        if not names_a_credential(setting.name) and words != ("JWT",):
            continue
        size = key_bytes(setting.text)
        if size < JWT_KEY_BYTES:
            yield _hit(setting, f"is a key of {8 * size} bits, under {8 * JWT_KEY_BYTES}")


@rule(
    "shared-secret",
    title="The same secret in two environments",
    remedy="Give each environment a value of its own: `clodo secrets rotate` in one of them.",
    production=Severity.CRITICAL,
    staging=Severity.WARNING,
    development=Severity.WARNING,
)
def shared_secret(subject: Subject) -> Iterator[Hit]:
    """Find secrets whose value another environment has too, known by keyed fingerprints."""
    for setting in subject.of_kind(Kind.SECRET):
        others = subject.twins.get(setting.name)
        if others:
            yield _hit(setting, f"has the value that {', '.join(others)} has too")


@rule(
    "credential-in-vars",
    title="A credential among the plain-text variables of a wrangler config",
    remedy="Take it out of the file, replace it (it was readable), and keep it as a secret: `clodo secrets import`.",
    production=Severity.CRITICAL,
    staging=Severity.CRITICAL,
    development=Severity.CRITICAL,
)
def credential_in_vars(subject: Subject) -> Iterator[Hit]:
    """Find credentials in `vars`, by their shape, or by their name and entropy."""
    for setting in subject.of_kind(Kind.VARIABLE):
        kind = credential_in(setting)
        if kind:
            yield _hit(setting, f"holds {kind} in plain text")


@rule(
    "credential-in-env-file",
    title="A credential in an env file that git keeps",
    remedy="Take it out of the file, replace it (it was readable), and keep it as a secret: `clodo secrets import`.",
    production=Severity.CRITICAL,
    staging=Severity.CRITICAL,
    development=Severity.CRITICAL,
)
def credential_in_env_file(subject: Subject) -> Iterator[Hit]:
    """Find credentials in env files, by their shape, or by their name and entropy."""
    for setting in subject.of_kind(Kind.ENV_FILE):
        kind = credential_in(setting)
        if kind:
            yield _hit(setting, f"holds {kind} in a file that git keeps")


@rule(
    "missing-secret",
    title="A secret that a service needs and that nobody keeps",
    remedy="Make it with `clodo secrets generate`, or bring it with `clodo secrets import`.",
    production=Severity.CRITICAL,
    staging=Severity.CRITICAL,
    development=Severity.WARNING,
)
def missing_secret(subject: Subject) -> Iterator[Hit]:
    """Find what the portfolio or the wrangler config names and the target's block lacks."""
    return (_hit(setting, "is not kept for this target") for setting in subject.missing)


def credential_in(setting: Setting) -> str | None:
    """Return what kind of credential a readable setting holds, None for none."""
    text = setting.text.strip()
    if is_test_key(text) or is_dummy(text):
        return None
    shape = shape_of(text)
    if shape:
        return shape
    if not names_a_credential(setting.name) or len(text) < WEAKEST_LENGTH or any(letter.isspace() for letter in text):
        return None
    # References are no credentials, wherever they lead.
    if "://" in text or text.startswith(("/", "./", "$", "env:", "vault:", "op:", "arn:")):
        return None
    return "what looks like a credential" if estimated_bits(text) >= CREDENTIAL_BITS else None


def _is_no_key(setting: Setting) -> bool:
    words = words_of(setting.name)
    return "://" in setting.text or "@" in setting.text or bool(words and words[-1] in _NO_KEY)


def _hit(setting: Setting, what: str) -> Hit:
    return Hit(setting.name, setting.place, f"{setting.name} {what}")


RULES = (
    missing_secret,
    dummy_key,
    weak_secret,
    short_jwt_secret,
    shared_secret,
    credential_in_vars,
    credential_in_env_file,
)
