"""What goes wrong on purpose, and with which version."""

from __future__ import annotations

from collections.abc import Mapping

from clodo.emulator.runtime.ports import Disturbance


class Disturbances:
    """The disturbances that are on."""

    def __init__(self) -> None:
        self._active: dict[tuple[str, str, str | None], Disturbance] = {}

    def set(self, account_id: str, script: str, version_id: str | None, disturbance: Disturbance | None) -> None:
        """Make a version (all versions of *script* if None) misbehave; None ends it."""
        key = (account_id, script, version_id)
        if disturbance is None:
            self._active.pop(key, None)
        else:
            self._active[key] = disturbance

    def active(self) -> Mapping[tuple[str, str, str | None], Disturbance]:
        """Return what misbehaves now, by account, script and version (None: all of them)."""
        return dict(self._active)

    def of(self, account_id: str, script: str, version_id: str) -> Disturbance | None:
        """Return how this version misbehaves: its own way before the script's."""
        if not self._active:
            return None
        own = self._active.get((account_id, script, version_id))
        return own or self._active.get((account_id, script, None))

    def forget(self, account_id: str, script: str) -> None:
        """End those of a deleted script."""
        for key in [key for key in self._active if key[:2] == (account_id, script)]:
            del self._active[key]
