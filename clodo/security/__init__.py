"""Security rules over what a workspace says: small functions of values, and where their findings are."""

from clodo.security.checking import ALL_RULES, Checked, check
from clodo.security.subject import Kind, Setting, Stage, Subject

__all__ = ["ALL_RULES", "Checked", "Kind", "Setting", "Stage", "Subject", "check"]
