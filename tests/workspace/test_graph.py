"""What needs what, and in which waves it is released."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clodo.errors import ServicesFormACycle
from clodo.workspace.graph import Dependency, Graph, Node, Use
from clodo.workspace.targets import Target


def _target(name: str) -> Target:
    return Target(name, "production")


def _graph(links: dict[str, list[str]]) -> Graph:
    return Graph.between(
        Node(
            _target(name), name, tuple(Use(worker, f"service binding {worker.upper()}", f"{name}:1") for worker in uses)
        )
        for name, uses in links.items()
    )


@st.composite
def _acyclic(draw: st.DrawFn) -> dict[str, list[str]]:
    count = draw(st.integers(0, 12))
    names = draw(st.permutations([f"s{number}" for number in range(count)]))
    return {
        name: sorted(draw(st.sets(st.sampled_from(names[:index])) if index else st.just(set())))
        for index, name in enumerate(names)
    }


def _reached(links: dict[str, list[str]], name: str) -> set[str]:
    found: set[str] = set()
    pending = [*links[name]]
    while pending:
        needed = pending.pop()
        if needed not in found:
            found.add(needed)
            pending += links[needed]
    return found


@given(_acyclic(), st.randoms(use_true_random=False), st.data())
def test_everything_is_released_once_and_after_what_it_needs(links: dict[str, list[str]], random, data: st.DataObject):
    """Any choice of targets comes out whole, in order of need (even through targets left out), always the same way."""
    chosen = data.draw(st.sets(st.sampled_from(sorted(links)))) if links else set()

    waves = _graph(links).waves(_target(name) for name in chosen)

    flat = [target.service for wave in waves for target in wave]
    assert sorted(flat) == sorted(chosen)
    level = {target.service: number for number, wave in enumerate(waves) for target in wave}
    for name in chosen:
        below = [level[needed] for needed in _reached(links, name) & chosen]
        assert level[name] == max(below, default=-1) + 1
    assert all(wave and list(wave) == sorted(wave) for wave in waves)
    shuffled = list(links)
    random.shuffle(shuffled)
    again = _graph({name: list(reversed(links[name])) for name in shuffled})
    assert again.waves(_target(name) for name in sorted(chosen, reverse=True)) == waves


@given(_acyclic(), st.data())
def test_a_circle_is_always_found_and_named(links: dict[str, list[str]], data: st.DataObject):
    """Closing any path to a circle is refused, and the circle that is named is one."""
    pairs = [(name, needed) for name in links for needed in sorted(_reached(links, name))]
    if not pairs:
        return
    name, needed = data.draw(st.sampled_from(pairs))
    links = {**links, needed: [*links[needed], name]}

    with pytest.raises(ServicesFormACycle) as caught:
        _graph(links).raise_if_cyclic()

    circle = [part.split("@")[0] for part in caught.value.message.rpartition(": ")[2].split(" → ")]
    assert circle[0] == circle[-1]
    assert len(circle) >= 3
    assert all(later in links[earlier] for earlier, later in itertools.pairwise(circle))


def test_the_circle_is_told_from_its_first_name_with_its_place():
    """The message is the same whatever is looked at first, and says where the first link is written."""
    with pytest.raises(ServicesFormACycle) as caught:
        _graph({"c": ["a"], "a": ["b"], "b": ["c"], "z": ["c"]}).waves()

    assert caught.value.message == (
        "a:1: services need each other in a circle: a@production → b@production → c@production → a@production"
    )
    assert caught.value.exit_code == 2


def test_depth_has_no_limit():
    """Three thousand targets in a row are three thousand waves."""
    links = {f"s{number:04}": [f"s{number - 1:04}"] if number else [] for number in range(3000)}

    assert len(_graph(links).waves()) == 3000


def test_a_worker_outside_is_listed_and_is_no_dependency():
    """A binding to a Worker nobody here owns, and to one of another environment, are both outsiders."""
    staging, production = Target("api", "staging"), Target("api", "production")
    auth = Target("auth", "production")
    graph = Graph.between(
        [
            Node(
                staging,
                "api-staging",
                (Use("auth", "service binding AUTH", "f:1"), Use("bank", "tail consumer", "f:2")),
            ),
            Node(
                production,
                "api",
                (Use("api", "service binding SELF", "f:3"), Use("auth", "service binding AUTH", "f:4")),
            ),
            Node(auth, "auth"),
        ]
    )

    assert graph.dependencies == (Dependency(production, auth, "service binding AUTH", "f:4"),)
    assert [(other.worker, other.known_as) for other in graph.outsiders] == [("auth", auth), ("bank", None)]
    assert graph.needed_by(production) == (auth,)
    assert graph.waves() == ((staging, auth), (production,))


def test_a_customer_needs_his_own_and_else_the_shared_one():
    """acme's api needs acme's auth where there is one, and the shared mail where there is not; never globex's."""
    api, auth = Target("api", "production", "acme"), Target("auth", "production", "acme")
    other, mail = Target("auth", "production", "globex"), Target("mail", "production")
    graph = Graph.between(
        [
            Node(api, "api-acme", needs=("auth", "mail")),
            Node(auth, "auth-acme"),
            Node(other, "auth-g"),
            Node(mail, "mail"),
        ]
    )

    assert graph.needed_by(api) == (auth, mail)


def test_the_graph_is_told_in_text_and_drawn_for_mermaid():
    """Both show waves or arrows, why, and who is outside."""
    graph = _graph({"web": ["api"], "api": ["auth", "bank"], "auth": []})

    assert graph.to_text() == (
        "wave 1\n"
        "  auth@production\n"
        "wave 2\n"
        "  api@production\n"
        "    needs auth@production (service binding AUTH)\n"
        "    calls bank, which is outside the portfolio (service binding BANK)\n"
        "wave 3\n"
        "  web@production\n"
        "    needs api@production (service binding API)"
    )
    assert graph.to_mermaid() == (
        "graph TD\n"
        '  t0["api@production"]\n'
        '  t1["auth@production"]\n'
        '  t2["web@production"]\n'
        '  t0 -->|"service binding AUTH"| t1\n'
        '  t2 -->|"service binding API"| t0\n'
        '  o0("bank")\n'
        '  t0 -.->|"service binding BANK"| o0'
    )
