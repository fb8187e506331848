"""Which route pattern a request falls under."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clodo.emulator.envelope import ApiError
from clodo.emulator.workers.patterns import Pattern


@pytest.mark.parametrize(
    ("pattern", "host", "path", "expected"),
    [
        ("example.com/*", "example.com", "/", True),
        ("example.com/*", "www.example.com", "/", False),
        ("*.example.com/*", "www.example.com", "/a/b", True),
        ("*.example.com/*", "example.com", "/", False),
        ("*example.com/*", "example.com", "/", True),
        ("*example.com/*", "shopexample.com", "/", True),
        ("example.com/api/*", "example.com", "/api/", True),
        ("example.com/api/*", "example.com", "/api", False),
        ("example.com/api*", "example.com", "/apis", True),
        ("example.com/one", "example.com", "/one", True),
        ("example.com/one", "example.com", "/one/two", False),
        ("example.com", "example.com", "/", True),
        ("https://example.com/*", "example.com", "/x", True),
        ("EXAMPLE.com/Path", "example.com", "/Path", True),
        ("EXAMPLE.com/Path", "example.com", "/path", False),
    ],
)
def test_pattern_matches(pattern: str, host: str, path: str, expected: bool) -> None:
    """Hostnames match whole or behind a star, paths whole or before one."""
    assert Pattern.parse(pattern).matches(host, path) is expected


@pytest.mark.parametrize("text", ["", "/path", "exa*mple.com/*", "example.com/a*b", "example.com/?q=1", "a b.com/*\n?"])
def test_what_cant_be_a_route_is_refused(text: str) -> None:
    """Stars in the middle, queries and missing hostnames are refused with Cloudflare's number."""
    with pytest.raises(ApiError) as refusal:
        Pattern.parse(text)

    assert (refusal.value.status, refusal.value.code) == (400, 10022)


def test_the_more_precise_pattern_wins() -> None:
    """Whole hostnames go before stars, longer paths before shorter, whole paths before stars."""
    patterns = [
        "example.com/api/one",
        "example.com/api/*",
        "example.com/*",
        "*.example.com/*",
        "*example.com/*",
    ]

    ordered = sorted(patterns, key=lambda text: Pattern.parse(text).precision, reverse=True)

    assert ordered == patterns


labels = st.text("abcdefghijklmnop-", min_size=1, max_size=8)
paths = st.text("ab/.%", max_size=8).map("/".__add__)


@given(st.lists(labels, min_size=2, max_size=4).map(".".join), paths, paths)
def test_a_pattern_matches_all_below_it(host: str, prefix: str, rest: str) -> None:
    """`host/prefix*` matches every path that begins so, and no other host."""
    pattern = Pattern.parse(f"{host}{prefix}*")

    assert pattern.matches(host, prefix + rest)
    assert not pattern.matches("x" + host, prefix + rest)
