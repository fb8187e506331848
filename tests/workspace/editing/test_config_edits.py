"""Edits change what was meant and nothing else, whoever wrote the file and however."""

from __future__ import annotations

import contextlib
import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clodo.errors import BadConfiguration, BadUsage, Failed
from clodo.workspace import jsonc
from clodo.workspace.documents import read_document
from clodo.workspace.editing import (
    Append,
    BindingKind,
    EnsureEnvironment,
    FileEdit,
    Operation,
    PutBinding,
    PutQueueConsumer,
    PutRoute,
    RemoveBinding,
    RemoveQueueConsumer,
    RemoveRoute,
    SetValue,
    SetVariables,
    SetZoneId,
    edit_config,
    edit_document,
    set_account_id,
    set_crons,
)
from clodo.workspace.editing.changes import Put, Remove, changed
from clodo.workspace.wrangler_config import WranglerConfig
from tests.workspace.editing.corpus import FILES, ID, OPERATIONS, comments_of

FEW = settings(max_examples=60, deadline=None)


def after(edit: FileEdit) -> str:
    assert edit.after is not None
    return edit.after.decode()


def edit_text(tmp_path: Path, text: str, *operations: Operation, name: str = "wrangler.toml") -> str:
    file = tmp_path / name
    file.write_bytes(text.encode())
    return after(edit_config(file, operations))


def meant(file: Path, operations: tuple[Operation, ...]) -> dict[str, object]:
    data = read_document(file).data
    for operation in operations:
        for change in tuple(operation.changes(data)):
            data = changed(data, change)
    return data


def check(file: Path, operations: tuple[Operation, ...]) -> None:
    operations = (EnsureEnvironment("staging"), *operations)
    edit = edit_config(file, operations)
    text = after(edit)

    assert read_document(file, content=edit.after).data == meant(file, operations)
    original = edit.before.decode()
    lost = [comment for comment in comments_of(file, original) if comment and comment not in text]
    assert not lost
    removed = [line for line in edit.diff().splitlines()[2:] if line.startswith("-")]
    assert len(removed) <= 5 * len(operations)
    assert text.startswith("\ufeff") == original.startswith("\ufeff")
    if "\n" in original.strip():
        assert text.endswith("\n") == original.endswith("\n")
    if "\r\n" not in original:
        assert "\r" not in text
    elif original.count("\r\n") == original.count("\n"):
        assert text.count("\r\n") == text.count("\n")


def test_the_corpus_is_large_and_every_config_in_it_is_taken():
    """There are at least sixty configs, TOML and JSON, each one that Clodo reads."""
    environments = [WranglerConfig.read(file).for_environment(None) for file in FILES]

    assert len(environments) >= 60
    assert {file.suffix for file in FILES} == {".toml", ".json", ".jsonc"}


@FEW
@given(st.sampled_from(FILES), st.lists(st.sampled_from(OPERATIONS), min_size=1, max_size=3))
def test_an_edit_says_what_was_meant_and_keeps_everything_else(file, operations):
    """Parse, edit, parse: no comment, value, line end or byte order mark is lost, on any config of the corpus."""
    check(file, tuple(operations))


@pytest.mark.exhaustive
@pytest.mark.parametrize("file", FILES, ids=[file.name for file in FILES])
def test_every_operation_on_every_config_keeps_everything_else(file):
    """The same for each operation on each config."""
    for operation in OPERATIONS:
        check(file, (operation,))


@pytest.mark.parametrize("file", FILES, ids=[file.name for file in FILES])
def test_an_edit_without_operations_keeps_every_byte(file):
    """Parse and write back: the same bytes."""
    edit = edit_config(file, ())

    assert edit.after == edit.before
    assert not edit.has_changes


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(FILES), st.sampled_from(list(BindingKind)))
def test_a_binding_that_is_added_and_removed_leaves_the_values_as_they_were(file, kind):
    """Adding a binding and removing it again gives the values of before."""
    added = edit_config(file, [PutBinding(None, kind, "ADDED", {})] if kind is BindingKind.NAMESPACE else _put(kind))

    back = edit_config(file, [RemoveBinding(None, kind, "ADDED")], content=added.after)

    before = read_document(file, content=added.before).data
    found = read_document(file, content=back.after).data
    key = kind.value[0]
    # An empty list goes with its last binding.
    assert {**found, key: found.get(key) or None} == {**before, key: before.get(key) or None}


def _put(kind: BindingKind) -> list[PutBinding]:
    values = {
        BindingKind.DATABASE: {"database_name": "d"},
        BindingKind.BUCKET: {"bucket_name": "b"},
        BindingKind.QUEUE: {"queue": "q"},
        BindingKind.SERVICE: {"service": "s"},
    }
    return [PutBinding(None, kind, "ADDED", values[kind])]


TOML = """\
name = "api"   # the Worker

# orders
[[d1_databases]]
binding = "DB"
database_name = "api"

# sessions
[[kv_namespaces]]
binding = "SESSIONS"
id = "0"

# --- staging ---
[env.staging]
workers_dev = true
"""


def test_a_database_id_is_written_beside_its_name(tmp_path):
    """The id of a database that was just made goes into the binding that names it."""
    edited = edit_text(tmp_path, TOML, PutBinding.database(None, "DB", database_name="api", database_id="u-1"))

    assert edited == TOML.replace('database_name = "api"\n', 'database_name = "api"\ndatabase_id = "u-1"\n')


def test_a_new_binding_stands_with_its_kind_and_below_no_foreign_comment(tmp_path):
    """A second database stands after the first, and the comment of the next table stays with that table."""
    edited = edit_text(tmp_path, TOML, PutBinding.database(None, "LOG", database_name="log", database_id=None))

    new = '[[d1_databases]]\nbinding = "LOG"\ndatabase_name = "log"\n\n'
    assert edited == TOML.replace("# sessions\n", new + "# sessions\n")


def test_removing_a_binding_leaves_the_comment_of_the_next_table(tmp_path):
    """What stands above the next table belongs to it, and stays."""
    edited = edit_text(tmp_path, TOML, RemoveBinding(None, BindingKind.DATABASE, "DB"))

    assert edited == TOML.replace('[[d1_databases]]\nbinding = "DB"\ndatabase_name = "api"\n\n', "\n")


def test_top_level_things_stand_before_the_environments(tmp_path):
    """A new kind of binding of the top level stands above the first environment and its comment."""
    edited = edit_text(tmp_path, TOML, PutBinding.bucket(None, "FILES", bucket_name="files"))

    assert '[[r2_buckets]]\nbinding = "FILES"\nbucket_name = "files"\n\n# --- staging ---\n' in edited


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('name = "api"\n', ()),
        ('name = "api"\n\n[env.staging]\n', ()),
        ('name = "api"\n\n[env.production]\nworkers_dev = false\n', ("env", "production")),
    ],
)
def test_production_is_where_the_file_has_it(tmp_path, text, place):
    """Production's keys go to the top level unless the file has a section for production."""
    edited = tomllib.loads(edit_text(tmp_path, text, SetVariables("production", {"LEVEL": "warn"})))

    for step in place:
        edited = edited[step]
    assert edited["vars"] == {"LEVEL": "warn"}


def test_an_environment_is_made_once(tmp_path):
    """Ensuring an environment adds a section where there is none; production at the top level stays there."""
    text = 'name = "api"\n'

    once = edit_text(
        tmp_path, text, EnsureEnvironment("staging", {"workers_dev": True}), EnsureEnvironment("production")
    )
    twice = edit_text(tmp_path, once, EnsureEnvironment("staging", {"workers_dev": False}))

    assert once == text + "\n[env.staging]\nworkers_dev = true\n"
    assert twice == once


def test_an_environment_the_file_lacks_is_an_error_that_names_it(tmp_path):
    """Nothing is written to a section that isn't there."""
    with pytest.raises(BadUsage, match=r'wrangler\.toml: the file has no section for the environment "stagin"'):
        edit_text(tmp_path, TOML, SetVariables("stagin", {"A": "1"}))


def test_removing_what_is_not_there_names_what_is(tmp_path):
    """A binding that the file lacks is an error that lists those it has."""
    with pytest.raises(BadUsage, match='kv_namespaces has no "CACHE"') as raised:
        edit_text(tmp_path, TOML, RemoveBinding(None, BindingKind.NAMESPACE, "CACHE"))

    assert raised.value.hint == "It has SESSIONS."


def test_an_edit_that_would_be_refused_is_not_made(tmp_path):
    """A binding whose name another kind has already is refused before anything is written."""
    with pytest.raises(BadConfiguration, match='the binding name "SESSIONS" is taken'):
        edit_text(tmp_path, TOML, PutBinding.bucket(None, "SESSIONS", bucket_name="files"))


JSONC = """\
{
  // the Worker
  "name": "api",
  "routes": [
    "example.com/*", // all of it
    { "pattern": "api.example.com", "custom_domain": true }
  ],
  "queues": { "producers": [{ "binding": "JOBS", "queue": "jobs" }] }
}
"""


def test_a_route_is_added_after_the_last_with_the_files_own_commas(tmp_path):
    """The last route gets a comma, the new one none, and the comments stay on their lines."""
    edited = edit_text(tmp_path, JSONC, PutRoute(None, "shop.example.com/*", zone_id=ID), name="wrangler.jsonc")

    assert "// all of it" in edited
    assert edited.startswith(JSONC[: JSONC.index("    { ")])
    assert json.dumps(jsonc.parse(edited)[0]["routes"][2]) == f'{{"pattern": "shop.example.com/*", "zone_id": "{ID}"}}'


def test_the_zone_is_named_in_each_route_that_can_name_one(tmp_path):
    """A plain pattern becomes a table with the zone's id; a custom domain has no zone to name."""
    edited = edit_text(tmp_path, JSONC, SetZoneId(None, ID), name="wrangler.jsonc")

    assert jsonc.parse(edited)[0]["routes"] == [
        {"pattern": "example.com/*", "zone_id": ID},
        {"pattern": "api.example.com", "custom_domain": True},
    ]
    assert "// all of it" in edited


def test_the_zone_id_of_an_older_file_is_changed_where_it_stands(tmp_path):
    """A `zone_id` beside the routes is an older way to write it; it is changed there too."""
    text = 'name = "api"\nzone_id = "old" # from the dashboard\nroute = { pattern = "a.b/*", zone_name = "a.b" }\n'

    edited = edit_text(tmp_path, text, SetZoneId("production", ID))

    assert tomllib.loads(edited)["zone_id"] == ID
    assert tomllib.loads(edited)["route"] == {"pattern": "a.b/*", "zone_id": ID}


def test_the_last_route_and_the_last_queue_leave_what_others_would_mean(tmp_path):
    """No route is an empty list, which inherits nothing; no queue is no table at all."""
    edited = edit_text(
        tmp_path,
        JSONC,
        RemoveRoute(None, "example.com/*"),
        RemoveRoute(None, "api.example.com"),
        RemoveBinding(None, BindingKind.QUEUE, "JOBS"),
        name="wrangler.jsonc",
    )

    assert jsonc.parse(edited)[0] == {"name": "api", "routes": []}
    assert "// the Worker" in edited


def test_a_second_route_turns_route_into_routes(tmp_path):
    """wrangler takes `route` or `routes`; two routes need the latter."""
    text = 'name = "api"\nroute = "a.example.com/*"\n'

    edited = edit_text(tmp_path, text, PutRoute(None, "b.example.com/*"))

    assert tomllib.loads(edited) == {"name": "api", "routes": ["a.example.com/*", "b.example.com/*"]}


def test_queue_consumers_come_and_go(tmp_path):
    """A consumer is added, changed in place, and taken away with the table that held nothing else."""
    text = 'name = "api"\n'

    added = edit_text(tmp_path, text, PutQueueConsumer(None, "jobs", {"max_retries": 1}))
    altered = edit_text(tmp_path, added, PutQueueConsumer(None, "jobs", {"max_retries": 2}))
    gone = edit_text(tmp_path, altered, RemoveQueueConsumer(None, "jobs"))

    assert tomllib.loads(altered)["queues"] == {"consumers": [{"queue": "jobs", "max_retries": 2}]}
    assert gone == text


def test_values_are_taken_away_by_none(tmp_path):
    """None removes a var, schedules and a binding's key, and nothing when there is none."""
    text = '{"name": "api", "vars": {"A": "1", "B": "2"}, "triggers": {"crons": []}}'

    edited = edit_text(
        tmp_path,
        text,
        SetVariables(None, {"A": None, "C": None}),
        set_crons(None, None),
        SetValue(None, "workers_dev", None),
        name="wrangler.json",
    )

    assert edited == '{"name": "api", "vars": {"B": "2"}, "triggers": {}}'


def test_the_same_operation_twice_changes_nothing_more(tmp_path):
    """An operation whose effect is there already leaves every byte."""
    once = edit_text(tmp_path, TOML, set_account_id(ID), set_crons("staging", ("0 * * * *",)))

    assert edit_text(tmp_path, once, set_account_id(ID), set_crons("staging", ("0 * * * *",))) == once


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("wrangler.toml", b'name = "a"\nname = "b"\n', "wrangler.toml:2: .*[Oo]verwrite|wrangler.toml:2"),
        ("wrangler.json", b'{"name": "a",\n"name": "b"}', 'wrangler.json:2: "name" is given twice'),
        ("wrangler.jsonc", b"{ /* never closed", "never closed"),
        ("wrangler.toml", b'name = "\xff"\n', "wrangler.toml:1: is not UTF-8 text"),
        ("wrangler.json", b"[]", "must hold an object"),
        ("wrangler.toml", b"#" * (11 * 1024 * 1024), "over the limit"),
    ],
)
def test_a_broken_file_is_refused_with_its_line_and_kept(tmp_path, name, content, what):
    """What can't be parsed is not edited; the message opens with file:line."""
    file = tmp_path / name
    file.write_bytes(content)

    with pytest.raises(BadConfiguration, match=what):
        edit_config(file, [set_account_id(ID)])

    assert file.read_bytes() == content


@pytest.mark.parametrize(
    "content",
    [
        {"vars": "x"},
        {"vars": ["x"]},
        {"d1_databases": {"binding": "DB"}},
        {"d1_databases": "DB"},
        {"routes": "example.com/*"},
        {"routes": [1, None]},
        {"route": 3},
        {"queues": []},
        {"triggers": ["* * * * *"]},
        {"env": []},
        {"env": {"staging": 1}},
        {"vars": None, "env": None, "d1_databases": None, "queues": None, "triggers": None, "routes": None},
    ],
    ids=str,
)
def test_a_file_of_the_wrong_shape_is_one_sentence_or_an_edit(tmp_path, content):
    """Whatever stands where a table or list should, an operation is refused with what is wrong, or does its work."""
    file = tmp_path / "wrangler.json"
    file.write_text(json.dumps({"name": "api", **content}), encoding="utf-8")
    data = read_document(file).data

    for operation in OPERATIONS:
        with contextlib.suppress(BadUsage, Failed):
            edit = edit_document(file, [operation])

            assert read_document(file, content=edit.after).data == meant(file, (operation,))
    assert read_document(file).data == data


def test_a_large_file_is_edited_in_reasonable_time(tmp_path):
    """Thousands of lines are read and written like ten."""
    lines = "".join(f'  "KEY_{number}": "value {number}", // {number}\n' for number in range(3000))
    text = '{\n"name": "large",\n"vars": {\n' + lines + '  "LAST": "1"\n}\n}\n'

    edited = edit_text(tmp_path, text, SetVariables(None, {"NEW": "1"}), name="wrangler.jsonc")

    assert edited == text.replace('"LAST": "1"', '"LAST": "1",\n  "NEW": "1"')


def test_any_other_document_can_be_edited_the_same_way(tmp_path):
    """A portfolio is no wrangler config, and keeps its comments too."""

    class Waive:
        def changes(self, data):
            yield Append(("waivers",), {"rule": "x"})

    file = tmp_path / "portfolio.toml"
    file.write_text('# ours\n[portfolio]\nname = "shop" # short\n', encoding="utf-8")

    edit = edit_document(file, [Waive()])

    assert after(edit) == '# ours\n[portfolio]\nname = "shop" # short\n\n[[waivers]]\nrule = "x"\n'


class Raw:
    """A change as it is."""

    def __init__(self, change: Put | Remove) -> None:
        self.change = change

    def changes(self, data):
        yield self.change


def keys_of(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Return the paths of all keys of tables in *value*."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [(*path, key) for key, _ in items if isinstance(key, str)]
    return found + [inner for key, item in items for inner in keys_of(item, (*path, key))]


@FEW
@given(st.sampled_from(FILES), st.data())
def test_any_one_value_can_be_changed_or_taken_away(file, data):
    """Wherever a value stands, it alone changes or goes; when it is changed, every comment stays."""
    path = data.draw(st.sampled_from(keys_of(read_document(file).data)))
    change = data.draw(st.sampled_from([Put(path, 'new "value"'), Put(path, {"x": [1, {"y": True}]}), Remove(path)]))
    whole = read_document(file).data
    for step in path:
        whole = whole[step]

    edit = edit_document(file, [Raw(change)])

    assert read_document(file, content=edit.after).data == changed(read_document(file).data, change)
    if isinstance(change, Put) and not isinstance(whole, dict | list):
        original = edit.before.decode()
        # What looks like a comment may be in the very string that is replaced.
        lost = [comment for comment in comments_of(file, original) if comment and comment not in after(edit)]
        assert [comment for comment in lost if comment.strip("\"'") not in str(whole)] == []
