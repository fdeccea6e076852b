"""The configuration file is read and checked here; nothing in it is taken that no setting is for.

It is TOML: ``[defaults]``, and ``[profiles.NAME]`` for each profile.
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from mu_twisted.base import one_line
from mu_twisted.config._errors import ConfigError
from mu_twisted.config._settings import SETTINGS, Setting

MAX_FILE = 1 << 20
"""Bytes of the file."""
_SHOWN = 60
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_SECRET_NAME = re.compile(
    r"secret|passw|token|credential|access[-_]?key|private[-_]?key|api[-_]?key|session", re.IGNORECASE
)
_SECRET_VALUE = re.compile(r"-----BEGIN|\b(AKIA|ASIA)[A-Z0-9]{12,}|://[^/\s]*:[^/\s]*@")
_BY_NAME = {setting.name: setting for setting in SETTINGS}

Table = dict[str, str | bool]
"""Values by the names of their settings, as options take them."""


def config_path(environ: Mapping[str, str]) -> Path:
    """``$XDG_CONFIG_HOME/mu.toml``, or ``~/.config/mu.toml``. A relative ``$XDG_CONFIG_HOME`` counts as not set, as the
    XDG base directory specification has it."""
    base = environ.get("XDG_CONFIG_HOME", "")
    root = Path(base) if base.startswith("/") else Path(environ.get("HOME") or Path.home()) / ".config"
    return root / "mu.toml"


def read_file(path: Path) -> tuple[Table, dict[str, Table]]:
    """What the file says; nothing where there is none.

    :returns: the defaults, and each profile's values.
    :raises ConfigError: it cannot be read, or something in it is wrong.
    """
    content = _content(path)
    if content is None:
        return {}, {}
    try:
        tables = tomllib.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}, line {content.count(10, 0, error.start) + 1}: it is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is no TOML: {one_line(str(error), 200)}") from None
    except RecursionError:
        raise ConfigError(f"{path} is no TOML of ours: its values are nested too deep") from None
    for name, value in tables.items():
        _refuse_secret(path, "", name, value)
        if name in _BY_NAME:
            raise ConfigError(f"{path}: {name} stands in no table: put [defaults] above it, or [profiles.NAME]")
        if name not in ("defaults", "profiles"):
            raise ConfigError(f"{path}: {_shown(name)}: expected the tables [defaults] and [profiles.NAME]")
        if not isinstance(value, dict):
            raise ConfigError(f"{path}: {name}: expected a table, got {_shown(value)}")
    profiles = {}
    for name, value in tables.get("profiles", {}).items():
        if _NAME.fullmatch(name) is None:
            raise ConfigError(f"{path}: [profiles.{_shown(name)}]: a profile's name has letters, digits, . _ and -")
        if not isinstance(value, dict):
            raise ConfigError(f"{path}: [profiles] {name}: expected a table [profiles.{name}], got {_shown(value)}")
        profiles[name] = _table(path, f"profiles.{name}", value)
    return _table(path, "defaults", tables.get("defaults", {})), profiles


def _content(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    if len(content) > MAX_FILE:
        raise ConfigError(f"{path} has more than {MAX_FILE} bytes: that is no configuration of mu")
    return content


def _table(path: Path, table: str, values: Mapping[str, object]) -> Table:
    found: Table = {}
    for name, value in values.items():
        setting = _BY_NAME.get(name)
        _refuse_secret(path, f"[{table}] ", name, value)
        if setting is None:
            raise ConfigError(
                f"{path}: [{table}] {_shown(name)} is no setting{_nearest(name)}: `mu config` lists those there are"
            )
        found[name] = _checked(f"{path}: [{table}] {name}", setting, value)
    return found


def _checked(where: str, setting: Setting, value: object) -> str | bool:
    try:
        return setting.kind.from_toml(value)
    except ValueError:
        raise ConfigError(f"{where}: expected {setting.kind.wanted}, got {_shown(value)}") from None


def _refuse_secret(path: Path, table: str, name: str, value: object) -> None:
    """Raise for what looks like a credential; the value is not shown."""
    known = name in _BY_NAME
    if (not known and _SECRET_NAME.search(name)) or (isinstance(value, str) and _SECRET_VALUE.search(value)):
        raise ConfigError(
            f"{path}: {table}{_shown(name)} looks like a credential, which does not belong here: AWS's own tools keep "
            "those (`aws configure`), and mu finds them there"
        )


def _nearest(name: str) -> str:
    from difflib import get_close_matches  # only for errors

    near = get_close_matches(name.replace("_", "-"), _BY_NAME, 1)
    return f", {near[0]} is" if near else ""


def _shown(value: object) -> str:
    text = value if isinstance(value, str) and value.isprintable() and value and " " not in value else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
