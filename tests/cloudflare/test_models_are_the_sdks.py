"""Clodo reads no field that the official Python SDK, generated from Cloudflare's own description, doesn't know."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

import pytest
from cloudflare.types import accounts as sdk_accounts
from cloudflare.types import d1 as sdk_d1
from cloudflare.types import kv as sdk_kv
from cloudflare.types import queues as sdk_queues
from cloudflare.types import user as sdk_user
from cloudflare.types import workers as sdk_workers
from cloudflare.types import zones as sdk_zones
from cloudflare.types.d1 import d1 as sdk_d1_database
from cloudflare.types.d1 import database as sdk_d1_time
from cloudflare.types.d1 import database_export_response, database_import_response, database_raw_response, query_result
from cloudflare.types.dns import record_response
from cloudflare.types.kv import namespaces as sdk_kv_keys
from cloudflare.types.kv.namespaces import key_bulk_get_response
from cloudflare.types.queues import consumer as sdk_consumer
from cloudflare.types.r2.buckets import object_list_response
from cloudflare.types.ssl import certificate_pack_list_response as sdk_packs
from cloudflare.types.workers import beta as sdk_beta
from cloudflare.types.workers import scripts as sdk_scripts
from cloudflare.types.workers.beta import worker as sdk_beta_worker
from cloudflare.types.workers.beta.workers import version as sdk_beta_version
from cloudflare.types.workers.scripts import (
    deployment as sdk_deployment,
)
from cloudflare.types.workers.scripts import (
    schedule_get_response,
    script_and_version_setting_get_response,
    secret_list_response,
    version_get_response,
    version_list_response,
)
from cloudflare.types.zones import zone as sdk_zone
from pydantic import AliasChoices, BaseModel

import clodo.cloudflare
from clodo.cloudflare import (
    accounts,
    certificates,
    d1,
    deployments,
    dns,
    domains,
    kv,
    queues,
    r2,
    routes,
    schedules,
    scripts,
    secrets,
    settings,
    subdomains,
    tails,
    user,
    versions,
    workers,
    zones,
)
from clodo.cloudflare.model import Model

# Each of our models, and the SDK's models of the same answers (one of ours may serve several of them).
COUNTERPARTS: dict[type[Model], tuple[type[BaseModel], ...]] = {
    accounts.Account: (sdk_accounts.Account,),
    user.TokenStatus: (sdk_user.TokenVerifyResponse, sdk_accounts.TokenVerifyResponse),
    user.Person: (sdk_user.UserGetResponse,),
    zones.Zone: (sdk_zones.Zone,),
    zones.ZoneAccount: (sdk_zone.Account,),
    scripts.Script: (sdk_workers.ScriptListResponse,),
    scripts.ScriptSettings: (script_and_version_setting_get_response.ScriptAndVersionSettingGetResponse,),
    versions.Version: (
        version_get_response.VersionGetResponse,
        version_list_response.VersionListResponse,
        # Lists and single versions of the older API carry annotations too: wrangler reads them there. The SDK only
        # describes them for the newer API.
        sdk_beta_version.Version,
    ),
    versions.VersionAnnotations: (sdk_beta_version.Annotations,),
    versions.VersionMetadata: (version_get_response.Metadata, version_list_response.Metadata),
    versions.VersionResources: (version_get_response.Resources,),
    versions.VersionScript: (version_get_response.ResourcesScript,),
    versions.VersionRuntime: (version_get_response.ResourcesScriptRuntime,),
    deployments.Deployment: (sdk_scripts.Deployment,),
    deployments.DeploymentAnnotations: (sdk_deployment.Annotations,),
    deployments.TrafficShare: (sdk_deployment.Version,),
    secrets.Secret: (secret_list_response.WorkersBindingKindSecretText,),
    subdomains.AccountSubdomain: (sdk_workers.SubdomainGetResponse,),
    subdomains.WorkerSubdomain: (sdk_scripts.SubdomainGetResponse, sdk_scripts.SubdomainCreateResponse),
    workers.Worker: (sdk_beta.Worker,),
    workers.WorkerAddress: (sdk_beta_worker.Subdomain,),
    queues.Queue: (sdk_queues.Queue,),
    queues.Consumer: (sdk_consumer.MqWorkerConsumerResponse, sdk_consumer.MqHTTPConsumerResponse),
    queues.ConsumerSettings: (sdk_consumer.MqWorkerConsumerResponseSettings,),
    r2.StoredObject: (object_list_response.ObjectListResponse,),
    routes.Route: (sdk_workers.RouteListResponse, sdk_workers.RouteCreateResponse),
    domains.Domain: (sdk_workers.DomainListResponse, sdk_workers.DomainUpdateResponse),
    schedules.Schedule: (schedule_get_response.Schedule,),
    settings.UnversionedSettings: (sdk_workers.ScriptSetting,),
    tails.Tail: (sdk_scripts.TailCreateResponse,),
    dns.DnsRecord: (record_response.ARecord, record_response.CNAMERecord),
    certificates.CertificatePack: (sdk_packs.CertificatePackListResponse,),
    d1.Database: (sdk_d1.D1, sdk_d1.DatabaseListResponse),
    d1.ReadReplication: (sdk_d1_database.ReadReplication,),
    d1.QueryResult: (sdk_d1.QueryResult,),
    d1.QueryMeta: (query_result.Meta, database_import_response.ResultMeta),
    d1.RawResult: (sdk_d1.DatabaseRawResponse,),
    d1.RawRows: (database_raw_response.Results,),
    d1.Export: (sdk_d1.DatabaseExportResponse,),
    d1.ExportedFile: (database_export_response.Result,),
    d1.Import: (sdk_d1.DatabaseImportResponse,),
    d1.ImportedFile: (database_import_response.Result,),
    d1.Bookmark: (sdk_d1_time.TimeTravelGetBookmarkResponse,),
    d1.Restored: (sdk_d1_time.TimeTravelRestoreResponse,),
    kv.Namespace: (sdk_kv.Namespace,),
    kv.Key: (sdk_kv_keys.Key,),
    kv.BulkOutcome: (sdk_kv.NamespaceBulkUpdateResponse, sdk_kv.NamespaceBulkDeleteResponse),
    kv.BulkValues: (key_bulk_get_response.WorkersKVBulkGetResult,),
}

# Models of something that the SDK doesn't describe at all, and who does.
WITHOUT_COUNTERPART: dict[type[Model], str] = {
    tails.TailEvent: "Events come over a WebSocket; documented as TailItems of the tail() handler.",
    tails.EventVersion: "Part of a tail event; Logpush's trace events document it as ScriptVersion.",
}


def our_models() -> Iterator[type[Model]]:
    for module in pkgutil.iter_modules(clodo.cloudflare.__path__):
        found = importlib.import_module(f"clodo.cloudflare.{module.name}")
        yield from (
            each
            for each in vars(found).values()
            if isinstance(each, type)
            and issubclass(each, Model)
            and each is not Model
            and each.__module__ == found.__name__
        )


def wire_names(model: type[BaseModel]) -> dict[str, set[str]]:
    """Return each field's names on the wire."""
    names: dict[str, set[str]] = {}
    for name, field in model.model_fields.items():
        alias = field.validation_alias or field.alias
        if isinstance(alias, AliasChoices):
            names[name] = {str(choice) for choice in alias.choices}
        else:
            names[name] = {str(alias)} if alias else {name}
    return names


def known_to(sdk: tuple[type[BaseModel], ...]) -> set[str]:
    # An alias of the SDK and its Python name are both spellings that Cloudflare uses (hasPreview, has_preview).
    return {spelling for model in sdk for name, wire in wire_names(model).items() for spelling in {name, *wire}}


def test_every_model_of_ours_is_in_the_table():
    """No model escapes the comparison, and none is on both lists."""
    listed = set(COUNTERPARTS) | set(WITHOUT_COUNTERPART)

    assert set(our_models()) == listed
    assert not set(COUNTERPARTS) & set(WITHOUT_COUNTERPART)


@pytest.mark.parametrize("model", COUNTERPARTS, ids=lambda model: model.__name__)
def test_every_field_that_clodo_reads_is_one_of_the_sdks(model):
    """Each field has, on the wire, a name that the SDK's model of that answer has too."""
    known = known_to(COUNTERPARTS[model])

    unknown = {name: wire for name, wire in wire_names(model).items() if not wire <= known}

    assert unknown == {}


def test_an_invented_field_would_be_seen():
    """The comparison fails for a field that Cloudflare doesn't have."""

    class Database(d1.Database):
        row_count: int | None = None

    assert not wire_names(Database)["row_count"] <= known_to(COUNTERPARTS[d1.Database])


@pytest.mark.parametrize("model", our_models(), ids=lambda model: model.__name__)
def test_fields_that_clodo_does_not_know_are_ignored(model):
    """A field that Cloudflare adds tomorrow breaks nothing."""
    assert model.model_config["extra"] == "ignore"
    assert model.model_config["frozen"]
