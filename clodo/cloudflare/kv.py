"""Workers KV: namespaces, values and keys."""

from __future__ import annotations

import base64
import builtins
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import Field

from clodo.cloudflare.model import Model
from clodo.cloudflare.refusals import Missing
from clodo.errors import AmbiguousName, NamespaceNotFound, NotFound, PartlyDone

if TYPE_CHECKING:
    from clodo.cloudflare.api import Api

NAMESPACES_PER_PAGE = 100
KEYS_PER_PAGE = 1000
# Source: https://developers.cloudflare.com/api/resources/kv/ ("Up to 10,000 pairs", "up to 100 keys")
PAIRS_PER_BULK_PUT = 10_000
KEYS_PER_BULK_DELETE = 10_000
KEYS_PER_BULK_GET = 100
NO_SUCH_NAMESPACE = frozenset({10013})
NO_SUCH_KEY = frozenset({10009})


class Namespace(Model):
    """A KV namespace; *id* is 32 hex digits."""

    id: str
    title: str
    jurisdiction: str | None = None
    supports_url_encoding: bool | None = None


class Key(Model):
    """A key; *expiration* in seconds since 1970, None for never."""

    name: str
    expiration: float | None = None
    metadata: Any = None


class BulkOutcome(Model):
    """What a bulk operation did."""

    successful_key_count: int | None = None
    unsuccessful_keys: list[str] = Field(default_factory=list)


class BulkValues(Model):
    """Values by key; None for a key that isn't there."""

    values: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pair:
    """
    A key and what to store under it.

    Attributes:
        expiration: Seconds since 1970.

        expiration_ttl: Seconds from now, at least 60; goes before *expiration*.
    """

    key: str
    value: bytes
    expiration: int | None = None
    expiration_ttl: int | None = None
    metadata: Any = None

    def to_api(self) -> dict[str, object]:
        """Return it as Cloudflare's bulk call takes it: text as it is, other bytes in Base64."""
        body: dict[str, object] = {"key": self.key}
        try:
            body["value"] = self.value.decode()
        except UnicodeDecodeError:
            body |= {"value": base64.b64encode(self.value).decode(), "base64": True}
        if self.expiration is not None:
            body["expiration"] = self.expiration
        if self.expiration_ttl is not None:
            body["expiration_ttl"] = self.expiration_ttl
        if self.metadata is not None:
            body["metadata"] = self.metadata
        return body


def namespace_missing(namespace_id: str) -> Missing:
    """Say how Cloudflare says that the account has no such namespace."""
    return Missing(NamespaceNotFound, f"The account has no KV namespace {namespace_id}", codes=NO_SUCH_NAMESPACE)


class KV:
    """Work with the KV namespaces of the account."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def list(self) -> Iterator[Namespace]:
        """
        Yield namespaces, all pages of them, a page at a time.

        Source: https://developers.cloudflare.com/api/resources/kv/subresources/namespaces/methods/list/
        """
        order = {"order": "title", "direction": "asc"}
        return self._api.pages(self._root(), Namespace.model_validate, order, per_page=NAMESPACES_PER_PAGE)

    def find(self, title: str) -> Namespace | None:
        """
        Return the namespace of exactly this title, or None.

        Raises:
            AmbiguousName: More than one has it.
        """
        found = [namespace for namespace in self.list() if namespace.title == title]
        if len(found) > 1:
            ids = ", ".join(namespace.id for namespace in found)
            raise AmbiguousName(
                f"More than one KV namespace is called {title}: {ids}", hint="Use the id in the config."
            )
        return found[0] if found else None

    def get_by_title(self, title: str) -> Namespace:
        """
        Return the namespace of exactly this title.

        Raises:
            NamespaceNotFound: None has it.
            AmbiguousName: More than one has it.
        """
        found = self.find(title)
        if found is None:
            raise NamespaceNotFound(f"The account {self._api.account_id} has no KV namespace called {title}")
        return found

    def create(self, title: str) -> Namespace:
        """
        Make a namespace.

        After an unknown outcome the list is looked at first.

        Raises:
            ApiRefused: The title is taken (code 10014).
        """
        body = {"title": title}
        return self._api.post(self._root(), Namespace.model_validate, json=body, look=lambda: self.find(title))

    def delete(self, namespace_id: str) -> None:
        """
        Delete a namespace with all that is in it.

        Raises:
            NamespaceNotFound: The account has no such namespace.
        """
        self._api.delete(self._path(namespace_id), missing=namespace_missing(namespace_id))

    def get_value(self, namespace_id: str, key: str) -> bytes | None:
        """
        Return the value of a key, None if it isn't there.

        Raises:
            NamespaceNotFound: The account has no such namespace.
        """
        gone = Missing(NotFound, f"The KV namespace {namespace_id} has no key {key!r}", codes=NO_SUCH_KEY)
        try:
            return self._api.get_bytes(
                self._path(namespace_id, "/values/{}", key),
                missing=(namespace_missing(namespace_id).by_code_only(), gone),
            )
        except NamespaceNotFound:
            raise
        except NotFound:
            return None

    def put_value(
        self,
        namespace_id: str,
        key: str,
        value: bytes,
        *,
        expiration: int | None = None,
        expiration_ttl: int | None = None,
        metadata: Any = None,
    ) -> None:
        """
        Store a value under a key.

        Args:
            expiration: Seconds since 1970.

            expiration_ttl: Seconds from now, at least 60; goes before *expiration*.

        Raises:
            NamespaceNotFound: The account has no such namespace.
        """
        lifetime = {"expiration": expiration, "expiration_ttl": expiration_ttl}
        path = self._path(namespace_id, "/values/{}", key)
        params = {name: str(seconds) for name, seconds in lifetime.items() if seconds is not None}
        missing = namespace_missing(namespace_id)
        if metadata is None:
            headers = {"Content-Type": "application/octet-stream"}
            self._api.put(
                path, _ignore, params=params, content=value, headers=headers, missing=missing, safe_to_repeat=True
            )
        else:
            # With a file name the value stays bytes; without one it would be taken for text.
            files = {"value": ("value", value), "metadata": (None, json.dumps(metadata).encode())}
            self._api.put(path, _ignore, params=params, files=files, missing=missing, safe_to_repeat=True)

    def delete_value(self, namespace_id: str, key: str) -> None:
        """
        Remove a key; one that isn't there is no error.

        Raises:
            NamespaceNotFound: The account has no such namespace.
        """
        self._api.delete(self._path(namespace_id, "/values/{}", key), missing=namespace_missing(namespace_id))

    def keys(self, namespace_id: str, *, prefix: str | None = None) -> Iterator[Key]:
        """
        Yield keys in the order of their names, a page at a time.

        Raises:
            NamespaceNotFound: The account has no such namespace.
        """
        return self._api.cursor(
            self._path(namespace_id, "/keys"),
            Key.model_validate,
            {"prefix": prefix, "limit": str(KEYS_PER_PAGE)},
            missing=namespace_missing(namespace_id),
        )

    def bulk_put(self, namespace_id: str, pairs: Iterable[Pair]) -> int:
        """
        Store many values, in chunks of 10,000.

        Returns:
            How many were stored.

        Raises:
            NamespaceNotFound: The account has no such namespace.
            PartlyDone: Some were not; the message names them.
        """
        body = [pair.to_api() for pair in pairs]
        for start in range(0, len(body), PAIRS_PER_BULK_PUT):
            outcome = self._api.put(
                self._path(namespace_id, "/bulk"),
                _read_outcome,
                json=body[start : start + PAIRS_PER_BULK_PUT],
                missing=namespace_missing(namespace_id),
                safe_to_repeat=True,
            )
            _raise_if_partly("stored", namespace_id, outcome)
        return len(body)

    def bulk_delete(self, namespace_id: str, keys: Sequence[str]) -> int:
        """
        Remove many keys, in chunks of 10,000.

        Returns:
            How many were asked for.

        Raises:
            NamespaceNotFound: The account has no such namespace.
            PartlyDone: Some were not removed; the message names them.
        """
        for start in range(0, len(keys), KEYS_PER_BULK_DELETE):
            outcome = self._api.post(
                self._path(namespace_id, "/bulk/delete"),
                _read_outcome,
                json=list(keys[start : start + KEYS_PER_BULK_DELETE]),
                missing=namespace_missing(namespace_id),
                safe_to_repeat=True,
            )
            _raise_if_partly("removed", namespace_id, outcome)
        return len(keys)

    def bulk_get(self, namespace_id: str, keys: Sequence[str]) -> Mapping[str, str | None]:
        """
        Return the text values of many keys, None for those that aren't there; in chunks of 100.

        Raises:
            NamespaceNotFound: The account has no such namespace.
        """
        found: dict[str, str | None] = {}
        for start in range(0, len(keys), KEYS_PER_BULK_GET):
            answer = self._api.post(
                self._path(namespace_id, "/bulk/get"),
                BulkValues.model_validate,
                json={"keys": list(keys[start : start + KEYS_PER_BULK_GET])},
                missing=namespace_missing(namespace_id),
                only_reads=True,
            )
            found |= answer.values
        return found

    def _root(self) -> str:
        return self._api.account_path("/storage/kv/namespaces")

    def _path(self, namespace_id: str, rest: str = "", *parts: str) -> str:
        return self._api.account_path("/storage/kv/namespaces/{}" + rest, namespace_id, *parts)


def _ignore(_: object) -> None:
    return None


def _read_outcome(found: object) -> BulkOutcome:
    # Older answers are null or {}.
    return BulkOutcome.model_validate(found or {})


def _raise_if_partly(verb: str, namespace_id: str, outcome: BulkOutcome) -> None:
    failed: builtins.list[str] = outcome.unsuccessful_keys
    if failed:
        shown = ", ".join(repr(key) for key in failed[:10]) + (" …" if len(failed) > 10 else "")
        raise PartlyDone(f"{len(failed)} keys of the KV namespace {namespace_id} were not {verb}: {shown}")
