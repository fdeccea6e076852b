"""The control API: HTTP and JSON for those who run jobs. Knows the job service and its facts, no workers."""

from mu_twisted.web._api import MAX_SOURCE, VERSION, Api
from mu_twisted.web._calls import Call, ControlError
from mu_twisted.web._listeners import ControlListeners, open_control

__all__ = ["MAX_SOURCE", "VERSION", "Api", "Call", "ControlError", "ControlListeners", "open_control"]
