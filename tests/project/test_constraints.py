"""What users, developers and CI install: the same versions, none of them known to be broken."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOR_PIP = (ROOT / "constraints" / "requirements.txt").read_text()


def pinned_for_uv() -> dict[str, Requirement]:
    lines = PYPROJECT["tool"]["uv"]["constraint-dependencies"]
    return {canonicalize_name(line.name): line for line in map(Requirement, lines)}


def pinned_for_pip() -> dict[str, Requirement]:
    blocks = re.sub(r"^#.*\n", "", FOR_PIP, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    requirements = [Requirement(block.split(" --hash=")[0].strip()) for block in blocks]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


def version_of(requirement: Requirement) -> Version:
    (exact,) = requirement.specifier
    assert exact.operator == "=="
    return Version(exact.version)


def test_uv_and_pip_are_told_the_same_versions():
    """Whatever pip's file pins, pyproject.toml pins to the same version on the same systems."""
    uv, pip = pinned_for_uv(), pinned_for_pip()

    assert len(pip) > 50
    assert {name: (uv[name].specifier, str(uv[name].marker)) for name in pip} == {
        name: (requirement.specifier, str(requirement.marker)) for name, requirement in pip.items()
    }


def test_whatever_pyproject_asks_for_is_pinned_within_its_bounds():
    """Each direct dependency, the extras' and the developers' too, is pinned to a version that its bounds allow."""
    project = PYPROJECT["project"]
    direct = [*project["dependencies"], *project["optional-dependencies"]["postgres"]]
    direct += PYPROJECT["dependency-groups"]["dev"]
    uv, pip = pinned_for_uv(), pinned_for_pip()

    for wanted in map(Requirement, direct):
        assert version_of(uv[canonicalize_name(wanted.name)]) in wanted.specifier, wanted
    for wanted in map(Requirement, project["dependencies"]):
        assert canonicalize_name(wanted.name) in pip


@pytest.mark.parametrize(("package", "broken_from"), [("fastapi", "0.151"), ("sqlalchemy", "2.1")])
def test_versions_that_break_prefect_are_kept_out(package: str, broken_from: str):
    """Prefect 3.8 does not start with FastAPI 0.151, and runs no schedule with SQLAlchemy 2.1."""
    assert version_of(pinned_for_uv()[package]) < Version(broken_from)
    assert version_of(pinned_for_pip()[package]) < Version(broken_from)
    bounds = [Requirement(line) for line in PYPROJECT["project"]["dependencies"]]
    (bound,) = [line for line in bounds if line.name == package]
    assert Version(broken_from) not in bound.specifier


def test_these_tests_run_with_the_pinned_versions():
    """Every pinned package that is installed here has the pinned version."""
    checked = 0
    for name, requirement in pinned_for_uv().items():
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        try:
            installed = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        assert Version(installed) == version_of(requirement), name
        checked += 1
    assert checked > 100


def test_every_package_for_pip_has_hashes_and_no_file_names_an_index():
    """pip can be told to insist on hashes; where packages come from is the machine's own affair."""
    blocks = re.sub(r"^#.*\n", "", FOR_PIP, flags=re.MULTILINE).replace("\\\n", " ").splitlines()

    assert all("--hash=sha256:" in block for block in blocks)
    for text in (FOR_PIP, (ROOT / "pyproject.toml").read_text()):
        assert not re.search(r"index-url|extra-index|find-links|https?://[^\s\"']*(simple|pypi)", text)


def test_no_python_is_allowed_that_prefect_refuses():
    """uv heeds no upper bounds of dependencies, and fetches the newest Python that ours allows where it finds none."""
    ours = SpecifierSet(PYPROJECT["project"]["requires-python"])
    prefects = SpecifierSet(metadata.metadata("prefect")["Requires-Python"])
    pythons = [f"3.{minor}.1" for minor in range(8, 30)]

    assert "3.11.1" in ours
    assert set(ours.filter(pythons)) <= set(prefects.filter(pythons))
