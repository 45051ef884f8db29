"""Ctrl-C during callbacks from C code.

Python raises ``KeyboardInterrupt`` at the current position of the main thread. If this is a
callback from C code (Numba's cache uses some while it loads a kernel), the exception cannot be
caught: Python reports it as ignored and the command would continue. Such an interrupt is sent again
shortly afterwards, when the callback has returned.
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
"""Seconds until a lost interrupt is sent again; longer than a callback."""


@contextmanager
def reraise_lost_interrupts() -> Iterator[None]:
    """Resend interrupts that were lost in a callback, inside this context."""
    previous_hook = sys.unraisablehook

    def hook(unraisable: Any, /) -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            threading.Timer(RESEND_DELAY, _resend).start()
        else:
            previous_hook(unraisable)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = previous_hook


def _resend() -> None:
    if hasattr(signal, "pthread_kill"):  # unlike interrupt_main, a signal ends a blocking call
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        _thread.interrupt_main()
