"""An examination is what ``mu doctor`` looks at, in which order, and what to do about each thing that is amiss."""

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from typing import Any
from urllib.parse import urlsplit

from cryptography.x509 import load_pem_x509_certificate
from twisted.internet.threads import deferToThread

from mu_twisted.aws import AccessDenied, Clients, InvokeAnswer, check_region
from mu_twisted.aws.findings import (
    Finding,
    Health,
    broken,
    doubtful,
    good,
    judge_bucket,
    judge_certificate,
    judge_clock,
    judge_concurrency,
    judge_function,
    judge_missing,
    judge_programs,
    judge_shared_key,
)
from mu_twisted.aws.inspection import FunctionState, Inspection, clock_skew
from mu_twisted.aws.placement import LaunchTarget, places_of, shares
from mu_twisted.base import MuError
from mu_twisted.coordinator import job_event, with_launch_id
from mu_twisted.daemons._address import find_address
from mu_twisted.daemons._cloud import Cloud, open_cloud
from mu_twisted.daemons._inputs import examine_inputs
from mu_twisted.daemons._keys import COORDINATOR, Keys, daemon_keys
from mu_twisted.daemons._options import local_stack
from mu_twisted.daemons._rendezvous import peers, rendezvous_addresses
from mu_twisted.daemons._state_dir import default_state_dir
from mu_twisted.daemons.coordinator import Options as CoordinatorOptions
from mu_twisted.daemons.doctor._dial_back import dial_back, judge_dial_back
from mu_twisted.daemons.doctor._pair_test import judge_pair, try_pair
from mu_twisted.jobs import launch_name
from mu_twisted.pipelines import Pipeline
from mu_twisted.tls import Authority

JOB = "doctor"
DIAL_TIMEOUT = 3.0
"""Seconds that the invoked worker tries to reach this machine."""

CREDENTIALS = (
    "give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or the instance's role, as for AWS's own tools"
)
POLICY = "the credentials must be allowed what `mu iam coordinator` prints"
BUCKET = f"check -b, or make the bucket; {POLICY}"
NETWORK = (
    "see to this machine's way to the endpoint: route, DNS, proxy; --endpoint-url and --s3-endpoint-url name others"
)
PAIR = (
    "see that `mu rendezvous` runs where -H and -T say, with the same --state-dir or keys, that workers reach it, and "
    "that the coordinator's port is free (-t)"
)
INPUTS = "store what is missing, by `mu cp`, or name other objects"
READ = "let the credentials read the bucket, if it is to be looked at before a launch"
KEYS = "check -c, -s, -k and --ca-key, or make keys: `mu genkeys DIR`"

ReportFinding = Callable[[Finding], None]


class Examination:
    """Asks what a coordinator would ask, and more; changes nothing.

    :param reactor: Twisted's.
    :param options: the coordinator's, parsed, and the doctor's.
    :param report: takes each finding as it is made.
    """

    def __init__(self, reactor: Any, options: CoordinatorOptions, report: ReportFinding) -> None:
        self._reactor = reactor
        self._options = options
        self._settings: Any = options.settings
        self._report = report
        self._keys: Keys | None = None

    async def run(self) -> None:
        """Look at everything.

        :raises MuError: looking itself failed.
        """
        cloud = await deferToThread(open_cloud, self._options, local_stack(self._options))
        try:
            await self._look(cloud)
        finally:
            await deferToThread(cloud.close)

    async def _look(self, cloud: Cloud) -> None:
        settings = self._settings
        regions = settings["regions"] if settings is not None else ("us-east-1",)
        for region in regions:
            check_region(region)
        try:
            self._report(await deferToThread(self._caller, cloud, regions[0]))
        except MuError as error:
            fix = f"{CREDENTIALS}; where nothing answers, {NETWORK}"
            self._report(broken(str(error), "Lambda and S3 take no request of ours", fix))
        self._report(await self._try(lambda: judge_clock(clock_skew(cloud.lambda_endpoint(regions[0]))), NETWORK))
        states: list[FunctionState] = []
        for region in regions:
            self._report_all(await deferToThread(self._region, cloud, region, states))
        if settings is not None and settings["bucket"]:
            bucket = settings["bucket"]
            found = await self._try(lambda: self._bucket(cloud, regions[0], bucket), BUCKET)
            self._report(found)
            pipeline = None if self._options["punch"] else self._options.pipeline
            if found.health is not Health.BROKEN and pipeline is not None:
                self._report_all(await self._inputs(cloud, pipeline))
        elif cloud.s3_endpoint is not None and cloud.stack_directory is None:
            named = cloud.s3_endpoint
            self._report(await self._try(lambda: judge_s3(named), NETWORK))
        self._report(await self._try(self._certificates, KEYS))
        address = await self._address(cloud.lambda_endpoint(regions[0]))
        if address is not None and states and self._keys is not None and not self._options["no-invoke"]:
            self._report(await self._dial_back(cloud, states[0], address, self._keys))
            if self._options["punch"]:
                self._report_all(await self._test_pair(cloud, states[0], address, self._keys))

    # -- each question ---------------------------------------------------------------------------------------------

    def _caller(self, cloud: Cloud, region: str) -> Finding:
        cloud.credentials()
        if self._options["local"]:
            return good(embedded(self._options["endpoint-url"], self._options["s3-endpoint-url"]))
        try:
            caller = self._inspection(cloud, region).caller()
        except MuError as error:
            if is_aws(cloud.lambda_endpoint(region)):
                raise
            return doubtful(
                f"whose account this is is unknown: {error}",
                "nothing, if Lambda and S3 are not AWS's: jobs do not ask it",
                "give $AWS_ENDPOINT_URL_STS, if there is such a service beside them",
            )
        return good(f"credentials: account {caller.account}, {caller.arn}")

    def _region(self, cloud: Cloud, region: str, states: list[FunctionState]) -> list[Finding]:
        """All about the functions of a region; those that are there are added to ``states``."""
        inspection = self._inspection(cloud, region)
        findings: list[Finding] = []
        here: list[FunctionState] = []
        wanted = {place: workers for place, workers in self._wanted().items() if place.region == region}
        try:
            for place, workers in wanted.items():
                state = inspection.function(place.function)
                if state is None:
                    alone = len(self._settings["regions"]) * self._settings["copies"] == 1
                    pipeline = self._options.pipeline
                    made_by = pipeline.made_by if pipeline is not None else ""
                    findings.append(judge_missing(place.function, region, alone=alone, made_by=made_by))
                else:
                    here.append(state)
                    findings += self._function(state, workers)
            concurrency = inspection.concurrency()
            if concurrency is not None:
                reserved = [each.reserved for each in here] or [None]
                findings.append(judge_concurrency(concurrency, region, reserved, sum(wanted.values()) or 1))
        except MuError as error:
            findings.append(_failed(error, POLICY))
        states += here
        return findings

    def _function(self, state: FunctionState, workers: int) -> Iterator[Finding]:
        yield from judge_function(state, workers, shared=bool(self._options["share-key"]))
        if self._options["punch"]:  # the two workers run none of the pipeline's programs: any function will do
            return
        programs = self._options.pipeline.needs(self._settings) if self._options.pipeline is not None else ()
        if programs and not state.is_image:  # what an image holds cannot be seen from here
            yield judge_programs(state, programs, state.files())

    def _wanted(self) -> dict[LaunchTarget, int]:
        """How many workers of the job run in each place at once."""
        settings = self._settings
        if settings is None:
            return {}
        workers = min(settings["tasks"], settings["max-workers"] or settings["tasks"]) + settings["overprovision"]
        return shares(workers, places_of(settings["regions"], settings["function"], settings["copies"]))

    def _bucket(self, cloud: Cloud, region: str, bucket: str) -> Finding:
        actual = self._inspection(cloud, region).bucket_region(bucket)
        return judge_bucket(bucket, actual if cloud.s3_endpoint is None else None, region)

    async def _inputs(self, cloud: Cloud, pipeline: Pipeline) -> list[Finding]:
        """What the pipeline finds of the objects that the job is to read; nothing of one that looks at none."""
        if pipeline.examine is None:
            return []
        try:
            await examine_inputs(cloud, pipeline, self._settings, deferToThread)
        except AccessDenied as error:
            said = f"what the job reads was not looked at: {error}"
            return [doubtful(said, "only a worker sees what is wrong with it", READ)]
        except MuError as error:
            return [_failed(error, INPUTS)]
        return [good(f"pipeline {pipeline.name} finds nothing wrong with what the job reads")]

    def _certificates(self) -> Finding:
        state_dir = Path(self._options["state-dir"] or default_state_dir())
        if self._options["ca-cert"] is None and not (state_dir / "tls" / "ca_cert.pem").exists():
            authority = Authority.generate()
            self._keys = Keys(authority.certificate, authority.issue(COORDINATOR, lifetime=None), authority)
            return good(f"the coordinator will make its keys at its first start, in {state_dir / 'tls'}")
        self._keys = keys = daemon_keys(self._options, state_dir, COORDINATOR)
        if keys.shared and (finding := judge_shared_key(rsa=keys.rsa)).health is not Health.GOOD:
            return finding
        now = datetime.now(UTC)
        for name, pem in (("the coordinator's certificate", keys.own.certificate), ("the CA's certificate", keys.ca)):
            certificate = load_pem_x509_certificate(pem)
            finding = judge_certificate(name, certificate.not_valid_before_utc, certificate.not_valid_after_utc, now)
            if finding.fix:
                break
        return finding

    async def _address(self, endpoint: str) -> str | None:
        address: str | None = self._options["host-addr"]
        if address:
            self._report(good(f"workers dial {address} (--host-addr)"))
            return address
        try:
            address = await find_address(self._reactor, endpoint)
        except MuError as error:
            self._report(_failed(error, NETWORK))
            return None
        self._report(good(f"workers dial {address}"))
        return address

    async def _dial_back(self, cloud: Cloud, state: FunctionState, address: str, keys: Keys) -> Finding:
        named = port_of(self._options["listen"])

        def invoke(port: int | None) -> InvokeAnswer:
            return self._invoke(cloud, state, address, port or named, keys, JOB, "1")

        try:
            came = await dial_back(self._reactor, self._options["listen"], keys.own, keys.ca, invoke)
        except (MuError, ValueError) as error:
            return _failed(error, POLICY)
        port = came.port or named
        return judge_dial_back(came, f"{address}:{port}" if port else address, shared=keys.shared)

    async def _test_pair(self, cloud: Cloud, state: FunctionState, address: str, keys: Keys) -> list[Finding]:
        if keys.shared:
            fix = "leave out --share-key"
            return [broken("with one key for all there are no direct paths", "a link is made by each task's own", fix)]
        job = f"{JOB}-{token_hex(4)}"  # of its own, so that two tests at once are not in each other's way

        def invoke(port: int, worker: int) -> InvokeAnswer:
            return self._invoke(cloud, state, address, port, keys, job, str(worker))

        try:
            where = rendezvous_addresses(self._settings, cloud.lambda_endpoint(state.region))[0]
            pair = peers(keys, job, [where], 2, {})
            tested = await try_pair(self._reactor, self._options["listen"], keys.own, keys.ca, invoke, pair)
        except (MuError, ValueError) as error:
            said = f"whether two workers reach each other could not be tried: {error}"
            return [broken(said, "nothing is known of direct paths", PAIR)]
        return list(judge_pair(tested, state.name))

    # -- inside ----------------------------------------------------------------------------------------------------

    def _invoke(
        self, cloud: Cloud, state: FunctionState, address: str, port: int, keys: Keys, job: str, launch: str
    ) -> InvokeAnswer:
        """Have a worker dial us, and wait for its end."""
        event = job_event(
            address=address,
            port=port,
            ca=keys.ca,
            pair=keys.for_job(job, timedelta(seconds=state.settings.get("Timeout", 3))),
            bucket=self._settings["bucket"],
            region=self._settings["regions"][0],
            job=None if keys.shared else job,
            s3_endpoint=cloud.s3_endpoint,
            orphan_timeout=DIAL_TIMEOUT,
        )
        return cloud.invoke_with_tail(state.region, state.name, with_launch_id(event, launch_name(job, launch)))

    def _inspection(self, cloud: Cloud, region: str) -> Inspection:
        endpoint = cloud.lambda_endpoint(region)
        return Inspection(
            Clients(
                cloud.session,
                region,
                lambda_endpoint=endpoint,
                s3_endpoint=cloud.s3_endpoint,
                stack=cloud.stack_directory,
            )
        )

    def _report_all(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            self._report(finding)

    @staticmethod
    async def _try(look: Callable[[], Finding], fix: str) -> Finding:
        try:
            return await deferToThread(look)
        except MuError as error:
            return _failed(error, fix)


def embedded(lambda_url: str | None, s3_url: str | None) -> str:
    """What ``--local`` has of this machine where others are named.

    :param lambda_url: base URL of Lambda, as the options name it.
    :param s3_url: the same of S3.
    """
    if lambda_url and s3_url:
        return "Lambda and S3 are others than the embedded ones of this machine"
    if lambda_url or s3_url:
        return f"the embedded {'S3' if lambda_url else 'Lambda'} of this machine answers"
    return "the embedded Lambda and S3 of this machine answer"


def judge_s3(endpoint: str) -> Finding:
    """See that an S3 which was named answers, where there is no bucket to ask it for.

    :param endpoint: its base URL.
    :raises mu_twisted.aws.AWSError: it does not.
    """
    clock_skew(endpoint)
    return good(f"S3 answers at {endpoint}")


def is_aws(endpoint: str) -> bool:
    """Whether a base URL is one of AWS's own."""
    host = (urlsplit(endpoint).hostname or "").removesuffix(".cn")
    return host.endswith((".amazonaws.com", ".api.aws"))


def port_of(listen: str) -> int:
    """The port of an endpoint string, 0 where it names none.

    :param listen: e.g. ``tcp:13579:interface=127.0.0.1``.
    """
    match = re.match(r"tcp6?:(?:.*:port=|port=)?([0-9]{1,5})(?::|$)", listen)
    return int(match[1]) if match else 0


def _failed(error: Exception, fix: str) -> Finding:
    return broken(str(error), "a job would end with this line, or not begin", fix)
