"""What a build command would do."""

from __future__ import annotations

import pytest

from clodo.workspace.build_commands import calls_wrangler, deploying_command

SCRIPTS = {
    "build": "wrangler deploy --dry-run",
    "compile": "tsc && esbuild src/index.ts",
    "all": "npm run compile && npm run ship",
    "ship": "npx wrangler@4 versions upload",
    "prelint": "wrangler types",
    "lint": "eslint .",
    "loop": "npm run loop",
}


@pytest.mark.parametrize(
    ("command", "chain"),
    [
        ("wrangler deploy", ("wrangler deploy",)),
        ("npx wrangler deploy --dry-run", ("npx wrangler deploy --dry-run",)),
        ("npx --yes wrangler@4.164.0 --config x.json deploy", ("npx --yes wrangler@4.164.0 --config x.json deploy",)),
        ("./node_modules/.bin/wrangler publish", ("./node_modules/.bin/wrangler publish",)),
        ("tsc;wrangler deploy", ("tsc;wrangler deploy",)),
        ("FOO=1 wrangler deploy", ("FOO=1 wrangler deploy",)),
        ('sh -c "wrangler deploy"', ('sh -c "wrangler deploy"',)),
        ("echo 'a && b' && clodo portfolio deploy", ("echo 'a && b' && clodo portfolio deploy",)),
        ("npm run build", ("npm run build", "wrangler deploy --dry-run")),
        ("npm --silent run build -- --x", ("npm --silent run build -- --x", "wrangler deploy --dry-run")),
        ("yarn build", ("yarn build", "wrangler deploy --dry-run")),
        ("node --run build", ("node --run build", "wrangler deploy --dry-run")),
        ("npm run all", ("npm run all", SCRIPTS["all"], SCRIPTS["ship"])),
        ("npm run compile", None),
        ("npm run lint", None),
        ("npm run loop", None),
        ("npm run missing", None),
        ("wrangler types && vite build", None),
        ("echo deploy", None),
        ("node build/deploy.js", None),
        ("", None),
    ],
)
def test_a_deploy_is_found_through_scripts(command: str, chain: tuple[str, ...] | None):
    """The whole chain from the command to the deploy is told; what only looks like it is left alone."""
    assert deploying_command(command, SCRIPTS) == chain


def test_any_call_of_wrangler_is_noticed():
    """A script that calls wrangler, itself or by a pre-script, is told from one that does not."""
    assert calls_wrangler("npm run lint", SCRIPTS)
    assert calls_wrangler("wrangler types", SCRIPTS)
    assert not calls_wrangler("npm run compile", SCRIPTS)
    assert not calls_wrangler("npm run loop", SCRIPTS)
