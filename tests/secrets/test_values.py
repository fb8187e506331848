"""Making, importing and comparing secrets: values in, values out."""

from __future__ import annotations

import base64
import json
import random
import string
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clodo.errors import BadConfiguration, BadUsage
from clodo.ledger.fingerprints import fingerprint_of
from clodo.ledger.secret_records import RotationRecord, RotationState, SecretRecord
from clodo.secrets.aging import aged
from clodo.secrets.comparing import Comparison, compare
from clodo.secrets.generating import SYMBOLS, SecretKind, generate
from clodo.secrets.importing import parse_secrets
from clodo.security.checking import ALL_RULES
from clodo.security.subject import Kind, Setting, Stage, Subject
from clodo.security.twins import twins_of
from clodo.workspace.finding import Severity
from clodo.workspace.portfolio import Rotation
from tests.security.subjects import TODAY

KEY = b"k" * 32
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.mark.parametrize("kind", SecretKind)
def test_what_is_made_passes_every_security_rule(kind):
    """Hundreds of each kind, under a name that the strictest rules look at; no two are the same."""
    made = {generate(kind) for _ in range(200)}

    assert len(made) == 200
    for value in made:
        setting = Setting("JWT_KEY" if kind is SecretKind.JWT else "KEY", value, "/f:1", Kind.SECRET)
        subject = Subject("api@production", Stage.PRODUCTION, (setting,), TODAY)
        found = [finding for rule in ALL_RULES for finding in rule.findings(subject)]
        assert [item for item in found if item.severity is Severity.CRITICAL] == [], kind


def test_each_kind_has_the_form_it_is_used_in():
    """Sizes, prefixes and letters, by a known source of chance."""
    chance = random.Random(7)

    made = {kind: generate(kind, randomness=chance) for kind in SecretKind}

    assert len(base64.urlsafe_b64decode(made[SecretKind.JWT] + "==")) == 64
    assert len(base64.urlsafe_b64decode(made[SecretKind.API] + "=")) == 32
    assert made[SecretKind.WEBHOOK].startswith("whsec_")
    assert len(base64.b64decode(made[SecretKind.WEBHOOK].removeprefix("whsec_"))) == 32
    assert set(made[SecretKind.DATABASE]) <= set(string.ascii_letters + string.digits)
    assert len(made[SecretKind.DATABASE]) == 40
    password = set(made[SecretKind.PASSWORD])
    assert all(password & set(letters) for letters in (string.ascii_lowercase, string.ascii_uppercase, SYMBOLS))
    assert password & set(string.digits)


def test_only_api_keys_have_prefixes():
    """The prefix stands before an underscore; other kinds and odd letters are refused."""
    assert generate(SecretKind.API, prefix="shop_live").startswith("shop_live_")
    with pytest.raises(BadUsage, match="has no prefix"):
        generate(SecretKind.JWT, prefix="x")
    with pytest.raises(BadUsage, match="up to 32"):
        generate(SecretKind.API, prefix="no spaces")


def test_env_lines_and_json_are_imported():
    """Quotes, exports, comments, a byte order mark; JSON with awkward letters."""
    text = "\ufeff# mine\nA=1\nexport B='two words'\n\nC=\"line\\nbreak\"\n"

    assert parse_secrets(text) == {"A": "1", "B": "two words", "C": "line\nbreak"}
    assert parse_secrets('{"A": "x=\\"y\\"#z"}') == {"A": 'x="y"#z'}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no secrets"),
        ("A=hush-hush\nA=hush-again\n", "input:2: A is there twice"),
        ("A=hush-hush\nno value here\n", "input:2: not a line"),
        ("A=\n", "A is empty"),
        ("1A=hush-hush\n", "can't be the name"),
        ('{"A": 1}', "value of A is not text"),
        ('{"A": "hush-hush"', "not JSON"),
        ('{"A": "hush-hush", "A": "b"}', "A is there twice"),
        (f"A={'x' * 6000}", "6,000 bytes, over the 5,120"),
    ],
)
def test_what_can_not_be_imported_is_refused_without_its_value(text, said):
    """With the line where there is one."""
    with pytest.raises(BadConfiguration, match=said) as refused:
        parse_secrets(text)

    assert "hush" not in f"{refused.value.message}{refused.value.hint}"


NAMES = st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True)
VALUES = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=40)


@given(st.dictionaries(NAMES, VALUES, min_size=1, max_size=4))
def test_json_brings_every_value_as_it_is(values):
    """Whatever letters a value has, it is kept unchanged."""
    assert parse_secrets(json.dumps(values)) == values


def test_secrets_are_compared_by_fingerprint():
    """Each way in which a Worker's secret can stand to the kept one."""
    kept = {name: fingerprint_of(KEY, name) for name in ("SAME", "STALE", "MISSING", "UNKNOWN", "OTHER_KEY")}
    brought = {
        "SAME": kept["SAME"],
        "STALE": fingerprint_of(KEY, "another"),
        "OTHER_KEY": fingerprint_of(b"o" * 32, "OTHER_KEY"),
    }

    found = compare(
        needed=["SAME", "NOT_KEPT"],
        kept=kept,
        on_worker=["SAME", "STALE", "UNKNOWN", "OTHER_KEY", "EXTRA"],
        brought=brought,
        twins={"SAME": ("api@staging",)},
    )

    assert {item.name: item.comparison for item in found} == {
        "SAME": Comparison.SAME,
        "STALE": Comparison.STALE,
        "MISSING": Comparison.MISSING,
        "UNKNOWN": Comparison.UNKNOWN,
        "OTHER_KEY": Comparison.UNKNOWN,
        "EXTRA": Comparison.EXTRA,
        "NOT_KEPT": Comparison.NOT_KEPT,
    }
    assert [item.name for item in found if not item.is_difference] == []
    assert found[-3].twins == ("api@staging",)


def test_twins_are_in_other_environments():
    """The same value in the same environment is no twin; its name does not matter."""
    mark = fingerprint_of(KEY, "v")
    known = {
        "api@production": {"KEY": mark, "OTHER": fingerprint_of(KEY, "w")},
        "web@production": {"KEY": mark},
        "api@staging": {"ANOTHER_NAME": mark},
    }

    assert twins_of("api@production", known) == {"KEY": ("api@staging",)}
    assert twins_of("api@staging", known) == {"ANOTHER_NAME": ("api@production", "web@production")}
    assert twins_of("api@development", known) == {}


def test_fingerprints_of_one_value_are_the_same_and_tell_nothing():
    """Only with the same key, and never the value."""
    assert fingerprint_of(KEY, "hush") == fingerprint_of(KEY, "hush")
    assert fingerprint_of(KEY, "hush") != fingerprint_of(b"o" * 32, "hush")
    assert "hush" not in fingerprint_of(KEY, "hush")


def record(made: datetime) -> SecretRecord:
    """Return what is known of a secret."""
    return SecretRecord("api@production", "KEY", "api", "f", made)


@pytest.mark.parametrize(("days", "is_due"), [(89, False), (90, True), (400, True)])
def test_a_secret_is_due_by_its_age(days, is_due):
    """On the declared day, unless a rotation is under way; without a declaration never."""
    old = record(NOW - timedelta(days=days))
    declared = Rotation(every_days=90)
    under_way = RotationRecord("k1", "api@production", "KEY", RotationState.BEGUN, "a", "b", NOW)

    assert aged("api@production", "KEY", old, declared, None).is_due(NOW) is is_due
    assert aged("api@production", "KEY", old, declared, under_way).is_due(NOW) is False
    assert aged("api@production", "KEY", old, Rotation(), None).is_due(NOW) is False
    assert aged("api@production", "KEY", None, declared, None).is_due(NOW) is False
    assert aged("api@production", "KEY", old, declared, None).to_json(NOW)["age_days"] == days
