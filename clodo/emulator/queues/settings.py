"""What a queue and its consumer may be told, read from JSON and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clodo.emulator.envelope import ApiError
from clodo.emulator.queues import limits

INVALID_SETTING = 11001


def whole_number(body: Mapping[str, Any], name: str, low: int, high: int, default: int) -> int:
    """
    Return a whole number of *body*; *default* when it is absent or null.

    Raises:
        ApiError: It is something else, or out of bounds.
    """
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or (isinstance(value, float) and value % 1):
        raise ApiError(400, INVALID_SETTING, f"{name} must be a whole number.")
    if not low <= value <= high:
        raise ApiError(400, INVALID_SETTING, f"{name} must be between {low} and {high}.")
    return int(value)


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """
    How a queue treats its messages.

    Attributes:
        delivery_delay: Seconds before a message that says nothing else may be delivered.

        message_retention_period: Seconds after which an unconsumed message is gone.
    """

    delivery_delay: int = 0
    message_retention_period: int = limits.DEFAULT_RETENTION_SECONDS
    delivery_paused: bool = False

    @classmethod
    def from_json(cls, body: Any) -> QueueSettings:
        """
        Read ``settings``.

        Raises:
            ApiError: Not an object, or a value is malformed or out of bounds.
        """
        if not isinstance(body, Mapping):
            raise ApiError(400, INVALID_SETTING, "settings must be an object")
        paused = body.get("delivery_paused")
        if paused is not None and not isinstance(paused, bool):
            raise ApiError(400, INVALID_SETTING, "delivery_paused must be true or false.")
        return cls(
            whole_number(body, "delivery_delay", 0, limits.MAX_DELAY_SECONDS, 0),
            whole_number(
                body,
                "message_retention_period",
                limits.MIN_RETENTION_SECONDS,
                limits.MAX_RETENTION_SECONDS,
                limits.DEFAULT_RETENTION_SECONDS,
            ),
            paused is True,
        )

    def as_json(self) -> dict[str, Any]:
        """Return what the API shows; a queue that was never paused says nothing of it, as recorded."""
        shown: dict[str, Any] = {
            "delivery_delay": self.delivery_delay,
            "message_retention_period": self.message_retention_period,
        }
        return shown | ({"delivery_paused": True} if self.delivery_paused else {})


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """
    How a Worker is given messages.

    Attributes:
        max_concurrency: Batches that may be out at once; None leaves it to the cloud.
    """

    batch_size: int = limits.DEFAULT_BATCH_SIZE
    max_retries: int = limits.DEFAULT_RETRIES
    max_wait_time_ms: int = limits.DEFAULT_WAIT_MS
    max_concurrency: int | None = None
    retry_delay: int = 0

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> WorkerSettings:
        """
        Read ``settings`` of a ``worker`` consumer.

        Raises:
            ApiError: A value is malformed or out of bounds.
        """
        concurrency = whole_number(body, "max_concurrency", 1, limits.MAX_CONCURRENCY, 0)
        return cls(
            whole_number(body, "batch_size", 1, limits.MAX_BATCH_MESSAGES, limits.DEFAULT_BATCH_SIZE),
            whole_number(body, "max_retries", 0, limits.MAX_RETRIES, limits.DEFAULT_RETRIES),
            whole_number(body, "max_wait_time_ms", 0, limits.MAX_WAIT_MS, limits.DEFAULT_WAIT_MS),
            concurrency or None,
            whole_number(body, "retry_delay", 0, limits.MAX_DELAY_SECONDS, 0),
        )

    def as_json(self) -> dict[str, Any]:
        """Return what the API shows."""
        shown: dict[str, Any] = {
            "batch_size": self.batch_size,
            "max_retries": self.max_retries,
            "max_wait_time_ms": self.max_wait_time_ms,
            "retry_delay": self.retry_delay,
        }
        return shown | ({} if self.max_concurrency is None else {"max_concurrency": self.max_concurrency})


@dataclass(frozen=True, slots=True)
class PullSettings:
    """How messages are handed to whoever pulls them over HTTP."""

    batch_size: int = limits.DEFAULT_PULL_BATCH
    max_retries: int = limits.DEFAULT_RETRIES
    visibility_timeout_ms: int = limits.DEFAULT_VISIBILITY_MS
    retry_delay: int = 0

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> PullSettings:
        """
        Read ``settings`` of an ``http_pull`` consumer.

        Raises:
            ApiError: A value is malformed or out of bounds.
        """
        return cls(
            whole_number(body, "batch_size", 1, limits.MAX_PULL_BATCH, limits.DEFAULT_PULL_BATCH),
            whole_number(body, "max_retries", 0, limits.MAX_RETRIES, limits.DEFAULT_RETRIES),
            whole_number(body, "visibility_timeout_ms", 0, limits.MAX_VISIBILITY_MS, limits.DEFAULT_VISIBILITY_MS),
            whole_number(body, "retry_delay", 0, limits.MAX_DELAY_SECONDS, 0),
        )

    def as_json(self) -> dict[str, Any]:
        """Return what the API shows."""
        return {
            "batch_size": self.batch_size,
            "max_retries": self.max_retries,
            "visibility_timeout_ms": self.visibility_timeout_ms,
            "retry_delay": self.retry_delay,
        }
