"""A daemon ends without waiting for threads that wait for others."""

import threading

from mu_twisted.daemons._threads import thread_pool


def test_the_end_of_a_pool_waits_for_no_thread_that_is_stuck() -> None:
    pool = thread_pool("test", 2)
    pool.start()
    begun, answered, ended = threading.Event(), threading.Event(), threading.Event()

    def call() -> None:
        begun.set()
        answered.wait()
        ended.set()

    pool.callInThread(call)
    begun.wait()
    pool.stop()  # would never return
    assert all(thread.daemon for thread in pool.threads)  # nor does Python's own end wait for them
    assert not ended.is_set()
    answered.set()
    pool.threads[0].join(180)


def test_a_thread_with_nothing_to_do_is_over_when_its_pool_is() -> None:
    pool = thread_pool("test", 1)
    pool.start()
    done = threading.Event()
    pool.callInThread(done.set)
    done.wait()
    pool.stop()
    pool.threads[0].join(180)
    assert not pool.threads[0].is_alive()
