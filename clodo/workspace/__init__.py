"""What the user wrote: wrangler configs and the portfolio; what depends on what; what goes into an upload."""

from clodo.workspace.builds import Builder, Done, NodeTools, Step, plan_steps
from clodo.workspace.effective_config import (
    AssetsBinding,
    BucketBinding,
    BuildCommand,
    DatabaseBinding,
    DurableObjectBinding,
    EffectiveConfig,
    NamespaceBinding,
    OtherBinding,
    QueueConsumer,
    QueueProducer,
    Route,
    ServiceBinding,
    WorkflowBinding,
)
from clodo.workspace.file_digests import FileDigests
from clodo.workspace.graph import Dependency, Graph, Outsider
from clodo.workspace.hashing import InputHash, input_hash
from clodo.workspace.listing import TargetRow, list_targets
from clodo.workspace.portfolio import Environment, Freeze, OnFailure, Portfolio, ServiceSettings, SmokeTest
from clodo.workspace.rendering import render_config, write_rendered
from clodo.workspace.services import Service
from clodo.workspace.targets import Target, find_target
from clodo.workspace.workspace import Workspace, find_root
from clodo.workspace.wrangler_config import WranglerConfig

__all__ = [
    "AssetsBinding",
    "BucketBinding",
    "BuildCommand",
    "Builder",
    "DatabaseBinding",
    "Dependency",
    "Done",
    "DurableObjectBinding",
    "EffectiveConfig",
    "Environment",
    "FileDigests",
    "Freeze",
    "Graph",
    "InputHash",
    "NamespaceBinding",
    "NodeTools",
    "OnFailure",
    "OtherBinding",
    "Outsider",
    "Portfolio",
    "QueueConsumer",
    "QueueProducer",
    "Route",
    "Service",
    "ServiceBinding",
    "ServiceSettings",
    "SmokeTest",
    "Step",
    "Target",
    "TargetRow",
    "WorkflowBinding",
    "Workspace",
    "WranglerConfig",
    "find_root",
    "find_target",
    "input_hash",
    "list_targets",
    "plan_steps",
    "render_config",
    "write_rendered",
]
