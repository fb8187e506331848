"""Restores on the embedded cloud: what comes back is what was there, and what fails leaves things as they were."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from clodo.backups.restoring.journal import Journal
from clodo.backups.restoring.plan import Wish
from clodo.backups.restoring.rebinding import rebind, rebindings
from clodo.backups.vault import Vault
from clodo.cloudflare.budget import UnlimitedBudget
from clodo.cloudflare.client import Cloudflare
from clodo.cloudflare.clock import Clock
from clodo.errors import (
    ApiRefused,
    BadConfiguration,
    BadUsage,
    ClodoError,
    IdentityMissing,
    Interrupted,
    LockHeld,
    NotFound,
    PlanIsStale,
    Refused,
    SnapshotDamaged,
    SnapshotNotTrusted,
    UndoIncomplete,
    VaultUnavailable,
    VerificationFailed,
)
from clodo.ledger import Owner
from clodo.workspace.workspace import Workspace
from tests.backups.restores import act_at, everything, keys, restorer
from tests.fixtures.embedded_cloud import account_of


def state(fleet):
    """Return all that the account has, contents too."""
    databases = {item.uuid: (item.name, everything(fleet, item.uuid)) for item in fleet.cloudflare.d1.list()}
    return databases, {item.id: (item.title, keys(fleet, item.id)) for item in fleet.cloudflare.kv.list()}


def write_something(fleet):
    """Write what no snapshot has."""
    fleet.sql("INSERT INTO notes VALUES(1, 'late'); CREATE TABLE extra(a); DELETE FROM members WHERE id=2")
    fleet.cloudflare.kv.put_value(fleet.namespace_id, "late", b"1")
    fleet.cloudflare.kv.put_value(fleet.namespace_id, "plain", b"changed")


def test_what_was_deleted_comes_back_under_its_name(fleet):
    """Database and namespace are gone; afterwards new ones of the same names hold every row, key and trigger."""
    manifest = fleet.back_up()
    rows, pairs = everything(fleet, fleet.database_id), keys(fleet, fleet.namespace_id)
    fleet.cloudflare.d1.delete(fleet.database_id)
    fleet.cloudflare.kv.delete(fleet.namespace_id)

    restored = restorer(fleet).restore(Wish(), reason="disaster")

    database, namespace = restored.resources
    assert (restored.snapshot, restored.safety, restored.was_resumed) == (manifest.id, None, False)
    assert (database.name, database.items, database.way) == ("shop-db", 7, "create")
    assert (namespace.items, namespace.expired) == (3, 0)
    assert everything(fleet, database.id) == rows
    assert keys(fleet, namespace.id) == pairs
    fleet.cloudflare.d1.query(database.id, "INSERT INTO notes VALUES(2, 'third')")
    assert everything(fleet, database.id)["log"][-1] == ["noted third"]


def test_what_is_there_stays_and_another_one_is_made(fleet):
    """Names that are taken get the snapshot's time; a name that was asked for and is taken is refused."""
    manifest = fleet.back_up()
    write_something(fleet)
    before = state(fleet)
    moment = f"{manifest.archives[0].captured_at:%Y%m%d-%H%M%S}"

    restored = restorer(fleet).restore(Wish())
    again = restorer(fleet).restore(Wish(only=("d1/shop-db",)))
    named = restorer(fleet).restore(Wish(only=("shop-kv",), rename=(("shop-kv", "copy"),)))

    assert [item.name for item in restored.resources] == [f"shop-db-restored-{moment}", f"shop-kv-restored-{moment}"]
    assert again.resources[0].name == f"shop-db-restored-{moment}-2"
    assert [item.name for item in named.resources] == ["copy"]
    after = state(fleet)
    assert {ident: after[0][ident] for ident in before[0]} == before[0]
    assert {ident: after[1][ident] for ident in before[1]} == before[1]
    with pytest.raises(Refused, match="already"):
        restorer(fleet).plan(Wish(only=("shop-kv",), rename=(("shop-kv", "copy"),)))


def test_in_place_everything_is_as_in_the_snapshot_and_what_was_there_is_kept(fleet):
    """Tables and keys that came later are gone; the safety snapshot, restored in turn, brings them back."""
    before = state(fleet)
    manifest = fleet.back_up()
    write_something(fleet)
    late = state(fleet)

    restored = restorer(fleet).restore(Wish(snapshot=manifest.id, in_place=True))

    assert state(fleet) == before
    assert [item.id for item in restored.resources] == [fleet.database_id, fleet.namespace_id]
    assert restored.resources[0].bookmark_before is not None
    restorer(fleet).restore(Wish(snapshot=restored.safety, in_place=True))
    assert state(fleet) == late


def test_one_table_comes_back_in_place_or_with_what_it_needs(fleet):
    """In place the others stay as they are; in a new database the tables that it refers to come along."""
    manifest = fleet.back_up()
    notes = everything(fleet, fleet.database_id)["notes"]
    write_something(fleet)
    expected = everything(fleet, fleet.database_id) | {"notes": notes}
    fleet.sql("DROP TABLE notes")

    restored = restorer(fleet).restore(Wish(snapshot=manifest.id, only=("d1/shop-db",), in_place=True, table="notes"))
    other = restorer(fleet).restore(Wish(snapshot=manifest.id, only=("d1/shop-db",), table="notes"))

    assert restored.resources[0].items == 2
    found = everything(fleet, fleet.database_id)
    assert {name: found[name] for name in ("notes", "members", "log", "extra")} == {
        name: expected[name] for name in ("notes", "members", "log", "extra")
    }
    assert sorted(found[""]) == sorted(expected[""])
    new = everything(fleet, other.resources[0].id)
    assert (new["notes"], len(new["members"])) == (notes, 3)
    assert [row[1] for row in new[""]] == ["notes_by_member", "members", "notes", "sqlite_sequence"]
    with pytest.raises(BadUsage, match="no table"):
        restorer(fleet).restore(Wish(snapshot=manifest.id, only=("d1/shop-db",), in_place=True, table="none"))
    with pytest.raises(BadUsage, match="--table goes with one d1"):
        restorer(fleet).plan(Wish(snapshot=manifest.id, table="notes"))


def test_one_key_prefix_comes_back(fleet):
    """Keys that begin otherwise are left alone, in place too."""
    manifest = fleet.back_up()
    write_something(fleet)
    fleet.cloudflare.kv.put_value(fleet.namespace_id, "plain 2", b"new")

    wish = Wish(snapshot=manifest.id, only=("kv/shop-kv",), in_place=True, prefix="pl")
    restored = restorer(fleet).restore(wish)

    found = {name: value for name, value, _, _ in keys(fleet, fleet.namespace_id)}
    assert restored.resources[0].items == 1
    assert (found["plain"], found["late"], "plain 2" in found) == (b"text", b"1", False)


def test_keys_whose_time_is_over_are_left_out_and_counted(fleet):
    """A snapshot is older than its keys: what has expired since is neither written nor missed."""
    fleet.back_up()
    fleet.clock = Clock(now=lambda: datetime.fromtimestamp(4_000_000_100, UTC))

    restored = restorer(fleet).restore(Wish(only=("kv/shop-kv",)))

    assert (restored.resources[0].items, restored.resources[0].expired) == (2, 1)


def test_another_account_gets_a_copy(fleet):
    """The account of another block; names and contents are the same."""
    fleet.back_up()
    rows = everything(fleet, fleet.database_id)
    with (
        account_of(fleet.account.cloud, fleet.account.cloud.new_account()) as other,
        Cloudflare(other.account_id, other.token, other.cloud.url, budget=UnlimitedBudget()) as cloudflare,
    ):
        restored = restorer(fleet, others={"other": cloudflare}).restore(Wish(account="other"))

        assert [item.account_id for item in restored.resources] == [other.account_id] * 2
        assert [item.name for item in cloudflare.d1.list()] == ["shop-db"]
        fleet.cloudflare = cloudflare
        assert everything(fleet, restored.resources[0].id) == rows


def test_time_travel_takes_a_database_back_in_place(fleet):
    """To a moment between two writes; what was written since is in the safety snapshot and one bookmark away."""
    before = everything(fleet, fleet.database_id)
    moment = datetime.now(UTC)
    write_something(fleet)
    late = everything(fleet, fleet.database_id)

    wish = Wish(only=("d1/shop-db",), in_place=True, at=moment)
    plan = restorer(fleet).plan(wish)
    restored = restorer(fleet).restore(wish, approved=plan.fingerprint)

    assert everything(fleet, fleet.database_id) == before
    assert restored.safety is not None
    fleet.cloudflare.d1.restore(fleet.database_id, str(restored.resources[0].bookmark_before))
    assert everything(fleet, fleet.database_id) == late
    with pytest.raises(BadUsage, match="in place"):
        restorer(fleet).plan(Wish(at=moment))


def test_a_plan_is_done_as_it_was_shown_or_not_at_all(fleet):
    """Somebody deleted the database since: another plan, refused; nothing was written."""
    fleet.back_up()
    plan = restorer(fleet).plan(Wish())
    fleet.cloudflare.d1.delete(fleet.database_id)
    before = state(fleet)

    with pytest.raises(PlanIsStale):
        restorer(fleet).restore(Wish(), approved=plan.fingerprint)

    assert state(fleet) == before
    assert restorer(fleet).plan(Wish()).fingerprint == restorer(fleet).plan(Wish()).fingerprint != plan.fingerprint


def test_what_can_not_be_restored_is_said_before_anything_is_made(fleet):
    """No such archive, no key, a snapshot that somebody signed anew, somebody else at it: nothing is left."""
    manifest = fleet.back_up()
    before = state(fleet)
    file = fleet.root / "vault" / "snapshots" / manifest.id / "manifest.json"

    with pytest.raises(NotFound, match="nothing called"):
        restorer(fleet).restore(Wish(only=("d1/other",)))
    with pytest.raises(IdentityMissing):
        restorer(fleet, identities=()).restore(Wish())
    with (
        fleet.ledger.locks.acquire(f"snapshot/{manifest.id}", Owner.current("prune"), "prune"),
        pytest.raises(LockHeld, match="prune"),
    ):
        restorer(fleet).restore(Wish())
    file.write_text(file.read_text().replace('"rows": 3', '"rows": 2'))
    with pytest.raises(SnapshotNotTrusted):
        restorer(fleet).restore(Wish())

    assert state(fleet) == before


def test_nothing_is_overwritten_while_a_release_runs(fleet):
    """A release may be migrating the same database: a restore in place waits for its lock, one into new doesn't."""
    fleet.back_up()
    before = state(fleet)
    with fleet.ledger.locks.acquire("target/shop@production", Owner.current("release"), "release"):
        with pytest.raises(LockHeld, match="release"):
            restorer(fleet).restore(Wish(in_place=True))
        assert state(fleet) == before

        assert restorer(fleet).restore(Wish()).resources


@pytest.mark.parametrize("in_place", [False, True])
def test_a_damaged_archive_leaves_everything_as_it_was(fleet, in_place):
    """The namespace's part is cut off after its beginning: the database that was restored before it goes back too."""
    fleet.cloudflare.kv.put_value(fleet.namespace_id, "large", bytes(range(256)) * 800)
    manifest = fleet.back_up()
    write_something(fleet)
    before = state(fleet)
    (part,) = manifest.archives[1].parts
    file = fleet.root / "vault" / "objects" / part.sha256[:2] / part.sha256

    class Rotting(Vault):
        """A vault whose part rots between the first look and the restore."""

        reads = 0

        def read_archive(self, archive):
            if archive.label == "kv/shop-kv" and archive.sha256 == manifest.archives[1].sha256:
                self.reads += 1
                if self.reads == 2:
                    file.write_bytes(file.read_bytes()[:-1])
            return super().read_archive(archive)

    rotting = Rotting.open("local", str(fleet.root / "vault"))
    with pytest.raises(SnapshotDamaged):
        restorer(fleet, rotting).restore(Wish(snapshot=manifest.id, in_place=in_place))

    assert state(fleet) == before
    assert not list((fleet.root / ".clodo" / "backups" / "restores").iterdir())


def test_what_others_wrote_meanwhile_is_not_taken_back(fleet):
    """Somebody writes to the overwritten database before the restore fails: it stays, and the way back is said."""
    manifest = fleet.back_up()
    write_something(fleet)
    wanted = restorer(fleet)

    class Busy(Vault):
        """A vault during whose second look at the namespace somebody writes, and which then fails."""

        reads = 0

        def read_archive(self, archive):
            if archive.label == "kv/shop-kv":
                self.reads += 1
                if self.reads == 2:
                    fleet.sql("INSERT INTO notes VALUES(1, 'by somebody')")
                    raise SnapshotDamaged("gone")
            return super().read_archive(archive)

    busy = Busy.open("local", str(fleet.root / "vault"))
    with pytest.raises(UndoIncomplete, match="time-travel restore --bookmark") as caught:
        restorer(fleet, busy).restore(Wish(snapshot=manifest.id, in_place=True))

    assert "safety snapshot s" in caught.value.message
    assert ["by somebody"] in fleet.sql("SELECT text FROM notes")
    assert wanted.restore(Wish(snapshot=manifest.id, in_place=True)).was_resumed


def test_keys_that_others_write_meanwhile_survive_a_restore_that_fails(fleet):
    """A new one and one over what the restore wrote: both stay, all else is as it was before."""
    manifest = fleet.back_up()
    write_something(fleet)
    before = keys(fleet, fleet.namespace_id)

    def write():
        fleet.cloudflare.kv.put_value(fleet.namespace_id, "theirs", b"new")
        fleet.cloudflare.kv.put_value(fleet.namespace_id, "plain", b"newest")

    fleet.clock = Clock(sleep=lambda seconds: None)
    wish = Wish(snapshot=manifest.id, only=("kv/shop-kv",), in_place=True)
    with pytest.raises(VerificationFailed, match="'plain' has another value"):
        restorer(fleet, check=act_at(2, write)).restore(wish)

    found = {key[0]: key for key in keys(fleet, fleet.namespace_id)}
    assert (found.pop("theirs")[1], found.pop("plain")[1]) == (b"new", b"newest")
    assert list(found.values()) == [key for key in before if key[0] != "plain"]
    assert any("left 2 keys alone" in line for line in fleet.told)


def test_a_namespace_that_somebody_makes_in_the_moment_of_ours_stays_theirs(fleet):
    """Ours is refused since the name is taken: theirs is empty still, and the undo leaves it alone."""
    fleet.back_up()
    fleet.cloudflare.kv.delete(fleet.namespace_id)
    path = f"{fleet.account.account_id}/storage/kv/namespaces$"
    taken = fleet.account.cloud.add_fault(path, method="POST", status=400, code=10014, message="taken", applied=True)

    with pytest.raises(ApiRefused, match="taken"):
        restorer(fleet).restore(Wish(only=("kv/shop-kv",)))
    fleet.account.cloud.clear_faults(taken)

    assert fleet.cloudflare.kv.find("shop-kv") is not None


def test_what_was_put_back_is_restored_again_by_the_same_command(fleet):
    """The namespace fails and can't be put back, the database can: going on does not take that one for restored."""
    original = state(fleet)
    manifest = fleet.back_up()
    write_something(fleet)
    late = everything(fleet, fleet.database_id)

    class Failing(Vault):
        """A vault that can't be read any more once the namespace is being written."""

        reads = 0

        def read_archive(self, archive):
            if archive.label == "kv/shop-kv":
                self.reads += 1
                if self.reads > 1:
                    raise VaultUnavailable("gone")
            return super().read_archive(archive)

    failing = Failing.open("local", str(fleet.root / "vault"))
    with pytest.raises(UndoIncomplete, match=r"kv/shop-kv: gone$"):
        restorer(fleet, failing).restore(Wish(snapshot=manifest.id, in_place=True))
    assert everything(fleet, fleet.database_id) == late

    restored = restorer(fleet).restore(Wish(snapshot=manifest.id, in_place=True))

    assert (restored.was_resumed, state(fleet)) == (True, original)


def test_pruning_leaves_alone_what_is_being_restored(fleet):
    """A snapshot that the rules let go stays while its restore runs."""
    portfolio = fleet.root / "portfolio.toml"
    portfolio.write_text(portfolio.read_text() + "[backups.keep]\nlast = 1\ndaily = 0\nweekly = 0\nmonthly = 0\n")
    first = fleet.back_up()
    write_something(fleet)
    fleet.back_up()
    pruned = []

    def check():
        if not pruned:
            pruned.extend(fleet.open().prune())

    restored = restorer(fleet, check=check).restore(Wish(snapshot=first.id))

    assert restored.snapshot == first.id
    assert [item.stays for item in pruned[0].decisions] == [True, True]
    fleet.open().prune()
    assert [item.record.id for item in fleet.open().all()] != [first.id]


def test_services_are_pointed_at_what_came_back(fleet):
    """A binding with an id gets the new one, comments stay; a binding by name needs only a release."""
    fleet.back_up()
    fleet.cloudflare.d1.delete(fleet.database_id)
    fleet.cloudflare.kv.delete(fleet.namespace_id)
    config = fleet.root / "shop" / "wrangler.toml"
    config.write_text("# mine\n" + config.read_text())
    restored = restorer(fleet).restore(Wish())
    shown = rebindings(Workspace.load(fleet.root), restored)

    done = rebind(fleet.root, restored)

    namespace = restored.resources[1].id
    assert {(item.target, item.binding, bool(item.diff)) for item in done} == {
        ("shop@production", "DB", False),
        ("shop@production", "KV", True),
    }
    assert sorted(item.diff for item in shown) == sorted(item.diff for item in done)
    assert config.read_text().startswith("# mine\n")
    assert f'id = "{namespace}"' in config.read_text()
    assert [bool(item.diff) for item in rebind(fleet.root, restored)] == [False, False]


def test_a_journal_that_can_not_be_read_is_no_reason_to_begin_anew(fleet):
    """Somebody must look first at what the interrupted restore made."""
    manifest = fleet.back_up()
    folder = fleet.root / ".clodo" / "backups" / "restores"
    wish = Wish(snapshot=manifest.id, vault="local")
    Journal.begin(folder, wish, restorer(fleet).plan(wish), datetime.now(UTC))
    (file,) = folder.iterdir()
    file.write_text("{")
    before = state(fleet)

    with pytest.raises(BadConfiguration, match="interrupted restore can't be read"):
        restorer(fleet).restore(Wish())

    assert state(fleet) == before


def stops_after(writes):
    """Return a check that stops a restore before the write after so many; and whether it did."""
    left = [writes]

    def check():
        left[0] -= 1
        if left[0] < 0:
            raise Interrupted("stopped on request")

    return check, left


def a_restore_that_is_stopped_leaves_everything_as_it_was(fleet, writes, in_place):
    manifest = fleet.back_up()
    write_something(fleet)
    before = state(fleet)
    check, left = stops_after(writes)
    try:
        restorer(fleet, check=check).restore(Wish(snapshot=manifest.id, in_place=in_place))
    except Interrupted:
        assert state(fleet) == before
        return True
    assert left[0] >= 0
    return False


@pytest.mark.parametrize(("writes", "in_place"), [(3, False), (1, True)])
def test_a_restore_that_is_stopped_leaves_everything_as_it_was(fleet, writes, in_place):
    """Ctrl-C before one of its writes."""
    assert a_restore_that_is_stopped_leaves_everything_as_it_was(fleet, writes, in_place)


@pytest.mark.exhaustive
@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("writes", range(8))
def test_a_restore_that_is_stopped_anywhere_leaves_everything_as_it_was(fleet, writes, in_place):
    """Ctrl-C before each of its writes; with more than there are it ends well."""
    stopped = a_restore_that_is_stopped_leaves_everything_as_it_was(fleet, writes, in_place)

    assert stopped == (writes < (3 if in_place else 4))


def a_fault_leaves_everything_as_it_was(fleet, nth, in_place, **fault):
    manifest = fleet.back_up()
    write_something(fleet)
    before = state(fleet)
    path = f"/accounts/{fleet.account.account_id}/"
    armed = fleet.account.cloud.add_fault(path, nth=nth, **fault)
    try:
        restored = restorer(fleet).restore(Wish(snapshot=manifest.id, in_place=in_place))
    except UndoIncomplete as error:
        # The answer that would prove that only we wrote was the one that is missing.
        if not (in_place and "nobody can tell that only we wrote" in error.message):
            raise
        fleet.account.cloud.clear_faults(armed)
        assert restorer(fleet).restore(Wish(snapshot=manifest.id, in_place=True)).was_resumed
    except ClodoError:
        fleet.account.cloud.clear_faults(armed)
        assert state(fleet) == before
    else:
        # It was repeated, or looked after; or there are not so many requests.
        struck = next(item["struck"] for item in fleet.account.cloud.faults() if item["id"] == armed)
        fleet.account.cloud.clear_faults(armed)
        assert [item.items for item in restored.resources] == [7, 3]
        return struck > 0
    return True


REFUSED = {"status": 400, "code": 10001}
LOST = {"action": "reset", "applied": True}


@pytest.mark.parametrize(("nth", "in_place", "fault"), [(5, False, REFUSED), (6, False, LOST), (16, True, REFUSED)])
def test_a_fault_of_the_api_leaves_everything_as_it_was(fleet, nth, in_place, fault):
    """A refusal or a lost answer at one of its requests."""
    assert a_fault_leaves_everything_as_it_was(fleet, nth, in_place, **fault)


@pytest.mark.exhaustive
@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize(
    ("nth", "fault"), [(nth, REFUSED) for nth in range(2, 39, 3)] + [(nth, LOST) for nth in range(1, 39, 5)]
)
def test_a_fault_of_the_api_anywhere_leaves_everything_as_it_was(fleet, nth, in_place, fault):
    """A refusal or a lost answer at every third or fifth of its requests."""
    a_fault_leaves_everything_as_it_was(fleet, nth, in_place, **fault)
