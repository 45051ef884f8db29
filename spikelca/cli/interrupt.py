"""Ctrl-C is never lost.

Python raises ``KeyboardInterrupt`` wherever the main thread happens to be. Where that is a
callback out of C (the compiler's cache calls back so while a kernel is loaded), nobody can catch
it: Python says that it was ignored and the command would go on. Here such an interrupt is sent
again a moment later, when the callback is behind.
"""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

RESEND_DELAY = 0.05
"""Seconds until a lost interrupt is sent again; callbacks are shorter."""


@contextmanager
def reraise_lost_interrupts() -> Iterator[None]:
    """While inside, an interrupt that fell into a callback comes again."""
    before = sys.unraisablehook

    def hook(lost: Any, /) -> None:
        if issubclass(lost.exc_type, KeyboardInterrupt):
            threading.Timer(RESEND_DELAY, _resend).start()
        else:
            before(lost)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


def _resend() -> None:
    if hasattr(signal, "pthread_kill"):  # a true signal also ends a wait, as the first one would
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        _thread.interrupt_main()
