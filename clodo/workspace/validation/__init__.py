"""Looks for what is wrong with the workspace's configuration, all of it at once, as values."""

from clodo.workspace.validation.account_rules import AccountLookup, account_findings
from clodo.workspace.validation.config_rules import config_findings
from clodo.workspace.validation.schema import ConfigSchema
from clodo.workspace.validation.workspace_rules import Validated, validate

__all__ = [
    "AccountLookup",
    "ConfigSchema",
    "Validated",
    "account_findings",
    "config_findings",
    "validate",
]
