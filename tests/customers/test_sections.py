"""Sections of customers: made in and taken out of configs of every kind, and routes that move."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clodo.customers.sections import (
    CopyEnvironment,
    Database,
    MoveRoutes,
    RemoveSection,
    SetDatabase,
    moved_pattern,
)
from clodo.workspace.documents import read_document
from clodo.workspace.editing import PutRoute, edit_config
from clodo.workspace.hostnames import host_of_route
from clodo.workspace.wrangler_config import WranglerConfig
from tests.workspace.folders import config

CORPUS = Path(__file__).parents[1] / "workspace" / "samples" / "corpus"


@pytest.mark.parametrize("file", sorted(CORPUS.iterdir()), ids=lambda file: file.name)
def test_a_section_comes_and_goes_in_every_config_of_the_corpus(file):
    """It says what was meant, every other section what it said; without it, the values are those from before."""
    before = WranglerConfig.read(file)
    route = PutRoute("acme-production", "acme.example/*")
    make = [
        CopyEnvironment("production", "acme-production", "acme"),
        SetDatabase("production", "acme-production", None),
    ]

    made = edit_config(file, [*make, route])
    assert made.after is not None
    after = WranglerConfig.from_document(read_document(file, content=made.after))
    removed = edit_config(file, [RemoveSection("acme-production")], content=made.after)
    assert removed.after is not None

    section = after.for_environment("acme-production")
    assert [route.pattern for route in section.routes] == ["acme.example/*"]
    assert section.databases == ()
    shared = before.for_environment("production")
    assert [item.binding for item in section.namespaces] == [item.binding for item in shared.namespaces]
    assert [item.binding for item in section.services] == [item.binding for item in shared.services]
    without = dict(after.document.data)
    without["env"] = {name: value for name, value in without["env"].items() if name != "acme-production"}
    assert {**without, "env": without["env"] or {}} == {
        **before.document.data,
        "env": before.document.data.get("env") or {},
    }
    again = read_document(file, content=removed.after).data
    assert {**again, "env": again.get("env") or {}} == {
        **before.document.data,
        "env": before.document.data.get("env") or {},
    }


def test_a_new_section_repeats_what_wrangler_does_not_inherit(tmp_path):
    """Bindings and vars; neither the queue's consumer, nor the workflow's name, nor the one customer's domain."""
    text = (
        'name = "api"\nmain = "index.js"\ncompatibility_date = "2026-01-01"\nroutes = ["a.example/*"]\n'
        'workflows = [{ binding = "FLOW", name = "flow", class_name = "Flow" }]\n'
        '[vars]\nLEVEL = "info"\nSERVICE_DOMAIN = "a.example"\n'
        '[queues]\nproducers = [{ binding = "Q", queue = "q" }]\nconsumers = [{ queue = "q" }]\n'
    )
    made = edit_config(config(tmp_path, text).file, [CopyEnvironment("production", "acme-production", "acme")])

    section = read_document(made.file, content=made.after).data["env"]["acme-production"]

    assert section == {
        "workflows": [{"binding": "FLOW", "name": "flow-acme", "class_name": "Flow"}],
        "vars": {"LEVEL": "info"},
        "queues": {"producers": [{"binding": "Q", "queue": "q"}]},
    }


def test_another_database_leaves_its_binding_and_migrations(tmp_path):
    """The id of the one before goes when the new one's isn't known."""
    text = (
        'name = "api"\nmain = "index.js"\ncompatibility_date = "2026-01-01"\n[[env.acme-production.d1_databases]]\n'
        'binding = "STORE"\ndatabase_name = "old"\ndatabase_id = "11112222-3333-4444-5555-666677778888"\n'
        'migrations_dir = "sql"\n'
    )
    edit = edit_config(config(tmp_path, text).file, [SetDatabase("production", "acme-production", Database("new"))])

    (database,) = read_document(edit.file, content=edit.after).data["env"]["acme-production"]["d1_databases"]

    assert database == {"binding": "STORE", "database_name": "new", "migrations_dir": "sql"}


@pytest.mark.parametrize(
    ("routes", "zone", "moved"),
    [
        ('["a.example/*", "b.example/*"]', None, ["n.example/*", "b.example/*"]),
        ('[{ pattern = "x.a.example/v1/*", zone_id = "Z" }]', "N", [{"pattern": "x.n.example/v1/*", "zone_id": "N"}]),
        ('[{ pattern = "a.example", custom_domain = true }]', "N", [{"pattern": "n.example", "custom_domain": True}]),
        ('[{ pattern = "a.example/*", zone_name = "a.example" }]', None, ["n.example/*"]),
        ('["nota.example/*"]', "N", ["nota.example/*"]),
    ],
)
def test_routes_move_with_the_domain(tmp_path, routes, zone, moved):
    """Those of the domain and below; the old zone never stays with a new name."""
    text = f'name = "api"\nmain = "i.js"\ncompatibility_date = "2026-01-01"\n[env.acme-production]\nroutes = {routes}\n'
    edit = edit_config(config(tmp_path, text).file, [MoveRoutes("acme-production", "a.example", "n.example", zone)])

    assert read_document(edit.file, content=edit.after).data["env"]["acme-production"]["routes"] == moved


LABELS = st.from_regex(r"[a-z][a-z0-9-]{0,5}[a-z0-9]", fullmatch=True)


@settings(max_examples=40)
@given(
    LABELS,
    LABELS,
    st.lists(LABELS, max_size=2),
    st.sampled_from(["/*", "/v1/*", ""]),
    st.sampled_from(["", "https://"]),
)
def test_moving_there_and_back_changes_nothing(before, after, below, path, scheme):
    """For every name at or below the domain."""
    host = ".".join([*below, before, "example"])
    pattern = f"{scheme}{host}{path}"

    there = moved_pattern(pattern, f"{before}.example", f"{after}.test")

    assert host_of_route(there) == ".".join([*below, after, "test"])
    assert moved_pattern(there, f"{after}.test", f"{before}.example") == pattern
