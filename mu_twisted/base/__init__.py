"""The base holds what every layer may use; it knows none of them. Standard library only."""

from mu_twisted.base._masking import masked

__all__ = ["masked"]
