"""A configuration error says which file, key or variable is wrong."""

from mu_twisted.base import MuError


class ConfigError(MuError):
    """The configuration file or a variable of the environment cannot be used; a command ends with status 2."""

    misuse = True
