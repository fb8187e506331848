"""What a version's bindings are, once everything inherited is filled in; and whether what they name exists."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

from clodo.emulator.envelope import ApiError, Fault
from clodo.emulator.workers.limits import MAX_VARIABLE_BYTES, MAX_VARIABLES

Binding = dict[str, Any]

#: The numbers and sentences are those of Cloudflare's answers in public bug reports.
INVALID_BINDING = 10021
NAMELESS_BINDING = 10052
UNKNOWN_INHERITED = 10057
KV_NOT_FOUND = 10041
KV_NOT_VALID = 10042
DURABLE_OBJECT_NOT_FOUND = 10061
BUCKET_NOT_FOUND = 10085
SERVICE_NOT_FOUND = 10143
DATABASE_NOT_FOUND = 10181
QUEUE_NOT_FOUND = 11000
DISPATCH_NAMESPACE_NOT_FOUND = 100119

SECRET_TYPES = frozenset({"secret_text", "secret_key"})

#: Keys that hold a secret's value, by binding type.
_SECRET_KEYS = {"secret_text": ("text",), "secret_key": ("key_base64", "key_jwk")}

_NAME = re.compile(r"^[A-Za-z_$][A-Za-z0-9_$]*$")


class Catalogue(Protocol):
    """What an account has, for checking that bindings name things that exist."""

    def has_database(self, database_id: str) -> bool:
        """Say whether there is a D1 database with this id."""

    def has_namespace(self, namespace_id: str) -> bool:
        """Say whether there is a KV namespace with this id."""

    def has_bucket(self, name: str) -> bool:
        """Say whether there is an R2 bucket with this name."""

    def has_queue(self, name: str) -> bool:
        """Say whether there is a queue with this name."""

    def has_script(self, name: str) -> bool:
        """Say whether there is a Worker with this name."""

    def has_dispatch_namespace(self, name: str) -> bool:
        """Say whether there is a dispatch namespace with this name."""

    def object_classes(self, script: str) -> Collection[str] | None:
        """Return the Durable Object classes of another Worker; None if there is no such Worker."""


def resolve(
    uploaded: Sequence[Any],
    *,
    keep: Collection[str],
    newest: Sequence[Binding] | None,
    of_version: Callable[[str], Sequence[Binding] | None],
    strict: bool,
) -> list[Binding]:
    """
    Return the bindings of a new version, none of type ``inherit``.

    Args:
        uploaded: The metadata's ``bindings``.

        keep: ``keep_bindings``: types of which the newest version's are kept where the upload has none of that name.

        newest: Bindings of the newest version, deployed or not: this is where Cloudflare inherits from, and why a
            failed version's secrets return with the next upload. None on a first upload.

        of_version: Bindings of one version, for ``inherit`` with a ``version_id``.

        strict: Whether an ``inherit`` that finds nothing is an error; it is dropped otherwise.

    Raises:
        ApiError: A binding has no name, an impossible one or one twice, or inherits what isn't there.
    """
    resolved: dict[str, Binding] = {}
    for index, binding in enumerate(uploaded):
        if not isinstance(binding, dict) or not isinstance(binding.get("type"), str):
            raise ApiError(400, INVALID_BINDING, f"Binding at index {index} must be an object with a type.")
        name = binding.get("name")
        if not isinstance(name, str) or not name:
            raise ApiError(400, NAMELESS_BINDING, f"Binding at index {index} must have a name.")
        if not _NAME.match(name):
            raise ApiError(400, INVALID_BINDING, f"Binding name '{name}' must be a JavaScript identifier.")
        if name in resolved:
            raise ApiError(400, INVALID_BINDING, f"Binding name '{name}' already in use.")
        if binding["type"] != "inherit":
            resolved[name] = dict(binding)
            continue
        inherited = _inherited(binding, newest, of_version)
        if inherited is not None:
            resolved[name] = inherited
        elif strict:
            raise ApiError(
                400,
                UNKNOWN_INHERITED,
                f"Could not resolve inherited binding '{name}': the version it inherits from has no such binding.",
            )
    for binding in newest or ():
        if binding["type"] in keep:
            resolved.setdefault(binding["name"], dict(binding))
    return list(resolved.values())


def with_values(given: Sequence[Any], newest: Sequence[Binding]) -> list[Any]:
    """
    Give the bindings of an edit that say no more than name and type the values they have already.

    What the API shows of a secret is its name and type; an edit that sends it back as it was shown keeps it.
    """
    known = {(binding["name"], binding["type"]): binding for binding in newest}
    return [
        known.get((binding["name"], binding["type"]), binding)
        if isinstance(binding, dict) and binding.keys() == {"name", "type"} and _are_texts(binding.values())
        else binding
        for binding in given
    ]


def _are_texts(values: Iterable[object]) -> bool:
    return all(isinstance(value, str) for value in values)


def _inherited(
    binding: Binding, newest: Sequence[Binding] | None, of_version: Callable[[str], Sequence[Binding] | None]
) -> Binding | None:
    version_id = binding.get("version_id")
    source = of_version(version_id) if isinstance(version_id, str) and version_id != "latest" else newest
    if source is None and isinstance(version_id, str):
        raise ApiError(400, UNKNOWN_INHERITED, f"Could not find version '{version_id}' to inherit bindings from.")
    wanted = binding.get("old_name") or binding["name"]
    found = next((candidate for candidate in source or () if candidate["name"] == wanted), None)
    return None if found is None else {**found, "name": binding["name"]}


def raise_if_invalid(
    bindings: Iterable[Binding], catalogue: Catalogue, *, script: str, own_classes: Collection[str]
) -> None:
    """
    Check that what the bindings name exists and that their values fit.

    Args:
        script: Name of the Worker that they are of; it may bind to itself.

        own_classes: Durable Object classes that it has, after its migrations.

    Raises:
        ApiError: One names something unknown, or is out of limits.
    """
    variables = 0
    for binding in bindings:
        name, kind = binding["name"], binding["type"]
        if kind in ("plain_text", "secret_text"):
            text = _text(binding, "text")
            variables += 1
            if len(text.encode("utf-8", "surrogatepass")) > MAX_VARIABLE_BYTES:
                raise ApiError(
                    400,
                    INVALID_BINDING,
                    f"Text binding '{name}' exceeds the limit of {MAX_VARIABLE_BYTES} bytes.",
                )
        elif kind == "json" and "json" not in binding:
            raise ApiError(400, INVALID_BINDING, f"Binding '{name}' of type json must have a json value.")
        elif kind == "kv_namespace":
            _raise_if_unknown_namespace(_text(binding, "namespace_id"), catalogue)
        elif kind == "d1":
            database_id = _text(binding, "id", "database_id")
            if not catalogue.has_database(database_id):
                raise _refusal(
                    DATABASE_NOT_FOUND,
                    f"D1 binding '{name}' references database '{database_id}' which was not found. Verify the database"
                    " exists in your account and that the database_id in your configuration is correct.",
                    "https://developers.cloudflare.com/d1/get-started/",
                )
        elif kind == "r2_bucket":
            bucket = _text(binding, "bucket_name")
            if not catalogue.has_bucket(bucket):
                raise ApiError(
                    400, BUCKET_NOT_FOUND, f"R2 bucket '{bucket}' not found. Please use a different name and try again."
                )
        elif kind == "queue":
            queue = _text(binding, "queue_name")
            if not catalogue.has_queue(queue):
                raise ApiError(400, QUEUE_NOT_FOUND, f"Queue '{queue}' not found.")
        elif kind == "service":
            service = _text(binding, "service")
            if service != script and not catalogue.has_script(service):
                raise ApiError(
                    400,
                    SERVICE_NOT_FOUND,
                    f"Could not resolve service binding '{name}'. Target script '{service}' not found. Please verify"
                    " the target script and try again.",
                )
        elif kind == "dispatch_namespace" and not catalogue.has_dispatch_namespace(_text(binding, "namespace")):
            raise ApiError(
                400, DISPATCH_NAMESPACE_NOT_FOUND, "The specified dispatch namespace does not exist on this account."
            )
        elif kind == "durable_object_namespace":
            _raise_if_unknown_class(binding, catalogue, script, own_classes)
    if variables > MAX_VARIABLES:
        raise ApiError(
            400, INVALID_BINDING, f"{variables} environment variables and secrets exceed the limit of {MAX_VARIABLES}."
        )


def _raise_if_unknown_namespace(namespace_id: str, catalogue: Catalogue) -> None:
    if not re.match(r"^[0-9a-f]{32}$", namespace_id):
        raise ApiError(
            400,
            KV_NOT_VALID,
            f"KV namespace '{namespace_id}' is not valid. Please verify the namespace_id in your configuration.",
        )
    if not catalogue.has_namespace(namespace_id):
        raise ApiError(400, KV_NOT_FOUND, f"KV namespace '{namespace_id}' not found.")


def _raise_if_unknown_class(binding: Binding, catalogue: Catalogue, script: str, own_classes: Collection[str]) -> None:
    wanted, owner = _text(binding, "class_name"), binding.get("script_name") or script
    classes = own_classes if owner == script else catalogue.object_classes(owner)
    if classes is None:
        raise ApiError(
            400, DURABLE_OBJECT_NOT_FOUND, f"Cannot create binding for class in script '{owner}' that does not exist."
        )
    if wanted not in classes:
        raise ApiError(
            400,
            DURABLE_OBJECT_NOT_FOUND,
            f"Cannot create binding for class '{wanted}' because it is not currently configured to implement Durable"
            " Objects. Did you forget to apply a 'new_sqlite_classes' or 'new_classes' migration to add it?",
        )


def _text(binding: Binding, *keys: str) -> str:
    for key in keys:
        if isinstance(binding.get(key), str):
            value: str = binding[key]
            return value
    raise ApiError(
        400, INVALID_BINDING, f"Binding '{binding['name']}' of type {binding['type']} must have a string {keys[0]}."
    )


def _refusal(code: int, message: str, documentation_url: str) -> ApiError:
    refusal = ApiError(400, code, message)
    refusal.faults = (Fault(code, message, {"documentation_url": documentation_url}),)
    return refusal


def without_secrets(bindings: Iterable[Mapping[str, Any]]) -> list[Binding]:
    """Return the bindings as the API shows them: a secret's name and type, never its value."""
    return [
        {key: value for key, value in binding.items() if key not in _SECRET_KEYS.get(binding["type"], ())}
        for binding in bindings
    ]


def secrets_of(bindings: Iterable[Mapping[str, Any]]) -> list[Binding]:
    """Return the secrets among the bindings, without values."""
    return without_secrets(binding for binding in bindings if binding["type"] in SECRET_TYPES)


def changed_secrets(before: Iterable[Binding], after: Iterable[Binding]) -> list[str]:
    """Return the names of secrets that the two sets of bindings don't share with the same value."""

    def values(bindings: Iterable[Binding]) -> dict[str, Binding]:
        return {binding["name"]: binding for binding in bindings if binding["type"] in SECRET_TYPES}

    old, new = values(before), values(after)
    return sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
