"""Flags as declared, as edited, as delivered, and as decided: in Python and, by the same hash, in workerd."""

from __future__ import annotations

import json
import random
from collections import Counter
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clodo import flags as package
from clodo.errors import BadConfiguration, BadUsage
from clodo.flags.delivering import with_flags
from clodo.flags.files import SetFlag, edit_flags, parse_flags, read_flags, services_with_flags
from clodo.flags.flags import evaluate, served
from clodo.flags.hashing import BUCKETS, bucket_of, stable_hash
from clodo.workspace.documents import read_document
from clodo.workspace.editing.files import apply
from clodo.workspace.rendering import render_config
from clodo.workspace.targets import Target
from clodo.workspace.workspace import Workspace
from tests.fixtures.embedded_cloud import CloudAccount, script_parts
from tests.workspace.folders import write

MODULE = Path(package.__file__).parent / "worker" / "flags.mjs"
FLAGS = """\
# who sees what
binding = "FLAGS"

[flags.new-checkout]     # since May
type = "bool"
default = false
expires = 2027-03-01
description = "The checkout of one page"

[flags.new-checkout.environments.staging]
value = true

[flags.new-checkout.environments.production]
value = true
percent = 25

[flags.new-checkout.customers.acme]
value = true

[flags.new-checkout.customers."acme@staging"]
value = false

[flags.limits]
type = "json"
default = { upload = 10 }

[flags.title]
type = "string"
default = "Shop"
"""
CONFIG = 'name = "api"\nmain = "index.js"\ncompatibility_date = "2026-01-01"\n'


def declared(folder: Path, text: str = FLAGS):
    """Write and read a file of flags."""
    return read_flags(write(folder, {"config/flags/api.toml": text}), "api")


# --- what is declared -------------------------------------------------------------------------------------------------


def test_the_most_particular_setting_counts(tmp_path):
    """A customer in an environment, then a customer, then an environment, then the default."""
    found = declared(tmp_path)

    given_to = {
        (environment, customer): served(found, environment, customer)["new-checkout"]
        for environment, customer in (
            ("development", None),
            ("staging", None),
            ("production", None),
            ("production", "acme"),
            ("staging", "acme"),
            ("staging", "other"),
        )
    }

    assert given_to == {
        ("development", None): {"value": False},
        ("staging", None): {"value": True},
        ("production", None): {"value": True, "percent": 25, "default": False},
        ("production", "acme"): {"value": True},
        ("staging", "acme"): {"value": False},
        ("staging", "other"): {"value": True},
    }


def test_a_flag_expires_without_changing_what_is_served(tmp_path):
    """The day is for people; nobody's site changes at midnight."""
    found = declared(tmp_path).flags["new-checkout"]

    assert found.is_expired(date(2027, 3, 2))
    assert not found.is_expired(date(2027, 3, 1))
    assert found.setting_for("staging", None).value is True


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (('"bool"', '"boolean"'), r"api\.toml:5: .*flags\.new-checkout\.type"),
        (("default = false", 'default = "no"'), r"default is not of the type bool"),
        (("default = false", "default = 0"), r"default is not of the type bool"),
        (
            ("value = true\npercent = 25", "value = 1\npercent = 25"),
            r"environments\.production is not of the type bool",
        ),
        (("percent = 25", "percent = 101"), r"api\.toml:15: .*from 0 to 100"),
        (("percent = 25", "percent = 0.001"), r"two decimals"),
        (("[flags.title]", "[flags.Title]"), r"api\.toml:\d+: .*can't name a flag"),
        (("expires", "expire"), r"api\.toml:7: "),
        (('binding = "FLAGS"', 'binding = "1x"'), r"no digit first"),
        (('binding = "FLAGS"', 'delivery = "mail"'), r"delivery"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(tmp_path, changed, said):
    """A misspelt key, a value of another type, a percentage that is none."""
    assert changed[0] in FLAGS

    with pytest.raises(BadConfiguration, match=said):
        declared(tmp_path, FLAGS.replace(*changed))


def test_a_service_without_a_file_has_no_flags(tmp_path):
    """Nothing is made up for it."""
    assert read_flags(tmp_path, "api") is None
    assert services_with_flags(tmp_path) == ()
    declared(tmp_path)
    assert services_with_flags(tmp_path) == ("api",)


# --- what is edited ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        SetFlag("new-checkout", True),
        SetFlag("new-checkout", False, environment="production"),
        SetFlag("new-checkout", True, environment="production", percent=50),
        SetFlag("new-checkout", True, environment="production", percent=12.5),
        SetFlag("new-checkout", True, environment="preview", percent=1),
        SetFlag("new-checkout", True, customer="umbrella"),
        SetFlag("new-checkout", True, customer="acme", environment="staging"),
        SetFlag("limits", {"upload": 20, "names": ["a"]}, environment="production"),
        SetFlag("title", 'Sh"op é', customer="acme", environment="production"),
    ],
    ids=lambda change: f"{change.flag}-{change.where}-{change.percent}",
)
def test_a_flag_is_set_and_everything_else_stays(tmp_path, change):
    """The value is there, comments and other flags are as they were."""
    before = declared(tmp_path)
    file = tmp_path / "config" / "flags" / "api.toml"

    apply([edit_flags(file, change)])

    after = read_flags(tmp_path, "api")
    setting = after.flags[change.flag].setting_for(change.environment or "none", change.customer)
    assert (setting.value, setting.percent) == (change.value, change.percent)
    assert {name: flag for name, flag in after.flags.items() if name != change.flag} == {
        name: flag for name, flag in before.flags.items() if name != change.flag
    }
    for comment in ("# who sees what", "# since May"):
        assert comment in file.read_text()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (SetFlag("new-checkot", True), 'no flag is called "new-checkot" .*"new-checkout"'),
        (SetFlag("new-checkout", "yes"), "of the type bool"),
        (SetFlag("new-checkout", True, percent=10), "a default has no percentage"),
    ],
)
def test_what_can_not_be_set_is_refused(tmp_path, change, said):
    """And the file is as it was."""
    declared(tmp_path)
    file = tmp_path / "config" / "flags" / "api.toml"

    with pytest.raises(BadUsage, match=said):
        edit_flags(file, change)

    assert file.read_text() == FLAGS


def test_a_percentage_out_of_range_breaks_nothing(tmp_path):
    """What the file would say is read before it is written."""
    declared(tmp_path)

    with pytest.raises(BadConfiguration, match="from 0 to 100"):
        edit_flags(
            tmp_path / "config" / "flags" / "api.toml",
            SetFlag("new-checkout", True, environment="production", percent=200),
        )


# --- what is delivered ------------------------------------------------------------------------------------------------


def workspace(folder: Path, flags: str = FLAGS, more: str = "") -> Workspace:
    """Write a workspace whose one service has flags."""
    files = {"api/wrangler.toml": CONFIG + more, "api/index.js": "export default {}", "config/flags/api.toml": flags}
    return Workspace.load(write(folder, {"portfolio.toml": "", **files}))


def delivered(loaded: Workspace, target: Target = Target("api", "production")):
    """Return the config that a release would upload."""
    return with_flags(loaded.root, target, loaded.effective(target))


def test_flags_are_a_variable_of_the_next_version(tmp_path):
    """Beside the other variables, in what is rendered for wrangler; a service without flags is left alone."""
    loaded = workspace(tmp_path, more='[vars]\nTITLE = "x"\n')

    config = delivered(loaded)

    assert config.variables["TITLE"] == "x"
    assert config.variables["FLAGS"]["new-checkout"] == {"value": True, "percent": 25, "default": False}
    rendered = render_config(
        config,
        destination=tmp_path,
        account_id="a" * 32,
        database_ids={},
        namespace_ids={},
        workers_dev=False,
        preview_urls=False,
    )
    assert rendered["vars"] == config.variables
    (tmp_path / "config" / "flags" / "api.toml").unlink()
    assert delivered(loaded) is loaded.effective(Target("api", "production"))


def test_flags_through_kv_are_a_key_and_a_namespace(tmp_path):
    """Only where the document is goes with the version; without a namespace there is no way."""
    through_kv = FLAGS.replace('binding = "FLAGS"', 'binding = "FLAGS"\ndelivery = "kv"')
    bound = '[[kv_namespaces]]\nbinding = "FLAGS"\nid = "aa"\n'

    config = delivered(workspace(tmp_path / "a", through_kv, bound))

    assert config.variables == {"FLAGS_KEY": "flags/api"}
    with pytest.raises(BadConfiguration, match="binds no KV namespace as FLAGS"):
        delivered(workspace(tmp_path / "b", through_kv))


def test_a_taken_name_and_too_large_a_variable_are_refused(tmp_path):
    """With the place, and the way out."""
    with pytest.raises(BadConfiguration, match=r"wrangler\.toml:\d+: \"FLAGS\" is taken"):
        delivered(workspace(tmp_path / "a", more='[vars]\nFLAGS = "x"\n'))
    with pytest.raises(BadConfiguration, match="over the 5,120 of a variable") as refused:
        delivered(workspace(tmp_path / "b", FLAGS.replace('"Shop"', f'"{"x" * 6000}"')))
    assert 'delivery = "kv"' in str(refused.value.hint)


# --- what is decided --------------------------------------------------------------------------------------------------

SUBJECTS = st.text(min_size=0, max_size=40)


@settings(max_examples=60)
@given(SUBJECTS, st.floats(0, 100), st.floats(0, 100))
def test_a_larger_percentage_takes_nobody_out(subject, one, other):
    """Whoever is in at some percentage is in at every larger one."""
    low, high = sorted((round(one, 2), round(other, 2)))

    def is_in(percent: float) -> bool:
        document = {"f": {"value": True, "percent": percent, "default": False}}
        return evaluate(document, "f", subject) is True

    assert is_in(high) or not is_in(low)
    assert is_in(100)
    assert not is_in(0)


def test_percentages_are_kept_and_flags_deal_anew():
    """Of 20,000 ids about the wanted share is in, evenly, and independently for two flags."""
    ids = [f"user-{number}" for number in range(20_000)]

    tenths = Counter(bucket_of("a", subject) * 10 // BUCKETS for subject in ids)
    both = sum(bucket_of("a", subject) < BUCKETS / 2 and bucket_of("b", subject) < BUCKETS / 2 for subject in ids)

    assert len(tenths) == 10
    # Five standard deviations of a fair deal.
    assert all(abs(count - 2_000) < 5 * (20_000 * 0.1 * 0.9) ** 0.5 for count in tenths.values())
    assert abs(both - 5_000) < 5 * (20_000 * 0.25 * 0.75) ** 0.5


def test_the_hash_never_changes():
    """Written down once: another hash would deal everybody anew."""
    known = {"": 2872998923, "a": 444641715, "user-1": 2005895916, "ü": 3244136902, "日本": 4026831135}

    assert {text: stable_hash(text) for text in known} == known


ASKING = """\
import { evaluate, flagsFrom, stableHash, bucketOf } from "./flags.mjs";

export default {
  async fetch(request, env) {
    const question = request.method === "POST" ? await request.json() : { ids: [], flag: "", document: {} };
    const { ids, flag, document } = question;
    const flags = await flagsFrom(env);
    return Response.json({
      hashes: ids.map((id) => stableHash(id)),
      buckets: ids.map((id) => bucketOf(flag, id)),
      decided: ids.map((id) => evaluate(document, flag, id)),
      nobody: evaluate(document, flag),
      absent: evaluate(document, "toString", "x", "fallback") ?? null,
      served: flags.get("served", "x", "no flags"),
      names: Object.keys(flags.document),
    });
  },
};
"""


def upload(account: CloudAccount, name: str, **metadata: object) -> None:
    """Deploy the Worker that decides flags, with our module as a service would have it."""
    module = ("flags.mjs", ("flags.mjs", MODULE.read_bytes(), "application/javascript+module"))
    parts = [*script_parts(ASKING, **metadata), module]
    account.result("PUT", f"/workers/scripts/{name}", files=parts)
    account.result("POST", f"/workers/scripts/{name}/subdomain", json={"enabled": True, "previews_enabled": True})


def ask(account: CloudAccount, name: str, **question: object):
    """Ask the Worker; JSON carries lone surrogates as escapes."""
    answer = account.visit(account.hostname(name), "/", method="POST", content=json.dumps(question))
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_worker_decides_as_python_does(account):
    """Thousands of ids of all letters, lone surrogates too: the same hash, the same bucket, the same answer."""
    chance = random.Random(20261120)
    ids = ["", "a", "ü", "日本", "\ud800", "x\udc00y", "👩‍🚀", "\0", "A" * 500]
    ids += [f"user-{number}" for number in range(2_000)]
    ids += ["".join(chr(chance.randrange(1, 0x2FFF)) for _ in range(chance.randrange(1, 30))) for _ in range(500)]
    document = {"new": {"value": "in", "percent": 33.33, "default": "out"}}
    upload(account, "flags", bindings=[{"type": "json", "name": "FLAGS", "json": {"served": {"value": "by variable"}}}])

    told = ask(account, "flags", ids=ids, flag="new", document=document)

    assert told["hashes"] == [stable_hash(text) for text in ids]
    assert told["buckets"] == [bucket_of("new", text) for text in ids]
    assert told["decided"] == [evaluate(document, "new", text) for text in ids]
    assert {"in", "out"} == set(told["decided"])
    assert told["nobody"] == evaluate(document, "new", None) == "out"
    assert told["absent"] == "fallback"
    assert told["served"] == "by variable"


def test_the_worker_reads_flags_from_kv(account):
    """By the key that a variable names; a document that is missing or broken gives the code's fallback."""
    namespace = account.result("POST", "/storage/kv/namespaces", json={"title": "flags"})["id"]
    values = f"/storage/kv/namespaces/{namespace}/values"
    account.result("PUT", f"{values}/flags%2Fgood", content=json.dumps({"served": {"value": "through KV"}}))
    account.result("PUT", f"{values}/flags%2Fbroken", content="{")
    said = {}
    for name in ("good", "broken", "missing"):
        key = {"type": "plain_text", "name": "FLAGS_KEY", "text": f"flags/{name}"}
        upload(account, name, bindings=[{"type": "kv_namespace", "name": "FLAGS", "namespace_id": namespace}, key])

        said[name] = ask(account, name, ids=[], flag="f", document={})["served"]

    assert said == {"good": "through KV", "broken": "no flags", "missing": "no flags"}


def test_a_document_is_read_as_it_was_written(tmp_path):
    """The parser that reads a file for a release reads what the editor wrote, by its bytes."""
    file = write(tmp_path, {"config/flags/api.toml": FLAGS}) / "config/flags/api.toml"
    edit = edit_flags(file, SetFlag("title", "New", environment="production"))

    found = parse_flags(read_document(file, content=edit.after))

    assert found.flags["title"].environments["production"].value == "New"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('bindng = "X"', 'unknown key "bindng" (did you mean "binding"?)'),
        (
            '[flags.x]\ntype = "bool"\ndefualt = true\ndefault = false',
            'unknown key "defualt" (did you mean "default"?)',
        ),
        (
            '[flags.x]\ntype = "bool"\ndefault = false\n[flags.x.customers.acme]\nvalue = true\npercnt = 5',
            'unknown key "percnt" (did you mean "percent"?)',
        ),
    ],
)
def test_a_misspelt_key_is_told_with_the_one_that_was_meant(tmp_path, line, said):
    """At the top, in a flag and in a setting, the nearest key is named and the others are listed."""
    file = write(tmp_path, {"config/flags/api.toml": line + "\n"}) / "config" / "flags" / "api.toml"

    with pytest.raises(BadConfiguration) as caught:
        parse_flags(read_document(file))

    assert said in caught.value.message
    assert (caught.value.hint or "").startswith("Known here: ")
