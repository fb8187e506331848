"""A whole workspace is looked at, however broken; accounts are asked only when somebody wants it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import clodo.cli.demo
from clodo.cloudflare.client import Cloudflare
from clodo.errors import CloudflareUnavailable, PermissionMissing, ToolchainMissing
from clodo.workspace.finding import Finding, Severity
from clodo.workspace.validation import Validated, validate
from clodo.workspace.validation.cloudflare_lookup import CloudflareLookup
from clodo.wrangler.toolchain import Toolchain, config_schema
from tests.fixtures.embedded_cloud import CloudAccount
from tests.workspace.folders import write

MESSY = Path(__file__).parents[1] / "samples" / "messy"
API = 'name = "api"\nmain = "index.js"\ncompatibility_date = "2026-01-01"\n'


def not_installed() -> Path:
    raise ToolchainMissing("wrangler is not installed")


def look(root: Path, **more: object) -> Validated:
    return validate(root, schema_file=not_installed, **more)  # type: ignore[arg-type]


def rules(result: Validated) -> list[str]:
    return [finding.rule for finding in result.findings if finding.rule != "left-out"]


def test_the_messy_sample_has_exactly_the_mistakes_that_were_put_into_it(toolchain: Toolchain):
    """Thirty services in every way to write them: each mistake is found once, and nothing else is an error."""
    result = validate(MESSY, schema_file=lambda: config_schema(toolchain))

    errors = [(Path(item.file).parent.name, item.rule) for item in result.findings if item.severity is Severity.ERROR]
    assert sorted(errors) == [
        ("cart", "missing-file"),
        ("media-resize", "build-deploys"),
        ("search", "resource-id"),
    ]
    kinds = Counter(item.rule for item in result.findings if item.severity is Severity.WARNING)
    assert kinds["two-configs"] == kinds["shared-database"] == 1
    assert kinds["unrouted-host"] == 2
    messages = " ".join(item.message for item in result.findings)
    assert 'did you mean "compatibility_flags"' in messages
    assert 'unknown key "nodejs_compat"' in messages
    assert [item.severity.rank for item in result.findings] == sorted(item.severity.rank for item in result.findings)


def test_nothing_is_wrong_with_the_demo(toolchain: Toolchain):
    """The workspace that `clodo demo` rehearses has no findings at all."""
    demo = Path(clodo.cli.demo.__file__).parent / "sample" / "first"

    assert validate(demo, schema_file=lambda: config_schema(toolchain)).findings == ()


def test_one_broken_file_does_not_hide_another(tmp_path):
    """Each file that can't be read is a finding with its line; the rest is still looked at."""
    write(
        tmp_path,
        {
            "a/wrangler.toml": "name = \n",
            "b/wrangler.json": '{"name": "b",\n"name": "c"}',
            "c/wrangler.jsonc": "{ // never closed",
            "d/wrangler.toml": 'nmae = "d"\n',
            "e/wrangler.toml": API,
        },
    )
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "wrangler.toml").write_bytes(b'name = "\xff"\n')

    result = look(tmp_path)

    broken = {Path(item.file).parent.name: item.line for item in result.findings if item.rule == "unreadable"}
    assert broken == {"a": 1, "b": 2, "c": 1, "d": 1, "f": 1}
    assert "missing-file" in rules(result)
    assert result.files == 6


def test_links_in_a_circle_end(tmp_path):
    """A folder that is linked into itself is looked at once, and a config that leads in a circle is no file."""
    write(tmp_path, {"api/wrangler.toml": API, "api/index.js": ""})
    (tmp_path / "api" / "again").symlink_to(tmp_path / "api")
    (tmp_path / "loop").mkdir()
    (tmp_path / "loop" / "wrangler.toml").symlink_to("wrangler.toml")

    result = look(tmp_path)

    assert rules(result) == []
    assert result.files == 1


def test_a_huge_file_is_a_finding(tmp_path):
    """A config of more than ten megabytes is named, not read."""
    write(tmp_path, {"api/wrangler.toml": "#" * 11_000_000})

    (found,) = [item for item in look(tmp_path).findings if item.rule == "unreadable"]

    assert "over the limit" in found.message


def test_two_services_of_one_name_or_route_clash(tmp_path):
    """A name and a route belong to one Worker."""
    api = API + 'routes = ["example.com/*"]\n'
    write(tmp_path, {"a/wrangler.toml": api, "a/index.js": "", "b/wrangler.toml": api, "b/index.js": ""})
    write(tmp_path, {"c/wrangler.toml": api.replace("api", "other"), "c/index.js": ""})

    result = look(tmp_path)

    assert sorted(rules(result)) == ["name-clash", "route-clash"]
    assert "both want the requests" in next(item.message for item in result.findings if item.rule == "route-clash")


def test_a_broken_portfolio_is_a_finding(tmp_path):
    """portfolio.toml is looked at with the rest."""
    write(tmp_path, {"portfolio.toml": "[services.api]\nned = []\n", "wrangler.toml": API, "index.js": ""})

    (found,) = [item for item in look(tmp_path).findings if item.rule == "portfolio"]

    assert (Path(found.file).name, found.line) == ("portfolio.toml", 2)


def test_what_other_commands_would_say_is_said_here(tmp_path):
    """A portfolio that names a service nobody has is an error here too, since nothing would start."""
    write(tmp_path, {"portfolio.toml": "[services.apu]\n", "wrangler.toml": API, "index.js": ""})

    (found,) = [item for item in look(tmp_path).findings if item.severity is Severity.ERROR]

    assert found.rule == "workspace"
    assert 'did you mean "api"' in found.message


def test_without_wrangler_the_schema_is_left_out_and_said(tmp_path):
    """The rest goes on, and a note says what was not looked at."""
    write(tmp_path, {"wrangler.toml": API, "index.js": ""})

    (note,) = look(tmp_path).findings

    assert (note.rule, note.severity) == ("left-out", Severity.NOTE)


def test_other_rooms_add_their_rules(tmp_path):
    """Rules that are handed in are sorted in with the rest."""
    write(tmp_path, {"wrangler.toml": API, "index.js": ""})

    result = look(tmp_path, further=[lambda root: iter([Finding(f"{root}/x:3", "ours", Severity.ERROR, "m", "r.")])])

    assert rules(result) == ["ours"]


BOUND = (
    API
    + 'routes = [{{ pattern = "a/*", zone_id = "0123456789abcdef0123456789abcdef" }}]\n'
    + '[[d1_databases]]\nbinding = "DB"\ndatabase_name = "d"\ndatabase_id = "{database}"\n'
    + '[[d1_databases]]\nbinding = "BY_NAME"\ndatabase_name = "{name}"\n'
    + '[[kv_namespaces]]\nbinding = "KV"\nid = "{namespace}"\n'
    + '[[kv_namespaces]]\nbinding = "{title}"\n'
    + '[[r2_buckets]]\nbinding = "FILES"\nbucket_name = "{bucket}"\n'
    + '[[queues.producers]]\nbinding = "MAILS"\nqueue = "{queue}"\n'
    + '[[queues.consumers]]\nqueue = "{queue}"\ndead_letter_queue = "made-when-needed"\n'
)


def with_lookup(account: CloudAccount, root: Path) -> Validated:
    with Cloudflare(account.account_id, account.token, account.cloud.url) as cloudflare:
        lookup = CloudflareLookup(cloudflare)
        return look(root, account=lambda block: lookup)


def test_what_the_account_lacks_is_an_error(account: CloudAccount, tmp_path):
    """Databases, namespaces, buckets, queues and a zone that exist nowhere are found; those that exist are fine."""
    with Cloudflare(account.account_id, account.token, account.cloud.url) as cloudflare:
        database, namespace = cloudflare.d1.create("shop"), cloudflare.kv.create("cache")
        cloudflare.kv.create("api-by-title")
        cloudflare.r2.create("files")
    account.result("POST", "/queues", json={"queue_name": "mails"})
    account.result("POST", "/r2/buckets", json={"name": "laws"}, headers={"cf-r2-jurisdiction": "eu"})
    eu = '[[r2_buckets]]\nbinding = "LAWS"\nbucket_name = "laws"\njurisdiction = "{}"\n'
    there = {"database": database.uuid, "name": "shop", "namespace": namespace.id, "title": "BY_TITLE"}
    good = BOUND.format(**there, bucket="files", queue="mails") + eu.format("eu")
    gone = {"database": "11111111-2222-3333-4444-555555555555", "name": "shoq", "namespace": "f" * 32, "title": "NO"}
    bad = BOUND.format(**gone, bucket="filez", queue="mailz") + eu.format("fedramp")

    write(tmp_path, {"wrangler.toml": good, "index.js": ""})
    fine = with_lookup(account, tmp_path)
    write(tmp_path, {"wrangler.toml": bad})
    wrong = with_lookup(account, tmp_path)

    zone = 'the token sees no zone 0123456789abcdef0123456789abcdef, which "a/*" names'
    assert missing_in(fine) == [zone]
    assert missing_in(wrong) == sorted(
        [
            zone,
            'the account has no D1 database 11111111-2222-3333-4444-555555555555, which is bound as "DB"',
            f'the account has no KV namespace {"f" * 32}, which is bound as "KV"',
            'no D1 database of the account is called "shoq"',
            'no KV namespace of the account is titled "api-no"',
            'no R2 bucket of the account is called "filez"',
            'no R2 bucket of the account is called "laws" in the jurisdiction fedramp',
            'no queue of the account is called "mailz"',
            'no queue of the account is called "mailz"',
        ]
    )
    assert wrong.looking_up.total_seconds() > 0
    assert wrong.not_looked_up == ()


def missing_in(result: Validated) -> list[str]:
    return sorted(item.message for item in result.findings if item.rule == "missing-on-account")


class NoRights:
    """A token that may list databases and nothing else."""

    def database_ids(self) -> set[str]:
        return set()

    def database_names(self) -> set[str]:
        return set()

    def _refuse(self, *_: object) -> set[str]:
        raise PermissionMissing("the token lacks Workers KV Storage: read", hint="Add Workers KV Storage: read.")

    namespace_ids: Callable[..., set[str]] = _refuse
    namespace_titles: Callable[..., set[str]] = _refuse
    bucket_names: Callable[..., set[str]] = _refuse
    queue_names: Callable[..., set[str]] = _refuse
    zone_ids: Callable[..., set[str]] = _refuse
    zone_names: Callable[..., set[str]] = _refuse


def test_a_right_that_the_token_lacks_becomes_a_note_and_the_rest_goes_on(tmp_path):
    """Databases are still compared where namespaces can't be, and the note names the right."""
    config = BOUND.format(database="1" * 8, name="x", namespace="f" * 32, title="T", bucket="b", queue="q")
    write(tmp_path, {"wrangler.toml": config, "index.js": ""})

    result = look(tmp_path, account=lambda block: NoRights())

    assert result.not_looked_up == ()
    left_out = [item for item in result.findings if "Workers KV Storage" in item.message]
    assert [item.remedy for item in left_out] == ["Add Workers KV Storage: read."]
    assert "missing-on-account" in rules(result)


def test_an_account_that_can_not_be_asked_hides_nothing_else(tmp_path):
    """Each block is tried once; the note says why, what is wrong offline is said, other accounts are asked."""
    portfolio = '[environments.production]\naccount = "broken"\n[environments.staging]\naccount = "good"\n'
    config = 'name = "api"\nmain = "gone.js"\n[[d1_databases]]\nbinding = "DB"\ndatabase_name = "x"\n[env.staging]\n'
    config += '[[env.staging.d1_databases]]\nbinding = "DB"\ndatabase_name = "y"\n'
    other = config.replace('"api"', '"web"')
    write(tmp_path, {"portfolio.toml": portfolio, "api/wrangler.toml": config, "web/wrangler.toml": other})
    tried: list[str] = []

    def lookup(block: str) -> NoRights:
        tried.append(block)
        if block == "broken":
            raise CloudflareUnavailable("nothing answers at 127.0.0.1:1", hint="Start it.")
        return NoRights()

    result = look(tmp_path, account=lookup)

    assert tried.count("broken") == 1
    (note,) = [item for item in result.findings if "nothing answers" in item.message]
    assert (note.rule, note.severity, note.remedy) == ("left-out", Severity.NOTE, "Start it.")
    assert note.place == f"{tmp_path}/portfolio.toml:1"
    assert [error.exit_code for error in result.not_looked_up] == [75]
    assert rules(result).count("missing-file") == 2
    assert missing_in(result) == ['no D1 database of the account is called "y"'] * 2
