"""What an operator saves once in Prefect: credentials and places."""

from blocks.cloudflare_account import CloudflareAccount
from blocks.service_secrets import ServiceSecrets
from blocks.vault import Vault

ALL_BLOCKS = (CloudflareAccount, ServiceSecrets, Vault)

__all__ = ["ALL_BLOCKS", "CloudflareAccount", "ServiceSecrets", "Vault"]
