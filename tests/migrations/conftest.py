"""A folder to write migrations into, and a D1 to apply them to."""

from collections.abc import Callable
from pathlib import Path

import pytest

from .database import InMemoryD1


@pytest.fixture
def d1() -> InMemoryD1:
    """An empty database; its id is `db`."""
    return InMemoryD1()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty migrations folder."""
    path = tmp_path / "migrations"
    path.mkdir()
    return path


@pytest.fixture
def write(folder: Path) -> Callable[..., Path]:
    """Write a file into the migrations folder."""

    def write_file(name: str, text: str | bytes = "SELECT 1;") -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write_file
