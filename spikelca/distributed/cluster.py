"""Where tasks run: a scheduler is found, or it is said why not; and what a task may take."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from spikelca.utils.optional import require
from spikelca.utils.system import single_blas_thread

TIMEOUT = 10
"""Seconds in which a scheduler must answer, and have a worker."""


@contextmanager
def single_threaded() -> Iterator[None]:
    """A context in which a task computes in its own thread only.

    A worker runs as many tasks side by side as it has threads. Each with a pool of its own would
    take the cores of the others.
    """
    from spikelca.engines.numba.jit.parallel import limit_threads

    with limit_threads(1), single_blas_thread():
        yield


@contextmanager
def connect(scheduler: str | None) -> Iterator[None]:
    """Work on a cluster as long as the block lasts.

    Parameters
    ----------
    scheduler : str or None
        The address of a scheduler (``tcp://HOST:PORT``), or ``local:N`` for N processes of this
        machine, which listen to nobody else. None: the threads of this process.

    Yields
    ------
    None

    Raises
    ------
    ValueError
        If the words name no scheduler.
    ConnectionError
        If the scheduler does not answer, or has no worker.
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
        # Who calls this knows how much is sent.
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
            f"scheduler is {scheduler!r}; local:N with N worker processes, or the address of a "
            "scheduler (tcp://HOST:PORT), was awaited."
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
            f"The Dask scheduler {address} does not answer ({error}). Start one with: dask "
            f"scheduler; and workers with: dask worker {address}; or take local:N."
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
    """A context in which the loss of a cluster is told in words.

    Raises
    ------
    ConnectionError
        If the scheduler is gone.
    ChildProcessError
        If a task took one worker after the other with it.
    """
    try:
        yield
    except Exception as error:
        if _raised_by(error, "distributed.client") or _raised_by(error, "distributed.comm"):
            raise ConnectionError(
                f"The Dask scheduler is gone ({_first_line(error)}). Start it and its workers "
                "again; a learning with a checkpoint goes on from it by resume=True."
            ) from error
        if _raised_by(error, "distributed.scheduler"):
            raise ChildProcessError(
                f"Workers died over one and the same piece of work ({_first_line(error)}). Most "
                "often their memory is too small: take smaller chunks, or fewer threads a worker."
            ) from error
        raise


def compute(collections: Sequence[Any], progress: bool = False) -> Sequence[Any]:
    """Compute, and show on a terminal how far it is, if asked."""
    dask = require("dask", "dask")
    with translate_errors(), ExitStack() as stack:
        if progress and sys.stderr.isatty():
            if _has_client():
                collections = dask.persist(*collections)
                sys.modules["distributed"].progress(collections, notebook=False)
            else:
                stack.enter_context(require("dask.diagnostics", "dask").ProgressBar(out=sys.stderr))
        found: Sequence[Any] = dask.compute(*collections)
    return found


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
