"""joblib runs its calls by an executor of workers here. It is not imported before it is asked for."""

from collections.abc import Callable
from typing import Any

from mu_twisted.client._arguments import checked
from mu_twisted.client.executor import CallExecutor


@checked
def register_joblib(executor: CallExecutor, name: str = "mu") -> None:
    """Have ``joblib.parallel_config(backend="mu", n_jobs=-1)`` run calls on workers, whose function has joblib in it.

    :param executor: that does them.
    :param name: of the backend.
    """
    from joblib import register_parallel_backend
    from joblib.parallel import ParallelBackendBase

    class WorkerBackend(ParallelBackendBase):  # type: ignore[misc, unused-ignore]
        """Submits joblib's batches of calls."""

        supports_retrieve_callback = True
        uses_threads = False

        def effective_n_jobs(self, n_jobs: int | None) -> int:
            return executor.workers if n_jobs is None or n_jobs < 0 else n_jobs

        def submit(self, func: Callable[[], Any], callback: Callable[[Any], Any] | None = None) -> Any:
            future = executor.submit(func)
            if callback is not None:
                future.add_done_callback(callback)
            return future

        def retrieve_result_callback(self, out: Any) -> Any:
            return out.result()

    register_parallel_backend(name, WorkerBackend)
