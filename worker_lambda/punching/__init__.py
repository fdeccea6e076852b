"""Punching makes direct connections between workers that are behind NATs. Loaded only where links are used."""

from worker_lambda.punching._local_port import LocalPort
from worker_lambda.punching._puncher import Link, LinkIdentity, Puncher

__all__ = ["Link", "LinkIdentity", "LocalPort", "Puncher"]
