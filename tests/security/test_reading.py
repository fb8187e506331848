"""From files to settings with places; the scanner; git's history; how often the rules are wrong."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from clodo.errors import BadConfiguration
from clodo.security.checking import ALL_RULES
from clodo.security.history import leaks_in, read_history
from clodo.security.inspecting import inspect
from clodo.security.reading import env_settings, environment_of, subject_of
from clodo.security.scanning import scan
from clodo.security.subject import Source, Stage, Subject, leaves
from clodo.workspace.customers import with_settings
from clodo.workspace.finding import Severity
from clodo.workspace.targets import Target
from clodo.workspace.workspace import Workspace
from clodo.workspace.wrangler_config import WranglerConfig
from tests.security.subjects import STRONG, TODAY
from tests.workspace.folders import write

CONFIG = """\
name = "api"
main = "index.js"
compatibility_date = "2026-10-01"
workers_dev = false

[vars]
TITLE = "Shop"
LIMITS = { upload = { url = "http://localhost:1/" } }

[env.staging.vars]
DEBUG = true
"""
PORTFOLIO = """\
[environments.production]
[environments.staging]
[services.api]
secrets = ["KEY", "JWT_SECRET"]
"""
LIVE_KEY = "sk_live_" + "51H8vK2eZvKYlo2C9xQ7bT4n"


def workspace(folder: Path, **files: str) -> Workspace:
    """Write a workspace with one service, and *files*."""
    named = {name.replace("__", "/"): text for name, text in files.items()}
    given = {"portfolio.toml": PORTFOLIO, "api/wrangler.toml": CONFIG, "api/index.js": "export default {}", **named}
    return Workspace.load(write(folder, given))


def test_settings_have_the_place_they_stand_at(tmp_path):
    """Values inside JSON variables are found; inherited, overridden and customers' settings each have their file."""
    write(tmp_path, {"config/customers/acme/production.env": "# public\n\nCUSTOMER_DOMAIN=acme.example.com\n"})
    loaded = workspace(tmp_path)

    looked_at = subject_of(
        loaded,
        Target("api", "production", "acme"),
        today=TODAY,
        config=with_settings(loaded.effective(Target("api", "production")), loaded.customers[0]),
        secrets={"KEY": STRONG, "EXTRA": STRONG},
    )

    places = {setting.name: setting.place.removeprefix(f"{tmp_path}/") for setting in looked_at.settings}
    assert places == {
        "TITLE": "api/wrangler.toml:7",
        "LIMITS.upload.url": "api/wrangler.toml:8",
        "CUSTOMER_DOMAIN": "config/customers/acme/production.env:3",
        "KEY": "portfolio.toml:4",
        "EXTRA": "api/wrangler.toml:1",
    }
    assert [setting.name for setting in looked_at.missing] == ["JWT_SECRET"]
    assert STRONG not in repr(looked_at)


def test_a_key_beside_its_database_is_told(tmp_path):
    """The workspace's own Prefect server keeps both in one folder; without either there is nothing to tell."""
    loaded = workspace(tmp_path)
    write(tmp_path, {".clodo/prefect/credentials.env": "KEY=x\n"})
    before = inspect(loaded, [], today=TODAY, with_scan=False).checked.findings
    write(tmp_path, {".clodo/prefect/prefect.db": ""})

    found = inspect(loaded, [], today=TODAY, with_scan=False).checked.findings

    assert before == ()
    assert [(item.rule, item.severity, item.line) for item in found] == [("key-beside-database", Severity.NOTE, 1)]


def test_leaves_are_named_by_their_path():
    """Tables, lists, booleans, numbers; nothing for null."""
    found = dict(leaves("A", {"b": [1, {"c": True}], "d": None, "e": "x"}))

    assert found == {"A.b[0]": "1", "A.b[1].c": "true", "A.e": "x"}


@pytest.mark.parametrize(
    ("path", "environment"),
    [
        ("config/customers/acme/production.env", "production"),
        ("config/production.env", "production"),
        ("api/.dev.vars", Stage.DEVELOPMENT),
        ("api/.dev.vars.staging", "staging"),
        ("api/.env", Stage.DEVELOPMENT),
        (".env.production", "production"),
        ("config/templates/production.env", Stage.DEVELOPMENT),
        (".env.example", Stage.DEVELOPMENT),
    ],
)
def test_an_env_files_environment_is_known_by_its_path(path, environment):
    """By folder and name; what is a template or a developer's own is development."""
    assert environment_of(Path(path)) == environment


def test_an_env_file_is_read_with_lines(tmp_path):
    """Quotes, exports, comments, blank and broken lines; a byte order mark; what is no text is refused."""
    file = tmp_path / "x.env"
    file.write_bytes(b"\xef\xbb\xbfA=1\r\n\r\nexport B='two words'\n# no\nbroken line here\nC=\"3\"\nEMPTY=\n")
    bad = tmp_path / "bad.env"
    bad.write_bytes(b"A=1\nB=\xff\n")

    found = [(setting.name, setting.text, setting.place.rpartition(":")[2]) for setting in env_settings(file)]

    assert found == [("A", "1", "1"), ("B", "two words", "3"), ("C", "3", "6")]
    with pytest.raises(BadConfiguration, match=r"bad\.env:2: is not UTF-8"):
        env_settings(bad)
    with pytest.raises(BadConfiguration, match=r"none\.env:1: can't be read"):
        env_settings(tmp_path / "none.env")


def git(folder: Path, *words: str) -> None:
    """Run git, with nobody's own settings."""
    given = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@example.com", *words]
    subprocess.run(given, check=True, capture_output=True)


def test_a_whole_workspace_is_looked_at(tmp_path):
    """Vars, env files that git keeps, other files, and what git ignores not; a place is told once."""
    loaded = workspace(tmp_path)
    git(tmp_path, "init", "-q")
    write(
        tmp_path,
        {
            ".gitignore": ".dev.vars\n",
            "api/.dev.vars": f"API_KEY={STRONG}\n",
            "config/customers/acme/production.env": f"CUSTOMER_ID=acme\nAPI_KEY={LIVE_KEY}\n",
            "api/src/pay.js": f'// pay\nconst key = "{LIVE_KEY}";\n',
            "api/test/pay.test.js": f'const key = "{LIVE_KEY}"; // pragma: allowlist secret\n',
            "notes.md": "database_id = 8f14e45f-ceea-467a-9a36-dedd4bea2543\n",
        },
    )

    found = inspect(loaded, loaded.targets, today=TODAY)

    told = [(item.rule, item.file.removeprefix(f"{tmp_path}/"), item.line) for item in found.checked.critical]
    assert told == [
        ("credential-in-file", "api/src/pay.js", 2),
        ("localhost-url", "api/wrangler.toml", 8),
        ("credential-in-env-file", "config/customers/acme/production.env", 2),
    ]
    assert {"rules", "scan"} == found.seconds.keys()
    assert LIVE_KEY not in repr(found)


def test_the_scanner_knows_what_the_rules_know_and_more(tmp_path):
    """Certain shapes are certain; entropy alone is not; ids, placeholders, locks and binaries are nothing."""
    write(
        tmp_path,
        {
            "key.pem": "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n",
            "a.js": f'const token = "cfut_{"a1B2c3D4e5" * 4}";\n',
            "b.js": 'const password = "vK2eZvKYlo2C9xQ7bT4n";\n',
            "c.js": 'const password = "changeme";\nconst id = "8f14e45fceea167a5a36dedd4bea2543";\n',
            "package-lock.json": f'{{"key": "{LIVE_KEY}"}}\n',
            "d.png": LIVE_KEY,
        },
    )

    found = {(leak.place.removeprefix(f"{tmp_path}/"), leak.is_certain) for leak in scan(sorted(tmp_path.iterdir()))}

    assert found == {("key.pem:1", True), ("a.js:1", True), ("b.js:1", False)}


def test_history_tells_what_was_taken_out(tmp_path):
    """A credential that was committed and removed is found, with file, line and commit, and never quoted."""
    git(tmp_path, "init", "-q")
    file = write(tmp_path, {"api/wrangler.toml": f'name = "api"\n[vars]\nAPI_KEY = "{STRONG}"\n'}) / "api/wrangler.toml"
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    file.write_text('name = "api"\n[vars]\nTITLE = "x"\n')
    git(tmp_path, "commit", "-qam", "two")

    found = read_history(tmp_path)

    (leak,) = found.leaks
    assert (leak.source, leak.key, leak.place) == (Source.HISTORY, "API_KEY", f"{tmp_path}/api/wrangler.toml:3")
    assert "in commit" in leak.what
    assert STRONG not in repr(found)
    assert found.notes == ()


def test_history_without_a_repository_says_so(tmp_path):
    """Nothing is passed over in silence."""
    found = read_history(tmp_path)

    assert found.leaks == ()
    assert "no git repository" in found.notes[0]


def test_patches_are_read_line_by_line():
    """Hunks count lines; each name of a file is told once; other lines are no settings."""
    patch = ["commit abcdef0123456789", "+++ b/x.env", "@@ -0,0 +5,2 @@", "+A=1", f"+API_KEY={STRONG}"]
    patch += ["@@ -9 +9 @@", f"+API_KEY={STRONG[::-1]}", "-gone", f"+see {LIVE_KEY}"]

    found = [(leak.key, leak.place) for leak in leaks_in(patch, Path("/w"))]

    assert found == [("API_KEY", "/w/x.env:6"), ("a Stripe live key", "/w/x.env:10")]


CORPUS = Path(__file__).parents[1] / "workspace" / "samples" / "corpus"
# What the corpus says on purpose and a rule is right about.
RIGHT = {"debug-flag", "outdated-compatibility-date", "workers-dev", "unpinned-route", "missing-security-headers"}


def test_the_rules_are_rarely_wrong_about_harmless_configs(capsys):
    """Over the corpus of configs that hold no secret and no bad address, under 1 % of settings are found by mistake."""
    settings, wrong, found = 0, [], 0
    for file in sorted(CORPUS.iterdir()):
        config = WranglerConfig.read(file)
        for environment in (None, *config.environments):
            effective = config.for_environment(environment)
            looked_at = [pair for name, value in effective.variables.items() for pair in leaves(name, value)]
            settings += len(looked_at) + len(effective.routes)
            subject = _subject(effective, environment or "production")
            for rule in ALL_RULES:
                for finding in rule.findings(subject):
                    found += 1
                    if finding.rule not in RIGHT:
                        wrong.append(finding.describe())
    leaks = [leak.place for leak in scan(sorted(CORPUS.iterdir()))]

    with capsys.disabled():
        print(  # noqa: T201 -- a figure that is meant to be seen
            f"\nsecurity rules on {len(list(CORPUS.iterdir()))} configs: {settings} settings, {found} findings,"
            f" {len(wrong)} by mistake ({len(wrong) / settings:.2%}); scanner: {len(leaks)} by mistake"
        )
    assert settings > 200
    assert len(wrong) / settings < 0.01, wrong
    assert len(leaks) / settings < 0.01, leaks


def test_the_rules_are_not_wrong_about_a_messy_fleet():
    """Thirty services of all ages with two customers each: much to tidy up, and nothing critical by mistake."""
    fleet = Workspace.load(CORPUS.parent / "messy")

    found = inspect(fleet, fleet.targets, today=TODAY, with_scan=False).checked

    assert len(fleet.services) >= 30
    assert found.critical == ()
    assert {finding.rule for finding in found.findings} <= RIGHT


def _subject(effective, environment: str) -> Subject:
    from clodo.security.subject import Kind, Setting

    settings = tuple(
        Setting(leaf, text, effective.place_of("vars", name), Kind.VARIABLE)
        for name, value in effective.variables.items()
        for leaf, text in leaves(name, value)
    )
    return Subject(effective.worker_name, Stage.of(environment), settings, TODAY, config=effective)


def test_a_critical_finding_is_critical(tmp_path):
    """The severity of what stops a release is told as such."""
    loaded = workspace(tmp_path)

    found = inspect(loaded, [Target("api", "staging")], today=TODAY, with_scan=False)

    # vars are not inherited by environments, so production's address is not staging's.
    assert [(item.rule, item.severity) for item in found.checked.findings] == [("debug-flag", Severity.NOTE)]
