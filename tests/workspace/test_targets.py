"""Targets as words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clodo.errors import BadUsage, TargetNotFound
from clodo.workspace.targets import Target, find_target

_NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,8}", fullmatch=True)
_TARGETS = st.builds(Target, _NAMES, _NAMES, st.none() | _NAMES)


@given(_TARGETS)
def test_what_is_written_is_read_again(target: Target):
    """A target's text names that target."""
    assert Target.parse(str(target)) == target


@given(_TARGETS, _TARGETS)
def test_slugs_tell_targets_apart(one: Target, other: Target):
    """Two targets have one slug only if they are one target; a slug is one word of a path."""
    assert (one.slug == other.slug) == (one == other)
    assert "/" not in one.slug


def test_a_bare_service_means_the_default_environment():
    """`api` is api in the default environment."""
    assert Target.parse("api", default_environment="staging") == Target("api", "staging")
    assert Target.parse("api@production/acme") == Target("api", "production", "acme")


@pytest.mark.parametrize("text", ["", "@staging", "api@", "api@x/", "api/acme", "a b", "../api", "api@x/y/z", "api\n"])
def test_other_forms_are_refused(text: str):
    """What is no target is a usage error that shows the form."""
    with pytest.raises(BadUsage, match="is not a target") as caught:
        Target.parse(text)

    assert caught.value.hint is not None
    assert "service@environment" in caught.value.hint


def test_an_unknown_target_names_the_nearest():
    """A wrong environment lists the service's own; a wrong service lists what looks like it."""
    targets = [Target("api", "production"), Target("api", "staging"), Target("web", "production")]

    with pytest.raises(TargetNotFound, match="api@stagng: no such target") as caught:
        find_target("api@stagng", targets)
    assert caught.value.hint == "Did you mean api@production or api@staging?"

    with pytest.raises(TargetNotFound) as caught:
        find_target("wbe", targets)
    assert caught.value.hint == "Did you mean web@production?"

    with pytest.raises(TargetNotFound) as caught:
        find_target("payments", targets)
    assert caught.value.hint == "There are api, web."

    with pytest.raises(TargetNotFound) as caught:
        find_target("x", [])
    assert caught.value.hint == "The workspace has no targets."
    assert caught.value.exit_code == 10
