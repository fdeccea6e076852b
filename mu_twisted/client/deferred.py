"""This module is the client in Twisted: what methods of a client, a job or an executor return comes by a Deferred.

They are called in the reactor's threads, and none of them holds the reactor.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

from mu_twisted.client.executor import CallExecutor

T = TypeVar("T")


def deferred(reactor: Any, work: Callable[..., T], *arguments: Any, **options: Any) -> "Deferred[T]":
    """What a blocking method returns, such as ``deferred(reactor, mu.map, "date", each=["a"])``.

    :param reactor: Twisted's, which runs.
    :param work: a method of a client or a job, which is called with the other arguments in a thread.
    """
    return deferToThreadPool(reactor, reactor.getThreadPool(), work, *arguments, **options)


def call(reactor: Any, executor: CallExecutor, function: Callable[..., T], *arguments: Any) -> "Deferred[T]":
    """What a worker's call of a function returns. Cancelling the Deferred gives up a call that is not sent yet.

    :param reactor: Twisted's, which runs.
    :param executor: that has it called.
    :param function: and its arguments: as for :meth:`CallExecutor.submit`.
    """
    future = executor.submit(function, *arguments)

    def cancel() -> None:
        future.cancel()

    found: Deferred[T] = Deferred(lambda _: cancel())

    def fire() -> None:
        if found.called:
            return
        error = future.exception()
        found.callback(future.result()) if error is None else found.errback(error)

    def done(_: object) -> None:
        if not future.cancelled():
            reactor.callFromThread(fire)

    future.add_done_callback(done)
    return found
