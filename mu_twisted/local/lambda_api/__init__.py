"""The Lambda API is checked, carried out and answered here in AWS's shapes.

Knows functions and where invocations go, not how an environment runs them.
"""

from mu_twisted.local.lambda_api._api import ApiRequest, LambdaApi
from mu_twisted.local.lambda_api._calls import Backend

__all__ = ["ApiRequest", "Backend", "LambdaApi"]
