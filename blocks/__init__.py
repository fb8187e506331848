"""What an operator saves once in Prefect: credentials and places."""

from blocks.cloudflare_account import CloudflareAccount
from blocks.service_secrets import ServiceSecrets

ALL_BLOCKS = (CloudflareAccount, ServiceSecrets)

__all__ = ["ALL_BLOCKS", "CloudflareAccount", "ServiceSecrets"]
