"""What a version inherits, and which bindings are refused."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clodo.emulator.envelope import ApiError
from clodo.emulator.workers.bindings import changed_secrets, raise_if_invalid, resolve, secrets_of, without_secrets

SECRET = {"name": "KEY", "type": "secret_text", "text": "swordfish"}


class Everything:
    """A catalogue of an account that has one of each."""

    def has_database(self, database_id: str) -> bool:
        return database_id == "db"

    def has_namespace(self, namespace_id: str) -> bool:
        return namespace_id == "0" * 32

    def has_bucket(self, name: str) -> bool:
        return name == "bucket"

    def has_queue(self, name: str) -> bool:
        return name == "queue"

    def has_script(self, name: str) -> bool:
        return name == "auth"

    def object_classes(self, script: str) -> Collection[str] | None:
        return {"Room"} if script == "auth" else None


def inherit(uploaded: list[Any], newest: list[Any] | None, **options: Any) -> list[Any]:
    """Resolve with nothing kept and no other versions."""
    return resolve(uploaded, **({"keep": (), "newest": newest, "of_version": lambda _: None, "strict": True} | options))


def test_inherit_takes_the_newest_version_s_binding() -> None:
    """A binding of type inherit becomes what the newest version has under its name."""
    assert inherit([{"name": "KEY", "type": "inherit"}], [SECRET]) == [SECRET]


def test_inherit_may_rename_and_name_a_version() -> None:
    """`old_name` and `version_id` say what to inherit from where."""
    older = {"name": "OLD", "type": "secret_text", "text": "older"}
    wanted = {"name": "KEY", "type": "inherit", "old_name": "OLD", "version_id": "v1"}

    found = inherit([wanted], [SECRET], of_version=lambda version: [older] if version == "v1" else None)

    assert found == [{"name": "KEY", "type": "secret_text", "text": "older"}]


def test_keep_bindings_adds_what_the_upload_lacks() -> None:
    """Kept types come from the newest version, unless the upload has its own of that name."""
    newest = [SECRET, {"name": "OTHER", "type": "secret_text", "text": "x"}, {"name": "VAR", "type": "plain_text"}]
    own = {"name": "KEY", "type": "secret_text", "text": "new"}

    found = inherit([own], newest, keep=["secret_text"])

    assert found == [own, newest[1]]


def test_inheriting_nothing_is_refused_when_strict() -> None:
    """A missing binding is 10057 in strict mode and dropped otherwise."""
    wanted = [{"name": "KEY", "type": "inherit"}]
    with pytest.raises(ApiError) as refusal:
        inherit(wanted, [])

    assert refusal.value.code == 10057
    assert inherit(wanted, [], strict=False) == []


@pytest.mark.parametrize(
    ("binding", "code"),
    [
        ({"type": "plain_text", "text": ""}, 10052),
        ({"name": "not a name", "type": "plain_text", "text": ""}, 10021),
        ({"name": "A"}, 10021),
        ("text", 10021),
    ],
)
def test_malformed_bindings_are_refused(binding: Any, code: int) -> None:
    """A binding needs a type and a name that JavaScript can say."""
    with pytest.raises(ApiError) as refusal:
        inherit([binding], None)

    assert refusal.value.code == code


@pytest.mark.parametrize(
    ("binding", "code"),
    [
        ({"type": "d1", "id": "gone"}, 10181),
        ({"type": "kv_namespace", "namespace_id": "1" * 32}, 10041),
        ({"type": "kv_namespace", "namespace_id": "placeholder"}, 10042),
        ({"type": "r2_bucket", "bucket_name": "gone"}, 10085),
        ({"type": "queue", "queue_name": "gone"}, 11000),
        ({"type": "service", "service": "gone"}, 10143),
        ({"type": "durable_object_namespace", "class_name": "Gone"}, 10061),
        ({"type": "durable_object_namespace", "class_name": "Room", "script_name": "gone"}, 10061),
        ({"type": "plain_text", "text": "x" * 5121}, 10021),
        ({"type": "plain_text"}, 10021),
        ({"type": "json"}, 10021),
    ],
)
def test_a_binding_to_nothing_is_refused(binding: dict[str, Any], code: int) -> None:
    """What a binding names must exist, with the real API's number for each kind."""
    with pytest.raises(ApiError) as refusal:
        raise_if_invalid([{"name": "A", **binding}], Everything(), script="shop", own_classes=())

    assert (refusal.value.status, refusal.value.code) == (400, code)


def test_bindings_to_what_exists_pass() -> None:
    """One of each kind that the account has, the Worker itself and its own class among them."""
    bindings = [
        {"name": "A", "type": "d1", "id": "db"},
        {"name": "B", "type": "kv_namespace", "namespace_id": "0" * 32},
        {"name": "C", "type": "r2_bucket", "bucket_name": "bucket"},
        {"name": "D", "type": "queue", "queue_name": "queue"},
        {"name": "E", "type": "service", "service": "auth"},
        {"name": "F", "type": "service", "service": "shop"},
        {"name": "G", "type": "durable_object_namespace", "class_name": "Cart"},
        {"name": "H", "type": "durable_object_namespace", "class_name": "Room", "script_name": "auth"},
        {"name": "I", "type": "ai"},
    ]

    raise_if_invalid(bindings, Everything(), script="shop", own_classes={"Cart"})


values = st.text(min_size=1, max_size=12)
bindings_lists = st.dictionaries(st.from_regex(r"[A-Z]{1,4}", fullmatch=True), values).map(
    lambda texts: [{"name": name, "type": "secret_text", "text": text} for name, text in texts.items()]
)


@given(bindings_lists, bindings_lists)
def test_changed_secrets_names_exactly_the_difference(
    before: list[dict[str, str]], after: list[dict[str, str]]
) -> None:
    """Secrets are changed that were added, removed or have another value; the order of the two doesn't matter."""
    old = {binding["name"]: binding["text"] for binding in before}
    new = {binding["name"]: binding["text"] for binding in after}

    changed = changed_secrets(before, after)

    assert set(changed) == {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
    assert changed == changed_secrets(after, before)


@given(bindings_lists)
def test_no_value_is_shown(bindings: list[dict[str, str]]) -> None:
    """What the API shows of secrets has names and types only."""
    assert all(set(shown) == {"name", "type"} for shown in [*without_secrets(bindings), *secrets_of(bindings)])
