"""Which version a request goes to."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from clodo.emulator.runtime.traffic import KEY_HEADER, OVERRIDES_HEADER, choose_version, parse_overrides, version_of_key

NAMES = st.text("abcxyz019_-", min_size=1, max_size=12).filter(lambda name: name[0].isalpha())
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
SHARES = st.lists(st.integers(1, 100), min_size=1, max_size=5)


def traffic_of(shares: list[int]) -> tuple[tuple[str, float], ...]:
    return tuple((f"v{number}", 100 * share / sum(shares)) for number, share in enumerate(shares))


@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_overrides_are_read_as_they_are_written(overrides: dict[str, str]) -> None:
    """A structured dictionary of strings is read back as it was written."""
    quoted = {name: value.replace("\\", "\\\\").replace('"', '\\"') for name, value in overrides.items()}
    header = ", ".join(f'{name}="{value}"' for name, value in quoted.items())

    assert parse_overrides(header) == overrides


@given(st.text(max_size=60))
def test_no_header_breaks_the_reading(header: str) -> None:
    """Whatever a client writes, reading it gives a dictionary."""
    assert isinstance(parse_overrides(header), dict)


def test_malformed_overrides_ask_for_nothing() -> None:
    """A header that is wrong in one place asks for nothing at all."""
    assert parse_overrides('good="1", bad=2') == {}


@given(SHARES, st.text(max_size=20))
def test_a_key_sticks_and_moves_only_to_the_version_that_grows(shares: list[int], key: str) -> None:
    """A key's version stays the same, except that it may move to the one whose share grew."""
    before = version_of_key(traffic_of(shares), key)
    grown = [*shares[:-1], shares[-1] * 3]

    after = version_of_key(traffic_of(grown), key)

    assert after in (before, f"v{len(shares) - 1}")


@given(SHARES, st.integers())
def test_percentages_are_kept(shares: list[int], seed: int) -> None:
    """Over many requests, each version's share is near its percentage."""
    traffic = traffic_of(shares)
    random = Random(seed).random

    chosen = [choose_version(traffic, "script", (), random) for _ in range(2000)]

    for version, share in traffic:
        assert abs(chosen.count(version) / 20 - share) < 8


def test_the_same_seed_gives_the_same_split() -> None:
    """Two rehearsals with one seed send the same requests to the same versions."""
    traffic = (("old", 50.0), ("new", 50.0))

    first, second = ([choose_version(traffic, "s", (), Random(3).random) for _ in range(1)] for _ in range(2))

    assert first == second


def test_a_version_without_traffic_is_reached_by_override_only() -> None:
    """A version at 0 % gets no request by chance or key, and every one that asks for it."""
    traffic = (("old", 100.0), ("new", 0.0))
    keyed = {choose_version(traffic, "s", [(KEY_HEADER, str(n).encode())], Random(1).random) for n in range(50)}

    asked = choose_version(traffic, "s", [(OVERRIDES_HEADER, b's="new"')], Random(1).random)

    assert (keyed, asked) == ({"old"}, "new")
