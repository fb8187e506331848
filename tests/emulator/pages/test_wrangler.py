"""Pages, used by unmodified wrangler."""

from __future__ import annotations

import pytest

from tests.emulator.conftest import Project


@pytest.mark.exhaustive
def test_wrangler_deploys_a_site(project: Project) -> None:
    """`pages deploy` of a folder with a Worker, headers and redirects puts the site live."""
    account = project.account
    name = f"wr-{account.account_id[:8]}"
    (project.folder / "wrangler.json").unlink()
    folder = project.folder / "dist"
    folder.mkdir()
    (folder / "index.html").write_text("home")
    (folder / "_headers").write_text("/*\n  x-from: headers\n")
    (folder / "_worker.js").write_text(
        "export default { fetch(request, env) { return new URL(request.url).pathname === '/api'"
        " ? new Response('function') : env.ASSETS.fetch(request); } };"
    )
    account.result("POST", "/pages/projects", json={"name": name, "production_branch": "main"})

    told = project.run("pages", "deploy", "dist", "--project-name", name, "--branch", "main", "--commit-dirty=true")

    assert "Deployment complete" in told
    assert account.visit(f"{name}.pages.dev", "/api").text == "function"
    home = account.visit(f"{name}.pages.dev", "/")
    assert (home.text, home.headers["x-from"]) == ("home", "headers")


@pytest.mark.exhaustive
def test_every_pages_command_works(project: Project) -> None:
    """Projects, Functions in a folder, previews, secrets, lists and deletions by wrangler alone."""
    account = project.account
    name = f"wx-{account.account_id[:8]}"
    named = ("--project-name", name)
    (project.folder / "wrangler.json").unlink()
    (project.folder / "dist").mkdir()
    (project.folder / "dist" / "index.html").write_text("home")
    (project.folder / "functions").mkdir()
    (project.folder / "functions" / "hello.js").write_text(
        "export function onRequest({ env }) { return new Response(`hello ${env.NAME}`); }"
    )

    assert f"{name}.pages.dev" in project.run("pages", "project", "create", name, "--production-branch", "main")
    assert name in project.run("pages", "project", "list")
    project.run("pages", "secret", "put", "NAME", *named, stdin="world")
    assert "NAME" in project.run("pages", "secret", "list", *named)
    project.run("pages", "deploy", "dist", *named, "--branch", "main", "--commit-dirty=true")
    assert account.visit(f"{name}.pages.dev", "/hello").text == "hello world"
    assert account.visit(f"{name}.pages.dev", "/").text == "home"
    preview = project.run("pages", "deploy", "dist", *named, "--branch", "next", "--commit-dirty=true")
    assert f"https://next.{name}.pages.dev" in preview
    assert "preview" in project.run("pages", "deployment", "list", *named, "--environment", "preview").lower()
    project.run("pages", "secret", "delete", "NAME", *named)
    assert project.attempt("pages", "deploy", "dist", "--project-name", "none", "--branch", "main").returncode == 1
    project.run("pages", "project", "delete", name, "--yes")
    assert account.result("GET", "/pages/projects") == []
