"""Workers that are gone brought back with their code and bindings; code in place of other code, and back again."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clodo.backups.manifest import Kind
from clodo.backups.restoring.plan import Way, Wish
from clodo.backups.restoring.planning import in_order
from clodo.errors import ApiRefused, ClodoError, LockLost, NotFound, PlanIsStale, UndoIncomplete
from tests.backups.restores import die_at, restorer
from tests.backups.test_worker_assets import with_assets

BYTES = bytes(range(256)) + b"\r\n--\r\n"
CODE = """
import { DurableObject } from "cloudflare:workers";
import words from "./words.txt";
import data from "./data.bin";
export class Counter extends DurableObject {
  async next() { const n = (await this.ctx.storage.get("n") ?? 0) + 1; await this.ctx.storage.put("n", n); return n; }
}
export default { async fetch(request, env) {
  const names = (await env.DB.prepare("SELECT name FROM members ORDER BY id").all()).results.map(row => row.name);
  return Response.json({
    names, words, size: data.byteLength, plain: await env.KV.get("plain"),
    count: await env.COUNTER.getByName("a").next(), mode: env.MODE, secret: env.API_KEY ?? null,
  });
} };
"""


def bindings(fleet):
    return [
        {"type": "d1", "name": "DB", "id": fleet.database_id},
        {"type": "kv_namespace", "name": "KV", "namespace_id": fleet.namespace_id},
        {"type": "durable_object_namespace", "name": "COUNTER", "class_name": "Counter"},
        {"type": "plain_text", "name": "MODE", "text": "hush-4711"},
        {"type": "secret_text", "name": "API_KEY", "text": "secret-4711"},
    ]


def put(fleet, name, modules, **metadata):
    whole = {"main_module": "index.js", "compatibility_date": "2026-01-01", "bindings": [], **metadata}
    parts = [("metadata", (None, json.dumps(whole)))]
    parts += [(file, (file, content, kind)) for file, kind, content in modules]
    fleet.account.result("PUT", f"/workers/scripts/{name}", files=parts)


@pytest.fixture
def worker(fleet):
    """A Worker with everything: modules of three kinds, bindings, secret, Durable Objects, route, domain, schedule."""
    account, cloudflare = fleet.account, fleet.cloudflare
    config = fleet.root / "shop" / "wrangler.toml"
    config.write_text(f'routes = ["{account.zone}/*"]\n' + config.read_text())
    modules = [
        ("index.js", "application/javascript+module", CODE),
        ("./words.txt", "text/plain", "Zoë"),
        ("./data.bin", "application/octet-stream", BYTES),
    ]
    migrations = {"new_tag": "v1", "steps": [{"new_sqlite_classes": ["Counter"]}]}
    put(fleet, "shop", modules, bindings=bindings(fleet), migrations=migrations)
    cloudflare.schedules.put("shop", ["0 3 * * *"])
    cloudflare.routes.create(account.zone_id, f"{account.zone}/*", "shop")
    cloudflare.domains.attach(f"shop.{account.zone}", "shop", zone_id=account.zone_id)
    cloudflare.subdomains.set("shop", enabled=True, previews_enabled=False)
    return fleet


def visit(fleet, host=None):
    answer = fleet.account.visit(host or fleet.account.hostname("shop"))
    assert answer.status_code == 200, answer.text
    return answer.json()


def remove(fleet):
    """Delete the Worker, with all that leads to it."""
    account, cloudflare = fleet.account, fleet.cloudflare
    for route in cloudflare.routes.list(account.zone_id):
        cloudflare.routes.delete(account.zone_id, route.id)
    for domain in cloudflare.domains.list():
        cloudflare.domains.detach(domain.id)
    cloudflare.scripts.delete("shop", force=True)


def leads(fleet):
    """Return the addresses of the zone, each with its Worker."""
    routes = {route.pattern: route.script for route in fleet.cloudflare.routes.list(fleet.account.zone_id)}
    return routes | {domain.hostname: domain.service for domain in fleet.cloudflare.domains.list()}


def crons(fleet):
    return [item.cron for item in fleet.cloudflare.schedules.get("shop")]


def test_a_worker_that_is_gone_comes_back_and_answers(worker):
    """Worker, database and namespace were deleted: the Worker answers at each address, from what was restored."""
    before, addresses = visit(worker), leads(worker)
    manifest = worker.back_up(kinds=[Kind.D1, Kind.KV, Kind.WORKER])
    remove(worker)
    worker.cloudflare.d1.delete(worker.database_id)
    worker.cloudflare.kv.delete(worker.namespace_id)
    wanted = Wish(snapshot=manifest.id, only=("d1/shop-db", "kv/shop-kv", "worker/shop"))

    plan = restorer(worker).plan(wanted)
    restored = restorer(worker).restore(wanted, approved=plan.fingerprint)

    assert [(step.way, step.name) for step in plan.steps] == [
        (Way.CREATE, name) for name in ("shop-db", "shop-kv", "shop")
    ]
    said = " ".join((*plan.steps[-1].changes, *plan.steps[-1].risks))
    for what in ("module ./data.bin", "binding DB", "schedules", "(Counter) come back empty", "API_KEY --name shop"):
        assert what in said
    assert "4711" not in json.dumps(plan.described())
    assert ["wrangler secret put API_KEY --name shop" in note for note in restored.resources[-1].notes] == [True]
    assert restored.safety is None
    assert visit(worker) == before | {"secret": None}
    assert visit(worker, f"shop.{worker.account.zone}")["count"] == 2
    assert leads(worker) == addresses
    assert crons(worker) == ["0 3 * * *"]
    assert restorer(worker).plan(Wish(snapshot=manifest.id, only=("worker/shop",))).steps[0].changes == ()


def test_a_script_of_the_old_kind_comes_back(fleet):
    """It is no module, and gets its bindings as globals."""
    script = "addEventListener('fetch', event => event.respondWith(new Response(MODE)))"
    mode = {"type": "plain_text", "name": "MODE", "text": "old"}
    put(
        fleet,
        "shop",
        [("worker", "application/javascript", script)],
        main_module=None,
        body_part="worker",
        bindings=[mode],
    )
    fleet.cloudflare.subdomains.set("shop", enabled=True, previews_enabled=True)
    manifest = fleet.back_up(kinds=[Kind.WORKER])
    fleet.cloudflare.scripts.delete("shop")

    restorer(fleet).restore(Wish(snapshot=manifest.id, only=("worker/shop",)))

    assert fleet.account.visit(fleet.account.hostname("shop")).text == "old"


def test_workers_that_need_each_other_come_back_in_that_order(worker):
    """One calls the other and its Durable Objects; by name it would come first, and Cloudflare would refuse it."""
    (worker.root / "api").mkdir()
    (worker.root / "api" / "wrangler.toml").write_text('name = "api"\nmain = "index.js"\n')
    portfolio = worker.root / "portfolio.toml"
    portfolio.write_text(portfolio.read_text() + "[services.api]\n")
    code = "export default { async fetch(request, env) { return Response.json(["
    code += "await env.COUNTER.getByName('b').next(), (await (await env.SHOP.fetch(request)).json()).words]) } }"
    counter = {"type": "durable_object_namespace", "name": "COUNTER", "class_name": "Counter", "script_name": "shop"}
    service = {"type": "service", "name": "SHOP", "service": "shop"}
    worker.account.put_worker("api", code, bindings=[counter, service])
    manifest = worker.back_up(kinds=[Kind.WORKER])
    worker.cloudflare.scripts.delete("api")
    remove(worker)

    restored = restorer(worker).restore(Wish(snapshot=manifest.id, only=("worker/api", "worker/shop")))

    assert [item.name for item in restored.resources] == ["shop", "api"]
    assert visit(worker, worker.account.hostname("api")) == [1, "Zoë"]


@pytest.mark.parametrize(
    ("fault", "is_done"),
    [
        ({"path": "/workers/scripts/shop$", "method": "PUT", "status": 400, "code": 10021}, False),
        ({"path": "/workers/domains", "method": "PUT", "status": 400, "code": 100117}, False),
        ({"path": "/workers/scripts/shop$", "method": "PUT", "status": 500, "applied": True, "nth": 1}, True),
    ],
)
def test_a_worker_that_can_not_come_back_whole_is_not_left_behind(worker, fault, is_done):
    """Refused at the upload or at the very end: nothing is there; an answer that was lost is looked up instead."""
    manifest = worker.back_up(kinds=[Kind.WORKER])
    before = leads(worker)
    remove(worker)
    wanted = Wish(snapshot=manifest.id, only=("worker/shop",))
    armed = worker.account.cloud.add_fault(fault.pop("path"), message="no", **fault)

    if is_done:
        restorer(worker).restore(wanted)
    else:
        with pytest.raises(ApiRefused):
            restorer(worker).restore(wanted)

    worker.account.cloud.clear_faults(armed)
    assert worker.cloudflare.scripts.exists("shop") == is_done
    assert leads(worker) == (before if is_done else {})


def test_what_was_merged_is_taken_back_without_the_vault(worker):
    """After the Worker was made the vault can't be read any more, and a schedule is refused: the Worker goes again."""
    manifest = worker.back_up(kinds=[Kind.WORKER])
    remove(worker)
    objects = worker.root / "vault" / "objects"
    writes = iter([lambda: None, lambda: objects.rename(objects.with_name("away"))])
    armed = worker.account.cloud.add_fault("/shop/schedules", method="PUT", status=400, code=10021, message="no")

    with pytest.raises(ApiRefused):
        restorer(worker, check=lambda: next(writes, lambda: None)()).restore(
            Wish(snapshot=manifest.id, only=("worker/shop",))
        )

    worker.account.cloud.clear_faults(armed)
    assert not objects.exists()
    assert not worker.cloudflare.scripts.exists("shop")


@pytest.mark.parametrize("write", [2, 5])
def test_a_restore_of_a_gone_worker_that_died_goes_on(worker, write):
    """The code was uploaded, and some of the rest: the same command does what is left."""
    manifest = worker.back_up(kinds=[Kind.WORKER])
    before = leads(worker)
    remove(worker)
    wanted = Wish(snapshot=manifest.id, only=("worker/shop",))
    with pytest.raises(LockLost):
        restorer(worker, check=die_at(write)).restore(wanted)
    (version,) = worker.cloudflare.versions.list("shop")

    restored = restorer(worker).restore(wanted)

    assert restored.was_resumed
    assert [item.id for item in worker.cloudflare.versions.list("shop")] == [version.id]
    assert (leads(worker), crons(worker)) == (before, ["0 3 * * *"])


def test_a_worker_that_somebody_made_meanwhile_stays(worker):
    """Before the restore it is another plan; after a crash it is said, and left as it is."""
    manifest = worker.back_up(kinds=[Kind.WORKER])
    remove(worker)
    wanted = Wish(snapshot=manifest.id, only=("worker/shop",))
    plan = restorer(worker).plan(wanted)
    with pytest.raises(LockLost):
        restorer(worker, check=die_at(1)).restore(wanted)
    worker.account.put_worker("shop")

    with pytest.raises(UndoIncomplete, match="code: somebody changed it meanwhile"):
        restorer(worker).restore(wanted)

    assert worker.account.visit(worker.account.hostname("shop")).text == "hello"
    for file in (worker.root / ".clodo" / "backups" / "restores").iterdir():
        file.unlink()
    with pytest.raises(PlanIsStale):
        restorer(worker).restore(wanted, approved=plan.fingerprint)


def test_a_gone_worker_with_assets_is_left_and_said_to_be_released(fleet):
    """No snapshot has assets; while the Worker is there its settings are restored, and its code stays as it is."""
    fleet.account.put_worker("shop", assets=with_assets(fleet.account))
    manifest = fleet.back_up(kinds=[Kind.WORKER, Kind.KV])
    fleet.account.put_worker("shop")
    there = restorer(fleet).plan(Wish(snapshot=manifest.id, only=("worker/shop",), in_place=True))
    fleet.cloudflare.scripts.delete("shop")

    plan = restorer(fleet).plan(Wish(snapshot=manifest.id, only=("worker/shop", "kv/shop-kv")))

    assert not any("module" in line for line in there.steps[0].changes)
    assert any("static assets" in risk and "release it" in risk for risk in there.steps[0].risks)
    assert [step.kind for step in plan.steps] == [Kind.KV]
    ((label, why),) = plan.left
    assert (label, "static assets" in why, "release it" in why) == ("worker/shop", True, True)
    with pytest.raises(NotFound, match="release it"):
        restorer(fleet).plan(Wish(snapshot=manifest.id, only=("worker/shop",)))


def release_newer(fleet):
    """Release other code with another secret, and take the schedule away."""
    code = "import { DurableObject } from 'cloudflare:workers'; export class Counter extends DurableObject {}"
    code += "; export default {fetch(request, env) { return Response.json({newer: env.API_KEY}) }}"
    held = bindings(fleet)
    held[-1] = held[-1] | {"text": "secret-0815"}
    fleet.account.put_worker("shop", code, bindings=held)
    fleet.cloudflare.schedules.put("shop", [])


@pytest.mark.parametrize("fault", [None, ("/workers/scripts/shop/deployments", "POST"), ("/shop/schedules", "PUT")])
def test_other_code_is_replaced_in_place_only_and_comes_back_when_that_fails(worker, fault):
    """Its secrets and Durable Objects stay; after a failure the version from before is live again."""
    manifest = worker.back_up(kinds=[Kind.WORKER])
    release_newer(worker)
    live = worker.cloudflare.deployments.current("shop").shares
    (merge,) = restorer(worker).plan(Wish(snapshot=manifest.id, only=("worker/shop",))).steps
    wanted = Wish(snapshot=manifest.id, only=("worker/shop",), in_place=True)
    armed = fault and worker.account.cloud.add_fault(fault[0], method=fault[1], nth=1, status=400, code=10021)

    if fault:
        with pytest.raises(ClodoError):
            restorer(worker).restore(wanted)
        worker.account.cloud.clear_faults(armed)
    else:
        restored = restorer(worker).restore(wanted)

    assert not any("module" in line for line in merge.changes)
    assert any("--in-place" in risk for risk in merge.risks)
    if fault:
        assert worker.cloudflare.deployments.current("shop").shares == live
        assert visit(worker) == {"newer": "secret-0815"}
        assert crons(worker) == []
    else:
        assert (visit(worker)["words"], visit(worker)["secret"]) == ("Zoë", "secret-0815")
        restorer(worker).restore(Wish(snapshot=restored.safety, only=("worker/shop",), in_place=True))
        assert visit(worker) == {"newer": "secret-0815"}


@pytest.mark.parametrize("write", [2, 3])
@pytest.mark.parametrize("fails", [False, True])
def test_a_restore_of_code_in_place_that_died_goes_on_or_is_taken_back(worker, write, fails):
    """The version was uploaded, or is live already: the rest is done, or all is as before the first try."""
    manifest = worker.back_up(kinds=[Kind.WORKER])
    release_newer(worker)
    wanted = Wish(snapshot=manifest.id, only=("worker/shop",), in_place=True)
    with pytest.raises(LockLost):
        restorer(worker, check=die_at(write)).restore(wanted)
    assert ("newer" in visit(worker)) == (write == 2)
    armed = worker.account.cloud.add_fault("/shop/schedules", method="PUT", status=400, code=10021) if fails else None

    if fails:
        with pytest.raises(ApiRefused):
            restorer(worker).restore(wanted)
        worker.account.cloud.clear_faults(armed)
    else:
        assert restorer(worker).restore(wanted).was_resumed

    assert (visit(worker).get("newer"), crons(worker)) == (("secret-0815", []) if fails else (None, ["0 3 * * *"]))


class Item:
    def __init__(self, number, needs):
        self.kind, self.name, self.needs = Kind.WORKER, f"w{number}", frozenset(f"w{other}" for other in needs)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sets(st.integers(0, 7), max_size=3), max_size=8), st.randoms())
def test_workers_come_after_those_that_they_bind_to(needs, random):
    """Any graph: all are in the order once, and where there is no circle each comes after those that it needs."""
    items = [Item(number, {other for other in wanted if other < number}) for number, wanted in enumerate(needs)]
    circular = [Item(number, wanted - {number}) for number, wanted in enumerate(needs)]
    random.shuffle(items)

    ordered = [archive for archive, _ in in_order([(item, item) for item in items])]

    places = {item.name: place for place, item in enumerate(ordered)}
    assert sorted(places) == sorted(item.name for item in items)
    assert all(places[need] < places[item.name] for item in items for need in item.needs)
    assert len(in_order([(item, item) for item in circular])) == len(circular)
