"""The daemons: one module each, with its Options and makeService. The composition root: here the parts meet."""

from mu_twisted.daemons._state_dir import RUN_DIRECTORY, InUse, default_state_dir

__all__ = ["RUN_DIRECTORY", "InUse", "default_state_dir"]
