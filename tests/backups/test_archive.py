"""Archives: what is sealed is what comes out, for those who may open it and nobody else."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import weakref

import pyrage
import pytest

from clodo.backups.archive import recipient, seal, unseal
from clodo.errors import BadConfiguration, IdentityMissing, SnapshotDamaged


@pytest.fixture
def identity():
    return pyrage.x25519.Identity.generate()


def sealed(tmp_path, identity, chunks):
    file = tmp_path / "archive.age"
    return file, seal(chunks, file, [identity.to_public()])


def test_what_is_sealed_comes_out(tmp_path, identity):
    """Sizes and hashes are those of the file and of what is in it; empty chunks do no harm."""
    content = os.urandom(300_000) + b"x" * 300_000

    file, made = sealed(tmp_path, identity, [b"", content[:7], b"", content[7:]])

    assert b"".join(unseal([file.read_bytes()], [identity])) == content
    assert (made.sha256, made.size) == (hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_size)
    assert (made.plain_sha256, made.plain_size) == (hashlib.sha256(content).hexdigest(), 600_000)
    assert file.stat().st_mode & 0o777 == 0o600


def test_every_recipient_opens_it_and_nobody_else(tmp_path, identity):
    """Two owners may open it; a third one, and one without a key, are told so."""
    second, third = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()
    file = tmp_path / "archive.age"
    seal([b"content"], file, [identity.to_public(), second.to_public()])

    assert [b"".join(unseal([file.read_bytes()], [key])) for key in (identity, second)] == [b"content"] * 2
    with pytest.raises(IdentityMissing, match="none of the given"):
        list(unseal([file.read_bytes()], [third]))
    with pytest.raises(IdentityMissing, match="No age identity"):
        list(unseal([file.read_bytes()], []))


def test_a_damaged_or_shortened_file_does_not_open(tmp_path, identity):
    """age authenticates every block, and knows where the last one ends."""
    file, _ = sealed(tmp_path, identity, [os.urandom(200_000)])
    whole = file.read_bytes()

    for content in (whole[:-1], whole[:70_000], whole[:100_000] + b"x" + whole[100_001:], b"", b"nothing of age"):
        with pytest.raises(SnapshotDamaged):
            list(unseal([content], [identity]))


def test_errors_of_the_source_come_through(tmp_path, identity):
    """What the reader of a database or a vault raises is what the caller sees, in both directions."""

    def failing():
        yield b"some"
        raise KeyError("the source broke")

    with pytest.raises(KeyError, match="the source broke"):
        seal(failing(), tmp_path / "archive.age", [identity.to_public()])
    with pytest.raises(KeyError, match="the source broke"):
        list(unseal(failing(), [identity]))


def test_a_reader_may_stop_in_the_middle(tmp_path, identity):
    """What decrypts in the background ends with it."""
    file, _ = sealed(tmp_path, identity, [os.urandom(5_000_000)])
    reading = unseal([file.read_bytes()], [identity])

    assert next(reading)
    reading.close()


def test_a_recipient_that_is_none_is_refused():
    """Some other program's public key opens nothing."""
    with pytest.raises(BadConfiguration, match="no age recipient"):
        recipient("ssh-rsa AAAA")


MEMORY = """
import os, resource, sys
from pathlib import Path
import pyrage
from clodo.backups.archive import seal, unseal
identity = pyrage.x25519.Identity.generate()
file = Path(sys.argv[1])
block = os.urandom(1 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
seal((block for _ in range(200)), file, [identity.to_public()])
def chunks():
    with file.open("rb") as source:
        while chunk := source.read(1 << 20):
            yield chunk
assert sum(map(len, unseal(chunks(), [identity]))) == 200 << 20
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_does_not_grow_with_the_archive(tmp_path):
    """200 MiB in and out again take less than 40 MiB."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path / "large.age")], capture_output=True, text=True, check=True
    )

    assert int(done.stdout) * (1 if sys.platform == "darwin" else 1024) < 40 << 20


class Chunk(bytearray):
    """A chunk that tells whether anybody still holds it."""


def test_a_chunk_is_let_go_before_the_next_one_is_asked_for(tmp_path, identity):
    """Parts of a vault are 8 MiB each: two of them at once are what a small machine may not have."""
    file, _ = sealed(tmp_path, identity, [os.urandom(300_000)])
    content = file.read_bytes()
    held: list[bool] = []

    def chunks():
        for start in range(0, len(content), 100_000):
            chunk = Chunk(content[start : start + 100_000])
            reference = weakref.ref(chunk)
            yield chunk
            del chunk
            held.append(reference() is not None)

    size = sum(map(len, unseal(chunks(), [identity])))

    assert size == 300_000
    assert held == [False] * 4
