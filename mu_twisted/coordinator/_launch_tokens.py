"""The tokens of a job's launches prove that a worker which comes back is the one that had the launch.

A token is made from a key and the launch id, so it is the same after a restart, and nothing has to be kept.
"""

import hmac

from mu_twisted.jobs import LaunchId, launch_name
from mu_twisted.wire import TOKEN, Greeting


class LaunchTokens:
    """The tokens of one job.

    :param key: a secret of the coordinator's, the same after a restart; at least 32 bytes.
    :param job: the job's name.
    """

    def __init__(self, key: bytes, job: str) -> None:
        self._key = key
        self._job = job

    def token(self, launch_id: LaunchId) -> str:
        """The token of a launch, as hex digits."""
        name = launch_name(self._job, launch_id)
        return hmac.digest(self._key, name.encode("utf-8", "surrogatepass"), "sha256").hex()

    def are_taken_by(self, greeting: Greeting) -> bool:
        """Whether a worker takes one."""
        return bool(greeting.version) and TOKEN in greeting.supports

    def proves(self, greeting: Greeting, launch_id: LaunchId) -> bool:
        """Whether a worker has shown the token of its launch."""
        shown = greeting.token.encode("utf-8", "surrogatepass")
        return bool(shown and launch_id) and hmac.compare_digest(shown, self.token(launch_id).encode("ascii"))
