"""Customers with what is saved in blocks: tokens that are there or not, tokens kept, databases made, files written."""

from __future__ import annotations

import getpass
import hmac
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace

from blocks import CloudflareAccount
from clodo.cloudflare.client import Cloudflare
from clodo.customers.pieces import TOKEN_NAMES, Token
from clodo.customers.planning import CustomerChange, CustomerPlan, NewCustomer, plan_change, plan_creation
from clodo.customers.sections import Database
from clodo.errors import BadConfiguration, ClodoError, Failed, UndoIncomplete
from clodo.ledger import Ledger, default_path, fingerprints
from clodo.ledger.owners import Owner
from clodo.logs import register_secret
from clodo.releases.site import AccountKeys
from clodo.secrets.token_store import is_reference, keep_token, resolve_token
from clodo.settings import Settings
from clodo.workspace.targets import Target
from clodo.workspace.workspace import Workspace
from tasks.secrets import BlockKeeper
from tasks.sites import account_keys, saved


class SavedAccounts:
    """What the blocks of accounts hold, each read once."""

    def __init__(self) -> None:
        self._known: dict[str, AccountKeys | ClodoError] = {}

    def keys(self, block: str) -> AccountKeys:
        """
        Return what the block gives.

        Raises:
            BadConfiguration: Nobody saved it.

            ClodoError: Its token is in a keyring that doesn't open.
        """
        if block not in self._known:
            try:
                self._known[block] = account_keys(block)
            except ClodoError as error:
                self._known[block] = error
        found = self._known[block]
        if isinstance(found, ClodoError):
            raise found
        return found

    def keys_if_saved(self, block: str) -> AccountKeys | None:
        """Return what the block gives; None when nobody saved it."""
        try:
            return self.keys(block)
        except BadConfiguration:
            return None

    def token(self, block: str) -> Token:
        """Say whether the block gives a token; never the token."""
        try:
            return Token.SET if self.keys(block).token else Token.MISSING
        except ClodoError:
            return Token.MISSING

    def account_id(self, block: str) -> str | None:
        """Return the account that the block is for; None when that can't be read."""
        try:
            return self.keys(block).account_id
        except ClodoError:
            return None


@contextmanager
def made_database(cloudflare: Cloudflare, name: str) -> Iterator[str]:
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


@dataclass(frozen=True, slots=True)
class TokenToKeep:
    """
    A verified token for the block of an account.

    Attributes:
        token_id: Cloudflare's name for it; no secret.

        is_new: Whether the block has another one.
    """

    block: str
    account_id: str
    token: str = field(repr=False)
    token_id: str
    base_url: str
    edge_url: str | None
    is_new: bool


@contextmanager
def kept_token(given: TokenToKeep, ledger: Ledger) -> Iterator[None]:
    """
    Save a token in its block, or in the keyring where the block's was, and put back what was there when the body fails.

    Raises:
        BadConfiguration: The block is for another account.

        LockHeld: Another process changes this token.

        Failed: It can't be read again as it was saved.
    """
    register_secret(given.token)
    what = f"keep the API token of {given.block}"
    with ledger.locks.acquire(f"token/{given.block}", Owner.current(what), what):
        before = _saved_or_none(given.block)
        if before is not None and before.account_id != given.account_id:
            raise BadConfiguration(
                f"the block {given.block} is for the account {before.account_id}, not {given.account_id}",
                hint="Choose a domain of that account, or give the environment another account in portfolio.toml.",
            )
        reference = before.api_token.get_secret_value() if before is not None else ""
        in_keyring = resolve_token(reference) if is_reference(reference) else None
        detail = {"token_id": given.token_id, "in": "block" if in_keyring is None else "keyring"}
        try:
            _save_token(given, in_keyring=in_keyring is not None)
            ledger.audit.append(getpass.getuser(), "token-kept", given.block, detail)
            yield
        except BaseException:
            _put_back(given.block, before, in_keyring)
            ledger.audit.append(getpass.getuser(), "token-put-back", given.block, detail)
            raise


def _saved_or_none(block: str) -> CloudflareAccount | None:
    try:
        return saved(CloudflareAccount, block)
    except BadConfiguration:
        return None


def _save_token(given: TokenToKeep, *, in_keyring: bool) -> None:
    text = keep_token(given.block, given.token) if in_keyring else given.token
    values = {"account_id": given.account_id, "base_url": given.base_url, "edge_url": given.edge_url}
    CloudflareAccount.model_validate({**values, "api_token": text}).save(given.block, overwrite=True)
    again = resolve_token(saved(CloudflareAccount, given.block).api_token.get_secret_value())
    if not hmac.compare_digest(again.encode(), given.token.encode()):
        raise Failed(f"the block {given.block} can't be read again as it was saved")


def _put_back(block: str, before: CloudflareAccount | None, in_keyring: str | None) -> None:
    if in_keyring is not None:
        keep_token(block, in_keyring)
    if before is not None:
        before.save(block, overwrite=True)
        return
    # Prefect's word for a block that isn't there, when saving it was what failed.
    with suppress(ValueError):
        CloudflareAccount.delete(block)


def create_deployment(
    workspace: Workspace,
    new: NewCustomer,
    *,
    token: TokenToKeep,
    new_database: tuple[AbstractContextManager[Cloudflare], str] | None,
) -> CustomerPlan:
    """
    Make a customer's deployment: token kept, database made, files written; all of it or nothing.

    A service that declares a secret for an API token gets it in its own block too; no other Worker ever does.

    Args:
        new_database: A client and the database's name; None to make none.

    Returns:
        What was written.
    """
    root = workspace.root
    settings = Settings.from_environment()
    with ExitStack() as stack:
        ledger = stack.enter_context(Ledger.open(settings.ledger_url or default_path(root)))
        if token.is_new:
            stack.enter_context(kept_token(token, ledger))
        if new_database is not None:
            opened, name = new_database
            made = stack.enter_context(made_database(stack.enter_context(opened), name))
            new = replace(new, database=Database(name, made))
        plan = plan_creation(workspace, new)
        after = stack.enter_context(plan.written(workspace))
        for target, name in targets_that_need_a_token(after, plan.targets):
            BlockKeeper(after, target, ledger, fingerprints.load_key(root)).change({name: token.token})
        note(ledger, workspace, new.customer, plan, "customer-created", environment=new.environment)
        return plan


def update_deployment(
    workspace: Workspace,
    customer: str,
    environment: str,
    change: CustomerChange,
    *,
    token: TokenToKeep | None = None,
    new_database: tuple[AbstractContextManager[Cloudflare], str] | None = None,
) -> CustomerPlan:
    """
    Change a customer's deployment: a new token kept, a database made, files written; all of it or nothing.

    Returns:
        What was written.
    """
    settings = Settings.from_environment()
    with ExitStack() as stack:
        ledger = stack.enter_context(Ledger.open(settings.ledger_url or default_path(workspace.root)))
        if token is not None:
            stack.enter_context(kept_token(token, ledger))
        if new_database is not None:
            opened, name = new_database
            made = stack.enter_context(made_database(stack.enter_context(opened), name))
            change = replace(change, changes_database=True, database=Database(name, made))
        plan = plan_change(workspace, customer, environment, change)
        stack.enter_context(plan.written(workspace))
        note(ledger, workspace, customer, plan, "customer-updated", environment=environment)
        return plan


def targets_that_need_a_token(workspace: Workspace, targets: Iterable[Target]) -> Iterator[tuple[Target, str]]:
    """Yield those of *targets* whose service declares a secret for an API token, with the secret's name."""
    for target in targets:
        needed = {
            *workspace.portfolio.settings_of(target.service).secrets,
            *workspace.effective(target).required_secrets,
        }
        yield from ((target, name) for name in TOKEN_NAMES if name in needed)


def write_plan(workspace: Workspace, ledger: Ledger, customer: str, plan: CustomerPlan, action: str) -> None:
    """Write the files of a plan and note it in the audit trail, both or neither."""
    with plan.written(workspace):
        note(ledger, workspace, customer, plan, action)


def note(
    ledger: Ledger, workspace: Workspace, customer: str, plan: CustomerPlan, action: str, **detail: object
) -> None:
    """Say in the audit trail which files were written; never what is in them."""
    files = [str(edit.file.relative_to(workspace.root)) for edit in plan.edits if edit.has_changes]
    ledger.audit.append(getpass.getuser(), action, customer, {"files": files[:50], "count": len(files), **detail})
