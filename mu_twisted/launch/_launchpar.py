"""``launchpar`` launches and waits, with the arguments of the original's pylaunch. Knows no reactor."""

import os
import queue
import random
import secrets
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from mu_twisted.base.access_keys import AccessKeys
from mu_twisted.jobs import (
    Answer,
    LaunchAction,
    LaunchOutcome,
    LaunchPolicy,
    LaunchScheduler,
    in_turn,
)
from mu_twisted.launch._region import RegionLauncher
from mu_twisted.launch._values import Launch, LaunchError

_Event = list[Answer] | tuple[str, str]


def launchpar(
    num_to_launch: int,
    function: str,
    access_key_id: str,
    secret_access_key: str,
    json_payload: str | bytes,
    regions: Sequence[str],
    *,
    session_token: str | None = None,
    endpoint_url: str | None = None,
    ca_bundle: str | None = None,
    pool_size: int = 64,
    connect_timeout: float = 5.0,
    timeout: float = 20.0,
    policy: LaunchPolicy | None = None,
) -> list[LaunchOutcome]:
    """Invoke a function many times as events, and wait until Lambda has taken or refused each.

    The arguments are those of the original's ``pylaunch.launchpar``; there ``num_to_launch`` went to each region, here
    it is the total, spread over the regions in turn.

    :param num_to_launch: how many.
    :param function: name, name and alias, or ARN.
    :param access_key_id: the key's id.
    :param secret_access_key: its secret.
    :param json_payload: the event; ``##ID##`` in it stands for the launch's identifier, which no other call uses again.
    :param regions: AWS regions, at least one.
    :param session_token: of temporary keys.
    :param endpoint_url: base URL of Lambda for all regions; None: AWS's, by region.
    :param ca_bundle: file of CA certificates; None: the system's.
    :param pool_size: connections to each region at most.
    :param connect_timeout: seconds for one connection.
    :param timeout: seconds for one answer, connecting included.
    :param policy: how fast and how often to try.
    :returns: the outcomes, in the order of their numbers, with which their ``launch_id`` end.
    :raises LaunchError: a number, region or endpoint cannot be used; nothing was launched.
    """
    if num_to_launch < 1 or not regions:
        raise LaunchError(f"expected at least one launch and one region, got {num_to_launch} and {list(regions)}")
    payload = json_payload.encode() if isinstance(json_payload, str) else json_payload
    credentials = AccessKeys(access_key_id, secret_access_key, session_token)
    call = secrets.token_hex(4)
    launches = [
        Launch(f"{call}-{number}", region, function, payload)
        for number, region in enumerate(in_turn(num_to_launch, regions))
    ]
    launchers = {
        region: RegionLauncher(
            endpoint_url or _endpoint(region),
            region,
            lambda: credentials,
            ca_bundle=ca_bundle,
            pool_size=pool_size,
            connect_timeout=connect_timeout,
            timeout=timeout,
        )
        for region in dict.fromkeys(regions)
    }
    return _Loop(launches, launchers, policy or LaunchPolicy()).run()


class _Loop:
    """Carries out the policy's decisions in the calling thread, with one more thread for each region."""

    def __init__(self, launches: Sequence[Launch], launchers: dict[str, RegionLauncher], policy: LaunchPolicy) -> None:
        self._launches = {launch.launch_id: launch for launch in launches}
        self._launchers = launchers
        self._scheduler = LaunchScheduler(policy, random.random)
        self._events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
        self._outcomes: dict[str, LaunchOutcome] = {}

    def run(self) -> list[LaunchOutcome]:
        scheduler, now = self._scheduler, time.monotonic
        with ThreadPoolExecutor(len(self._launchers), "launchpar") as threads:
            try:
                wanted = ((launch.launch_id, launch.region) for launch in self._launches.values())
                self._carry_out(scheduler.submit(wanted, now()), threads)
                while scheduler.pending:
                    self._carry_out(self._next(), threads)
            except BaseException:
                # Above all Ctrl-C: no thread may go on launching after the caller got the exception.
                for launcher in self._launchers.values():
                    launcher.cancel(at_once=True)
                raise
        return [self._outcomes[launch_id] for launch_id in self._launches]

    def _next(self) -> list[LaunchAction]:
        now = time.monotonic()
        wake = self._scheduler.wake_at(now)
        try:
            event = self._events.get(timeout=None if wake is None else wake - now)
        except queue.Empty:
            return self._scheduler.time_passed(time.monotonic())
        if isinstance(event, tuple):
            return self._scheduler.batch_ended(*event, time.monotonic())
        return self._scheduler.answered(event, time.monotonic())

    def _carry_out(self, actions: Sequence[LaunchAction], threads: ThreadPoolExecutor) -> None:
        for action in actions:
            if isinstance(action, LaunchOutcome):
                self._outcomes[action.launch_id] = action
                continue
            region = action.region
            batch = [self._launches[launch_id] for launch_id in action.launch_ids]
            working = threads.submit(self._launchers[region].perform, batch, self._events.put)
            working.add_done_callback(lambda done, region=region: self._ended(region, done))  # type: ignore[misc]

    def _ended(self, region: str, done: Future[str]) -> None:
        error = done.exception()
        self._events.put((region, done.result() if error is None else f"launching failed: {type(error).__name__}"))


def _endpoint(region: str) -> str:
    """AWS's public endpoint in a region of any partition, by botocore's data."""
    from botocore.session import Session  # takes half a second; only callers without an endpoint pay it

    # The caller has said all: of the host's configuration nothing counts, and nothing in it can be wrong.
    nothing = dict.fromkeys(("profile", "config_file", "credentials_file"), (None, None, None, None))
    nowhere = dict.fromkeys(("config_file", "credentials_file"), (None, None, os.devnull, None))
    client = Session(session_vars={**nothing, **nowhere}).create_client(
        "lambda", region_name=region, aws_access_key_id="-", aws_secret_access_key="-"
    )
    return str(client.meta.endpoint_url)
