"""The daemons are the composition root: one module each, with Options and makeService, puts the parts together."""

from mu_twisted.daemons._state_dir import RUN_DIRECTORY, InUse, StateDirectory, default_state_dir

__all__ = ["RUN_DIRECTORY", "InUse", "StateDirectory", "default_state_dir"]
