"""Security rules over what a workspace says: small functions of values, and where their findings are."""

from clodo.security.checking import ALL_RULES, Checked, check
from clodo.security.finding import Finding, Severity
from clodo.security.subject import Kind, Setting, Stage, Subject

__all__ = ["ALL_RULES", "Checked", "Finding", "Kind", "Setting", "Severity", "Stage", "Subject", "check"]
