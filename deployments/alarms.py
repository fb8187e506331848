"""
The alarm about backups: Prefect automations that act when there is no good snapshot that is young enough.

Two of them, so that the alarm doesn't hang on what may be broken itself. One hears the hourly deployment ``backup-age``
say so; the other hears nothing of a good snapshot for as long as the objective, also when no worker runs any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events import AutomationCore, EventTrigger, emit_event
from prefect.events.actions import ActionTypes, DoNothing, RunDeployment, SendNotification
from prefect.events.schemas.automations import Posture
from prefect.exceptions import ObjectNotFound

from clodo.workspace.portfolio import Portfolio
from deployments.failures import named_as_ours
from deployments.server import send_what_is_queued

TAG = "clodo-backup-alarm"
GOOD = "clodo.snapshot.good"
TOO_OLD = "clodo.backup.too-old"
EXPECTED = "clodo.backup.expected"
"""Starts the clock when the alarm is set, so that a first backup that never comes is noticed too."""

REMIND_AFTER = timedelta(hours=6)
"""The hourly check says so each hour; once in so long is often enough to be told."""

CHECK = "back-up/backup-age"


@dataclass(frozen=True, slots=True)
class Alarms:
    """
    What is set.

    Attributes:
        automations: Names.

        without_block: The notification block that ``[backups]`` names, when nobody saved it yet: nobody is told.
    """

    automations: tuple[str, ...] = ()
    without_block: str | None = None


def set_alarms(portfolio: Portfolio) -> Alarms:
    """
    Set the alarms of *portfolio*'s backups at the Prefect server in use; take them away when it has no recipients.

    Doing it again changes nothing, or the clock would start anew each time. What an operator made of them in the UI
    stays: switched off, or with other actions as long as ``[backups]`` names no ``notify``.

    Raises:
        ServerUnavailable: The server doesn't answer.
    """
    with named_as_ours(), get_client(sync_client=True) as client:
        if not portfolio.backups.recipients:
            for name in _names(portfolio):
                for found in client.read_automations_by_name(name):
                    client.delete_automation(found.id)
            return Alarms()
        block = _block(client, portfolio.backups.notify)
        check = client.read_deployment_by_name(CHECK).id
        is_new = [_set(client, alarm, is_told=block is not None) for alarm in _alarms(portfolio, block, check)]
        if any(is_new):
            emit_event(event=EXPECTED, resource=_resource(portfolio))
            send_what_is_queued()
        missing = portfolio.backups.notify if block is None else None
        return Alarms(_names(portfolio), missing)


def _alarms(portfolio: Portfolio, block: UUID | None, check: UUID) -> tuple[AutomationCore, AutomationCore]:
    too_old, absent = _names(portfolio)
    objective = portfolio.backups.objective
    hours = f"{portfolio.backups.objective_hours:g} hours"
    match: dict[str, str | list[str]] = {"prefect.resource.id": _resource(portfolio)["prefect.resource.id"]}
    subject = f"{portfolio.name}: no good backup within {hours}"

    # Prefect's client sends only what is set, so that types are said though they have defaults.
    def told(body: str) -> list[ActionTypes]:
        if block is None:
            return []
        return [SendNotification(type="send-notification", block_document_id=block, subject=subject, body=body)]

    return (
        AutomationCore(
            name=too_old,
            description=f"The newest good snapshot is older than {hours}. Set by `clodo up`.",
            tags=["clodo", TAG],
            trigger=EventTrigger(
                type="event", expect={TOO_OLD}, match=match, posture=Posture.Reactive, threshold=1, within=REMIND_AFTER
            ),
            actions=told("{{ event.payload.message }}") or [DoNothing(type="do-nothing")],
        ),
        AutomationCore(
            name=absent,
            description=f"No good snapshot was published for {hours}, and perhaps nothing runs. Set by `clodo up`.",
            tags=["clodo", TAG],
            trigger=EventTrigger(
                type="event",
                after={GOOD, EXPECTED},
                expect={GOOD},
                match=match,
                posture=Posture.Proactive,
                threshold=1,
                within=objective,
            ),
            # The check fails, which is seen; where no worker runs, it is late, which is seen too.
            actions=[
                RunDeployment(
                    type="run-deployment",
                    source="selected",
                    deployment_id=check,
                    parameters=None,
                    job_variables=None,
                ),
                *told(
                    f"{portfolio.name} has published no good snapshot for {hours}."
                    " Is a worker running? Look at the runs of the deployment `backup`, then `clodo backup create`."
                ),
            ],
        ),
    )


def _set(client: SyncPrefectClient, wanted: AutomationCore, *, is_told: bool) -> bool:
    """Make the automation, or change it if it is another one now; say whether its clock must be started."""
    found = client.read_automations_by_name(wanted.name)
    if not found:
        client.create_automation(wanted)
        return True
    current = found[0]
    actions = wanted.actions if is_told else current.actions
    if current.trigger.model_dump(exclude={"id"}) == wanted.trigger.model_dump(exclude={"id"}) and [
        action.model_dump() for action in current.actions
    ] == [action.model_dump() for action in actions]:
        return False
    client.update_automation(
        current.id, wanted.model_copy(update={"enabled": current.enabled, "actions": list(actions)})
    )
    return True


def _names(portfolio: Portfolio) -> tuple[str, str]:
    return f"{portfolio.name}: backup too old", f"{portfolio.name}: backup absent"


def _resource(portfolio: Portfolio) -> dict[str, str]:
    return {"prefect.resource.id": f"clodo.portfolio.{portfolio.name}", "prefect.resource.name": portfolio.name}


def _block(client: SyncPrefectClient, place: str | None) -> UUID | None:
    """Return the id of the block at ``type-slug/name``; None when nobody saved it."""
    if place is None:
        return None
    slug, _, name = place.partition("/")
    try:
        return client.read_block_document_by_name(name, slug).id
    except ObjectNotFound:
        return None
