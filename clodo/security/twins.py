"""Which secrets have the same value in another environment; known by fingerprints, without the values."""

from __future__ import annotations

from collections.abc import Mapping

from clodo.workspace.targets import Target


def twins_of(target: str, fingerprints: Mapping[str, Mapping[str, str]]) -> dict[str, tuple[str, ...]]:
    """
    Return, for each secret of *target*, the targets of other environments that hold the same value.

    Args:
        fingerprints: By target, then by name; of *target* too.
    """
    environment = Target.parse(target).environment
    holders: dict[str, list[str]] = {}
    for other, names in sorted(fingerprints.items()):
        if Target.parse(other).environment != environment:
            for fingerprint in set(names.values()):
                holders.setdefault(fingerprint, []).append(other)
    found = {name: holders.get(fingerprint) for name, fingerprint in fingerprints.get(target, {}).items()}
    return {name: tuple(others) for name, others in found.items() if others}
