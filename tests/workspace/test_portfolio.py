"""portfolio.toml: what it may say, what is refused, what holds without it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import BaseModel

from clodo.errors import BadConfiguration
from clodo.workspace import portfolio as portfolio_module
from clodo.workspace.portfolio import Portfolio, ServiceSettings
from clodo.workspace.targets import Target
from tests.workspace.folders import write

EXAMPLE = Path(__file__).parents[2] / "docs" / "portfolio.example.toml"


def read(folder: Path, text: str) -> Portfolio:
    write(folder, {"portfolio.toml": text})
    return Portfolio.read(folder / "portfolio.toml")


def test_the_documented_example_is_read_as_its_comments_say():
    """The example in docs/ is valid, and each value means what stands beside it."""
    shop = Portfolio.read(EXAMPLE)

    assert (shop.name, shop.default_environment) == ("shop", "staging")
    assert list(shop.environments) == ["staging", "production"]
    assert shop.account_block_of(Target("api", "production")) == "production"
    assert shop.secrets_block_of(Target("api", "production")) == "api-production"
    production = shop.environments["production"]
    assert production.protected
    assert not shop.environments["staging"].protected
    freeze = production.frozen_at(datetime(2027, 1, 2, 6, 59, tzinfo=UTC))
    assert freeze is not None
    assert freeze.reason == "holidays"
    assert production.frozen_at(datetime(2027, 1, 2, 7, tzinfo=UTC)) is None
    assert production.frozen_at(freeze.starts) is freeze
    assert production.frozen_at(freeze.starts - timedelta(microseconds=1)) is None
    api = shop.settings_of("api")
    assert (api.needs, api.install, api.build) == (("auth",), "npm ci", "npm run build")
    (smoke,) = api.smoke_tests
    assert (smoke.method, smoke.expect_status, smoke.timeout_seconds) == ("POST", 201, 5.0)
    assert smoke.version_header == "x-worker-version"
    assert shop.settings_of("auth").smoke_tests[0].expect_json == {"status": "ok"}
    assert shop.settings_of("auth").secrets == ("JWT_KEY",)
    assert shop.settings_of("web").build is False
    assert shop.settings_of("unheard-of") == ServiceSettings()


def test_the_example_shows_every_key_there_is():
    """No key of the schema is missing from the documented example."""
    text = EXAMPLE.read_text(encoding="utf-8")
    sections = [
        value
        for value in vars(portfolio_module).values()
        if isinstance(value, type) and issubclass(value, BaseModel) and value.__module__ == portfolio_module.__name__
    ]

    keys = {key for section in sections for key in section.model_fields}

    assert len(sections) >= 7
    assert {key for key in keys if key not in text} == set()


def test_without_a_file_everything_is_production_by_the_block_default():
    """The default portfolio has one environment and no opinion on services."""
    default = Portfolio.default("shop")

    assert default.default_environment == "production"
    assert default.account_block_of(Target("api", "production")) == "default"
    assert default.secrets_block_of(Target("My_api", "production", "Acme")) == "my-api-production-acme"
    assert default.place_of("services", "api") == "portfolio.toml"


def test_an_empty_file_is_the_default(tmp_path: Path):
    """A portfolio.toml without a word says what no portfolio.toml says, under the folder's name."""
    folder = tmp_path / "shop"

    empty = read(folder, "")

    assert (empty.name, list(empty.environments)) == ("shop", ["production"])


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            '[services.api]\n\n[[services.api.smoke_test]]\npath = "/"\n',
            ':3: unknown key "smoke_test" (did you mean "smoke_tests"?)',
            "build, environments, install, needs, on_failure, rotation, secrets, smoke_tests, smoke_tests_through",
        ),
        (
            "[service.api]\n",
            ':1: unknown key "service" (did you mean "services"?)',
            "environments, portfolio, security, services",
        ),
        (
            '[[services.api.smoke_tests]]\npath = "/"\ntimeout = 3\n',
            ':3: unknown key "timeout"',
            "timeout_seconds",
        ),
        (
            '[environments.production]\nacount = "x"\n',
            ':2: unknown key "acount" (did you mean "account"?)',
            "account, freeze, protected, secrets",
        ),
        ("[services.api]\nneeds = 1\n", ':2: "services.api.needs": must be a list', ""),
        ('[services.api]\nneeds = ["a", 1]\n', ':2: "services.api.needs[1]": must be a valid string', ""),
        ("[[services.api.smoke_tests]]\nmethod = 'GET'\n", ':1: "services.api.smoke_tests[0]" lacks "path"', ""),
        (
            "[[services.api.smoke_tests]]\npath = 'health'\n",
            ':2: "services.api.smoke_tests[0].path": a path starts',
            "",
        ),
        ("[[services.api.smoke_tests]]\npath = '/'\nmethod = 'get'\n", ":3: ", ""),
        ("[[services.api.smoke_tests]]\npath = '/'\nexpect_status = 99\n", "greater than or equal to 100", ""),
        ("[[services.api.smoke_tests]]\npath = '/'\nexpect_status = '200'\n", "valid integer", ""),
        ("[[services.api.smoke_tests]]\npath = '/'\ntimeout_seconds = 0\n", "greater than 0", ""),
        (
            "[[services.api.smoke_tests]]\npath = '/'\nversion_header = 'a'\nversion_json = 'b'\n",
            'give "version_header" or "version_json", not both',
            "",
        ),
        ("[services.api.on_failure]\ndatabase = 'drop'\n", "'keep' or 'time-travel'", ""),
        ("[services.api]\nbuild = true\n", ':2: "services.api.build"', ""),
        ("[services.api]\nbuild = ' '\n", "a command can't be empty", ""),
        ("[services.api]\nsecrets = ['JWT-KEY']\n", "letters, digits and _ only", ""),
        ("[environments.production]\naccount = 'My Account'\n", "lower-case letters, digits and - only", ""),
        ("[environments.production]\nsecrets = '{servce}-x'\n", "unknown placeholder {servce}", ""),
        (
            "[[environments.production.freeze]]\nstarts = 2026-01-01T00:00:00\nends = 2026-01-02T00:00:00Z\n",
            ':2: "environments.production.freeze[0].starts": input should have timezone info',
            "",
        ),
        (
            "[[environments.production.freeze]]\nstarts = 2026-01-03T00:00:00Z\nends = 2026-01-02T00:00:00Z\n",
            "a freeze ends after it starts",
            "",
        ),
        ("[portfolio]\ndefault_environment = 'prod'\n[environments.production]\n", '(did you mean "production"?)', ""),
        ("[environments.a]\n[environments.b]\n", "is not said", 'default_environment = "a"'),
        (
            "[environments.staging]\n[services.api]\nenvironments = [\n  'stging',\n]\n",
            ':4: "stging" is not among [environments] (did you mean "staging"?)',
            "[environments.stging]",
        ),
        ("[environments.'a b']\n", '"a b" can\'t be a name', ""),
        ("portfolio = 1\n", ':1: "portfolio"', ""),
        ("[portfolio\n", ":1: ", ""),
    ],
)
def test_what_makes_no_sense_is_refused_with_place_and_remedy(tmp_path: Path, text: str, message: str, hint: str):
    """Unknown keys, wrong types and contradictions name file:line, the key and what would be right."""
    with pytest.raises(BadConfiguration) as caught:
        read(tmp_path, text)

    assert caught.value.message.startswith(f"{tmp_path}/portfolio.toml:")
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")


def test_several_faults_show_the_first_and_count_the_rest(tmp_path: Path):
    """The fault that stands first in the file is told; the others are counted."""
    with pytest.raises(BadConfiguration) as caught:
        read(tmp_path, "[portfolio]\nnam = 1\n[services.api]\nneds = []\nbild = 1\n")

    assert caught.value.message == f'{tmp_path}/portfolio.toml:2: unknown key "nam" (did you mean "name"?) (and 2 more)'


def test_the_only_environment_is_the_default_one(tmp_path: Path):
    """With one environment, a bare service name means that one."""
    assert read(tmp_path, "[environments.live]\n").default_environment == "live"
