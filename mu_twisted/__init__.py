"""mu: thousands of native programs at once, each driven by its own state machine.

This module imports nothing: it travels in the worker's zip."""
