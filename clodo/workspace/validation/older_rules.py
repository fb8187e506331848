"""What can be said about older layouts: they are read, and what in them can't be is said."""

from __future__ import annotations

from collections.abc import Iterator

from clodo.errors import BadConfiguration
from clodo.workspace.finding import Finding, Severity, finding_of
from clodo.workspace.hostnames import host_of_route
from clodo.workspace.layouts.base_files import Layer, not_applied
from clodo.workspace.layouts.domains_file import DomainsFile, find_domains_file, read_domains_file
from clodo.workspace.wrangler_config import WranglerConfig

_MIGRATE = "Run `clodo config migrate --dry-run` to see how it would stand in the wrangler configs."


def older_findings(config: WranglerConfig, layers: tuple[Layer, ...]) -> Iterator[Finding]:
    """Yield what is to be said of the older files that count for *config*."""
    for layer in layers:
        what = "is an older way to say this for all services; it is read, and counts where they say nothing"
        yield Finding(f"{layer.file}:1", "older-layout", Severity.NOTE, what, _MIGRATE)
    for place, what in not_applied(config.document, layers):
        remedy = "Give production a section of its own ([env.production]), or say it in the service's config."
        yield Finding(place, "older-layout", Severity.WARNING, what, remedy)
    file = find_domains_file(config.file.parent)
    if file is None:
        return
    try:
        said = read_domains_file(file)
    except BadConfiguration as error:
        yield finding_of(error, "unreadable", otherwise=str(file))
        return
    yield Finding(
        f"{file}:1", "older-layout", Severity.NOTE, "names hostnames in JavaScript; they are read, never run", _MIGRATE
    )
    for place, what in said.computed:
        remedy = "Write it as a plain value, or say it in the wrangler config."
        yield Finding(place, "computed", Severity.WARNING, what, remedy)
    yield from _of_domains(said, config)


def _of_domains(said: DomainsFile, config: WranglerConfig) -> Iterator[Finding]:
    for domain in said.domains:
        account = config.document.data.get("account_id")
        if domain.account_id is not None and account and account != domain.account_id.value:
            where = config.document.place_of(("account_id",))
            what = f"the account is another one than at {where}, which counts"
            yield Finding(domain.account_id.place, "older-layout", Severity.WARNING, what, "Correct one of the two.")
    for environment, host in said.hosts():
        if not config.has_environment(environment):
            what = f'{host.value} is for the environment "{environment}", which {config.file.name} does not have'
            remedy = f"Add a section for {environment}, or take the line out."
            yield Finding(host.place, "older-layout", Severity.NOTE, what, remedy)
            continue
        try:
            routes = config.for_environment(environment).routes
        except BadConfiguration:
            # Said where the section is looked at by itself.
            continue
        if host.value not in {host_of_route(route.pattern) for route in routes}:
            what = f"no route of {environment} brings requests for {host.value} to the Worker"
            yield Finding(host.place, "unrouted-host", Severity.WARNING, what, _MIGRATE)
