"""Shards are the processes of one rendezvous: a supervisor starts them, and replaces those that end."""

from mu_twisted.daemons.shards.ports import check_ports
from mu_twisted.daemons.shards.service import ShardsService

__all__ = ["ShardsService", "check_ports"]
