"""The end of a daemon."""

from twisted.internet.defer import Deferred, succeed

from mu_twisted.daemons._start import close_in_turn


def test_each_step_waits_for_the_one_before_and_none_for_its_success() -> None:
    done: list[str] = []
    waiting: Deferred[None] = Deferred()

    def first() -> Deferred[None]:
        done.append("first")
        return waiting

    def fail() -> None:
        done.append("fail")
        raise OSError("no space left")

    async def coroutine() -> None:
        await succeed(None)
        done.append("awaited")

    over: list[None] = []
    closing = Deferred.fromCoroutine(close_in_turn(first, fail, coroutine, lambda: done.append("last")))
    closing.addCallback(over.append)
    assert done == ["first"]
    waiting.errback(RuntimeError("nobody there"))
    assert done == ["first", "fail", "awaited", "last"]
    assert over == [None]
