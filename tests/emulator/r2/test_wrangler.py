"""R2's API, used by unmodified wrangler."""

from __future__ import annotations

import json

import pytest

from tests.emulator.conftest import Project


def test_wrangler_puts_objects(project: Project) -> None:
    """A file that wrangler puts is there, as it says."""
    (project.folder / "file.txt").write_bytes(b"content")

    project.account.result("POST", "/r2/buckets", json={"name": "things"})
    project.run("r2", "object", "put", "things/dir/a.txt", "--file", "file.txt", "--content-type", "text/x", "--remote")

    assert project.account.api.get(f"{project.account.root}/r2/buckets/things/objects/dir/a.txt").content == b"content"
    (listed,) = project.account.result("GET", "/r2/buckets/things/objects")
    assert (listed["key"], listed["http_metadata"]) == ("dir/a.txt", {"contentType": "text/x"})


@pytest.mark.exhaustive
def test_every_r2_command_works(project: Project) -> None:
    """The other r2 commands of wrangler: buckets, storage class, rules, domains, deletion."""
    account = project.account

    def r2(*words: str) -> str:
        return project.run("r2", *words)

    cors = {"rules": [{"allowed": {"methods": ["GET"], "origins": ["*"]}}]}
    (project.folder / "cors.json").write_text(json.dumps(cors))
    r2("bucket", "create", "things", "--storage-class", "InfrequentAccess")
    r2("bucket", "create", "things", "--jurisdiction", "eu")
    assert "things" in r2("bucket", "list")
    assert "apac" not in r2("bucket", "info", "things")
    r2("bucket", "update", "storage-class", "things", "--storage-class", "Standard")
    assert account.result("GET", "/r2/buckets/things")["storage_class"] == "Standard"
    r2("bucket", "cors", "set", "things", "--file", "cors.json", "--force")
    assert "GET" in r2("bucket", "cors", "list", "things")
    r2("bucket", "cors", "delete", "things", "--force")
    r2("bucket", "lifecycle", "add", "things", "old", "logs/", "--expire-days", "7", "--force")
    assert "logs/" in r2("bucket", "lifecycle", "list", "things")
    r2("bucket", "lifecycle", "remove", "things", "--name", "old")
    r2("bucket", "lock", "add", "things", "kept", "kept/", "--retention-days", "1", "--force")
    assert "kept/" in r2("bucket", "lock", "list", "things")
    r2("bucket", "lock", "remove", "things", "--name", "kept")
    r2("bucket", "dev-url", "enable", "things", "--force")
    assert "r2.dev" in r2("bucket", "dev-url", "get", "things")
    r2("bucket", "dev-url", "disable", "things", "--force")
    domain = ("--domain", f"files.{account.zone}")
    r2("bucket", "domain", "add", "things", *domain, "--zone-id", account.zone_id, "--force")
    assert account.zone in r2("bucket", "domain", "list", "things")
    r2("bucket", "domain", "update", "things", *domain, "--min-tls", "1.3")
    assert "1.3" in r2("bucket", "domain", "get", "things", *domain)
    r2("bucket", "domain", "remove", "things", *domain, "--force")
    project.run("r2", "object", "put", "things/a", "--pipe", "--remote", stdin="piped")
    refused = project.attempt("r2", "bucket", "delete", "things")
    assert refused.returncode == 1
    assert "10008" in refused.stderr
    r2("object", "get", "things/a", "--file", "got.txt", "--remote")
    assert (project.folder / "got.txt").read_bytes() == b"piped"
    r2("object", "delete", "things/a", "--remote")
    missing = project.attempt("r2", "object", "get", "things/a", "--file", "none.txt", "--remote")
    assert missing.returncode == 1
    assert "The specified key does not exist" in missing.stderr
    r2("bucket", "delete", "things")
    r2("bucket", "delete", "things", "--jurisdiction", "eu")
    assert account.result("GET", "/r2/buckets")["buckets"] == []
