"""The generated portfolio: valid for Clodo, and really changed in each round."""

from __future__ import annotations

import json

from benchmarks.generated import SECRET_NAMES, Services, expected_health, secrets_of, service_names, write_secrets
from clodo.migrations.databases import DEFAULT_TABLE
from clodo.migrations.files import find_migrations
from clodo.workspace.file_digests import FileDigests
from clodo.workspace.hashing import input_hash
from clodo.workspace.workspace import Workspace


def services_in(folder, count=3):
    services = Services(folder, {name: f"00000000-0000-4000-8000-{name[-3:]:>012}" for name in service_names(count)})
    services.write(account="default")
    return services


def hashes(folder):
    workspace = Workspace.load(folder)
    return {
        str(target): input_hash(
            workspace.effective(target),
            root=folder,
            digests=FileDigests(None),
            secrets_fingerprint="",
            toolchain_fingerprint="",
        ).digest
        for target in workspace.targets
    }


def test_services_make_one_wave_with_three_migrations_and_two_secrets_each(tmp_path):
    """Clodo reads what is generated: independent targets, each with a database that its config identifies."""
    services = services_in(tmp_path, count=20)

    workspace = Workspace.load(tmp_path)
    waves = workspace.graph().waves(workspace.targets)

    assert len(services.names) == 20
    assert [len(wave) for wave in waves] == [20]
    for target in workspace.targets:
        (database,) = workspace.effective(target).databases
        assert (database.database_id, database.migrations_table) == (services.databases[target.service], DEFAULT_TABLE)
        assert len(find_migrations(database.migrations_folder, "*.sql")) == 3
        assert workspace.portfolio.settings_of(target.service).secrets == SECRET_NAMES


def test_a_round_changes_code_migrations_and_one_secret_of_every_service(tmp_path):
    """After a change every target hashes differently, has one more migration, and another API key."""
    services = services_in(tmp_path)
    before = hashes(tmp_path)

    services.change(1)

    after = hashes(tmp_path)
    assert before.keys() == after.keys()
    assert all(before[target] != after[target] for target in before)
    for name in services.names:
        migrations = find_migrations(tmp_path / name / "migrations", "*.sql")
        assert [migration.name for migration in migrations][3:] == ["0004_round_1.sql"]
        old, new = secrets_of(name, 0), secrets_of(name, 1)
        assert {key for key in old if old[key] != new[key]} == {"API_KEY"}


def test_the_same_round_again_changes_nothing(tmp_path):
    """Writing a round twice leaves what is hashed as it was."""
    services = services_in(tmp_path)
    services.change(2)
    before = hashes(tmp_path)

    services.change(2)

    assert hashes(tmp_path) == before


def test_expected_health_follows_the_round(tmp_path):
    """What a Worker must answer counts its migrations and names its secret, in the file that wrangler reads too."""
    first, second = expected_health("service-001", 0), expected_health("service-001", 2)
    file = write_secrets(tmp_path, "service-001", 2)

    assert (first["migrations"], second["migrations"]) == (3, 5)
    assert first["secret"] != second["secret"] != expected_health("service-002", 2)["secret"]
    assert json.loads(file.read_text()) == secrets_of("service-001", 2)
    assert file.stat().st_mode & 0o777 == 0o600
