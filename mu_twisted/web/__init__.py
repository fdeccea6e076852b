"""The control API is HTTP and JSON for operators. Knows the job service and its statuses, no workers."""

from mu_twisted.web._address import ListenAddress, parse_address
from mu_twisted.web._api import MAX_SOURCE, VERSION, Api
from mu_twisted.web._calls import Call, ControlError
from mu_twisted.web._listeners import ControlListeners, open_control
from mu_twisted.web._metrics_listener import open_metrics
from mu_twisted.web.dashboard import Dashboard, open_dashboard

__all__ = [
    "MAX_SOURCE",
    "VERSION",
    "Api",
    "Call",
    "ControlError",
    "ControlListeners",
    "Dashboard",
    "ListenAddress",
    "open_control",
    "open_dashboard",
    "open_metrics",
    "parse_address",
]
