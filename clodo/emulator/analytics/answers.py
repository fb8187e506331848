"""
A GraphQL document answered from the facts.

graphql-core parses; the rest is our own, since Cloudflare's server is laxer than GraphQL: it takes ``string!`` for
``String!``, names of input types that it doesn't have, and enum values without a type.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from graphql import GraphQLSchema, GraphQLSyntaxError, build_schema, graphql_sync, parse
from graphql.language import ast

from clodo.emulator.analytics.datasets import DATASETS
from clodo.emulator.analytics.questions import Question, QuestionRefused, fields_of
from clodo.emulator.analytics.store import Facts

_FUNCTIONS = ("dimensions", "sum", "avg", "max", "min", "quantiles")
_FLAGS = frozenset({"isDispatcher"})


@dataclass(frozen=True, slots=True)
class Request:
    """
    Who asks what, and when.

    Attributes:
        account_ids: Those the caller may ask about.

        delay_ms: How long facts take to be seen.
    """

    query: str
    variables: Mapping[str, Any]
    operation_name: str | None
    account_ids: Collection[str]
    now_ms: int
    delay_ms: int = 0


def answer(request: Request, facts: Facts) -> dict[str, Any]:
    """
    Return the ``data`` of the answer.

    Raises:
        QuestionRefused: Anything in it is wrong.
    """
    try:
        document = parse(request.query)
    except GraphQLSyntaxError as error:
        raise QuestionRefused(f"error parsing query: {error.message}") from error
    except RecursionError as error:
        raise QuestionRefused("error parsing query: it is nested too deeply") from error
    operation = _operation(document, request.operation_name)
    if operation.operation is not ast.OperationType.QUERY:
        raise QuestionRefused(f"{operation.operation.value} is not supported")
    reader = _Reader(request, facts, document, _variables(operation, request.variables))
    return reader.root(operation.selection_set)


def _operation(document: ast.DocumentNode, name: str | None) -> ast.OperationDefinitionNode:
    found = [node for node in document.definitions if isinstance(node, ast.OperationDefinitionNode)]
    if name:
        found = [node for node in found if node.name is not None and node.name.value == name]
    if len(found) != 1:
        raise QuestionRefused(f'unknown operation named "{name}"' if name else "exactly one operation is needed")
    return found[0]


def _variables(operation: ast.OperationDefinitionNode, given: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for definition in operation.variable_definitions or ():
        name = definition.variable.name.value
        if name in given:
            values[name] = given[name]
        elif definition.default_value is not None:
            values[name] = _value(definition.default_value, {})
        elif isinstance(definition.type, ast.NonNullTypeNode):
            raise QuestionRefused(f'variable "{name}" is required')
        else:
            values[name] = None
    return values


def _value(node: ast.ValueNode, variables: Mapping[str, Any]) -> Any:
    match node:
        case ast.VariableNode():
            if node.name.value not in variables:
                raise QuestionRefused(f'unknown variable "{node.name.value}"')
            return variables[node.name.value]
        case ast.ListValueNode():
            return [_value(each, variables) for each in node.values]
        case ast.ObjectValueNode():
            return {each.name.value: _value(each.value, variables) for each in node.fields}
        case ast.IntValueNode():
            return int(node.value)
        case ast.FloatValueNode():
            return float(node.value)
        case ast.NullValueNode():
            return None
        case _:
            return getattr(node, "value", None)  # strings, booleans, enum values


class _Reader:
    """One request on its way through the document."""

    def __init__(
        self, request: Request, facts: Facts, document: ast.DocumentNode, variables: Mapping[str, Any]
    ) -> None:
        self._request = request
        self._facts = facts
        self._variables = variables
        self._fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, ast.FragmentDefinitionNode)
        }

    def root(self, selection: ast.SelectionSetNode) -> dict[str, Any]:
        answers: dict[str, Any] = {}
        for node, name, key in self._fields(selection):
            if name == "viewer":
                answers[key] = self._viewer(self._inner(node, ("viewer",)))
            elif name in ("__schema", "__type"):
                return self._introspected()
            else:
                answers[key] = self._typename(name, "Query", ())
        return answers

    def _introspected(self) -> dict[str, Any]:
        done = graphql_sync(_schema(), self._request.query, variable_values=dict(self._variables))
        if done.errors:
            raise QuestionRefused(done.errors[0].message)
        return done.data or {}

    def _viewer(self, selection: ast.SelectionSetNode) -> dict[str, Any]:
        answers: dict[str, Any] = {}
        for node, name, key in self._fields(selection):
            if name == "accounts":
                inner = self._inner(node, ("viewer", "accounts"))
                answers[key] = [
                    self._account(inner, account_id, str(number))
                    for number, account_id in enumerate(self._accounts(self._arguments(node)))
                ]
            else:
                answers[key] = self._typename(name, "viewer", ("viewer",))
        return answers

    def _accounts(self, arguments: Mapping[str, Any]) -> list[str]:
        path = ("viewer", "accounts")
        given = arguments.get("filter") or {}
        wanted = given.get("accountTag") if isinstance(given, Mapping) else None
        several = given.get("accountTag_in") if isinstance(given, Mapping) else None
        accounts = [wanted] if wanted is not None else several
        if not isinstance(accounts, list) or not all(isinstance(each, str) for each in accounts):
            raise QuestionRefused('error parsing args for "accounts": filter.accountTag is required', path)
        for account_id in accounts:
            if account_id not in self._request.account_ids:
                raise QuestionRefused("not authorized for that account", path)
        return accounts

    def _account(self, selection: ast.SelectionSetNode, account_id: str, number: str) -> dict[str, Any]:
        answers: dict[str, Any] = {}
        for node, name, key in self._fields(selection):
            path = ("viewer", "accounts", number, name)
            if name == "accountTag":
                answers[key] = account_id
            elif name in DATASETS:
                try:
                    answers[key] = self._groups(node, name, account_id, path)
                except QuestionRefused as refusal:
                    raise QuestionRefused(refusal.message, refusal.path or path) from refusal
            else:
                answers[key] = self._typename(name, "account", path[:3])
        return answers

    def _groups(self, node: ast.FieldNode, name: str, account_id: str, path: tuple[str, ...]) -> list[dict[str, Any]]:
        question = Question(DATASETS[name], account_id)
        question.take_arguments(self._arguments(node), now_ms=self._request.now_ms, delay_ms=self._request.delay_ms)
        shape = [
            (key, function, self._columns(each, function, question, path))
            for each, function, key in self._fields(self._inner(node, path))
        ]
        return [
            {key: _shown(columns, row) for key, _, columns in shape}
            for row in self._facts.rows(question.sql(), question.parameters)
        ]

    def _columns(
        self, node: ast.FieldNode, function: str, question: Question, path: tuple[str, ...]
    ) -> int | str | dict[str, tuple[str, int | str]]:
        """Return which columns a field of a group is made of: one, a constant text, or one a name."""
        if function == "count":
            return question.column("count", "")
        if function not in _FUNCTIONS or (function != "dimensions" and not _has(question, function)):
            return self._typename(function, "group", path)
        columns: dict[str, tuple[str, int | str]] = {}
        for _, name, key in self._fields(self._inner(node, (*path, function))):
            columns[key] = name, name if name == "__typename" else question.column(function, name)
        return columns

    def _fields(self, selection: ast.SelectionSetNode, depth: int = 0) -> Iterator[tuple[ast.FieldNode, str, str]]:
        """Yield each field with its name and the key it is answered under; fragments are opened."""
        if depth > 20:
            raise QuestionRefused("fragments are nested too deeply")
        for node in selection.selections:
            if not self._is_wanted(node):
                continue
            if isinstance(node, ast.FieldNode):
                yield node, node.name.value, node.alias.value if node.alias else node.name.value
            elif isinstance(node, ast.InlineFragmentNode):
                yield from self._fields(node.selection_set, depth + 1)
            elif isinstance(node, ast.FragmentSpreadNode):
                fragment = self._fragments.get(node.name.value)
                if fragment is None:
                    raise QuestionRefused(f'unknown fragment "{node.name.value}"')
                yield from self._fields(fragment.selection_set, depth + 1)

    def _is_wanted(self, node: ast.SelectionNode) -> bool:
        for directive in node.directives or ():
            condition = next((_value(each.value, self._variables) for each in directive.arguments or ()), None)
            if (directive.name.value == "include" and not condition) or (directive.name.value == "skip" and condition):
                return False
        return True

    def _arguments(self, node: ast.FieldNode) -> dict[str, Any]:
        return {each.name.value: _value(each.value, self._variables) for each in node.arguments or ()}

    def _inner(self, node: ast.FieldNode, path: tuple[str, ...]) -> ast.SelectionSetNode:
        if node.selection_set is None:
            raise QuestionRefused(f'field "{node.name.value}" must have a selection of subfields', path)
        return node.selection_set

    def _typename(self, name: str, kind: str, path: tuple[str, ...]) -> str:
        if name != "__typename":
            raise QuestionRefused(f'unknown field "{name}"', path)
        return kind


def _has(question: Question, function: str) -> bool:
    return bool(question.dataset.quantiles if function == "quantiles" else question.dataset.measures.get(function))


def _shown(columns: int | str | dict[str, tuple[str, int | str]], row: tuple[Any, ...]) -> Any:
    if isinstance(columns, int):
        return row[columns]
    if isinstance(columns, str):
        return columns
    return {
        key: column if isinstance(column, str) else bool(row[column]) if name in _FLAGS else row[column]
        for key, (name, column) in columns.items()
    }


@functools.cache
def _schema() -> GraphQLSchema:
    """Return the schema that introspection shows."""
    parts = [
        # Scalars are called so in every query of Cloudflare's documentation; what is in a filter is checked when asked.
        "scalar string scalar uint64 scalar float64 scalar Time scalar Date scalar OrderBy",
        "scalar AccountFilter_InputObject",
        "type Query { viewer: viewer }",
        "type viewer { accounts(filter: AccountFilter_InputObject!): [account!]! }",
    ]
    lines = ["accountTag: string!"]
    for name, dataset in DATASETS.items():
        title = f"Account{name[0].upper()}{name[1:]}"
        parts.append(f"scalar {title}Filter_InputObject")
        lines.append(f"{name}(limit: Int, filter: {title}Filter_InputObject, orderBy: [OrderBy!]): [{title}!]!")
        groups = ["count: uint64!"]
        for function, names in fields_of(dataset):
            kind = f"{title}{function.capitalize()}"
            groups.append(f"{function}: {kind}")
            scalar = "string" if function == "dimensions" else "uint64" if function == "sum" else "float64"
            inner = " ".join(
                f"{each}: {'Date' if each == 'date' else 'Time' if each.startswith('datetime') else scalar}!"
                for each in names
            )
            parts.append(f"type {kind} {{ {inner} }}")
        parts.append(f"type {title} {{ {' '.join(groups)} }}")
    parts.append(f"type account {{ {' '.join(lines)} }}")
    return build_schema("\n".join(parts))
