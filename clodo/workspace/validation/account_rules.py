"""What only the account can tell: whether the ids and names in a config exist there."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Protocol

from clodo.errors import ClodoError, PermissionMissing
from clodo.workspace.effective_config import EffectiveConfig
from clodo.workspace.finding import Finding, Severity


class AccountLookup(Protocol):
    """
    What an account has; each is listed once, when it is first asked for, and what can't be listed is asked for once.

    Raises:
        PermissionMissing: The token may not list it; the rule then says what it left out.

        ClodoError: The account can't be asked.
    """

    def database_ids(self) -> Collection[str]:
        """UUIDs of its D1 databases."""
        ...

    def database_names(self) -> Collection[str]:
        """Names of its D1 databases."""
        ...

    def namespace_ids(self) -> Collection[str]:
        """Ids of its KV namespaces."""
        ...

    def namespace_titles(self) -> Collection[str]:
        """Titles of its KV namespaces."""
        ...

    def bucket_names(self, jurisdiction: str | None) -> Collection[str]:
        """Names of its R2 buckets in a jurisdiction; None for the default one."""
        ...

    def queue_names(self) -> Collection[str]:
        """Names of its queues."""
        ...

    def zone_ids(self) -> Collection[str]:
        """Ids of the zones the token sees."""
        ...

    def zone_names(self) -> Collection[str]:
        """Names of the zones the token sees."""
        ...


def account_findings(effective: EffectiveConfig, account: AccountLookup) -> Iterator[Finding]:
    """
    Yield what *effective* names and the account lacks; a right that the token lacks becomes a note.

    Raises:
        ClodoError: The account can't be asked.
    """
    for rule in (_databases, _namespaces, _buckets, _queues, _zones):
        try:
            # All at once: a rule may ask the account in its middle.
            yield from tuple(rule(effective, account))
        except PermissionMissing as error:
            yield _left_out(effective, error)


def _databases(effective: EffectiveConfig, account: AccountLookup) -> Iterator[Finding]:
    for database in effective.databases:
        if database.database_id is None:
            if database.database_name not in account.database_names():
                yield _missing(database.place, f'no D1 database of the account is called "{database.database_name}"')
        elif database.database_id not in account.database_ids():
            what = f'the account has no D1 database {database.database_id}, which is bound as "{database.binding}"'
            yield _missing(database.place, what)


def _namespaces(effective: EffectiveConfig, account: AccountLookup) -> Iterator[Finding]:
    for namespace in effective.namespaces:
        if namespace.namespace_id is None:
            if namespace.title not in account.namespace_titles():
                yield _missing(namespace.place, f'no KV namespace of the account is titled "{namespace.title}"')
        elif namespace.namespace_id not in account.namespace_ids():
            what = f'the account has no KV namespace {namespace.namespace_id}, which is bound as "{namespace.binding}"'
            yield _missing(namespace.place, what)


def _buckets(effective: EffectiveConfig, account: AccountLookup) -> Iterator[Finding]:
    for bucket in effective.buckets:
        if bucket.bucket_name not in account.bucket_names(bucket.jurisdiction):
            where = f" in the jurisdiction {bucket.jurisdiction}" if bucket.jurisdiction else ""
            yield _missing(bucket.place, f'no R2 bucket of the account is called "{bucket.bucket_name}"{where}')


def _queues(effective: EffectiveConfig, account: AccountLookup) -> Iterator[Finding]:
    # A queue for dead letters is made by Cloudflare when it isn't there.
    named = [(queue.queue, queue.place) for queue in effective.queue_producers]
    named += [(queue.queue, queue.place) for queue in effective.queue_consumers]
    for name, place in named:
        if name not in account.queue_names():
            yield _missing(place, f'no queue of the account is called "{name}"')


def _zones(effective: EffectiveConfig, account: AccountLookup) -> Iterator[Finding]:
    for route in effective.routes:
        if route.zone_id is not None and route.zone_id not in account.zone_ids():
            yield _missing(route.place, f'the token sees no zone {route.zone_id}, which "{route.pattern}" names')
        elif route.zone_name is not None and route.zone_name not in account.zone_names():
            yield _missing(route.place, f'the token sees no zone called "{route.zone_name}"')


def _missing(place: str, what: str) -> Finding:
    remedy = "Correct the id, create what is missing, or look whether the environment is served by another account."
    return Finding(place, "missing-on-account", Severity.ERROR, what, remedy)


def _left_out(effective: EffectiveConfig, error: ClodoError) -> Finding:
    return Finding(
        effective.document.place_of(()),
        "left-out",
        Severity.NOTE,
        f"a look at the account was left out: {error.message}",
        error.hint or "Give the token the right to read it.",
    )
