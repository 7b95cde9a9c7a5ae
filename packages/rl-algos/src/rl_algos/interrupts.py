"""Ctrl-C and SIGTERM: the iteration under way is finished, so that what is saved can be resumed."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """While it is entered, a first signal is noted in `asked`, a second raises KeyboardInterrupt.

    Outside of the main thread signals go where they went before.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) != signal.SIG_IGN:  # as `nohup` and `&` ask for
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        # Not print: it may be what was interrupted.
        os.write(2, b"\nending after this iteration; once more ends at once, without saving\n")
