"""Wrangler configs, read by wrangler's rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clodo.errors import BadConfiguration
from clodo.workspace.wrangler_config import WranglerConfig, find_config
from tests.workspace.folders import config, effective, write

SHOP = """\
name = "api"
main = "src/../src/index.ts"
compatibility_date = "2026-01-01"
compatibility_flags = ["nodejs_compat"]
account_id = "0123456789abcdef0123456789abcdef"
routes = ["shop.example/api/*"]
tail_consumers = [{ service = "logs" }]

[triggers]
crons = ["0 * * * *"]

[vars]
LEVEL = "info"
LIMITS = { rows = 10 }

[[d1_databases]]
binding = "DB"
database_name = "shop"
database_id = "11111111-1111-1111-1111-111111111111"

[[kv_namespaces]]
binding = "SESSION_CACHE"

[[services]]
binding = "AUTH"
service = "auth"
entrypoint = "Tokens"

[[durable_objects.bindings]]
name = "ROOM"
class_name = "Room"

[[migrations]]
tag = "v1"
new_sqlite_classes = ["Room"]

[[queues.producers]]
binding = "JOBS"
queue = "jobs"

[[queues.consumers]]
queue = "jobs"
max_batch_size = 5

[assets]
directory = "./public"
binding = "ASSETS"
not_found_handling = "404-page"

[version_metadata]
binding = "VERSION"

[ai]
binding = "AI"

[build]
command = "npm run build"
cwd = "tools"

[env.staging]
workers_dev = true
route = { pattern = "staging.shop.example/*", zone_name = "shop.example" }
vars = { LEVEL = "debug" }

[[env.staging.d1_databases]]
binding = "SHOP_DB"
migrations_dir = "../database"
migrations_pattern = "../database/*/up.sql"
migrations_table = "applied"

[env.canary]
name = "api-next"
account_id = ""
"""


def _line(start: str) -> int:
    return SHOP[: SHOP.index(start)].count("\n") + 1


def test_the_top_level_is_read_whole(tmp_path: Path):
    """Every kind of value that Clodo looks at is there, typed, with absolute paths and its line."""
    api = effective(tmp_path, SHOP)

    assert (api.service, api.worker_name, api.environment, api.section) == ("api", "api", None, None)
    assert api.main == tmp_path / "src/index.ts"
    assert (api.compatibility_date, api.compatibility_flags) == ("2026-01-01", ("nodejs_compat",))
    assert api.account_id == "0123456789abcdef0123456789abcdef"
    assert [route.pattern for route in api.routes] == ["shop.example/api/*"]
    assert (api.workers_dev, api.is_on_workers_dev, api.preview_urls) == (None, False, None)
    assert api.crons == ("0 * * * *",)
    assert api.variables == {"LEVEL": "info", "LIMITS": {"rows": 10}}
    (database,) = api.databases
    assert (database.database_name, database.migrations_table) == ("shop", "d1_migrations")
    assert database.migrations_folder == tmp_path / "migrations"
    assert database.place == f"{tmp_path}/wrangler.toml:16"
    (namespace,) = api.namespaces
    assert (namespace.namespace_id, namespace.title) == (None, "api-session-cache")
    (service,) = api.services
    assert (service.binding, service.service, service.entrypoint) == ("AUTH", "auth", "Tokens")
    assert api.durable_objects[0].class_name == "Room"
    assert api.own_object_classes == {"Room"}
    assert api.durable_object_migrations[0]["tag"] == "v1"
    assert api.queue_producers[0].queue == "jobs"
    assert api.queue_consumers[0].settings == {"max_batch_size": 5}
    assert api.assets is not None
    assert (api.assets.directory, api.assets.settings) == (tmp_path / "public", {"not_found_handling": "404-page"})
    assert api.version_metadata == "VERSION"
    assert [(other.kind, other.binding) for other in api.other_bindings] == [("ai", "AI")]
    assert api.tail_consumers == ("logs",)
    assert api.build is not None
    assert (api.build.command, api.build.folder) == ("npm run build", tmp_path / "tools")
    assert api.binding_names == (
        "AI", "ASSETS", "AUTH", "DB", "JOBS", "LEVEL", "LIMITS", "ROOM", "SESSION_CACHE", "VERSION",
    )  # fmt: skip


def test_an_environment_inherits_what_wrangler_says_and_nothing_else(tmp_path: Path):
    """Triggers, main and dates come from the top; bindings, vars and tail consumers do not."""
    staging = config(tmp_path, SHOP).for_environment("staging")

    assert (staging.worker_name, staging.section) == ("api-staging", "staging")
    assert staging.main == tmp_path / "src/index.ts"
    assert staging.crons == ("0 * * * *",)
    assert staging.assets is not None
    assert staging.durable_object_migrations[0]["tag"] == "v1"
    assert (staging.workers_dev, staging.is_on_workers_dev) == (True, True)
    assert staging.variables == {"LEVEL": "debug"}
    assert not staging.services
    assert not staging.namespaces
    assert not staging.queue_producers
    assert not staging.tail_consumers
    assert staging.version_metadata is None
    (database,) = staging.databases
    assert (database.database_name, database.database_id) == ("api-staging-shop-db", None)
    assert database.migrations_folder == tmp_path.parent / "database"
    assert (database.migrations_pattern, database.migrations_table) == ("*/up.sql", "applied")
    assert staging.place_of("vars", "LEVEL").endswith(f":{_line('vars = { LEVEL')}")
    assert staging.place_of("main").endswith(f":{_line('main =')}")
    assert any('"services" stands at the top level' in warning for warning in staging.warnings)


def test_routes_win_over_an_inherited_route_and_the_other_way_round(tmp_path: Path):
    """As in wrangler, `routes` counts when both are there, even if one of them is inherited."""
    staging = config(tmp_path, SHOP).for_environment("staging")

    assert [route.pattern for route in staging.routes] == ["shop.example/api/*"]


def test_an_environment_may_name_its_worker(tmp_path: Path):
    """A name in the environment is the Worker's whole name; an empty account id is inherited over."""
    canary = config(tmp_path, SHOP).for_environment("canary")

    assert canary.worker_name == "api-next"
    assert canary.account_id == "0123456789abcdef0123456789abcdef"


def test_production_is_the_top_level_unless_it_has_a_section(tmp_path: Path):
    """Without [env.production] the top level is production; with it, the section is."""
    without = config(tmp_path / "a", 'name = "api"\nmain = "a.js"\n').for_environment("production")
    having = config(tmp_path / "b", 'name = "api"\nmain = "a.js"\n[env.production]\n').for_environment("production")

    assert (without.worker_name, without.section) == ("api", None)
    assert (having.worker_name, having.section) == ("api-production", "production")


def test_a_missing_environment_names_the_nearest(tmp_path: Path):
    """Asking for an environment that is not there says which are near."""
    with pytest.raises(BadConfiguration) as caught:
        config(tmp_path, SHOP).for_environment("stagng")

    assert caught.value.message == f'{tmp_path}/wrangler.toml:{_line("[env.staging]")}: api has no environment "stagng"'
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("Did you mean staging")


@pytest.mark.parametrize("name", ["wrangler.json", "wrangler.jsonc"])
def test_json_with_comments_says_the_same_as_toml(tmp_path: Path, name: str):
    """The same config in JSON with comments, a byte order mark and CRLF gives the same values and its own lines."""
    text = """\ufeff{
  // the shop
  "name": "api", /* really */
  "main": "src/index.ts",
  "d1_databases": [
    { "binding": "DB", "database_name": "shop", },
  ],
  "env": { "staging": { "vars": { "LEVEL": "debug", } } },
}
""".replace("\n", "\r\n")

    read = config(tmp_path, text, name)

    assert read.environments == ("staging",)
    assert read.for_environment(None).databases[0].place == f"{tmp_path}/{name}:6"
    assert read.for_environment("staging").variables == {"LEVEL": "debug"}


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("name = \n", 1, "Invalid value"),
        ('name = "a"\nname = "b"\n', 2, "Cannot overwrite a value"),
        ('main = "a.js"\n', 1, 'has no "name"'),
        ('\nname = "My Worker"\n', 2, '"My Worker" is not a Worker name'),
        ('name = "a"\nlegacy_env = true\n', 2, "no longer taken"),
        ('name = "a"\npages_build_output_dir = "dist"\n', 2, "Pages project"),
        ('name = "a"\ncompatibility_date = 2026-01-01\n', 2, "must be a string"),
        ('name = "a"\ncompatibility_date = "2026-13-01"\n', 2, "YYYY-MM-DD"),
        ('name = "a"\nmain = 1\n', 2, '"main" must be a string, not a whole number'),
        ('name = "a"\nworkers_dev = "yes"\n', 2, '"workers_dev" must be true or false, not a string'),
        ('name = "a"\n[vars]\nSINCE = 2026-01-01\n', 3, 'var "SINCE" is a TOML date'),
        ('name = "a"\n[[d1_databases]]\ndatabase_name = "x"\n', 2, '"d1_databases[0]" lacks "binding"'),
        ('name = "a"\n[d1_databases]\nbinding = "x"\n', 2, '"d1_databases" must be a list of tables'),
        ('name = "a"\n[[services]]\nbinding = "x"\nservice = 1\n', 4, '"service" must be a string'),
        ('name = "a"\nroute = "x/*"\nroutes = []\n', 2, "only one of"),
        ('name = "a"\nroutes = [\n  "x/*",\n  { pattern = "y" },\n]\n', 4, "needs zone_name, zone_id or custom_domain"),
        ('name = "a"\nroutes = [{ pattern = "y", zone = "z" }]\n', 2, 'a route has no key "zone"'),
        ('name = "a"\n[triggers]\ncrons = "x"\n', 3, "must be a list of strings"),
        ('name = "a"\n[vars]\nDB = "x"\n[[d1_databases]]\nbinding = "DB"\n', 3, 'the binding name "DB" is taken by'),
        ('name = "a"\n[assets]\nbinding = "A"\n', 2, '"assets" lacks "directory"'),
        ('name = "a"\n[env]\nstaging = 1\n', 3, '"env.staging" must be a table'),
        (
            'name = "a"\n[[d1_databases]]\nbinding = "D"\nmigrations_pattern = "up/*.sql"\n',
            4,
            '"migrations_pattern" must start with',
        ),
    ],
)
def test_a_config_that_wrangler_would_refuse_is_refused_with_its_line(tmp_path: Path, text: str, line: int, what: str):
    """The message opens with file:line and says what is wrong there."""
    with pytest.raises(BadConfiguration) as caught:
        effective(tmp_path, text)

    assert caught.value.message.startswith(f"{tmp_path}/wrangler.toml:{line}: ")
    assert what in caught.value.message
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("content", "line", "what"),
    [
        (b'name = "a"\n# \xff\n', 2, "not UTF-8"),
        (b'name = "a"\nx = """\n', 2, "Unterminated string"),
        (b"#" * (10 * 1024 * 1024 + 1), 1, "over the limit"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path: Path, content: bytes, line: int, what: str):
    """Bytes that are no UTF-8, a file cut off in the middle and a huge file are each one sentence."""
    file = tmp_path / "wrangler.toml"
    file.write_bytes(content)

    with pytest.raises(BadConfiguration, match=what) as caught:
        WranglerConfig.read(file)

    assert caught.value.message.startswith(f"{file}:{line}: ")


def test_a_file_that_is_gone_is_refused(tmp_path: Path):
    """A file that disappeared between listing and reading is one sentence."""
    with pytest.raises(BadConfiguration, match="no such file"):
        WranglerConfig.read(tmp_path / "wrangler.toml")


def test_of_several_configs_wranglers_choice_is_read(tmp_path: Path):
    """JSON goes before JSONC, and both before TOML."""
    text: dict[str, Any] = {"name": "a"}
    write(tmp_path, {"wrangler.toml": 'name = "a"', "wrangler.jsonc": text})

    assert find_config(tmp_path) == tmp_path / "wrangler.jsonc"

    write(tmp_path, {"wrangler.json": text})
    assert find_config(tmp_path) == tmp_path / "wrangler.json"
    assert find_config(tmp_path / "src") is None


@pytest.mark.parametrize(
    ("steps", "classes"),
    [
        ("", set()),
        ('new_classes = ["A"]\nnew_sqlite_classes = ["B"]', {"A", "B"}),
        ('new_classes = ["A"]\n[[migrations]]\ntag = "v2"\ndeleted_classes = ["A"]', set()),
        ('new_classes = ["A"]\n[[migrations]]\ntag = "v2"\nrenamed_classes = [{ from = "A", to = "C" }]', {"C"}),
        ('transferred_classes = [{ from = "X", from_script = "other", to = "D" }]', {"D"}),
    ],
)
def test_a_workers_own_object_classes_are_those_it_implements(tmp_path, steps, classes):
    """Made, renamed and taken over by migrations, less what was deleted; a binding to another Worker's is none."""
    text = 'name = "api"\nmain = "index.js"\n[[durable_objects.bindings]]\nname = "ROOMS"\nclass_name = "Room"\n'
    text += f'script_name = "rooms"\n[[migrations]]\ntag = "v1"\n{steps}\n'

    assert effective(tmp_path, text).own_object_classes == classes


@pytest.mark.parametrize(
    ("step", "what"),
    [
        ('new_classes = "A"', ':5: "new_classes" must be a list of class names'),
        ("deleted_classes = [1]", ':5: "deleted_classes" must be a list of class names'),
        ('renamed_classes = ["A"]', ':5: "renamed_classes" must be a list of tables with from and to'),
        ('renamed_classes = [{ from = "A" }]', ':5: "renamed_classes" must be a list of tables with from and to'),
        ('transferred_classes = [{ to = "A" }]', '"transferred_classes" must be a list of tables with from and to'),
    ],
)
def test_a_migration_of_objects_that_is_none_is_an_error_with_its_place(tmp_path, step, what):
    """A release asks which classes there are in the end, and must not stumble over it."""
    with pytest.raises(BadConfiguration) as refused:
        effective(tmp_path, f'name = "api"\nmain = "index.js"\n[[migrations]]\ntag = "v1"\n{step}\n')

    assert what in refused.value.message
