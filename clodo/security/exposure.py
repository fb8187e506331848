"""Rules on what can be reached: addresses without encryption, other origins, workers.dev, routes, headers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address
from urllib.parse import urlsplit

from clodo.security.asset_headers import wanted_headers
from clodo.security.rule import Hit, rule
from clodo.security.shapes import words_of
from clodo.security.subject import Kind, Setting, Subject
from clodo.workspace.finding import Severity

_URL = re.compile(r"\b(?:https?|wss?)://[^\s\"'<>,;]+", re.IGNORECASE)
_BARE_LOCAL = re.compile(r"^(?:localhost|127(?:\.\d+){3}|\[::1\]|0\.0\.0\.0|host\.docker\.internal)(?::\d+)?(?:/|$)")
# Names of XML vocabularies, which nobody connects to.
_VOCABULARIES = ("www.w3.org", "schemas.xmlsoap.org", "schemas.microsoft.com", "ns.adobe.com", "purl.org", "schema.org")


@rule(
    "localhost-url",
    title="An address of this machine or of a private network",
    remedy="Name the address that this environment's users reach.",
    production=Severity.CRITICAL,
    staging=Severity.WARNING,
)
def localhost_url(subject: Subject) -> Iterator[Hit]:
    """Find addresses that only a developer's machine answers."""
    for setting in _readable(subject):
        if any(_is_local(host) for _, host in _urls(setting.text)) or _BARE_LOCAL.match(setting.text.strip()):
            yield Hit(setting.name, setting.place, f"{setting.name} leads to this machine or a private network")


@rule(
    "http-url",
    title="An address without encryption",
    remedy="Write https:// (wss:// for WebSockets).",
    production=Severity.CRITICAL,
    staging=Severity.WARNING,
)
def http_url(subject: Subject) -> Iterator[Hit]:
    """Find http:// and ws:// addresses; names of XML vocabularies are none."""
    for setting in _readable(subject):
        for scheme, host in _urls(setting.text):
            if scheme in ("http", "ws") and not _is_local(host) and host not in _VOCABULARIES:
                yield Hit(setting.name, setting.place, f"{setting.name} is reached without encryption ({scheme}://)")
                break


@rule(
    "wildcard-cors",
    title="Every origin may read answers",
    remedy="List the origins that need it.",
    production=Severity.CRITICAL,
    staging=Severity.WARNING,
)
def wildcard_cors(subject: Subject) -> Iterator[Hit]:
    """Find ``*`` among allowed origins, in variables and in the assets' headers."""
    for setting in _readable(subject):
        words = set(words_of(setting.name))
        speaks_of_origins = "CORS" in words or bool(words & {"ALLOW", "ALLOWED"} and words & {"ORIGIN", "ORIGINS"})
        if not speaks_of_origins or words & {"METHODS", "HEADERS", "METHOD", "HEADER"}:
            continue
        origins = [item.strip(" \"'[]") for item in setting.text.split(",")]
        if any(origin in ("*", "http://*", "https://*", "*://*") for origin in origins):
            yield Hit(setting.name, setting.place, f"{setting.name} lets every origin read answers")
    for header in subject.headers.of("access-control-allow-origin") if subject.headers else ():
        if header.value == "*" and _lets_credentials_pass(subject, header.path):
            yield Hit(header.name, header.place, f"{header.name} lets every origin read answers made with credentials")


def _lets_credentials_pass(subject: Subject, path: str) -> bool:
    headers = subject.headers.of("access-control-allow-credentials") if subject.headers else ()
    return any(header.path == path and header.value.lower() == "true" for header in headers)


@rule(
    "missing-security-headers",
    title="Assets without the headers that browsers protect users by",
    remedy="Add them for /* to the _headers file in the assets' folder; docs/security-rules.md has an example.",
    production=Severity.WARNING,
    staging=Severity.NOTE,
)
def missing_security_headers(subject: Subject) -> Iterator[Hit]:
    """Find assets whose ``_headers`` leave out what every page should have."""
    if subject.headers is None:
        return
    missing = wanted_headers(subject.headers)
    if missing:
        what = f"assets are served without {', '.join(missing)}"
        yield Hit("_headers", subject.headers.place, what)


@rule(
    "workers-dev",
    title="A production Worker that also answers on workers.dev",
    remedy="Set workers_dev = false and give it a route or a custom domain; preview_urls may stay on.",
    production=Severity.WARNING,
)
def workers_dev(subject: Subject) -> Iterator[Hit]:
    """Find Workers that are on workers.dev, beside or instead of an address of one's own."""
    config = subject.config
    if config is not None and config.is_on_workers_dev:
        said = "is on" if config.workers_dev else "is not said, and a Worker without routes is on it"
        yield Hit("workers_dev", config.place_of("workers_dev"), f"workers_dev {said}")


@rule(
    "unpinned-route",
    title="A route whose zone is guessed, or that takes every host",
    remedy='Name the zone: { pattern = "…", zone_name = "…" }, and a host of its own.',
    production=Severity.WARNING,
    staging=Severity.NOTE,
)
def unpinned_route(subject: Subject) -> Iterator[Hit]:
    """Find routes without ``zone_name`` or ``zone_id``, and patterns that take every host."""
    for route in subject.config.routes if subject.config else ():
        host = (route.pattern.partition("://")[2] or route.pattern).partition("/")[0]
        if host in ("*", "*.*"):
            yield Hit("routes", route.place, "routes takes every host of the zone")
        elif not route.is_custom_domain and not route.zone_name and not route.zone_id:
            yield Hit("routes", route.place, "routes has a pattern without a zone, which is then guessed from it")


def _readable(subject: Subject) -> Iterator[Setting]:
    return subject.of_kind(Kind.VARIABLE, Kind.ENV_FILE)


def _urls(text: str) -> Iterator[tuple[str, str]]:
    """Yield scheme and host of each URL in *text*."""
    for match in _URL.finditer(text):
        try:
            parts = urlsplit(match[0])
            host = parts.hostname
        except ValueError:
            continue
        if host:
            yield parts.scheme.lower(), host


def _is_local(host: str) -> bool:
    if host == "localhost" or host.endswith((".localhost", ".local", ".internal", ".test")):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_private or address.is_unspecified


RULES = (localhost_url, http_url, wildcard_cors, missing_security_headers, workers_dev, unpinned_route)
