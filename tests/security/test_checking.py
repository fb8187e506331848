"""What becomes of findings: waivers, the refusal of a release, SARIF."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import jsonschema
import pytest

from clodo.errors import BadConfiguration, BlockedByPolicy
from clodo.security.checking import ALL_RULES, check
from clodo.security.sarif import to_sarif
from clodo.security.subject import Kind, Stage
from clodo.workspace.finding import Severity
from clodo.workspace.portfolio import Portfolio
from tests.security.subjects import TODAY, settings, subject
from tests.workspace.folders import write

LEAKING = subject(Stage.PRODUCTION, settings(Kind.SECRET, KEY="hunter2"), settings(Kind.VARIABLE, DEBUG="true"))
WAIVER = """\
[[security.waivers]]
rule = "weak-secret"
target = "api@*"
key = "KEY"
reason = "the partner's system takes no longer one"
expires = {expires}
"""


def portfolio(folder: Path, text: str = "") -> Portfolio:
    """Read a portfolio that says *text*."""
    return Portfolio.read(write(folder, {"portfolio.toml": text}) / "portfolio.toml")


def test_findings_are_sorted_by_how_bad_they_are(tmp_path):
    """The critical one is first; only critical ones refuse a release."""
    checked = check([LEAKING], portfolio(tmp_path), today=TODAY)

    assert [finding.rule for finding in checked.findings] == ["weak-secret", "debug-flag"]
    assert [finding.rule for finding in checked.critical] == ["weak-secret"]
    with pytest.raises(BlockedByPolicy) as refused:
        checked.raise_if_critical("api@production")
    assert refused.value.exit_code == 4
    assert "weak-secret" in refused.value.message
    assert "/workspace/file:1" in refused.value.message
    assert "hunter2" not in f"{refused.value.message} {refused.value.hint}"


def test_a_waiver_sets_a_finding_aside_until_its_day(tmp_path):
    """It counts on its last day, and not for other keys and targets."""
    waived = check([LEAKING], portfolio(tmp_path, WAIVER.format(expires=TODAY)), today=TODAY)

    waived.raise_if_critical("api@production")
    assert [(finding.key, waiver.reason) for finding, waiver in waived.waived] == [
        ("KEY", "the partner's system takes no longer one")
    ]
    for other in ('target = "web@*"', 'target = "*"\nkey = "OTHER"'):
        text = WAIVER.format(expires=TODAY).replace('target = "api@*"\nkey = "KEY"', other)
        assert check([LEAKING], portfolio(tmp_path, text), today=TODAY).critical


def test_an_expired_waiver_makes_it_a_finding_again(tmp_path):
    """The day after, it is critical again and says since when."""
    expired = portfolio(tmp_path, WAIVER.format(expires=TODAY - timedelta(days=1)))

    checked = check([LEAKING], expired, today=TODAY)

    assert checked.critical[0].expired_waiver == "2026-11-19"
    with pytest.raises(BlockedByPolicy, match="its waiver expired on 2026-11-19"):
        checked.raise_if_critical("api@production")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            ("weak-secret", "weak-secrets"),
            r'portfolio\.toml:2: no security rule is called "weak-secrets" .*"weak-secret"',
        ),
        (("reason =", "reason = ' ' #"), r"portfolio\.toml:5: .*says why"),
        (("expires", "until"), r'portfolio\.toml:\d: .*"?(lacks "expires"|unknown key "until")'),
    ],
)
def test_a_waiver_that_says_too_little_is_bad_configuration(tmp_path, changed, said):
    """A rule that there isn't, no reason, no date: each is refused with file and line."""
    text = WAIVER.format(expires=date(2027, 1, 1)).replace(*changed)

    with pytest.raises(BadConfiguration, match=said):
        check([LEAKING], portfolio(tmp_path, text), today=TODAY)


def test_names_of_rules_are_their_own():
    """No two rules have one name, and each says what it finds and what to do."""
    names = [rule.name for rule in ALL_RULES]

    assert len(set(names)) == len(names)
    assert all(rule.title and rule.remedy.endswith(".") and rule.check.__doc__ for rule in ALL_RULES)


def test_rules_are_documented_as_they_are():
    """docs/security-rules.md has each rule with its severities and remedy."""
    page = (Path(__file__).parents[2] / "docs" / "security-rules.md").read_text()

    for rule in ALL_RULES:
        severities = " | ".join(rule.severities[stage].value if stage in rule.severities else "–" for stage in Stage)
        assert f"| `{rule.name}` | {rule.title} | {severities} | {rule.remedy} |" in page


# What consumers of SARIF 2.1.0 rely on, from sections 3.13 to 3.35 of the standard.
MESSAGE = {"type": "object", "required": ["text"], "properties": {"text": {"type": "string", "minLength": 1}}}
SARIF = {
    "type": "object",
    "required": ["version", "runs", "$schema"],
    "additionalProperties": False,
    "properties": {
        "$schema": {"type": "string", "pattern": "sarif-schema-2.1.0"},
        "version": {"const": "2.1.0"},
        "runs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["tool", "results"],
                "additionalProperties": False,
                "properties": {
                    "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
                    "originalUriBaseIds": {
                        "type": "object",
                        "additionalProperties": {
                            "required": ["uri"],
                            "properties": {"uri": {"type": "string", "pattern": "^file:///.*/$"}},
                        },
                    },
                    "tool": {
                        "required": ["driver"],
                        "properties": {
                            "driver": {
                                "required": ["name", "rules"],
                                "properties": {
                                    "rules": {
                                        "type": "array",
                                        "uniqueItems": True,
                                        "items": {
                                            "required": ["id"],
                                            "properties": {"shortDescription": MESSAGE, "help": MESSAGE},
                                        },
                                    },
                                },
                            },
                        },
                    },
                    "results": {
                        "type": "array",
                        "items": {
                            "required": ["message", "ruleId", "level", "locations"],
                            "properties": {
                                "message": MESSAGE,
                                "level": {"enum": ["none", "note", "warning", "error"]},
                                "ruleIndex": {"type": "integer", "minimum": 0},
                                "partialFingerprints": {"additionalProperties": {"type": "string"}},
                                "suppressions": {
                                    "items": {
                                        "required": ["kind"],
                                        "properties": {
                                            "kind": {"enum": ["inSource", "external"]},
                                            "status": {"enum": ["accepted", "underReview", "rejected"]},
                                        },
                                    },
                                },
                                "locations": {
                                    "items": {
                                        "required": ["physicalLocation"],
                                        "properties": {
                                            "physicalLocation": {
                                                "required": ["artifactLocation", "region"],
                                                "properties": {
                                                    "artifactLocation": {
                                                        "required": ["uri"],
                                                        "properties": {"uri": {"pattern": "^(?!/)[^\\\\ ]+$"}},
                                                    },
                                                    "region": {
                                                        "required": ["startLine"],
                                                        "properties": {"startLine": {"type": "integer", "minimum": 1}},
                                                    },
                                                },
                                            },
                                        },
                                    },
                                },
                            },
                        },
                    },
                },
            },
        },
    },
}


def test_sarif_has_what_its_readers_rely_on(tmp_path):
    """Results name rules, levels and relative places; what is waived is suppressed with its reason."""
    here = replace(
        LEAKING,
        settings=tuple(
            replace(setting, place=f"{tmp_path}/a b/wrangler.toml:{line}")
            for line, setting in enumerate(LEAKING.settings, start=3)
        ),
    )
    checked = check([here], portfolio(tmp_path, WAIVER.format(expires=TODAY)), today=TODAY)

    log = to_sarif(checked, tmp_path, version="1.2.3")

    jsonschema.validate(log, SARIF)
    run = log["runs"][0]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert [(result["ruleId"], result["level"]) for result in run["results"]] == [
        ("debug-flag", "warning"),
        ("weak-secret", "error"),
    ]
    assert all(rules[result["ruleIndex"]] == result["ruleId"] for result in run["results"])
    place = run["results"][0]["locations"][0]["physicalLocation"]
    assert (place["artifactLocation"]["uri"], place["region"]["startLine"]) == ("a%20b/wrangler.toml", 4)
    assert run["results"][1]["suppressions"][0]["justification"].startswith("the partner's")
    assert "hunter2" not in str(log)


def test_severities_are_ranked_from_the_worst():
    """Critical before error before warning before note."""
    words = [severity.value for severity in sorted(Severity, key=lambda severity: severity.rank)]
    assert words == ["critical", "error", "warning", "note"]
