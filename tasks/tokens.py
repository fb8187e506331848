"""The API tokens in the blocks, or in the system's keyring: kept, rolled, never shown."""

from __future__ import annotations

import getpass
import hmac

from blocks import CloudflareAccount
from clodo.cloudflare.client import Cloudflare
from clodo.errors import BadConfiguration, ClodoError, Failed, NotAuthorised, VerificationFailed
from clodo.ledger import Ledger
from clodo.ledger.owners import Owner
from clodo.logs import mask_every_record, register_secret
from clodo.secrets.token_store import MARK, is_reference, keep_token, resolve_token
from tasks.secrets import opened
from tasks.sites import saved


def roll_token(workspace: str, account: str) -> str:
    """
    Roll the token of the block *account*; return the token's id.

    Before anything is changed it is shown that the new value can be kept: the old one is saved once more.

    Raises:
        BadConfiguration: Nobody saved the block.

        NotAuthorised: The token is no good, or may not roll itself.

        VerificationFailed: Cloudflare still takes the old value, or refuses the new one; the new one is kept.
    """
    with opened(workspace) as (_, ledger, _):
        what = f"roll the API token of {account}"
        with ledger.locks.acquire(f"token/{account}", Owner.current(what), what):
            return _roll(ledger, account)


def save_token(workspace: str, account: str, token: str, *, in_keyring: bool, account_id: str | None) -> str:
    """
    Keep *token* for the block *account*, in the block or in the keyring; return its id.

    Raises:
        BadConfiguration: There is no such block and no *account_id* to make one.

        NotAuthorised: Cloudflare doesn't take the token.
    """
    mask_every_record()
    register_secret(token)
    with opened(workspace) as (_, ledger, _):
        try:
            block = saved(CloudflareAccount, account)
        except BadConfiguration:
            if account_id is None:
                raise
            block = CloudflareAccount.model_validate({"account_id": account_id, "api_token": token})
        if account_id is not None and account_id != block.account_id:
            raise BadConfiguration(
                f"the block {account} is for the account {block.account_id}, not {account_id}",
                hint="Name another block, or leave out --account-id.",
            )
        found = _verified(block, token)
        _keep(account, block, token, in_keyring=in_keyring)
        ledger.audit.append(
            getpass.getuser(), "token-kept", account, {"token_id": found, "in": "keyring" if in_keyring else "block"}
        )
        return found


def _roll(ledger: Ledger, account: str) -> str:
    mask_every_record()
    block = saved(CloudflareAccount, account)
    text = block.api_token.get_secret_value()
    old, in_keyring = resolve_token(text), is_reference(text)
    register_secret(old)
    _keep(account, block, old, in_keyring=in_keyring)
    with Cloudflare(block.account_id, old, block.base_url) as cloudflare:
        token_id = cloudflare.user.verify_token().id
        new = cloudflare.user.roll_token(token_id)
    register_secret(new)
    try:
        _keep(account, block, new, in_keyring=in_keyring)
    except ClodoError as error:
        raise Failed(
            f"the token {token_id} was rolled, and its new value could not be kept: {error.message}",
            hint=f"Roll it in the dashboard, and save it with `clodo secrets token {account}`.",
        ) from error
    ledger.audit.append(getpass.getuser(), "token-rolled", account, {"token_id": token_id})
    _verified(block, new)
    try:
        _verified(block, old)
    except NotAuthorised:
        return token_id
    raise VerificationFailed(
        f"Cloudflare still takes the old value of the token {token_id}",
        hint="The new one is kept and works; look at the token in the dashboard.",
    )


def _verified(block: CloudflareAccount, token: str) -> str:
    with Cloudflare(block.account_id, token, block.base_url) as cloudflare:
        return cloudflare.user.verify_token().id


def _keep(name: str, block: CloudflareAccount, token: str, *, in_keyring: bool) -> None:
    """Save the token, and see that it can be read again."""
    text = keep_token(name, token) if in_keyring else token
    kept = CloudflareAccount.model_validate({**_plain(block), "api_token": text})
    kept.save(name, overwrite=True)
    again = resolve_token(saved(CloudflareAccount, name).api_token.get_secret_value())
    if not hmac.compare_digest(again.encode(), token.encode()):
        raise Failed(f"the token of {name} can't be read again {'from the keyring' if text.startswith(MARK) else ''}")


def _plain(block: CloudflareAccount) -> dict[str, str | None]:
    return {"account_id": block.account_id, "base_url": block.base_url, "edge_url": block.edge_url}
