"""Findings judge whether an account and a function are fit for jobs. Pure: what was read goes in, findings come out."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from mu_twisted.aws._function_settings import HANDLER, ORIGINAL_HANDLER, entry_of, is_image
from mu_twisted.aws._functions import AGE, RETRIES
from mu_twisted.aws.inspection import Concurrency, FunctionState
from mu_twisted.base import counted


class Health(Enum):
    """The result of a check."""

    GOOD = "ok"
    DOUBTFUL = "doubtful"
    BROKEN = "BROKEN"


@dataclass(frozen=True)
class Finding:
    """The result of one check, with its reasons.

    :param what: the state that was found.
    :param why: its effect on jobs; empty where it is good.
    :param fix: what the user can do about it.
    """

    health: Health
    what: str
    why: str = ""
    fix: str = ""


def good(what: str) -> Finding:
    """A state that is as it should be."""
    return Finding(Health.GOOD, what)


def doubtful(what: str, why: str, fix: str) -> Finding:
    """A state that may harm jobs."""
    return Finding(Health.DOUBTFUL, what, why, fix)


def broken(what: str, why: str, fix: str) -> Finding:
    """A state in which jobs do not work."""
    return Finding(Health.BROKEN, what, why, fix)


def judge_missing(name: str, region: str, *, alone: bool, made_by: str = "") -> Finding:
    """Judge that there is no such function.

    :param alone: whether the job has no other region.
    :param made_by: the command that prints how it is made, if there is one.
    """
    return (broken if alone else doubtful)(
        f"there is no function {name} in {region}",
        "nothing can be launched" if alone else "nothing can be launched there; the job's other regions take its share",
        f"make it: {made_by or f'mu lambdaize EXE ... --name {name} --region {region}'}",
    )


def judge_function(state: FunctionState, tasks: int, *, shared: bool = False) -> Iterator[Finding]:
    """Judge the settings of a function.

    :param tasks: how many workers are wanted at once.
    :param shared: whether all workers share one key, as the original's need it.
    """
    settings, where = state.settings, f"function {state.name} in {state.region}"
    memory, timeout = settings.get("MemorySize", 128), settings.get("Timeout", 3)
    architecture = ",".join(settings.get("Architectures") or ["x86_64"])
    runtime = "an image" if is_image(settings) else settings.get("Runtime", "no runtime")
    yield good(f"{where}: {memory} MB, {timeout} s, {architecture}, {runtime}")
    if settings.get("State", "Active") != "Active" or settings.get("LastUpdateStatus", "Successful") != "Successful":
        yield broken(
            f"{where} is {settings.get('State')}, its last update {settings.get('LastUpdateStatus')}",
            f"Lambda does not run it: {settings.get('StateReason') or settings.get('LastUpdateStatusReason') or '?'}",
            "wait a minute, else make it again with `mu lambdaize`",
        )
    if (handler := entry_of(settings)) != HANDLER:
        yield _judge_handler(where, handler, shared=shared)
    if timeout < 10:
        yield doubtful(
            f"{where} may run for {timeout} s only",
            "a worker ends by then, and its task with it",
            "make it with a longer --timeout (TIMEOUT)",
        )
    if settings.get("VpcConfig", {}).get("VpcId"):
        yield doubtful(
            f"{where} is in VPC {settings['VpcConfig']['VpcId']}",
            "its workers reach public addresses, S3's and the coordinator's, only through a NAT or endpoints there",
            "take it out of the VPC, unless that is meant",
        )
    yield from _judge_events(state, where)
    yield from _judge_reservation(state, where, tasks)


def _judge_handler(where: str, handler: str | None, *, shared: bool) -> Finding:
    """Judge a function that is no worker of this version."""
    if handler != ORIGINAL_HANDLER:
        return doubtful(
            f"{where} has the handler {handler}",
            "it is no worker, which begins at " + HANDLER,
            "make it with `mu lambdaize`",
        )
    if shared:
        return good(f"{where} is one of the original's: each of its workers does one task, with the shared key")
    return doubtful(
        f"{where} is one of the original's, by its handler {handler}",
        "its workers cannot use the keys that each job has of its own, and will not come",
        "give -c, -s, -k of RSA keys (mu genkeys --rsa DIR) and --share-key, or make it again with `mu lambdaize`",
    )


def _judge_events(state: FunctionState, where: str) -> Iterator[Finding]:
    events = state.events or {}
    retries, age = events.get("MaximumRetryAttempts", 2), events.get("MaximumEventAgeInSeconds", 21600)
    if (retries, age) == (RETRIES, AGE):
        yield good(f"{where}: Lambda does not retry its events, and drops them after {age} s")
    else:
        yield doubtful(
            f"{where}: Lambda retries failed events {counted(retries, 'time')} and keeps them for {age} s",
            "workers come again, and late, for tasks that the coordinator has long launched anew; each costs",
            f"aws lambda put-function-event-invoke-config --region {state.region} --function-name {state.name} "
            f"--maximum-retry-attempts {RETRIES} --maximum-event-age-in-seconds {AGE}",
        )
    stores = {
        "a dead-letter queue": state.settings.get("DeadLetterConfig", {}).get("TargetArn"),
        "a destination for failures": events.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination"),
        "a destination for successes": events.get("DestinationConfig", {}).get("OnSuccess", {}).get("Destination"),
    }
    for kind, target in stores.items():
        if target:
            yield doubtful(
                f"{where} has {kind}, {target}",
                "it would store events, which hold the key of their job: good for dialling the coordinator until an "
                "hour after the function's time-out, and with --share-key for ever",
                "remove it, or allow no user to read what is stored there",
            )


def _judge_reservation(state: FunctionState, where: str, tasks: int) -> Iterator[Finding]:
    reserved = state.reserved
    if reserved is None:
        return
    if reserved == 0:
        yield broken(
            f"{where} has a reserved concurrency of 0",
            "Lambda runs none of it",
            f"aws lambda delete-function-concurrency --region {state.region} --function-name {state.name}",
        )
    elif reserved < tasks:
        yield doubtful(
            f"{where} has a reserved concurrency of {reserved}",
            f"that is its limit too: {tasks - reserved} of {counted(tasks, 'worker')} must wait",
            "reserve more, or take the reservation away; or use --max-workers",
        )
    else:
        yield good(f"{where} has a reserved concurrency of {reserved}")


def judge_concurrency(concurrency: Concurrency, region: str, reserved: Collection[int | None], tasks: int) -> Finding:
    """Judge whether so many workers may run at once.

    :param reserved: of each function that the job uses there; None where it has no reservation.
    """
    limit = counted(concurrency.limit, "environment")
    what = f"{limit} at once in {region}, {concurrency.unreserved} of them not reserved"
    if None in reserved and concurrency.unreserved < tasks:
        return doubtful(
            what,
            f"{counted(tasks, 'worker is', 'workers are')} wanted there; "
            "all functions of the account share the limit, the others wait",
            "have the quota 'Concurrent executions' raised, give further regions (-r), or use --max-workers",
        )
    return good(what)


def judge_programs(state: FunctionState, programs: Sequence[str], held: Collection[str]) -> Finding:
    """Judge whether the package holds all programs of the pipeline."""
    missing = [program for program in programs if program.removeprefix("./") not in held]
    where = f"function {state.name} in {state.region}"
    if missing:
        return broken(
            f"{where} lacks {', '.join(missing)}",
            "the pipeline runs it; the job is refused",
            "make the function again with `mu lambdaize`, and name what is missing as EXE or EXTRA",
        )
    return good(f"{where} holds all programs of the pipeline: {', '.join(programs)}")


def judge_bucket(bucket: str, found: str | None, region: str) -> Finding:
    """Judge whether the bucket is in the workers' region.

    :param found: the bucket's region, if S3 named it.
    """
    if found is not None and found != region:
        return doubtful(
            f"bucket {bucket} is in {found}, the workers would look for it in {region}",
            "each transfer is redirected first, is slower, and AWS charges traffic between regions",
            f"name {found} first in -r, or use a bucket in {region}",
        )
    return good(f"bucket {bucket} can be used" + (f", in {found}" if found else ""))


def judge_clock(skew: float) -> Finding:
    """Judge whether this machine's clock agrees with AWS's.

    :param skew: seconds that it is ahead.
    """
    what = f"this machine's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} AWS's"
    why = "AWS takes a request for 5 minutes after it was signed, and workers check certificates by AWS's clock"
    if abs(skew) >= 240:
        return broken(what, why, "set it: install chrony or systemd-timesyncd")
    if abs(skew) >= 30:
        return doubtful(what, why, "set it: install chrony or systemd-timesyncd")
    return good("this machine's clock agrees with AWS's")


def judge_shared_key(*, rsa: bool) -> Finding:
    """Judge whether the original's workers can use the shared key.

    :param rsa: whether it is an RSA key.
    """
    if rsa:
        return good("all workers are given one key, an RSA key (--share-key)")
    return doubtful(
        "all workers are given one key, which is no RSA key (--share-key)",
        "the original's workers take RSA keys only, and do not come with this one",
        "make keys for them: `mu genkeys --rsa DIR`; for workers of this version no key need be shared",
    )


def judge_certificate(name: str, begin: datetime, end: datetime, now: datetime) -> Finding:
    """Judge whether a certificate is valid now and will be for a while."""
    if now < begin:
        what = f"{name} is not valid before {begin:%Y-%m-%d %H:%M} UTC"
        return broken(
            what, "no worker will talk to the coordinator", "set the clock, or make keys anew: `mu genkeys DIR`"
        )
    if now >= end:
        return broken(
            f"{name} has expired on {end:%Y-%m-%d}",
            "no worker will talk to the coordinator",
            "make keys anew: `mu genkeys DIR`, or move the state directory's tls/ away",
        )
    if end - now < timedelta(days=30):
        return doubtful(
            f"{name} expires on {end:%Y-%m-%d}",
            "from then on no worker will talk to the coordinator",
            "make keys anew: `mu genkeys DIR`, or move the state directory's tls/ away",
        )
    return good(f"{name} is valid until {end:%Y-%m-%d}")
