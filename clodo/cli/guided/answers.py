"""One answer at a time: from its option, from a person, or refused with the option's name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from clodo.cli.output import answer_to, has_terminal
from clodo.errors import BadUsage, ClodoError, Interrupted, Refused

Check = Callable[[str], object]


class Answers:
    """
    Where answers come from.

    Args:
        is_guided: Whether a person wants to be asked; without a terminal nobody is, ever.
    """

    def __init__(self, *, is_guided: bool) -> None:
        self.can_ask = is_guided and has_terminal()

    def text(self, question: str, given: str | None, option: str, *, default: str = "", check: Check) -> str:
        """
        Return a line of text that *check* doesn't refuse by raising.

        Raises:
            Refused: It isn't given, and nobody can be asked.
        """
        if given is not None:
            check(given)
            return given
        self._raise_if_nobody_is_there(question, option)
        import questionary

        prompt = questionary.text
        return str(
            self._asked(prompt, question, default=default, validate=lambda text: _refusal(check, text.strip()))
        ).strip()

    def choose(
        self, question: str, choices: Mapping[str, str], given: str | None, option: str, *, default: str | None = None
    ) -> str:
        """
        Return one of *choices* (value to what a person reads).

        Args:
            default: What it is where nobody is asked.

        Raises:
            BadUsage: What is given is none of them.

            Refused: It isn't given, and nobody can be asked.
        """
        if given is not None:
            if given not in choices:
                raise BadUsage(f"{option}: there is no {given}", hint="There are " + ", ".join(choices) + ".")
            return given
        if len(choices) == 1:
            return next(iter(choices))
        if default is not None and not self.can_ask:
            return default
        self._raise_if_nobody_is_there(question, option)
        import questionary

        listed = [questionary.Choice(title=title, value=value) for value, title in choices.items()]
        return str(self._asked(questionary.select, question, choices=listed))

    def several(
        self, question: str, choices: Mapping[str, str], given: Sequence[str] | None, option: str
    ) -> tuple[str, ...]:
        """
        Return one or more of *choices*.

        Raises:
            BadUsage: What is given is none of them.

            Refused: Nothing is given or chosen.
        """
        if given:
            for one in given:
                self.choose(question, choices, one, option)
            return tuple(dict.fromkeys(given))
        if len(choices) == 1:
            return tuple(choices)
        self._raise_if_nobody_is_there(question, option)
        import questionary

        listed = [questionary.Choice(title=title, value=value) for value, title in choices.items()]
        chosen = self._asked(questionary.checkbox, question, choices=listed)
        if not chosen:
            raise Refused("Nothing was chosen; nothing was written.")
        return tuple(str(value) for value in chosen)

    def password(self, question: str, option: str) -> str:
        """
        Return a secret that a person types or pastes, unseen.

        Raises:
            Refused: Nobody can be asked.
        """
        self._raise_if_nobody_is_there(question, option)
        import questionary

        return str(self._asked(questionary.password, question, validate=lambda text: _refusal(_one_word, text))).strip()

    def _raise_if_nobody_is_there(self, question: str, option: str) -> None:
        if not self.can_ask:
            raise Refused(f"{question} Nobody can be asked here.", hint=f"Answer it with {option}.")

    def _asked(self, prompt: Callable[..., Any], question: str, **how: Any) -> Any:
        with _ended_in_order():
            return answer_to(prompt, question, **how)


@contextmanager
def _ended_in_order() -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, EOFError) as error:
        raise Interrupted("Interrupted; nothing was written.") from error


def _refusal(check: Check, text: str) -> bool | str:
    try:
        check(text)
    except ClodoError as error:
        return error.message
    return True


def _one_word(text: str) -> None:
    if len(text.split()) != 1:
        raise BadUsage("a token is one word")
