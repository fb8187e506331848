"""Rules on what scans of files and of git's history found, and on where keys are kept."""

from __future__ import annotations

from collections.abc import Iterator

from clodo.security.rule import Hit, rule
from clodo.security.subject import Source, Subject
from clodo.workspace.finding import Severity


@rule(
    "credential-in-file",
    title="A credential in a file of the workspace that git keeps",
    remedy="Take it out of the file and replace it: it was readable.",
    production=Severity.CRITICAL,
)
def credential_in_file(subject: Subject) -> Iterator[Hit]:
    """Find credentials whose shape leaves no doubt."""
    for leak in subject.leaks:
        if leak.source is Source.FILE and leak.is_certain:
            yield Hit(leak.key, leak.place, leak.what)


@rule(
    "possible-credential-in-file",
    title="What may be a credential in a file of the workspace",
    remedy="Look at it; take it out and replace it, or write `pragma: allowlist secret` in a comment on its line.",
    production=Severity.WARNING,
)
def possible_credential_in_file(subject: Subject) -> Iterator[Hit]:
    """Find what has a credential's name or entropy."""
    for leak in subject.leaks:
        if leak.source is Source.FILE and not leak.is_certain:
            yield Hit(leak.key, leak.place, leak.what)


@rule(
    "credential-in-history",
    title="A credential that git's history of a configuration file still holds",
    remedy="Replace it: who has a clone has it. Then waive this finding; the history need not be rewritten.",
    production=Severity.CRITICAL,
)
def credential_in_history(subject: Subject) -> Iterator[Hit]:
    """Find credentials that were ever committed in a configuration file."""
    for leak in subject.leaks:
        if leak.source is Source.HISTORY:
            yield Hit(leak.key, leak.place, leak.what)


@rule(
    "key-beside-database",
    title="The key that encrypts saved blocks lies beside their database",
    remedy="For a team, run the Prefect server elsewhere with PREFECT_API_ENCRYPTION_KEY set, or keep tokens in the"
    " system's keyring: `clodo secrets token --keyring`.",
    production=Severity.NOTE,
)
def key_beside_database(subject: Subject) -> Iterator[Hit]:
    """Find the workspace's own Prefect server: who copies its folder has the secrets."""
    if subject.keys_beside:
        yield Hit("prefect", subject.keys_beside, "prefect keeps its blocks beside the key that encrypts them")


RULES = (credential_in_file, possible_credential_in_file, credential_in_history, key_beside_database)
