"""For each setting the resolution finds the value that holds, and says where it comes from.

A variable of the environment comes before the profile, the profile before the file's defaults, those before what is
built in. An option on the command line comes before all of them; that is the command's business.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from mu_twisted.config._errors import ConfigError
from mu_twisted.config._file import Table, config_path, read_file
from mu_twisted.config._settings import SETTINGS, Setting

SOURCES = ("flag", "environment", "profile", "defaults", "built in")
"""Where values come from; an earlier one counts."""


@dataclass(frozen=True)
class Value:
    """What a setting is.

    :param value: as its option takes it; a flag's is a bool. None: it is not set, the command has a default of its own.
    :param source: one of :data:`SOURCES`.
    :param where: the variable, or the file's table, with the setting's name; for messages.
    """

    setting: Setting
    value: str | bool | None
    source: str
    where: str

    @property
    def rank(self) -> int:
        """How near the command line it is set, the lower the nearer."""
        return SOURCES.index(self.source)


def resolve(environ: Mapping[str, str], profile: str | None = None, command: str | None = None) -> dict[str, Value]:
    """What each setting is.

    :param environ: the variables of the environment.
    :param profile: the name of the profile that was asked for; None: ``$MU_PROFILE``, if it is set.
    :param command: the command that asks; some variables are for some commands only. None: what holds for all.
    :raises ConfigError: file, profile or a variable is wrong.
    """
    path = config_path(environ)
    defaults, profiles = read_file(path)
    name = profile if profile is not None else environ.get("MU_PROFILE") or None
    if name is not None and name not in profiles:
        known = f"it has {', '.join(sorted(profiles))}" if profiles else "it has none"
        origin = "--profile" if profile is not None else "MU_PROFILE"
        known = known if path.exists() else "there is no such file"
        raise ConfigError(f"{origin}: there is no profile {name!r} in {path}: {known}")
    tables = [("profile", f"profiles.{name}", profiles[name])] if name is not None else []
    tables.append(("defaults", "defaults", defaults))
    found = {
        each.name: _value(each, environ, command, [(s, f"{path}: [{t}]", v) for s, t, v in tables]) for each in SETTINGS
    }
    local, state = found["local-state-dir"], found["state-dir"]
    apart = command is not None and state.setting.option_of(command) is not None  # there the option itself says it
    if local.value is None and state.value is not None and not apart:
        found["local-state-dir"] = replace(state, setting=local.setting, value=f"{state.value}/local")
    return found


def _value(
    setting: Setting, environ: Mapping[str, str], command: str | None, tables: list[tuple[str, str, Table]]
) -> Value:
    for variable in setting.variables(command):
        text = environ.get(variable)
        if text:
            try:
                return Value(setting, setting.kind.from_text(text), "environment", variable)
            except ValueError:
                shown = repr(text) if len(text) <= 60 else f"{text[:60]!r}..."
                raise ConfigError(f"{variable}: expected {setting.kind.wanted}, got {shown}") from None
    for source, where, table in tables:
        if setting.name in table:
            return Value(setting, table[setting.name], source, f"{where} {setting.name}")
    return Value(setting, None, "built in", setting.name)
