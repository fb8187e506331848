"""The question about a customer's database: none, one that exists, or a new one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from clodo.cli.guided.answers import Answers
from clodo.cli.output import say
from clodo.errors import BadUsage, NotAuthorised

if TYPE_CHECKING:
    from clodo.cli.guided.access import Access
    from clodo.customers.sections import Database


@dataclass(frozen=True, slots=True)
class DatabaseOptions:
    """
    What the command line says about the database.

    Attributes:
        name: Of one that exists.

        new: Of one to be made.

        none: None is wanted.
    """

    name: str | None = None
    id: str | None = None
    new: str | None = None
    none: bool = False

    def __post_init__(self) -> None:
        if sum((self.name is not None, self.new is not None, self.none)) > 1:
            raise BadUsage("name --database, --new-database or --no-database, one of them")
        if self.id is not None and self.name is None:
            raise BadUsage("--database-id goes with --database")

    @property
    def is_said(self) -> bool:
        """Whether the question is answered."""
        return self.name is not None or self.new is not None or self.none


@dataclass(frozen=True, slots=True)
class DatabaseChoice:
    """
    The answer.

    Attributes:
        existing: None for none, or for a new one.

        new: Name of the one to be made.
    """

    existing: Database | None = None
    new: str | None = None


def choose_database(
    answers: Answers, access: Access, account_id: str, options: DatabaseOptions, *, suggestion: str
) -> DatabaseChoice:
    """
    Choose the database; whoever may not list databases can still name one.

    Raises:
        DatabaseNotFound: The account has none of that name.

        PermissionMissing: A new one is wanted, and the token may not make it.
    """
    from clodo.customers.sections import Database

    with access.client(account_id) as client:
        try:
            known = {database.name: database.uuid for database in client.d1.list()}
        except NotAuthorised as error:
            # A right that is missing, by whichever of Cloudflare's two words.
            if options.new is not None:
                raise
            say(f"Note: databases were left out: {error.message}")
            return _without_listing(answers, options)
        if options.name is not None:
            found = client.d1.get_by_name(options.name)
            return DatabaseChoice(Database(options.name, options.id or found.uuid))
    if options.none:
        return DatabaseChoice()
    if options.new is not None:
        _raise_if_taken(options.new, known)
        return DatabaseChoice(new=options.new)
    kinds = {"none": "none", "new": "a new one"} | ({"existing": "one that exists"} if known else {})
    kind = answers.choose("D1 database?", kinds, None, "--database, --new-database or --no-database")
    if kind == "none":
        return DatabaseChoice()
    if kind == "existing":
        choices = {name: f"{name}  ({uuid[:8]})" for name, uuid in sorted(known.items())}
        name = answers.choose("Which one?", choices, None, "--database")
        return DatabaseChoice(Database(name, known[name]))
    name = answers.text(
        "Name of the new database:",
        None,
        "--new-database",
        default=suggestion,
        check=lambda text: _raise_if_taken(text, known),
    )
    return DatabaseChoice(new=name)


def _without_listing(answers: Answers, options: DatabaseOptions) -> DatabaseChoice:
    from clodo.customers.sections import Database

    if options.name is not None:
        return DatabaseChoice(Database(options.name, options.id))
    kinds = {"none": "none", "named": "one that exists, by its name"}
    kind = "none" if options.none else answers.choose("D1 database?", kinds, None, "--database or --no-database")
    if kind == "none":
        return DatabaseChoice()
    name = answers.text("Its name:", None, "--database", check=lambda text: _raise_if_taken(text, {}))
    return DatabaseChoice(Database(name))


def _raise_if_taken(name: str, known: dict[str, str]) -> None:
    if (
        not name
        or len(name) > 64
        or not all(letter.isascii() and (letter.isalnum() or letter in "-_") for letter in name)
    ):
        raise BadUsage("a database's name has letters, digits, - and _ only")
    if name in known:
        raise BadUsage(f"the account has a database {name} already", hint=f"Use it: --database {name}.")
