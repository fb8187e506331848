"""
Checks wrangler configs against the schema that wrangler ships, so that Clodo knows no less than wrangler's editor help.

jsonschema does it: Prefect brings it along anyway, and at half a millisecond a config a faster one would save nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clodo.errors import ToolchainMissing
from clodo.workspace.documents import Document, KeyPath, did_you_mean
from clodo.workspace.finding import Finding, Severity

if TYPE_CHECKING:
    from jsonschema import ValidationError

_WORDS = {
    "string": "a string",
    "boolean": "true or false",
    "object": "a table",
    "array": "a list",
    "number": "a number",
    "integer": "a whole number",
    "null": "null",
}
_REMEDY = "See the key in wrangler's documentation of its configuration."


class ConfigSchema:
    """wrangler's ``config-schema.json``."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        # It takes a sixth of a second to import, and only validation needs it.
        from jsonschema import Draft7Validator

        self._validator = Draft7Validator(dict(schema))

    @classmethod
    def read(cls, file: Path) -> ConfigSchema:
        """
        Read *file*.

        Raises:
            ToolchainMissing: The installed wrangler has no such file, or it is no JSON.
        """
        try:
            return cls(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise ToolchainMissing(
                f"{file}: wrangler's schema can't be read", hint="Run `clodo up` once with network access."
            ) from error

    def findings(self, document: Document) -> Iterator[Finding]:
        """Yield what the schema says of *document*; unknown keys of a section are left to `config_rules`."""
        for error in self._validator.iter_errors(document.data):
            yield from _findings(document, _closest(error))


def _closest(error: ValidationError) -> ValidationError:
    """Follow an ``anyOf`` to the alternative that was most likely meant."""
    from jsonschema.exceptions import best_match

    if not error.context:
        return error
    deeper = [item for item in error.context if len(item.absolute_path) > len(error.absolute_path)]
    missing = [item for item in error.context if item.validator in ("required", "additionalProperties")]
    chosen = best_match(deeper) if deeper else None
    if chosen is None and missing and isinstance(error.instance, Mapping):
        chosen = missing[0]
    return chosen or error


def _findings(document: Document, error: ValidationError) -> Iterator[Finding]:
    path: KeyPath = tuple(error.absolute_path)
    if error.validator == "additionalProperties":
        if not path or (len(path) == 2 and path[0] == "env"):
            return
        known = list((error.schema or {}).get("properties", {})) if isinstance(error.schema, Mapping) else []
        for key in error.instance:
            if key not in known:
                what = f'unknown key "{key}" in "{_dotted(path)}"{did_you_mean(key, known)}'
                yield _finding(document, (*path, key), "unknown-key", Severity.WARNING, what)
        return
    yield _finding(document, path, "schema", Severity.ERROR, _sentence(path, error))


def _finding(document: Document, path: KeyPath, rule: str, severity: Severity, what: str) -> Finding:
    return Finding(document.place_of(path), rule, severity, what, _REMEDY)


def _sentence(path: KeyPath, error: ValidationError) -> str:
    name = f'"{_dotted(path)}"' if path else "the file"
    wanted: Any = error.validator_value
    if error.validator == "type":
        kinds = [wanted] if isinstance(wanted, str) else list(wanted)
        return f"{name} must be {' or '.join(_WORDS.get(kind, kind) for kind in kinds)}"
    if error.validator == "enum":
        return f"{name} must be one of {', '.join(json.dumps(value) for value in wanted)}"
    if error.validator == "const":
        return f"{name} must be {json.dumps(wanted)}"
    if error.validator == "required" and isinstance(error.instance, Mapping):
        return f"{name} lacks {', '.join(json.dumps(key) for key in wanted if key not in error.instance)}"
    if error.validator in ("anyOf", "oneOf"):
        return f"{name} has none of the forms that wrangler takes"
    # The message of the library quotes the value, which is nobody's business here.
    return f"{name} breaks wrangler's rule {error.validator} ({json.dumps(wanted)[:80]})"


def _dotted(path: KeyPath) -> str:
    return ".".join(str(step) for step in path)
