"""How flags come to a Worker: in a variable of its next version, or through KV."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clodo.errors import BadConfiguration
from clodo.flags.files import file_of, read_flags
from clodo.flags.flags import ServiceFlags, canonical, served

if TYPE_CHECKING:
    from clodo.workspace.effective_config import EffectiveConfig
    from clodo.workspace.targets import Target

MAX_VARIABLE_BYTES = 5 * 1024
"""https://developers.cloudflare.com/workers/platform/limits/#environment-variables"""


def with_flags(root: Path, target: Target, config: EffectiveConfig) -> EffectiveConfig:
    """
    Return *config* with the flags of *target* among its variables; as it is when the service has none.

    With delivery through KV only the key of the document is a variable, ``<binding>_KEY``.

    Raises:
        BadConfiguration: A name is taken, the flags are too large for a variable, or the KV namespace is not bound.
    """
    declared = read_flags(root, target.service)
    if declared is None:
        return config
    file = file_of(root, target.service)
    value: str | dict[str, Any]
    if declared.delivery == "kv":
        _raise_unless_bound(file, declared, config)
        name, value = f"{declared.binding}_KEY", key_of(config.worker_name)
    else:
        document = served(declared, target.environment, target.customer)
        name, value = declared.binding, document
        size = len(canonical(document).encode())
        if size > MAX_VARIABLE_BYTES:
            raise BadConfiguration(
                f"{file}:1: the flags of {target} are {size:,} bytes, over the {MAX_VARIABLE_BYTES:,} of a variable",
                hint='Deliver them with delivery = "kv".',
            )
    if name in config.binding_names or name in config.required_secrets:
        raise config.error(
            "vars", name, what=f'"{name}" is taken, and {file} wants it', hint="Give the flags another `binding`."
        )
    variables = {**config.variables, name: value}
    return replace(config, variables=variables, raw={**config.raw, "vars": variables})


def key_of(worker: str) -> str:
    """Return the key of a Worker's flags in its KV namespace; several Workers may share one."""
    return f"flags/{worker}"


def _raise_unless_bound(file: Path, declared: ServiceFlags, config: EffectiveConfig) -> None:
    if not any(item.binding == declared.binding for item in config.namespaces):
        raise BadConfiguration(
            f"{file}:1: the flags go through KV, and {config.worker_name} binds no KV namespace as {declared.binding}",
            hint=f'Add [[kv_namespaces]] with binding = "{declared.binding}" to {config.file.name}.',
        )
