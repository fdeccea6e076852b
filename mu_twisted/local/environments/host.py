"""The host makes environments of real things: a port, a pipe, a directory, a memory group, the zygote."""

from __future__ import annotations

import hashlib
import io
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from mu_twisted.local._code import unpack
from mu_twisted.local._errors import LocalError
from mu_twisted.local._function_requests import VERSION
from mu_twisted.local._functions import Function, FunctionStore
from mu_twisted.local._restart_budget import RestartBudget
from mu_twisted.local._trees import make_private, remove_tree
from mu_twisted.local.environments._environment import Environment, Output
from mu_twisted.local.environments._listener import LoopbackListener
from mu_twisted.local.environments._output import PipeOutput
from mu_twisted.local.environments._peer import owners_are_reported
from mu_twisted.local.environments._runtime import environment_variables, link_runtime
from mu_twisted.local.environments._runtime_api import runtime_site
from mu_twisted.local.environments._zygote_client import ZygoteClient
from mu_twisted.local.environments.cgroups import MemoryGroups
from mu_twisted.local.environments.isolation import MOST_PROCESSES, TASK, counts_by_namespace

_LOOPBACK = "127.0.0.1"
LEVELS = {
    "root": "process and mount namespaces",
    "user": "process and mount namespaces inside a user namespace",
    "none": "no namespaces: TMPDIR only, processes are swept, files may be written wherever this user may",
}


class HostListener(Protocol):
    """What the host notifies of the ends of its environments."""

    def environment_ended(self, name: str, status: int | None, reason: str) -> None:
        """An environment's runtime process has ended.

        :param name: the environment's.
        :param status: exit status, negative for a signal; None where the process never ran.
        :param reason: why it never ran.
        """

    def environment_gone(self, name: str) -> None:
        """No process of an environment is left."""

    def environments_lost(self) -> None:
        """Every environment has ended at once, with the process that forked them."""

    def host_failed(self, failure: Failure) -> None:
        """No environment can be made any more."""


class HostRuntime:
    """Makes environments on this machine.

    :param reactor: for ports, pipes and the zygote.
    :param threads: the pool that blocking work runs in.
    :param run: the directory of everything that is removed with this process.
    :param hidden: the state directory, which no environment is to see.
    :param store: the functions' zips.
    :param listener: is notified of the ends of environments.
    :param region: AWS region that functions see.
    :param keys: access key and secret key of the functions' role.
    :param isolation: ``auto``, ``user`` or ``none``.
    :param plain: start a fresh Python per environment instead of forking a warm one.
    :param cgroups: the memory groups, or None.
    """

    def __init__(
        self,
        reactor: Any,
        threads: ThreadPool,
        run: Path,
        hidden: Path,
        store: FunctionStore,
        listener: HostListener,
        *,
        region: str,
        keys: tuple[str, str],
        isolation: str,
        plain: bool,
        cgroups: MemoryGroups | None,
    ) -> None:
        self._reactor = reactor
        self._threads = threads
        self._run = run
        self._hidden = hidden
        self._store = store
        self._isolation = isolation
        self._plain = plain
        self._cgroups = cgroups
        self._ports: dict[str, LoopbackListener] = {}
        self._by_port: dict[int, Environment] = {}
        self._site = runtime_site(reactor, self._by_port.get)
        self._zygote: ZygoteClient | None = None
        self._isolation_level = "none"
        self._stopping = False
        self._listener = listener
        self._region = region
        self._keys = keys
        self._endpoints: Mapping[str, str] = {}
        self._budget = RestartBudget(10, 10.0)
        for name in ("code", "tmp", "zygote"):
            make_private(run / name)
        if not owners_are_reported():
            raise LocalError(
                "the kernel does not report the owner of a loopback connection (neither sock_diag nor /proc/net/tcp), "
                "so another user could take a function's work: run mu-local where it does, outside this sandbox"
            )
        self._runtime = run / "runtime"
        self._shown = [*link_runtime(self._runtime), str(self._runtime)]

    def set_endpoints(self, endpoints: Mapping[str, str]) -> None:
        """Set the ``AWS_ENDPOINT_URL...`` variables of environments made from now on."""
        self._endpoints = endpoints

    def start(self) -> Deferred[str]:
        """Start the zygote. Fires with one line about the isolation in force."""
        self._zygote = ZygoteClient(
            self._reactor,
            self._run / "zygote",
            self._runtime,
            self._isolation,
            self._listener.environment_ended,
            self._listener.environment_gone,
            self._lost,
        )
        return self._zygote.when_ready().addCallback(self._describe)

    def _describe(self, level: str) -> str:
        self._isolation_level = level
        if self._cgroups is not None:
            memory = f"memory limits by cgroup v{self._cgroups.version}"
        else:
            memory = "memory limits by rlimit, for each process by itself"
        processes = {
            "cgroup": f"{MOST_PROCESSES} processes at most, by cgroup",
            "rlimit": f"{MOST_PROCESSES} processes at most, by rlimit",
            "": "processes are not limited",
        }[self._limit_of_processes()]
        how = "python -m awslambdaric each" if self._plain else "forked from a zygote"
        return f"{LEVELS[level]}; {memory}; {processes}; environments: {how}"

    def _limit_of_processes(self) -> str:
        """What limits them: ``cgroup``, ``rlimit``, or nothing."""
        if self._cgroups is not None and self._cgroups.counts_processes:
            return "cgroup"
        # Elsewhere the limit would be one for all of the user's processes, or, for root, none.
        return "rlimit" if self._isolation_level == "user" and os.geteuid() != 0 and counts_by_namespace() else ""

    def prepare(self, function: Function) -> Deferred[None]:
        """Unpack a function's code, if that has not been done."""
        return deferToThreadPool(self._reactor, self._threads, self._unpack_stored, function)

    def _unpack_stored(self, function: Function) -> None:
        with self._store.zip_path(function.code).open("rb") as package:
            unpack(package, self._root(function.code))

    def unpack(self, package: bytes) -> Deferred[None]:
        """Unpack a package that a function is to have. Fails with an :class:`ApiError` where it will not do."""
        return deferToThreadPool(self._reactor, self._threads, self._unpack_new, package)

    def _unpack_new(self, package: bytes) -> None:
        unpack(io.BytesIO(package), self._root(hashlib.sha256(package).hexdigest()))

    def prepared(self, function: Function) -> bool:
        return self._root(function.code).exists()

    def forget_code(self, used: set[str]) -> None:
        """Remove unpacked code that no function names and no environment runs."""
        for path in (self._run / "code").iterdir():
            if path.name not in used and not path.name.startswith("."):
                self._threads.callInThread(remove_tree, path)

    def _root(self, code: str) -> Path:
        return self._run / "code" / code

    def make(self, environment: Environment) -> Output:
        function = environment.function
        port = LoopbackListener(self._reactor, self._site)
        number = port.port
        self._ports[environment.name] = port
        self._by_port[number] = environment
        temporary = make_private(self._run / "tmp" / environment.name)
        cgroups: list[str] = []
        if self._cgroups is not None:
            cgroups = self._cgroups.create(environment.name, function.memory << 20)
        code = self._root(function.code)
        root = code if self._isolation_level == "none" else Path(TASK)
        reading, writing = os.pipe2(os.O_CLOEXEC)
        output = PipeOutput(self._reactor, reading)
        spec = {
            "id": environment.name,
            "handler": function.handler,
            "root": str(root),
            "runtime": str(self._runtime),
            "tmp": str(temporary),
            "hidden": str(self._hidden),
            "code": str(code),
            "shown": self._shown,
            "cgroups": cgroups,
            "count": self._limit_of_processes() == "rlimit",
            "data": None if cgroups else function.memory << 20,
            "plain": self._plain,
            "env": environment_variables(
                function,
                root=root,
                runtime=self._runtime,
                api=f"{_LOOPBACK}:{number}",
                temporary=str(temporary) if self._isolation_level == "none" else None,
                region=self._region,
                credentials=self._keys,
                endpoints=self._endpoints,
                stream=f"{time.strftime('%Y/%m/%d', time.gmtime())}/[{VERSION}]{environment.name}",
            ),
        }
        assert self._zygote is not None
        self._zygote.spawn(spec, writing)
        return output

    def peak(self, environment: Environment) -> int | None:
        return self._cgroups.peak(environment.name) if self._cgroups is not None else None

    def kill(self, environment: Environment) -> None:
        if self._zygote is not None and self._zygote.alive:
            self._zygote.kill(environment.name)

    def clear(self, environment: Environment) -> None:
        port = self._ports.pop(environment.name, None)
        if port is not None:
            del self._by_port[port.port]
            port.close()
            if self._cgroups is not None:
                self._remove_group(self._cgroups, environment.name, 20)
        if not self._stopping:
            self._threads.callInThread(remove_tree, self._run / "tmp" / environment.name)

    def _remove_group(self, groups: MemoryGroups, name: str, tries: int) -> None:
        if not groups.remove(name) and tries and not self._stopping:
            self._reactor.callLater(0.02, self._remove_group, groups, name, tries - 1)

    def _lost(self) -> None:
        """The zygote was killed; with it every environment. A new one takes over."""
        self._again(Failure(LocalError("the process that forks environments keeps ending")))  # type: ignore[no-untyped-call]

    def _again(self, failure: Failure) -> None:
        self._listener.environments_lost()
        if self._stopping:
            return
        if self._budget.once_more(self._reactor.seconds()):
            # It may be killed again before it is ready.
            self.start().addErrback(self._again)
        else:
            self._listener.host_failed(failure)

    def stop(self) -> Deferred[None]:
        """End every environment."""
        self._stopping = True
        zygote, self._zygote = self._zygote, None
        if zygote is None:
            done: Deferred[None] = Deferred()
            done.callback(None)
            return done
        return zygote.stop()
