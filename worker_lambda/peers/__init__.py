"""Peers pass the encoder's states to one another through the rendezvous: sent, taken, and kept as files.

Knows the original's commands for them; named messages are the links' affair.
"""

from worker_lambda.peers._channel import PeerChannel, parse_address
from worker_lambda.peers._finishing import Finishing
from worker_lambda.peers._states import state_run

__all__ = ["Finishing", "PeerChannel", "parse_address", "state_run"]
