"""What a release asks of security: the rules before it begins, and which secrets it brought when it is live."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from clodo.ledger import fingerprints
from clodo.security.checking import check
from clodo.security.reading import subject_of
from clodo.security.twins import twins_of

if TYPE_CHECKING:
    from clodo.releases.desired import Desired
    from clodo.releases.site import Site


def raise_if_insecure(site: Site, desired: Desired) -> None:
    """
    Refuse a release whose settings or secrets break a critical security rule; say how many lesser findings there are.

    Raises:
        BlockedByPolicy: It names the rule, the key and the place, never the value.
    """
    today = datetime.now(UTC).date()
    known: dict[str, dict[str, str]] = {}
    for record in site.ledger.secrets.all():
        known.setdefault(record.target, {})[record.name] = record.live_fingerprint or record.fingerprint
    known[str(desired.target)] = fingerprints_of(site, desired)
    subject = subject_of(
        site.workspace,
        desired.target,
        today=today,
        config=desired.config,
        secrets=desired.secrets,
        twins=twins_of(str(desired.target), known),
    )
    checked = check([subject], site.workspace.portfolio, today=today)
    checked.raise_if_critical(str(desired.target))
    if checked.findings:
        rules = ", ".join(sorted({finding.rule for finding in checked.findings}))
        site.log(f"{desired.target}: {len(checked.findings)} security findings, none critical ({rules})")


def note_secrets(site: Site, desired: Desired) -> None:
    """Note in the ledger, by fingerprint, which secrets a release brought to its Worker."""
    site.ledger.secrets.note_live(str(desired.target), fingerprints_of(site, desired))


def fingerprints_of(site: Site, desired: Desired) -> dict[str, str]:
    """Return the keyed fingerprint of each secret of *desired*."""
    return {name: fingerprints.fingerprint_of(site.fingerprint_key, value) for name, value in desired.secrets.items()}
