"""Durable Objects as the API sees them: listed, and moved to another Worker with what they keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cloudflare import Cloudflare

from clodo.emulator.runtime.kept_objects import settle
from tests.fixtures.embedded_cloud import HELLO, CloudAccount, script_parts

COUNTING = """
import { DurableObject } from "cloudflare:workers";
export class NAME extends DurableObject {
  async fetch() {
    const count = ((await this.ctx.storage.get("count")) ?? 0) + 1;
    await this.ctx.storage.put("count", count);
    return new Response(`NAME ${count}`);
  }
}
export default { fetch(request, env) { return env.COUNTER.get(env.COUNTER.idFromName("one")).fetch(request); } };
"""


def counting(name: str) -> str:
    """A Worker that has a class of this name and asks the object bound to it."""
    return COUNTING.replace("NAME", name)


def bound(class_name: str, **more: str) -> dict[str, Any]:
    """A binding to a class."""
    return {"type": "durable_object_namespace", "name": "COUNTER", "class_name": class_name, **more}


def taken(**change: str) -> dict[str, Any]:
    """A migration that takes Counter from the Worker *old*."""
    return {"new_tag": "t1", "transferred_classes": [{"from": "Counter", "from_script": "old", "to": "Moved"} | change]}


def test_a_class_moves_with_what_its_objects_keep(account: CloudAccount) -> None:
    """The new Worker's code runs on the old one's data; whoever was bound to the old class is led to the new one."""
    first = {"new_tag": "v1", "new_sqlite_classes": ["Counter"]}
    account.put_worker("old", counting("Counter"), bindings=[bound("Counter")], migrations=first)
    asking = "export default { fetch(r, env) { return env.COUNTER.get(env.COUNTER.idFromName('one')).fetch(r); } };"
    account.put_worker("third", asking, bindings=[bound("Counter", script_name="old")])

    def said(worker: str) -> str:
        return account.visit(account.hostname(worker)).text

    (before,) = account.result("GET", "/workers/durable_objects/namespaces")
    counts = [said("old"), said("third")]
    account.put_worker("new", counting("Moved"), bindings=[bound("Moved")], migrations=taken())
    counts += [said("new"), said("old"), said("third"), said("new")]
    (after,) = account.result("GET", "/workers/durable_objects/namespaces")
    (kept,) = account.result("GET", f"/workers/durable_objects/namespaces/{after['id']}/objects")

    assert counts == ["Counter 1", "Counter 2", "Moved 3", "Moved 4", "Moved 5", "Moved 6"]
    assert (before["script"], after["script"], after["class"]) == ("old", "new", "Moved")
    assert before["id"] == after["id"]
    assert (len(kept["id"]), kept["hasStoredData"]) == (64, True)
    again = script_parts(counting("Counter"), bindings=[bound("Counter")])
    assert account.refusal("PUT", "/workers/scripts/old", files=again) == (400, 10061)


def test_a_transfer_that_cannot_be_changes_nothing(account: CloudAccount) -> None:
    """Without the class in the code, from nowhere or onto itself: refused, and the old Worker keeps its objects."""
    first = {"new_tag": "v1", "new_sqlite_classes": ["Counter"]}
    account.put_worker("old", counting("Counter"), bindings=[bound("Counter")], migrations=first)

    for code, migrations in (
        (HELLO, taken()),
        (counting("Moved"), taken(from_script="gone")),
        (counting("Moved"), taken(**{"from": "Gone"})),
    ):
        upload = script_parts(code, migrations=migrations)
        assert account.refusal("PUT", "/workers/scripts/new", files=upload) == (400, 10070), migrations
    onto_itself = script_parts(counting("Moved"), migrations={"old_tag": "v1", **taken()})
    assert account.refusal("PUT", "/workers/scripts/old", files=onto_itself) == (400, 10070)

    assert account.visit(account.hostname("old")).text == "Counter 1"


def test_a_move_that_was_cut_off_is_completed(tmp_path: Path) -> None:
    """What the database says is another script's by now goes there at the next start, and nothing is written over."""
    for kept in ("a/old/moved", "a/old/stays", "a/old/twice", "a/new/twice"):
        (tmp_path / kept).mkdir(parents=True)

    settle(tmp_path, {"moved": ("a", "new"), "stays": ("a", "old"), "twice": ("a", "new")})
    settle(tmp_path / "nothing", {})

    found = {str(folder.relative_to(tmp_path)) for folder in tmp_path.glob("*/*/*")}
    assert found == {"a/new/moved", "a/old/stays", "a/old/twice", "a/new/twice"}


def test_objects_are_listed_in_pages(account: CloudAccount) -> None:
    """Every object that keeps something is in one page; a page is no smaller than ten; a namespace must be there."""
    code = counting("Counter").replace('idFromName("one")', "newUniqueId()")
    first = {"new_tag": "v1", "new_sqlite_classes": ["Counter"]}
    account.put_worker("shop", code, bindings=[bound("Counter")], migrations=first)
    (namespace,) = account.result("GET", "/workers/durable_objects/namespaces")
    objects = f"/workers/durable_objects/namespaces/{namespace['id']}/objects"
    before = account.result("GET", objects)
    for _ in range(11):
        account.visit(account.hostname("shop"))

    with Cloudflare(
        api_token=account.token, base_url=account.cloud.url, max_retries=0, _strict_response_validation=True
    ) as client:
        of_namespace = client.durable_objects.namespaces.objects
        listed = [found.id for found in of_namespace.list(namespace["id"], account_id=account.account_id, limit=10)]

    assert (before, len(set(listed))) == ([], 11)
    assert account.refusal("GET", f"{objects}?limit=9")[0] == 400
    assert account.refusal("GET", f"/workers/durable_objects/namespaces/{'0' * 32}/objects")[0] == 404
