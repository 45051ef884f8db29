"""Connection to a Dask cluster, limits of its tasks, and errors of lost clusters."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from spikelca.utils.optional import require
from spikelca.utils.system import single_blas_thread

TIMEOUT = 10
"""Seconds until a scheduler must respond and have a worker."""


@contextmanager
def single_threaded() -> Iterator[None]:
    """Limit a task to one thread while the block runs.

    A worker runs as many tasks in parallel as it has threads. Tasks with further threads would
    compete for the same cores.
    """
    from spikelca.engines.numba.jit.parallel import limit_threads

    with limit_threads(1), single_blas_thread():
        yield


@contextmanager
def connect(scheduler: str | None) -> Iterator[None]:
    """Use a cluster while the block runs.

    Parameters
    ----------
    scheduler : str or None
        Address of a scheduler (``tcp://HOST:PORT``), or ``local:N`` for N processes on this machine
        that accept local connections only. If None, the threads of this process.

    Yields
    ------
    None

    Raises
    ------
    ValueError
        If ``scheduler`` has another form.
    ConnectionError
        If the scheduler does not respond, or has no worker.
    ImportError
        If Dask is not installed.

    Examples
    --------
    >>> import dask.array
    >>> from spikelca.distributed import connect
    >>> with connect(None):
    ...     float(dask.array.ones((4, 2), chunks=2).sum().compute())
    8.0
    """
    if scheduler is None:
        require("dask.array", "dask")
        yield
        return
    distributed = require("distributed", "dask")
    kind, _, rest = scheduler.partition(":")
    with ExitStack() as stack:
        # A circuit with its Gram matrix may be large; Dask would warn of it.
        quiet = {"distributed.admin.large-graph-warning-threshold": "4 GiB"}
        stack.enter_context(require("dask", "dask").config.set(quiet))
        if kind == "local":
            cluster = stack.enter_context(_local(distributed, scheduler, rest))
            stack.enter_context(distributed.Client(cluster))
        else:
            stack.enter_context(_client(distributed, scheduler))
        yield


def _local(distributed: Any, scheduler: str, count: str) -> Any:
    if not count.isdecimal() or int(count) < 1:
        raise ValueError(
            "scheduler must be local:N with N worker processes, or the address of a scheduler "
            f"(tcp://HOST:PORT), got {scheduler!r}."
        )
    return distributed.LocalCluster(
        n_workers=int(count),
        threads_per_worker=1,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        scheduler_kwargs={"dashboard": False},
        silence_logs=logging.ERROR,
    )


@contextmanager
def _client(distributed: Any, address: str) -> Iterator[None]:
    try:
        client = distributed.Client(address, timeout=TIMEOUT)
    except (OSError, ValueError) as error:
        raise ConnectionError(
            f"The Dask scheduler {address} does not respond ({error}). Start one with: dask "
            f"scheduler; and workers with: dask worker {address}; or use local:N."
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=TIMEOUT)
        except TimeoutError as error:
            raise ConnectionError(
                f"The Dask scheduler {address} has no worker. Start some with: dask worker "
                f"{address}"
            ) from error
        yield


@contextmanager
def translate_errors() -> Iterator[None]:
    """Translate the errors of a lost cluster into built-in exceptions.

    Raises
    ------
    ConnectionError
        If the connection to the scheduler is lost.
    ChildProcessError
        If several workers failed on the same task.
    """
    try:
        yield
    except Exception as error:
        if _raised_by(error, "distributed.client") or _raised_by(error, "distributed.comm"):
            raise ConnectionError(
                f"The connection to the Dask scheduler is lost ({_first_line(error)}). Start it "
                "and its workers again. Use resume=True to continue from a checkpoint."
            ) from error
        if _raised_by(error, "distributed.scheduler"):
            raise ChildProcessError(
                f"Several workers failed on the same task ({_first_line(error)}). The usual cause "
                "is insufficient memory: use smaller chunks, or fewer threads per worker."
            ) from error
        raise


def compute(collections: Sequence[Any], progress: bool = False) -> Sequence[Any]:
    """Compute collections, with a progress bar on a terminal if ``progress``."""
    dask = require("dask", "dask")
    with translate_errors(), ExitStack() as stack:
        if progress and sys.stderr.isatty():
            if _has_client():
                collections = dask.persist(*collections)
                sys.modules["distributed"].progress(collections, notebook=False)
            else:
                stack.enter_context(require("dask.diagnostics", "dask").ProgressBar(out=sys.stderr))
        results: Sequence[Any] = dask.compute(*collections)
    return results


def _has_client() -> bool:
    if "distributed" not in sys.modules:
        return False
    with suppress(ValueError):
        sys.modules["distributed"].default_client()
        return True
    return False


def _raised_by(error: Exception, module: str) -> bool:
    return module in sys.modules and type(error).__module__.startswith(module)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
