"""The control API to be asked, on real sockets."""

from control_server import control_loop, served_control  # noqa: F401 - fixtures
