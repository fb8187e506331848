"""Opening a workspace with what an operator saved in blocks."""

from __future__ import annotations

import functools
import getpass
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from prefect import get_run_logger
from prefect.blocks.core import Block
from prefect.exceptions import MissingContextError

from blocks import CloudflareAccount, ServiceSecrets
from clodo.errors import BadConfiguration
from clodo.ledger import Ledger, default_path
from clodo.logs import mask_every_record, register_secret
from clodo.releases.interruption import Interruption
from clodo.releases.site import AccountKeys, Site
from clodo.secrets.token_store import resolve_token
from clodo.settings import Settings
from clodo.workspace.targets import Target
from clodo.workspace.workspace import Workspace
from clodo.wrangler import toolchain

SavedBlock = TypeVar("SavedBlock", bound=Block)


@contextmanager
def open_site(
    workspace: str, *, actor: str | None = None, instead: Mapping[str, Mapping[str, str]] | None = None
) -> Iterator[Site]:
    """
    Open the workspace in the folder *workspace* for releases; Ctrl-C and SIGTERM then ask for an orderly stop.

    Args:
        instead: Secrets of a target that take the place of those in its block, by the target's name.

    Raises:
        BadConfiguration: A file is broken.

        LedgerUnavailable: The ledger can't be opened.
    """
    settings = Settings.from_environment()
    # Whoever started this run, its log goes to Prefect's database.
    mask_every_record()
    loaded = Workspace.load(Path(workspace).expanduser())
    say = narrator()
    interruption = Interruption()
    # Many targets may share one block.
    read = functools.cache(lambda name: saved(ServiceSecrets, name))
    with (
        interruption.on_signals(say),
        Ledger.open(settings.ledger_url or default_path(loaded.root)) as ledger,
        Site(
            loaded,
            ledger,
            accounts=account_keys,
            secrets=lambda target: {**secrets_of(loaded, target, read), **(instead or {}).get(str(target), {})},
            toolchain=lambda: toolchain.install(settings),
            actor=actor or getpass.getuser(),
            tool_environment=settings.tool_environment,
            log=say,
            tool_log=narrator(of_tools=True),
            interruption=interruption,
        ) as site,
    ):
        yield site


def account_keys(block: str) -> AccountKeys:
    """
    Read the `CloudflareAccount` block called *block*.

    Raises:
        BadConfiguration: Nobody saved one.
    """
    account = saved(CloudflareAccount, block)
    token = resolve_token(account.api_token.get_secret_value())
    register_secret(token)
    return AccountKeys(account.account_id, token, account.base_url, account.edge_url)


def secrets_of(workspace: Workspace, target: Target, read: Callable[[str], ServiceSecrets]) -> Mapping[str, str]:
    """
    Return the secrets of *target* from its `ServiceSecrets` block; none are needed when the service names none.

    Args:
        read: Gives the block of a name.

    Raises:
        BadConfiguration: The service needs secrets, and nobody saved the block.
    """
    named = workspace.portfolio.settings_of(target.service).secrets
    if not named and not workspace.effective(target).required_secrets:
        return {}
    block = read(workspace.portfolio.secrets_block_of(target))
    values = {name: value.get_secret_value() for name, value in block.values_for(str(target)).items()}
    for value in values.values():
        register_secret(value)
    return values


def saved(kind: type[SavedBlock], name: str) -> SavedBlock:
    """
    Load the block *name* of *kind*.

    Raises:
        BadConfiguration: Nobody saved one.
    """
    try:
        loaded = kind.load(name)
    except ValueError as error:
        raise BadConfiguration(
            f'there is no {kind.get_block_type_slug()} block called "{name}"',
            hint="Save one in the Prefect UI under Blocks, or run `clodo up` to rehearse on the embedded cloud.",
        ) from error
    if not isinstance(loaded, kind):  # pragma: no cover - sync code gets the block itself
        raise TypeError(f"{name} was not loaded")
    return loaded


def narrator(*, of_tools: bool = False) -> Callable[[str], None]:
    """
    Return what shows a line to the operator: the run's logger, which Prefect keeps.

    Args:
        of_tools: For what wrangler, installs and builds print: kept as well, but no part of the story that a command
            tells.
    """
    try:
        logger = get_run_logger()
    except MissingContextError:
        return lambda line: None
    return lambda line: logger.info("%s", line, extra={"is_tool_output": of_tools})
