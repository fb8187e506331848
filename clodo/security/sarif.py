"""
Findings as SARIF 2.1.0, which code hosts show beside the lines.

Source: https://docs.oasis-open.org/sarif/sarif/v2.1.0/
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import quote

from clodo.security.checking import ALL_RULES, Checked
from clodo.security.rule import Rule
from clodo.workspace.finding import Finding, Severity

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
LEVELS = {Severity.CRITICAL: "error", Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "note"}


def to_sarif(checked: Checked, root: Path, *, version: str) -> dict[str, Any]:
    """
    Return *checked* as a SARIF log.

    Args:
        root: What paths are relative to.

        version: Clodo's.
    """
    results = [_result(finding, root) for finding in checked.findings]
    for finding, waiver in checked.waived:
        suppression = {"kind": "external", "status": "accepted", "justification": waiver.reason}
        results.append({**_result(finding, root), "suppressions": [suppression]})
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "clodo",
                        "semanticVersion": version,
                        "rules": [_rule(rule) for rule in ALL_RULES],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "originalUriBaseIds": {"WORKSPACE": {"uri": f"{root.as_uri()}/"}},
                "results": results,
            }
        ],
    }


def _rule(rule: Rule) -> dict[str, Any]:
    worst = min(rule.severities.values(), key=lambda severity: severity.rank)
    return {
        "id": rule.name,
        "shortDescription": {"text": rule.title},
        "help": {"text": rule.remedy},
        "defaultConfiguration": {"level": LEVELS[worst]},
    }


def _result(finding: Finding, root: Path) -> dict[str, Any]:
    whose = f"{finding.target}: " if finding.target else ""
    # Stays the same when lines are added above, so that a code host knows the finding again.
    identity = "\0".join((finding.rule, finding.target or "", finding.key, _relative(finding.file, root)))
    return {
        "ruleId": finding.rule,
        "ruleIndex": [rule.name for rule in ALL_RULES].index(finding.rule),
        "level": LEVELS[finding.severity],
        "message": {"text": f"{whose}{finding.message}. {finding.remedy}"},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": quote(_relative(finding.file, root)), "uriBaseId": "WORKSPACE"},
                    "region": {"startLine": max(1, finding.line)},
                }
            }
        ],
        "partialFingerprints": {"clodo/v1": hashlib.sha256(identity.encode()).hexdigest()},
    }


def _relative(file: str, root: Path) -> str:
    path = Path(file)
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix().lstrip("/")
