"""Customers and domains with what is saved in blocks: tokens that are there or not, databases made, tokens kept."""

from __future__ import annotations

import functools
import getpass
from collections.abc import Iterator
from contextlib import contextmanager

from blocks import CloudflareAccount
from clodo.cloudflare.client import Cloudflare
from clodo.customers.pieces import Token
from clodo.customers.planning import CustomerPlan
from clodo.errors import BadConfiguration, ClodoError, UndoIncomplete
from clodo.ledger import Ledger
from clodo.releases.site import AccountKeys
from clodo.secrets.token_store import resolve_token
from clodo.workspace.workspace import Workspace
from tasks.sites import account_keys, saved


@functools.cache
def keys_if_saved(block: str) -> AccountKeys | None:
    """Return what the block gives; None when nobody saved it, or its token is in a keyring that doesn't open."""
    try:
        return account_keys(block)
    except ClodoError:
        return None


def token_of(block: str) -> Token:
    """Say whether a ``CloudflareAccount`` block holds a token; never the token."""
    keys = keys_if_saved(block)
    return Token.SET if keys is not None and keys.token else Token.MISSING


def account_of(block: str) -> str | None:
    """Return the account that a block is for; None when nobody saved it."""
    keys = keys_if_saved(block)
    return None if keys is None else keys.account_id


@contextmanager
def client_of(block: str) -> Iterator[Cloudflare]:
    """
    Open a client by the block of an account.

    Raises:
        BadConfiguration: Nobody saved it.
    """
    keys = account_keys(block)
    with Cloudflare(keys.account_id, keys.token, keys.base_url) as cloudflare:
        yield cloudflare


@contextmanager
def new_database(cloudflare: Cloudflare, name: str) -> Iterator[str]:
    """
    Make a D1 database, and take it away again when the body fails; gives its id.

    Raises:
        UndoIncomplete: The body failed, and the database could not be taken away.
    """
    made = cloudflare.d1.create(name)
    try:
        yield made.uuid
    except BaseException as error:
        try:
            cloudflare.d1.delete(made.uuid)
        except ClodoError as second:
            raise UndoIncomplete(
                f"nothing was written, but the new D1 database {name} ({made.uuid}) could not be deleted:"
                f" {second.message}",
                hint="Delete it in the dashboard.",
            ) from error
        raise


@contextmanager
def kept_token(block: str, account_id: str, token: str, base_url: str, edge_url: str | None) -> Iterator[None]:
    """
    Save *token* in the block of an account, and put the block back as it was when the body fails.

    Raises:
        BadConfiguration: The block is for another account.
    """
    try:
        before: CloudflareAccount | None = saved(CloudflareAccount, block)
    except BadConfiguration:
        before = None
    if before is not None and before.account_id != account_id:
        raise BadConfiguration(
            f"the block {block} is for the account {before.account_id}, not {account_id}",
            hint="Choose a domain of that account, or give the environment another account in portfolio.toml.",
        )
    values = {"account_id": account_id, "api_token": token, "base_url": base_url, "edge_url": edge_url}
    CloudflareAccount.model_validate(values).save(block, overwrite=True)
    try:
        if resolve_token(saved(CloudflareAccount, block).api_token.get_secret_value()) != token:
            raise BadConfiguration(f"the block {block} can't be read again as it was saved")
        yield
    except BaseException:
        if before is not None:
            before.save(block, overwrite=True)
        else:
            CloudflareAccount.delete(block)
        raise


def write_plan(
    workspace: Workspace, ledger: Ledger, customer: str, plan: CustomerPlan, action: str, **detail: object
) -> Workspace:
    """Write the files of a plan and note it in the audit trail, both or neither; return the workspace as it is then."""
    with plan.written(workspace) as after:
        files = [str(edit.file.relative_to(workspace.root)) for edit in plan.edits if edit.has_changes]
        ledger.audit.append(getpass.getuser(), action, customer, {"files": files, **detail})
        return after
