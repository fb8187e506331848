"""One hash over what decides an upload: everything that matters changes it, nothing else does."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clodo.errors import Failed
from clodo.workspace.file_digests import FileDigests
from clodo.workspace.hashing import InputHash, input_hash, reaches_out
from clodo.workspace.wrangler_config import WranglerConfig
from tests.workspace.folders import write

SHOP: dict[str, Any] = {
    ".git/HEAD": "ref: refs/heads/main",
    ".gitignore": "node_modules\n*.log\nbuilt/\ngenerated\n",
    "package.json": {"name": "shop", "workspaces": ["packages/*", "services/*"]},
    "package-lock.json": {"lockfileVersion": 3},
    "tsconfig.json": {"extends": "./config/base.json"},
    "config/base.json": {"compilerOptions": {"paths": {"#mail": ["../mail/src/*"]}}},
    "mail/src/index.ts": "export {};",
    "patches/left-pad.patch": "-1",
    "packages/tools/package.json": {"name": "@shop/tools", "main": "built/index.js"},
    "packages/tools/src/index.ts": "export const tool = 1;",
    "packages/tools/built/index.js": "export const tool = 1;",
    "packages/deep/package.json": {"name": "@shop/deep", "exports": {".": "./built/deep.js"}},
    "packages/deep/built/deep.js": "export const deep = 1;",
    "packages/unused/package.json": {"name": "@shop/unused"},
    "packages/unused/src/index.ts": "export {};",
    "shared/model.ts": "import './near';",
    "shared/near.ts": "export {};",
    "shared/unseen/text.txt": "x",
    "services/api/package.json": {"name": "api", "dependencies": {"@shop/tools": "*", "left-pad": "1.0.0"}},
    "services/api/.npmrc": "fund=false",
    "services/api/wrangler.toml": """
name = "api"
main = "built/worker.js"
compatibility_date = "2026-01-01"
routes = ["shop.example/*"]
workers_dev = false

[vars]
LEVEL = "info"

[assets]
directory = "built/assets"

[alias]
swapped = "./generated/swapped"

[[d1_databases]]
binding = "DB"
database_name = "shop"
migrations_dir = "../../database"

[[rules]]
type = "Text"
globs = ["**/*.sql"]
""",
    "services/api/built/worker.js": "export default {};",
    "services/api/built/assets/index.html": "<p>",
    "services/api/built/assets/deep/image.png": "png",
    "services/api/generated/swapped.ts": "export {};",
    "services/api/generated/imported.ts": "export {};",
    "services/api/generated/locale/en.json": "{}",
    "services/api/generated/nobody.ts": "export {};",
    "services/api/src/index.ts": """
import { model } from "../../../shared/model.js";
export * from './../generated/imported';
const load = (name: string) => import(`../generated/locale/${name}.json`);
""",
    "services/api/src/style.css": "",
    "services/api/with space/ünï.txt": "x",
    "services/api/debug.log": "noise",
    "services/api/node_modules/left-pad/index.js": "pad",
    "services/api/.wrangler/tmp/x.js": "x",
    "services/web/wrangler.toml": 'name = "web"',
    "services/web/src/index.ts": "",
    "database/0001_first.sql": "CREATE TABLE a (b);",
    "README.md": "shop",
}

COUNTED = [
    "package.json",
    "package-lock.json",
    "tsconfig.json",
    "config/base.json",
    "mail/src/index.ts",
    "patches/left-pad.patch",
    "packages/tools/package.json",
    "packages/tools/src/index.ts",
    "packages/tools/built/index.js",
    "shared/model.ts",
    "shared/near.ts",
    "shared/unseen/text.txt",
    "services/api/package.json",
    "services/api/.npmrc",
    "services/api/built/worker.js",
    "services/api/built/assets/index.html",
    "services/api/built/assets/deep/image.png",
    "services/api/generated/swapped.ts",
    "services/api/generated/imported.ts",
    "services/api/generated/locale/en.json",
    "services/api/src/index.ts",
    "services/api/src/style.css",
    "services/api/with space/ünï.txt",
    "database/0001_first.sql",
]
NOT_COUNTED = sorted(
    name for name in SHOP if name not in COUNTED and not name.endswith(("wrangler.toml", ".gitignore"))
)


def hash_of(root: Path, *, digests: FileDigests | None = None, **options: Any) -> InputHash:
    config = WranglerConfig.read(root / "services/api/wrangler.toml").for_environment(None)
    given_options: dict[str, Any] = {"secrets_fingerprint": "s", "toolchain_fingerprint": "t", **options}
    return input_hash(config, root=root, digests=digests or FileDigests(None), **given_options)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    root = write(tmp_path / "shop", SHOP)
    # npm links the members of a workspace.
    link = root / "node_modules/@shop/tools"
    link.parent.mkdir(parents=True)
    link.symlink_to(root / "packages/tools")
    return root


def test_the_same_files_elsewhere_have_the_same_hash(shop: Path, tmp_path: Path):
    """A checkout in another folder hashes the same, whatever order the files were made in."""
    other = write(tmp_path / "elsewhere" / "copy", dict(reversed(SHOP.items())))

    assert hash_of(other).digest == hash_of(shop).digest
    assert hash_of(shop).is_certain


@pytest.mark.parametrize("name", COUNTED)
@pytest.mark.parametrize("change", ["write", "remove"])
def test_every_file_that_counts_changes_the_hash(shop: Path, name: str, change: str):
    """Writing to or removing any source, asset, migration, lock file or reached output is seen."""
    before = hash_of(shop)
    file = shop / name

    if change == "remove":
        file.unlink()
    elif file.suffix == ".json":
        file.write_text(file.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    else:
        file.write_bytes(file.read_bytes()[:-1] + b"!")

    after = hash_of(shop)
    assert after.digest != before.digest
    assert after.changed_parts(before.parts) == ("files",)


@pytest.mark.parametrize("name", NOT_COUNTED)
def test_no_other_file_changes_it(shop: Path, name: str):
    """Installed packages, logs, scratch, unused packages and other services' files are nobody's release."""
    before = hash_of(shop)

    (shop / name).write_text((shop / name).read_text(encoding="utf-8") + " \n", encoding="utf-8")

    assert hash_of(shop).digest == before.digest


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ('LEVEL = "info"', 'LEVEL = "warn"', True),
        ('"2026-01-01"', '"2026-01-02"', True),
        ('"**/*.sql"', '"**/*.sqlx"', True),
        ("[vars]", "[env.staging]\n[vars]", False),
        ("[vars]", "# a comment\n[vars]", False),
        ('["shop.example/*"]', "[]", False),
        ("workers_dev = false", "workers_dev = true", False),
    ],
)
def test_the_config_counts_by_what_is_uploaded(shop: Path, old: str, new: str, changes: bool):
    """Vars, dates and rules change the hash; comments, other environments and triggers (compared apart) do not."""
    file = shop / "services/api/wrangler.toml"
    before = hash_of(shop)

    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")

    assert (hash_of(shop).changed_parts(before.parts) == ("config",)) == changes
    assert (hash_of(shop).digest != before.digest) == changes


def test_what_the_caller_passes_counts_and_is_told_apart(shop: Path):
    """Secrets, toolchain, build commands and extra inputs each change the hash under their own name."""
    before = hash_of(shop)

    for part, options in {
        "secrets": {"secrets_fingerprint": "x"},
        "toolchain": {"toolchain_fingerprint": "x"},
        "build": {"build_commands": ["make"]},
        "extra:database": {"extra": {"database": "id"}},
    }.items():
        after = hash_of(shop, **options)
        assert after.digest != before.digest
        assert after.changed_parts(before.parts) == (part,)


def test_a_sibling_it_depends_on_through_another_counts(shop: Path):
    """Packages of packages count, even when only their `exports` name what is built."""
    tools = shop / "packages/tools/package.json"
    tools.write_text('{"name": "@shop/tools", "dependencies": {"@shop/deep": "*"}}', encoding="utf-8")
    before = hash_of(shop)

    (shop / "packages/deep/built/deep.js").write_text("export const deep = 2;", encoding="utf-8")

    assert hash_of(shop).digest != before.digest


def test_a_linked_package_that_nobody_declares_counts(shop: Path):
    """Importing a workspace member works without declaring it, so what is imported counts."""
    link = shop / "node_modules/@shop/unused"
    link.symlink_to(shop / "packages/unused")
    write(shop, {"services/api/src/more.ts": 'import { x } from "@shop/unused/src/index";'})
    before = hash_of(shop)

    (shop / "packages/unused/src/index.ts").write_text("export const x = 1;", encoding="utf-8")

    assert hash_of(shop).digest != before.digest


@pytest.mark.parametrize(
    ("options", "imported"),
    [
        ({"baseUrl": "."}, "services/api/generated/nobody.ts"),
        ({"baseUrl": "./generated"}, "services/api/generated/nobody.ts"),
        ({"baseUrl": "../../outside"}, "outside/generated/x.ts"),
        ({"baseUrl": ".", "paths": {"@/*": ["generated/*"]}}, "services/api/generated/nobody.ts"),
        ({"paths": {"x": ["../../outside/generated/x.ts"]}}, "outside/generated/x.ts"),
        ({"baseUrl": "..", "paths": {"x": ["../outside/generated/*"]}}, "outside/generated/x.ts"),
    ],
)
def test_what_a_tsconfig_opens_to_imports_counts(shop: Path, options: dict[str, Any], imported: str):
    """Files that imports reach by `paths` or `baseUrl` count, even when git ignores them."""
    write(shop, {"outside/generated/x.ts": "1", "services/api/tsconfig.json": {"compilerOptions": options}})
    before = hash_of(shop)

    (shop / imported).write_text("export const changed = 1;", encoding="utf-8")

    assert hash_of(shop).digest != before.digest


def test_a_base_url_above_the_service_makes_the_hash_uncertain(shop: Path):
    """Where an import may name any file of the repository, sources count and the rest is a doubt."""
    write(shop, {"services/api/tsconfig.json": {"compilerOptions": {"baseUrl": "../.."}}})
    before = hash_of(shop)

    (shop / "packages/unused/src/index.ts").write_text("export const changed = 1;", encoding="utf-8")

    assert not before.is_certain
    assert hash_of(shop).digest != before.digest


def test_a_workspace_inside_node_modules_is_hashed_all_the_same(tmp_path: Path):
    """Where the workspace lies has no say in which of its files count."""
    root = write(tmp_path / "node_modules" / "shop", SHOP)
    before = hash_of(root)

    (root / "services/api/src/style.css").write_text("p{}", encoding="utf-8")

    assert before.file_count > 20
    assert hash_of(root).digest != before.digest


def test_a_folder_that_cannot_be_listed_does_not_count_as_empty(shop: Path, monkeypatch: pytest.MonkeyPatch):
    """An unreadable folder is an error with its path."""
    if os.geteuid() == 0:
        # The superuser may list everything; a folder that is gone by then can't be listed by anyone.
        real = os.scandir

        def scandir(path: Any) -> Any:
            if str(path).endswith("with space"):
                raise PermissionError(13, "Permission denied", str(path))
            return real(path)

        monkeypatch.setattr(os, "scandir", scandir)
    else:
        (shop / "services/api/with space").chmod(0)

    with pytest.raises(Failed, match="with space: can't be read"):
        hash_of(shop)


def test_links_in_a_circle_end(shop: Path):
    """A folder linked into itself is hashed once, and files reached by the link count."""
    (shop / "services/api/src/loop").symlink_to(shop / "services/api")

    assert hash_of(shop).digest == hash_of(shop).digest


def test_without_a_lock_file_the_hash_is_uncertain(shop: Path):
    """Packages that no lock file pins may change without a trace, and the doubt says so."""
    (shop / "package-lock.json").unlink()

    doubtful = hash_of(shop)

    assert not doubtful.is_certain
    assert "no lock file pins the packages" in doubtful.doubts[0]
    assert "services/api/package.json" in doubtful.doubts[0]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("npm run build", False),
        ("node scripts/make.mjs --out=./dist", False),
        ("tsc > /dev/null", False),
        ("cp ../shared/x.json src/", True),
        ("cd .. && make", True),
        ("cat /etc/hosts", True),
        ("node --env-file=../.env x.js", True),
        ("cp ~/x src/", True),
    ],
)
def test_a_build_that_reaches_out_makes_the_hash_uncertain(shop: Path, command: str, expected: bool):
    """A build command with a path outside its folder can't be vouched for."""
    assert reaches_out(command) is expected
    assert hash_of(shop, build_commands=[command]).is_certain is not expected


def test_a_file_that_cannot_be_read_is_told(shop: Path):
    """A source that disappears while it is being hashed is an error with its path, not a hash without it."""

    class Vanishing(FileDigests):
        def facts_of(self, file: Path) -> Any:
            if file.name == "style.css":
                file.unlink()
            return super().facts_of(file)

    with pytest.raises(Failed, match=r"style\.css: can't be read"):
        hash_of(shop, digests=Vanishing(None))


def test_a_second_look_reads_no_file(shop: Path):
    """With everything settled, the second hash comes from the store; a changed file alone is read again."""
    store = shop / ".clodo-digests"
    in_an_hour = time.time_ns() + 3_600_000_000_000
    first = FileDigests(store, now=lambda: in_an_hour)
    expected = hash_of(shop, digests=first)
    first.save()

    second = FileDigests(store)
    assert hash_of(shop, digests=second).digest == expected.digest
    assert second.read_count == 0
    assert first.read_count == expected.file_count

    (shop / "services/api/src/style.css").write_text("p{}", encoding="utf-8")
    third = FileDigests(store)
    assert hash_of(shop, digests=third).digest != expected.digest
    assert third.read_count == 1


def test_a_file_just_written_is_read_again(shop: Path):
    """A file that changed less than 2 s before it was read could change again unseen, so it is not trusted."""
    store = shop / ".clodo-digests"
    first = FileDigests(store)
    expected = hash_of(shop, digests=first)
    first.save()

    second = FileDigests(store)
    hash_of(shop, digests=second)

    assert second.read_count == expected.file_count


@pytest.mark.parametrize("content", [b"not a database", b"", b"SQLite format 3\x00" + b"\x00" * 4096])
def test_a_damaged_store_only_costs_time(shop: Path, content: bytes):
    """Garbage in place of the store gives the same hash, and a good store afterwards."""
    store = shop / ".clodo-digests"
    store.write_bytes(content)
    in_an_hour = time.time_ns() + 3_600_000_000_000

    digests = FileDigests(store, now=lambda: in_an_hour)
    assert hash_of(shop, digests=digests).digest == hash_of(shop).digest
    digests.save()
    again = FileDigests(store, now=lambda: in_an_hour)
    hash_of(shop, digests=again)
    again.save()

    last = FileDigests(store)
    hash_of(shop, digests=last)
    assert last.read_count == 0


_OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["write", "write back in time", "swap", "remove", "hash"]),
        st.integers(0, 3),
        st.binary(min_size=2, max_size=2),
    ),
    max_size=14,
)


@settings(deadline=None, max_examples=60)
@given(_OPERATIONS)
def test_remembered_digests_are_never_stale(operations: list[tuple[str, int, bytes]]):
    """Whatever is written, swapped, removed or dated back, remembered digests are those of the files as they are."""
    folder = Path(tempfile.mkdtemp())
    try:
        store = folder / "store"
        files = [folder / f"{number}.bin" for number in range(4)]
        for file in files:
            file.write_bytes(b"--")
        for operation, number, content in [*operations, ("hash", 0, b"")]:
            file, other = files[number], files[(number + 1) % 4]
            if operation == "hash":
                # As if the store had settled long ago: nothing but the files' own stamps can tell a change.
                remembering = FileDigests(store, now=lambda: time.time_ns() + 3_600_000_000_000)
                for existing in filter(Path.exists, files):
                    assert remembering.facts_of(existing) == FileDigests(None).facts_of(existing)
                remembering.save()
                # The file system's own clock ticks in milliseconds; let it tick, so that stamps can differ.
                _tick(folder)
            elif operation == "remove":
                file.unlink(missing_ok=True)
            elif operation == "swap" and file.exists() and other.exists():
                middle = folder / "middle"
                file.rename(middle)
                other.rename(file)
                middle.rename(other)
            elif operation != "swap":
                stamp = file.stat().st_mtime_ns if file.exists() else 0
                file.write_bytes(content)
                if operation == "write back in time":
                    os.utime(file, ns=(stamp, stamp))
    finally:
        shutil.rmtree(folder)


def _tick(folder: Path) -> None:
    probe = folder / "probe"
    probe.write_bytes(b"")
    start = probe.stat().st_ctime_ns
    while probe.stat().st_ctime_ns == start:
        probe.write_bytes(b"")
