"""Changes files that the user wrote, without changing anything else in them; all of them or none."""

from clodo.workspace.editing.applying import applied
from clodo.workspace.editing.changes import Append, Change, Put, Remove
from clodo.workspace.editing.config_edits import edit_config, edit_document
from clodo.workspace.editing.files import FileEdit, apply, edit_of, undo
from clodo.workspace.editing.interrupted import interrupted_files, take_back_interrupted
from clodo.workspace.editing.operations import (
    BindingKind,
    EnsureEnvironment,
    Operation,
    PutBinding,
    PutQueueConsumer,
    RemoveBinding,
    RemoveQueueConsumer,
    SetValue,
    SetVariables,
    section_of,
    set_account_id,
    set_crons,
)
from clodo.workspace.editing.route_operations import PutRoute, RemoveRoute, SetZoneId

__all__ = [
    "Append",
    "BindingKind",
    "Change",
    "EnsureEnvironment",
    "FileEdit",
    "Operation",
    "Put",
    "PutBinding",
    "PutQueueConsumer",
    "PutRoute",
    "Remove",
    "RemoveBinding",
    "RemoveQueueConsumer",
    "RemoveRoute",
    "SetValue",
    "SetVariables",
    "SetZoneId",
    "applied",
    "apply",
    "edit_config",
    "edit_document",
    "edit_of",
    "interrupted_files",
    "section_of",
    "set_account_id",
    "set_crons",
    "take_back_interrupted",
    "undo",
]
