"""What an executor needs is made here: the function that does calls, its job, and the bucket of long ones."""

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cloudpickle

from mu_twisted.aws import AWSError, Clients, own_runtime
from mu_twisted.client._control import Coordinator
from mu_twisted.client.map_backend import MapBackend
from mu_twisted.client.map_job import function_options
from mu_twisted.pipelines import InputList, pack_inputs
from mu_twisted.pipelines.calls import RUNNER

LOCAL_BUCKET = "mu-calls"
"""Of long calls and results in the embedded S3."""


class ClientCalls:
    """Implements :class:`~mu_twisted.client.executor.CallBackend` for a client.

    :param backend: where its jobs run.
    :param submit: submits a request, and says the job's name.
    :param words: options of its jobs.
    :param bucket: of long calls and results; None: the embedded S3's, or none.
    :param regions: of its jobs.
    """

    def __init__(
        self,
        backend: MapBackend,
        submit: Callable[[dict[str, Any]], str],
        words: Sequence[str],
        bucket: str | None,
        regions: str,
        name: str | None,
    ) -> None:
        self.coordinator: Coordinator = backend.coordinator
        self._submit = submit
        self._clients = backend.clients(regions)
        self.bucket = bucket or (self._local_bucket() if backend.local else None)
        named = [f"--bucket={self.bucket}"] if self.bucket is not None else []
        self._request = {"pipeline": "calls", "words": [*words, *named], "name": name or "calls"}

    def open_job(self, inputs: InputList) -> str:
        """Submit the job of some calls, and say its name."""
        return self._submit({**self._request, "inputs": pack_inputs(inputs)})

    def clients(self) -> Clients:
        """Clients of the S3 of long calls."""
        return self._clients

    def _local_bucket(self) -> str:
        from mu_twisted.aws.objects import Objects

        Objects(self._clients).make_bucket(LOCAL_BUCKET)
        return LOCAL_BUCKET


def call_function(given: Mapping[str, Any], regions: Sequence[str], backend: MapBackend) -> str:
    """The name of the function that does calls, made where it is not there: with this Python's version.

    :param given: its options, as they are typed.
    :raises mu_twisted.base.MuError: it cannot be made.
    """
    from mu_twisted.daemons.program import function_for

    backend.cloud()  # so that the stack runs
    with tempfile.TemporaryDirectory() as name:
        folder, runner = Path(name, "cloudpickle"), Path(name, RUNNER)
        folder.mkdir()
        for module in Path(cloudpickle.__file__).parent.glob("*.py"):
            shutil.copyfile(module, folder / module.name)
        shutil.copyfile(Path(__file__).with_name(RUNNER), runner)
        if given.get("program") is not None:
            raise AWSError("program: an executor runs Python functions; give what they need by requirements, or with")
        further = [str(folder), *([given["with"]] if given.get("with") else [])]
        options = function_options({**given, "program": str(runner), "with": ",".join(further)}, None, backend)
        options["runtime"] = own_runtime()
        # Of the caller's version alone, by which calls are pickled: requirements may bring another.
        return function_for(options, regions, backend.stack(), backend.notify, own=("cloudpickle",))
