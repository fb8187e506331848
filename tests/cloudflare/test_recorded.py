"""Answers as the real API gave them (scrubbed), read with our models."""

from __future__ import annotations

import json

import httpx
import pytest

from clodo.errors import PermissionMissing
from tests.cloudflare.wire import ACCOUNT, ZONE, wired

# Small copies out of the recorded answers of cloudflare/cf-terraforming (MPL-2.0) and dns-lexicon (MIT).
DATABASES = """{"errors":[],"messages":[],"result":[{"created_at":"2023-12-27T22:30:09.085Z","file_size":12288,
"name":"terraform-acc-test","num_tables":0,"uuid":"80b6480e-ea07-4303-9671-84b066ae7e98","version":"production"}],
"result_info":{"count":1,"page":1,"per_page":100,"total_count":1},"success":true}"""
NAMESPACES = """{"result":[{"id":"3d0e21f6082246250bb81395f7b41f40","title":"example-kv-namespace",
"supports_url_encoding":true}],"success":true,"errors":[],"messages":[],"result_info":{"page":1,"per_page":100,"count":1,
"total_count":1,"total_pages":1}}"""
SCHEDULES = """{"errors":[],"messages":[],"result":{"schedules":[{"created_on":"2025-06-10T17:51:02.348328Z",
"cron":"*/30 * * * *","modified_on":"2025-06-10T17:51:02.348328Z"}]},"success":true}"""
DOMAINS = """{"errors":null,"messages":null,"result":[{"cert_id":"be858eda-a446-494e-a7f5-a5a1dbc9452e",
"environment":"production","hostname":"app-a.example.com","id":"b17d53485a8ec5f6540fb62d2d3191af5d8a42e6",
"service":"worker-a","zone_id":"81baa3561cada74e2a1aa853be04431f","zone_name":"example.com"}],
"result_info":{"count":2,"page":1,"per_page":2,"total_count":2},"success":true}"""
DEPLOYMENTS = """{"errors":[],"messages":[],"result":{"deployments":[{"annotations":{"workers/message":
"Automatic deployment on upload.","workers/triggered_by":"upload"},"author_email":"user3@example.com","created_on":
"2024-12-19T00:31:46.147856Z","id":"985a6f65-19ac-40b9-825c-5715e429eef0","source":"terraform","strategy":"percentage",
"versions":[{"percentage":100,"version_id":"9ae88e8d-a939-437d-bf03-ac5a52fdf792"}]}]},"success":true}"""
SUBDOMAIN = """{"errors":[],"messages":[],"result":{"enabled":true,"previews_enabled":true},"success":true}"""
ROUTES = """{"success":true,"errors":[],"messages":[],"result":[{"id":"090a4687c4c26802481bdf0e5cbe0f1a",
"pattern":"example.com/*","script":"my-script"}]}"""
ZONES = """{"result":[{"id":"623a3041663d8602886a278eea09ea67","name":"example.com","status":"active","paused":false,
"type":"full","development_mode":0,"owner":{"id":null,"type":"user","email":null},"account":
{"id":"9800f4fcb8a02ec3eae3c76fdd3848b7","name":"Account One"},"tenant":{"id":null,"name":null},"permissions":
["#zone:read"]}],"result_info":{"page":1,"per_page":100,"total_pages":1,"count":1,"total_count":1},
"success":true,"errors":[],"messages":[]}"""
NO_ZONES = """{"result":[],"result_info":{"page":1,"per_page":20,"total_pages":0,"count":0,"total_count":0},
"success":true,"errors":[],"messages":[]}"""
FORBIDDEN = """{"success":false,
"errors":[{"code":0,"message":"Actor 'com.cloudflare.api.token.b276b992cac64ac4f2c0477313
502f36' requires permission 'com.cloudflare.api.account.zone.list' to list zones"}],"messages":[],"result":null}"""


def recorded(text: str, status: int = 200) -> httpx.Response:
    return httpx.Response(status, json=json.loads(text.replace("\n", "")))


def test_a_list_of_databases_without_total_pages():
    """D1's `result_info` has no total_pages; one short page is the whole list."""
    wire = wired([recorded(DATABASES)])

    (database,) = wire.cloudflare.d1.list()

    assert (database.name, database.file_size, database.version) == ("terraform-acc-test", 12288, "production")


def test_a_list_of_namespaces():
    """KV namespaces are read with their titles."""
    wire = wired([recorded(NAMESPACES)])

    assert [namespace.title for namespace in wire.cloudflare.kv.list()] == ["example-kv-namespace"]


def test_schedules_lie_in_an_object():
    """The list of schedules is under `schedules`."""
    wire = wired([recorded(SCHEDULES)])

    assert [schedule.cron for schedule in wire.cloudflare.schedules.get("script_2")] == ["*/30 * * * *"]


def test_custom_domains_with_errors_null():
    """`errors: null` and per_page equal to the count don't confuse us."""
    wire = wired([recorded(DOMAINS)])

    (domain,) = wire.cloudflare.domains.list(worker="worker-a")

    assert (domain.hostname, domain.service) == ("app-a.example.com", "worker-a")
    assert wire.asked == [f"GET /accounts/{ACCOUNT}/workers/domains?service=worker-a"]


def test_the_current_deployment_and_what_was_said_about_it():
    """Annotations with slashes in their names are read."""
    wire = wired([recorded(DEPLOYMENTS)])

    current = wire.cloudflare.deployments.current("script_2")

    assert current is not None
    assert current.only_version == "9ae88e8d-a939-437d-bf03-ac5a52fdf792"
    assert current.message == "Automatic deployment on upload."


def test_a_workers_subdomain():
    """Whether a Worker answers on workers.dev."""
    wire = wired([recorded(SUBDOMAIN)])

    assert wire.cloudflare.subdomains.get("accounts").previews_enabled is True


def test_routes_without_result_info():
    """Routes come whole, in one answer."""
    wire = wired([recorded(ROUTES)])

    assert [(route.pattern, route.script) for route in wire.cloudflare.routes.list(ZONE)] == [
        ("example.com/*", "my-script")
    ]


def test_zones_of_a_scoped_token():
    """Nulls where a scoped token sees nothing are read as they are."""
    wire = wired([recorded(ZONES)])

    zone = wire.cloudflare.zones.get_by_name("Example.com")

    assert zone.account is not None
    assert zone.account.id == ACCOUNT


def test_an_empty_list_with_no_pages():
    """`total_pages: 0` ends the list."""
    wire = wired([recorded(NO_ZONES)])

    assert wire.cloudflare.zones.list() == []


def test_a_permission_that_is_missing_is_named():
    """The message of 2020, with code 0, names the permission."""
    wire = wired([recorded(FORBIDDEN, 403)])

    with pytest.raises(PermissionMissing, match=r"com\.cloudflare\.api\.account\.zone\.list"):
        wire.cloudflare.zones.list()
