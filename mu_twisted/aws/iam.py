"""The policies that ``mu iam`` prints. A module of its own, as nobody else needs it."""

from mu_twisted.aws._policies import (
    ROLES,
    Policy,
    Scope,
    coordinator_policy,
    function_policy,
    operator_policy,
    trust_policy,
)

__all__ = ["ROLES", "Policy", "Scope", "coordinator_policy", "function_policy", "operator_policy", "trust_policy"]
