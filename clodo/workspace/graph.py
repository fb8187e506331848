"""Which targets need which, and in what waves they may be released."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from clodo.errors import ServicesFormACycle
from clodo.workspace.targets import Target


@dataclass(frozen=True, slots=True)
class Use:
    """
    A Worker that a target calls by name.

    Attributes:
        worker: Its name on the account.

        because: ``service binding AUTH``.

        place: ``file:line``.
    """

    worker: str
    because: str
    place: str


@dataclass(frozen=True, slots=True)
class Node:
    """
    A target as the graph sees it.

    Attributes:
        worker: Name of the Worker it becomes.

        uses: Workers that its bindings name.

        needs: Services that the portfolio says must be live first.

        place: ``file:line`` to show for *needs*.
    """

    target: Target
    worker: str
    uses: tuple[Use, ...] = ()
    needs: tuple[str, ...] = ()
    place: str = ""


@dataclass(frozen=True, slots=True)
class Dependency:
    """*target* needs *needed* to be live first; *because* says why, *place* where it is written."""

    target: Target
    needed: Target
    because: str
    place: str


@dataclass(frozen=True, slots=True)
class Outsider:
    """*target* calls a Worker that is no target of the same environment; *known_as* if it is one elsewhere."""

    target: Target
    worker: str
    because: str
    place: str
    known_as: Target | None = None


@dataclass(frozen=True, slots=True)
class Graph:
    """
    The dependencies between targets.

    Attributes:
        targets: Sorted.

        dependencies: Sorted by target, then by what it needs; one per pair.

        outsiders: Workers that are called but not released here; no dependency.
    """

    targets: tuple[Target, ...]
    dependencies: tuple[Dependency, ...]
    outsiders: tuple[Outsider, ...] = ()

    @classmethod
    def between(cls, nodes: Iterable[Node]) -> Graph:
        """Resolve what *nodes* use by Worker name, and what they need by service, each within one environment."""
        by_target = {node.target: node for node in nodes}
        owners: dict[str, list[Target]] = {}
        for node in by_target.values():
            owners.setdefault(node.worker, []).append(node.target)
        found: dict[tuple[Target, Target], Dependency] = {}
        outside: list[Outsider] = []
        for target in sorted(by_target):
            node = by_target[target]
            for use in node.uses:
                owner = _owner_for(target, owners.get(use.worker, ()))
                if owner is None:
                    elsewhere = min(owners.get(use.worker, ()), default=None)
                    outside.append(Outsider(target, use.worker, use.because, use.place, elsewhere))
                elif owner != target:
                    found.setdefault((target, owner), Dependency(target, owner, use.because, use.place))
            for service in node.needs:
                candidates = [other for other in by_target if other.service == service]
                owner = _owner_for(target, candidates)
                if owner is not None and owner != target:
                    found.setdefault((target, owner), Dependency(target, owner, "needs", node.place))
        dependencies = tuple(found[pair] for pair in sorted(found))
        return cls(tuple(sorted(by_target)), dependencies, tuple(outside))

    def needed_by(self, target: Target) -> tuple[Target, ...]:
        """Return what *target* itself needs, sorted."""
        return tuple(sorted(link.needed for link in self.dependencies if link.target == target))

    def raise_if_cyclic(self) -> None:
        """
        Answer by raising.

        Raises:
            ServicesFormACycle: The message names the circle and where its first link is written.
        """
        self.waves()

    def waves(self, targets: Iterable[Target] | None = None) -> tuple[tuple[Target, ...], ...]:
        """
        Return *targets* (all by default) in waves: what a target needs, even through others, is in an earlier wave.

        Each wave is sorted; each target is in the earliest wave it can be in; no wave is empty.

        Raises:
            ServicesFormACycle: Some of the targets, or of those between them, need each other in a circle.
        """
        needs = self._needs()
        chosen = set(self.targets if targets is None else targets)
        order = _sorted_by_need(sorted(chosen), needs, self._cycle)
        # Depth counts chosen targets only, so that leaving some out closes the gap but keeps the order.
        depth: dict[Target, int] = {}
        for target in order:
            below = max((depth[needed] for needed in needs.get(target, ())), default=-1)
            depth[target] = below + 1 if target in chosen else below
        waves: dict[int, list[Target]] = {}
        for target in sorted(chosen):
            waves.setdefault(depth[target], []).append(target)
        return tuple(tuple(waves[level]) for level in sorted(waves))

    def _needs(self) -> dict[Target, tuple[Target, ...]]:
        needs: dict[Target, list[Target]] = {}
        for link in self.dependencies:
            needs.setdefault(link.target, []).append(link.needed)
        return {target: tuple(sorted(needed)) for target, needed in needs.items()}

    def _cycle(self, circle: Sequence[Target]) -> ServicesFormACycle:
        first = min(range(len(circle)), key=lambda index: circle[index])
        turned = [*circle[first:], *circle[:first]]
        link = next(
            link for link in self.dependencies if link.target == turned[0] and link.needed == turned[1 % len(turned)]
        )
        path = " → ".join(str(target) for target in [*turned, turned[0]])
        prefix = f"{link.place}: " if link.place else ""
        return ServicesFormACycle(
            f"{prefix}services need each other in a circle: {path}",
            hint="Take one binding or one `needs` out of the circle.",
        )

    def to_text(self) -> str:
        """Return the waves and what each target needs, for a terminal."""
        lines: list[str] = []
        for number, wave in enumerate(self.waves(), start=1):
            lines.append(f"wave {number}")
            for target in wave:
                lines.append(f"  {target}")
                lines += [
                    f"    needs {link.needed} ({link.because})" for link in self.dependencies if link.target == target
                ]
                lines += [
                    f"    calls {other.worker}, which is {_whose(other)} ({other.because})"
                    for other in self.outsiders
                    if other.target == target
                ]
        return "\n".join(lines)

    def to_mermaid(self) -> str:
        """Return the graph in Mermaid's words; arrows point at what is needed."""
        names = {target: f"t{index}" for index, target in enumerate(self.targets)}
        lines = ["graph TD"]
        lines += [f'  {name}["{target}"]' for target, name in names.items()]
        lines += [
            f'  {names[link.target]} -->|"{_quoted(link.because)}"| {names[link.needed]}' for link in self.dependencies
        ]
        outside = sorted({other.worker for other in self.outsiders})
        outside_names = {worker: f"o{index}" for index, worker in enumerate(outside)}
        lines += [f'  {name}("{_quoted(worker)}")' for worker, name in outside_names.items()]
        lines += [
            f'  {names[other.target]} -.->|"{_quoted(other.because)}"| {outside_names[other.worker]}'
            for other in self.outsiders
        ]
        return "\n".join(lines)


def _owner_for(target: Target, owners: Iterable[Target]) -> Target | None:
    """Choose the owner that serves *target*: same environment and customer, else the environment's shared one."""
    same = [owner for owner in owners if owner.environment == target.environment]
    for customer in (target.customer, None):
        for owner in same:
            if owner.customer == customer:
                return owner
    return None


def _sorted_by_need(
    starts: Sequence[Target],
    needs: Mapping[Target, Sequence[Target]],
    cycle: Callable[[Sequence[Target]], ServicesFormACycle],
) -> list[Target]:
    """Return *starts* and all they need, each after what it needs; without recursion, so depth has no limit."""
    order: list[Target] = []
    done: set[Target] = set()
    for start in starts:
        path: list[Target] = []
        on_path: set[Target] = set()
        stack: list[tuple[Target, bool]] = [(start, False)]
        while stack:
            target, is_leaving = stack.pop()
            if is_leaving:
                path.pop()
                on_path.discard(target)
                done.add(target)
                order.append(target)
                continue
            if target in done:
                continue
            if target in on_path:
                raise cycle(path[path.index(target) :])
            path.append(target)
            on_path.add(target)
            stack.append((target, True))
            stack.extend((needed, False) for needed in reversed(needs.get(target, ())))
    return order


def _whose(other: Outsider) -> str:
    return f"{other.known_as}, of another environment" if other.known_as else "outside the portfolio"


def _quoted(text: str) -> str:
    return text.replace('"', "#quot;")
