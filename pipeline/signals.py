"""SIGINT and SIGTERM over a whole run: before anything is sent they end it, later they only ask it to end."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

_NUMBERS = (signal.SIGINT, signal.SIGTERM)


class InterruptedRunError(BaseException):
    """Someone stopped the run before anything was sent. No library may take it for an error of its own."""

    def __init__(self, number: int) -> None:
        super().__init__("interrupted; nothing was sent")
        self.exit_code = 128 + number


class Signals:
    """What was heard. The second signal ends the process at once; the journal stays true."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._told: Callable[[int], object] | None = None
        self._holding = False

    def hold(self) -> None:
        """From here on a signal interrupts nothing: the run goes on to its report."""
        if self.number is not None:
            raise InterruptedRunError(self.number)
        self._holding = True

    @contextlib.contextmanager
    def telling(self, told: Callable[[int], object]) -> Iterator[None]:
        """Calls `told` with the number of the signal that came since `hold`, or comes meanwhile."""
        self._told = told
        if self.number is not None:
            told(self.number)
        try:
            yield
        finally:
            self._told = None

    def heard(self, number: int, _frame: FrameType | None = None) -> None:
        """The handler."""
        if self.number is not None:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.number = number
        if not self._holding:
            raise InterruptedRunError(number)
        if self._told is not None:
            self._told(number)


@contextlib.contextmanager
def listening() -> Iterator[Signals]:
    """Signals, while the run lasts."""
    signals = Signals()
    before = {number: signal.signal(number, signals.heard) for number in _NUMBERS}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
