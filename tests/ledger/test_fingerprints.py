"""Keyed fingerprints."""

import stat

import pytest

from clodo.errors import LedgerUnavailable
from clodo.ledger.fingerprints import fingerprint, load_key

from .processes import make_key, run_together


def test_a_key_is_made_once_and_for_its_owner_only(tmp_path):
    """The key stays the same, nobody else may read it, and a mode that was loosened is tightened."""
    key = load_key(tmp_path)
    path = tmp_path / ".clodo" / "fingerprint.key"
    path.chmod(0o644)

    assert load_key(tmp_path) == key
    assert len(key) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["fingerprint.key"]


def test_workspaces_have_keys_of_their_own(tmp_path):
    """Two workspaces' fingerprints of one secret differ."""
    one, other = load_key(tmp_path / "a"), load_key(tmp_path / "b")

    assert fingerprint(one, {"A": "1"}) != fingerprint(other, {"A": "1"})


def test_processes_that_ask_at_once_get_one_key(tmp_path):
    """The first key made is everybody's."""
    assert len(set(run_together(4, make_key, tmp_path))) == 1


def test_a_fingerprint_says_same_or_other():
    """Order doesn't matter; names, values and where one ends and the next begins do."""
    key = b"k" * 32
    same = fingerprint(key, {"A": "1", "B": "2"})

    assert same == fingerprint(key, {"B": "2", "A": "1"})
    others = [{"A": "1", "B": "3"}, {"A": "1", "C": "2"}, {"A": "1"}, {}, {"A": '1","B":"2'}, {"A1": "", "B": "2"}]
    assert len({fingerprint(key, secrets) for secrets in others} | {same}) == len(others) + 1


def test_a_file_that_is_no_key_is_refused(tmp_path):
    """A truncated key is named, with what to do."""
    (tmp_path / ".clodo").mkdir()
    (tmp_path / ".clodo" / "fingerprint.key").write_bytes(b"short")

    with pytest.raises(LedgerUnavailable, match="5 bytes instead of 32") as caught:
        load_key(tmp_path)
    assert "Remove the file" in caught.value.hint


def test_an_impossible_place_for_a_key_is_named(tmp_path):
    """A workspace that is a file can't keep a key."""
    (tmp_path / "file").write_text("")

    with pytest.raises(LedgerUnavailable, match="fingerprint key"):
        load_key(tmp_path / "file")
