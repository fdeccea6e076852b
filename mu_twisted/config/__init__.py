"""Defaults of commands are read here, from the user's configuration file and the environment.

Knows which settings there are and where a value comes from; it does not know what a command does with them.
"""

from mu_twisted.config._errors import ConfigError
from mu_twisted.config._file import config_path, read_file
from mu_twisted.config._kinds import is_host
from mu_twisted.config._resolution import Value, resolve
from mu_twisted.config._settings import EXCLUSIVE, PROGRAM, SETTINGS, Setting

__all__ = [
    "EXCLUSIVE",
    "PROGRAM",
    "SETTINGS",
    "ConfigError",
    "Setting",
    "Value",
    "config_path",
    "is_host",
    "read_file",
    "resolve",
]
