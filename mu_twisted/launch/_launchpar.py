"""The original's call: launch so many, wait for all. A thin loop over the policy and the sender; needs no reactor."""

import queue
import random
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from mu_twisted.jobs._launching import LaunchAction, Launching, LaunchPolicy, SendBatch, in_turn
from mu_twisted.launch._sender import Sender
from mu_twisted.launch._types import Credentials, Launch, LaunchError, LaunchOutcome
from mu_twisted.wire import MuError


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
    policy: LaunchPolicy | None = None,
) -> list[LaunchOutcome]:
    """Launch a function so many times, and wait for the outcome of each.

    Arguments as in the original's ``pylaunch.launchpar``; there the number was that of each region, here it is the
    total, spread over the regions in turn.

    :param json_payload: ``##ID##`` in it is replaced by each launch's identifier, which no other call uses again.
    :param endpoint_url: in place of AWS's own, in all regions.
    :param ca_bundle: file of CA certificates; None: the system's.
    :param pool_size: connections to each region, at most.
    :returns: outcomes in the order of the launches' numbers.
    :raises LaunchError: nothing can be launched with these arguments.
    """
    if num_to_launch < 1 or not regions:
        raise LaunchError("expected at least one launch and one region")
    payload = json_payload.encode() if isinstance(json_payload, str) else json_payload
    batch = secrets.token_hex(4)
    launches = {
        f"{batch}-{number}": Launch(f"{batch}-{number}", region, function, payload)
        for number, region in enumerate(in_turn(num_to_launch, regions))
    }
    keys = Credentials(access_key_id, secret_access_key, session_token)
    sender = Sender(
        endpoint=lambda region: endpoint_url or default_endpoint(region),
        credentials=lambda: keys,
        ca_bundle=ca_bundle,
        pool_size=pool_size,
    )
    outcomes = _run(launches, sender, Launching(policy or LaunchPolicy(), random.random), len(set(regions)))
    return [outcomes[launch_id] for launch_id in launches]


def default_endpoint(region: str) -> str:
    """AWS's own address of Lambda, in its public partitions."""
    return f"https://lambda.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}"


Event = Callable[[float], list[LaunchAction]]


def _run(launches: dict[str, Launch], sender: Sender, policy: Launching, threads: int) -> dict[str, LaunchOutcome]:
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    outcomes: dict[str, LaunchOutcome] = {}

    def send(action: SendBatch) -> None:
        reason = "no answer came"
        try:
            sender.send(
                action.region,
                [launches[launch_id] for launch_id in action.launch_ids],
                lambda answers: events.put(lambda now: policy.answered(answers, now)),
            )
        except MuError as error:
            reason = str(error)
        finally:
            events.put(lambda now: policy.batch_ended(action.region, reason, now))

    def carry_out(actions: list[LaunchAction]) -> None:
        for action in actions:
            if isinstance(action, SendBatch):
                pool.submit(send, action)
            else:
                outcomes[action.launch_id] = LaunchOutcome(
                    action.launch_id, action.accepted, action.status, action.reason
                )

    with ThreadPoolExecutor(threads, "launch") as pool:
        try:
            named = [(launch.launch_id, launch.region) for launch in launches.values()]
            carry_out(policy.submit(named, time.monotonic()))
            while policy.pending:
                wake = policy.wake_at(time.monotonic())
                try:
                    event = events.get(timeout=None if wake is None else max(0.0, wake - time.monotonic()))
                except queue.Empty:
                    event = policy.time_passed
                carry_out(event(time.monotonic()))
        except BaseException:
            sender.cancel(at_once=True)
            raise
    return outcomes
