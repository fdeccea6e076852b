"""The user's settings for one command are chosen here: of two that exclude one another the nearer one counts."""

from collections.abc import Collection

from mu_twisted.client._errors import UsageError
from mu_twisted.config import EXCLUSIVE, PROGRAM, Value


class UserSettings:
    """The settings that are defaults of one command's options.

    :param values: what is set, by file and environment.
    """

    def __init__(self, command: str, values: Collection[Value]) -> None:
        self.command = command
        self._values = {each.setting.name: each for each in values if each.setting.option_of(command)}

    def __getitem__(self, name: str) -> str | bool | None:
        """The value of a setting; None: it is not set, or not for this command."""
        value = self._values.get(name)
        return None if value is None else value.value

    def chosen(self, typed: Collection[str]) -> dict[str, Value]:
        """The settings that count, by the names of their options.

        :param typed: options that the user has typed, by their long names.
        :raises UsageError: two of them that are set in one place exclude one another.
        """
        found = {name: each for name, each in self._values.items() if each.value is not None}
        for pair in EXCLUSIVE:
            self._drop_one(found, pair, typed)
        program = "program" in found or "program" in typed
        return {
            str(each.setting.option_of(self.command)): each
            for each in found.values()
            if each.setting.option_of(self.command) not in typed
            and (self.command not in PROGRAM or each.setting.needs is None or program)
        }

    def _drop_one(self, found: dict[str, Value], pair: tuple[str, str], typed: Collection[str]) -> None:
        ranks = {name: 0 if name in typed else found[name].rank for name in pair if name in typed or name in found}
        if len(ranks) < 2 or not any(ranks.values()):
            return
        first, second = pair
        if ranks[first] == ranks[second]:
            raise UsageError(f"{found[first].where} and {found[second].where} exclude one another: set one of them")
        del found[max(pair, key=ranks.__getitem__)]
