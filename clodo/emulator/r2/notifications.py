"""
Event notifications: what becomes of a bucket's objects, told to queues.

Source:
    https://developers.cloudflare.com/r2/buckets/event-notifications/
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import combinations
from typing import Any

from clodo.emulator.clock import new_id, now
from clodo.emulator.queues.limits import MAX_BATCH_MESSAGES
from clodo.emulator.queues.producing import Producing
from clodo.emulator.queues.store import Queues
from clodo.emulator.r2.errors import INVALID_ARGUMENT, OVERLAPPING_NOTIFICATIONS, R2Refused
from clodo.emulator.r2.records import Change
from clodo.emulator.runtime.ports import BindingRefused, QueueMessage

ACTIONS = ("PutObject", "CopyObject", "CompleteMultipartUpload", "DeleteObject", "LifecycleDeletion")
#: Rules of a bucket, for all queues together.
MAX_RULES = 100

Rules = Mapping[str, list[dict[str, Any]]]
"""What is wanted of a bucket's changes, by the id of the queue that is told."""


class Notifications:
    """Puts a message for each change into the queues whose rules want it."""

    def __init__(self, queues: Queues, producing: Producing) -> None:
        self._queues = queues
        self._producing = producing

    async def tell(self, changes: Sequence[Change]) -> None:
        """Tell of changes of one bucket; what a full queue doesn't take is lost, for that queue."""
        moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        for queue_id, rules in rules_in(changes[0].bucket.settings).items():
            wanted = [change for change in changes if any(_wants(rule, change) for rule in rules)]
            for queue in self._queues.with_ids([queue_id]) if wanted else ():
                messages = [QueueMessage(_body(change, moment), "json") for change in wanted]
                for start in range(0, len(messages), MAX_BATCH_MESSAGES):
                    some = messages[start : start + MAX_BATCH_MESSAGES]
                    try:
                        await self._producing.send(queue.account_id, queue.name, some)
                    except BindingRefused:
                        break


def rules_in(settings: Mapping[str, Any]) -> Rules:
    """Return the rules in a bucket's settings."""
    found: Rules = settings.get("notifications", {})
    return found


def with_rules(known: Rules, queue_id: str, given: object) -> Rules:
    """
    Return a bucket's rules with some more for a queue.

    Raises:
        R2Refused: They aren't what they should be, too many, or overlap.
    """
    if not isinstance(given, list) or not given or not all(isinstance(rule, dict) for rule in given):
        raise R2Refused(INVALID_ARGUMENT.saying("rules must be an array of objects."))
    made = [{"ruleId": new_id(), "createdAt": f"{now()[:23]}Z", **_checked(rule)} for rule in given]
    ours = [*known.get(queue_id, ()), *made]
    rules = {**known, queue_id: ours}
    if sum(len(some) for some in rules.values()) > MAX_RULES:
        raise R2Refused(INVALID_ARGUMENT.saying(f"At most {MAX_RULES} rules are allowed."))
    if any(_overlap(one, other) for one, other in combinations(ours, 2)):
        raise R2Refused(OVERLAPPING_NOTIFICATIONS)
    return rules


def without_rules(known: Rules, queue_id: str, rule_ids: Sequence[str]) -> Rules:
    """Return a bucket's rules without these of a queue; without all of its when none is named."""
    rules = dict(known)
    left = [rule for rule in rules.pop(queue_id, []) if rule_ids and rule["ruleId"] not in rule_ids]
    return {**rules, queue_id: left} if left else rules


def _checked(rule: Mapping[str, Any]) -> dict[str, Any]:
    actions = rule.get("actions")
    if not isinstance(actions, list) or not actions or not all(action in ACTIONS for action in actions):
        raise R2Refused(INVALID_ARGUMENT.saying(f"actions must be some of {', '.join(ACTIONS)}."))
    texts = {name: rule[name] for name in ("prefix", "suffix", "description") if rule.get(name) is not None}
    if not all(isinstance(text, str) for text in texts.values()):
        raise R2Refused(INVALID_ARGUMENT.saying("prefix, suffix and description must be strings."))
    return {"actions": actions, **texts}


def _overlap(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    first, second = one.get("prefix", ""), other.get("prefix", "")
    end, another = one.get("suffix", ""), other.get("suffix", "")
    begins = first.startswith(second) or second.startswith(first)
    return bool(begins and (end.endswith(another) or another.endswith(end)))


def _wants(rule: Mapping[str, Any], change: Change) -> bool:
    return (
        change.action in rule["actions"]
        and change.key.startswith(rule.get("prefix", ""))
        and change.key.endswith(rule.get("suffix", ""))
    )


def _body(change: Change, moment: str) -> bytes:
    about: dict[str, Any] = {"key": change.key}
    if change.etag is not None:
        about |= {"size": change.size, "eTag": change.etag}
    message: dict[str, Any] = {
        "account": change.bucket.account_id,
        "action": change.action,
        "bucket": change.bucket.name,
        "object": about,
        "eventTime": moment,
    }
    if change.copied_from is not None:
        name, key = change.copied_from
        message["copySource"] = {"bucket": name, "object": key}
    return json.dumps(message, separators=(",", ":")).encode()
