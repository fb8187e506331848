"""What a restore has done so far, in a file: who runs it again after a crash goes on from there."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from clodo.backups.manifest import Kind
from clodo.backups.restoring.plan import Plan, Step, Way, Wish
from clodo.errors import BadConfiguration


class Journal:
    """
    The journal of one restore.

    Attributes:
        plan: What was shown and begun.

        notes: Step's key to what was done of it.
    """

    def __init__(self, file: Path, plan: Plan, notes: dict[str, dict[str, Any]], begun_at: str) -> None:
        self._file = file
        self.plan = plan
        self.notes = notes
        self.begun_at = begun_at

    @classmethod
    def find(cls, folder: Path, wish: Wish) -> Journal | None:
        """
        Return the journal of a restore of the same *wish* that did not end; None when there is none.

        Raises:
            BadConfiguration: It can't be read.
        """
        file = _file(folder, wish)
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            return cls(file, _plan(found["plan"]), dict(found["notes"]), str(found["begun_at"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadConfiguration(
                f"{file}: the journal of an interrupted restore can't be read",
                hint="Look on the account for what it made, then delete the file.",
            ) from error

    @classmethod
    def begin(cls, folder: Path, wish: Wish, plan: Plan, now: datetime) -> Journal:
        """Begin a journal."""
        journal = cls(_file(folder, wish), plan, {}, now.isoformat())
        journal._write()
        return journal

    def of(self, step: Step) -> Mapping[str, Any]:
        """Return what was noted of a step; empty before its first note."""
        return self.notes.get(step.key, {})

    def note(self, step: Step, **facts: Any) -> None:
        """Note facts of a step, before anything builds on them."""
        self.notes[step.key] = {**self.notes.get(step.key, {}), **facts}
        self._write()

    def forget(self, step: Step) -> None:
        """Forget what was done of a step, now that it is put back; its safety snapshot stays noted."""
        safety = self.of(step).get("safety")
        self.notes[step.key] = {"safety": safety} if safety else {}
        self._write()

    def end(self) -> None:
        """Forget it: the restore is done, or undone."""
        self._file.unlink(missing_ok=True)

    def _write(self) -> None:
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self._file.with_suffix(".new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump({"plan": self.plan.to_json(), "notes": self.notes, "begun_at": self.begun_at}, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._file)


def _file(folder: Path, wish: Wish) -> Path:
    text = json.dumps(asdict(wish), sort_keys=True, default=str)
    return folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


def _plan(found: Mapping[str, Any]) -> Plan:
    steps = tuple(
        Step(
            **{
                **step,
                "kind": Kind(step["kind"]),
                "way": Way(step["way"]),
                "targets": tuple(step["targets"]),
                "risks": tuple(step["risks"]),
                "changes": tuple(step["changes"]),
            }
        )
        for step in found["steps"]
    )
    return Plan(
        found["snapshot"],
        found["vault"],
        datetime.fromisoformat(found["taken_at"]),
        steps,
        found["table"],
        found["prefix"],
        tuple((item["archive"], item["why"]) for item in found["left"]),
    )
