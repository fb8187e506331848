"""
Replacing a secret in two phases: first the Worker accepts the new one and the one before, later only the new one.

The new value is kept before it is released, and the old one until it was seen to be refused, so that a process that
dies at any point loses neither: the next run goes on from what the ledger and the block say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Protocol

from clodo.errors import BadConfiguration, ClodoError, Refused, UndoIncomplete, VerificationFailed
from clodo.ledger.secret_records import RotationRecord, RotationState, SecretRecords
from clodo.secrets.generating import SYSTEM, Randomness, SecretKind, generate
from clodo.secrets.probing import Acceptance, Seen
from clodo.workspace.portfolio import Rotation


class Keeper(Protocol):
    """Where the secrets of one target are kept."""

    def read(self) -> dict[str, str]:
        """Return names and values."""

    def change(self, values: Mapping[str, str], *, kind: str = "") -> None:
        """Keep other values for some names; verified when it returns."""


@dataclass(frozen=True, slots=True)
class Rotator:
    """
    Rotates one secret of one target.

    Attributes:
        release: Given a reason, and values to release instead of those kept, takes the target to a version with them;
            raises when that is not live and verified.

        watch: Shows a key to the running Worker until it does what is expected; None when nothing is declared that
            could, and somebody said that this will do.

        mark: The keyed fingerprint of a value.
    """

    target: str
    name: str
    declared: Rotation
    keeper: Keeper
    records: SecretRecords
    release: Callable[[str, Mapping[str, str]], None]
    watch: Callable[[str, Acceptance], Seen] | None
    mark: Callable[[str], str]
    new_id: Callable[[], str]
    tell: Callable[[str], None] = field(default=lambda line: None)
    randomness: Randomness = SYSTEM

    def begin(self, *, at_once: bool = False) -> RotationRecord:
        """
        Make a new value, release it beside the one before, and see both accepted.

        A rotation that a dead process began is gone on with.

        Args:
            at_once: Refuse the value before without a time of grace.

        Raises:
            Refused: One is under way, or the service accepts only one value and *at_once* was not said.

            BadConfiguration: There is nothing to replace, or nothing tells what kind of secret it is.

            VerificationFailed: The Worker did not do what was expected; what was before is released again.

            UndoIncomplete: And that failed too.
        """
        previous = self.declared.previous
        if previous is None and not at_once:
            raise Refused(
                f"{self.target}: {self.name} has no second name under which the service accepts the value before",
                hint=f'Declare previous = "{self.name}_PREVIOUS" in portfolio.toml, or say --at-once.',
            )
        record, before = self._make()
        kept = self.keeper.read()
        was_released = False
        try:
            self.release(f"rotate {self.name}", {})
            was_released = True
            self._see(kept[self.name], Acceptance.ACCEPTED, "the new value")
            old = before.get(self.name)
            if previous is not None and old is not None:
                self._see(old, Acceptance.ACCEPTED, "the value before")
            elif old is not None:
                self._see(old, Acceptance.REFUSED, "the value before")
        except ClodoError as error:
            self._put_back(record, before, error, was_released=was_released)
            raise
        now = self.records.now()
        if previous is None:
            return self._note(replace(record, state=RotationState.RETIRED, retire_at=now, ended_at=now))
        grace = timedelta(0) if at_once else timedelta(hours=self.declared.grace_hours)
        overlapping = self._note(replace(record, state=RotationState.OVERLAPPING, retire_at=now + grace))
        return self.retire(overlapping) if at_once else overlapping

    def retire(self, record: RotationRecord) -> RotationRecord:
        """
        Release the new value in both places, see the one before refused, and only then forget it.

        Raises:
            Refused: Its time of grace is not over.

            VerificationFailed: The Worker still accepts it, or refuses the new one; it stays to be retired.
        """
        previous = self.declared.previous
        if previous is None:
            raise BadConfiguration(
                f"{self.target}: portfolio.toml no longer says where {self.name} keeps the value before",
                hint=f"Declare `previous` under services.….rotation.{self.name} again until it is retired.",
            )
        if record.retire_at is not None and self.records.now() < record.retire_at:
            raise Refused(
                f"{self.target}: the value of {self.name} before is good until {record.retire_at:%Y-%m-%dT%H:%M:%SZ}",
                hint="The scheduled flow `retire-secrets` retires it then.",
            )
        kept = self.keeper.read()
        current, old = kept[self.name], kept.get(previous)
        self.release(f"retire {previous}", {previous: current})
        self._see(current, Acceptance.ACCEPTED, "the new value")
        if old is not None and old != current:
            self._see(old, Acceptance.REFUSED, "the value before")
        self.keeper.change({previous: current}, kind=self._kind_of(current))
        return self._note(replace(record, state=RotationState.RETIRED, ended_at=self.records.now()))

    def _make(self) -> tuple[RotationRecord, dict[str, str]]:
        """Return the rotation, its new value kept, and what was kept before it as far as that is known."""
        kept = self.keeper.read()
        known = self._open()
        previous = self.declared.previous
        if known is not None and known.state is RotationState.OVERLAPPING:
            until = f"{known.retire_at:%Y-%m-%dT%H:%M:%SZ}" if known.retire_at else "now"
            raise Refused(
                f"{self.target}: {self.name} is being rotated; the value before is good until {until}",
                hint="Wait until it is retired, or run `clodo secrets rotate --finish`.",
            )
        if known is not None and self.name in kept and self.mark(kept[self.name]) == known.new_fingerprint:
            self.tell(f"{self.target}: going on with a rotation of {self.name} that was cut short")
            made_as = self._made_as(known.old_fingerprint)
            if made_as:
                # It died after the value was kept, before its kind was noted.
                self.keeper.change({self.name: kept[self.name]}, kind=self.declared.kind or made_as)
            old = kept.get(previous) if previous else None
            return known, {self.name: old, previous: old} if previous and old is not None else {}
        if known is not None:
            # It died before the new value was kept: nothing has changed.
            self._note(replace(known, state=RotationState.PUT_BACK, ended_at=self.records.now()))
        if self.name not in kept:
            raise BadConfiguration(
                f"{self.target}: {self.name} is not kept, so there is nothing to replace",
                hint=f"Run `clodo secrets generate {self.target} {self.name}`.",
            )
        kind = self._kind_of(kept[self.name])
        if not kind:
            raise BadConfiguration(
                f"{self.target}: {self.name} was not made by Clodo, so nothing tells what a new one must look like",
                hint=f"Declare its kind under [services.….rotation.{self.name}] in portfolio.toml:"
                f" {', '.join(SecretKind)}.",
            )
        new = generate(SecretKind(kind), prefix=self.declared.prefix, randomness=self.randomness)
        record = self._note(
            RotationRecord(
                id=self.new_id(),
                target=self.target,
                name=self.name,
                state=RotationState.BEGUN,
                old_fingerprint=self.mark(kept[self.name]),
                new_fingerprint=self.mark(new),
                begun_at=self.records.now(),
            )
        )
        values = {self.name: new, **({previous: kept[self.name]} if previous else {})}
        self.keeper.change(values, kind=kind)
        self.tell(f"{self.target}: made a new value of {self.name} ({kind})")
        before = {name: kept[name] for name in values if name in kept}
        # A second name that nobody kept before must hold something good once it was released.
        return record, {**dict.fromkeys(values, kept[self.name]), **before}

    def _kind_of(self, value: str) -> str:
        """Return what kind of secret *value* is, as declared, else as it was made; empty when nobody knows."""
        if self.declared.kind is not None:
            return self.declared.kind
        return self._made_as(self.mark(value))

    def _made_as(self, fingerprint: str) -> str:
        """Return what kind the secret was noted as with the value of this fingerprint; empty when it was not."""
        records = (record for record in self.records.all(self.target) if record.name == self.name)
        return next((record.kind for record in records if record.fingerprint == fingerprint), "")

    def _put_back(
        self, record: RotationRecord, before: Mapping[str, str], error: ClodoError, *, was_released: bool
    ) -> None:
        why = error.message.removeprefix(f"{self.target}: ")
        if not before:
            raise UndoIncomplete(
                f"{self.target}: {why}; the value of {self.name} before is not known any more",
                hint=f"Run `clodo secrets rotate {self.target} {self.name}` again: it goes on.",
            ) from error
        # Why is said by the error in the end.
        self.tell(f"{self.target}: the rotation failed; putting the value of {self.name} back")
        self.keeper.change(before, kind=self._kind_of(self.keeper.read()[self.name]))
        if was_released:
            try:
                self.release(f"put {self.name} back", {})
            except ClodoError as second:
                raise UndoIncomplete(
                    f"{self.target}: {why}; and {self.name} could not be put back: {second.message}",
                    hint=f"The value before is kept; release it with `clodo secrets push {self.target}`.",
                ) from second
        self._note(replace(record, state=RotationState.PUT_BACK, ended_at=self.records.now()))

    def _see(self, value: str, expected: Acceptance, which: str) -> None:
        if self.watch is None:
            return
        seen = self.watch(value, expected)
        if seen.acceptance is not expected:
            answered = f"answered {seen.status}" if seen.status else "did not answer"
            raise VerificationFailed(
                f"{self.target}: {which} of {self.name} was not seen to be {expected}: the Worker {answered}",
                hint=f"Look at services.….rotation.{self.name}.probe in portfolio.toml, and at the Worker's code.",
            )
        self.tell(f"{self.target}: {which} of {self.name} is {expected} by the running Worker")

    def _open(self) -> RotationRecord | None:
        found = self.records.rotations(target=self.target, only_open=True)
        return next((record for record in found if record.name == self.name), None)

    def _note(self, record: RotationRecord) -> RotationRecord:
        self.records.put_rotation(record)
        return record
