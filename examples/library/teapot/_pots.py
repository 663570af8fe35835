"""What the library is for."""

import logging

from sprockets.logbook import NullHandler
from sprockets.logbook.compat import redirected_logging
from teapot._logs import brewing, measuring

# A library below ours, which says more than anybody wants to know.
_noisy = logging.getLogger("thermometer")


class Pot:
    """Makes tea.

    Args:
        size: Cups that it holds.
    """

    def __init__(self, size: int) -> None:
        self.size: int = size
        # A logger of each pot's own: its records say which pot it was.
        self._log = brewing.bind(pot_size=size)

    def brew(self, cups: int) -> int:
        """Fill *cups*, and return how many that were."""
        self._log.debug("asked for {} cups", cups)
        if cups > self.size:
            self._log.warning("{} cups asked for, {} there", cups, self.size)
        return min(cups, self.size)


def measure_quietly() -> float:
    """Return the temperature, without what the thermometer has to say."""
    with NullHandler(), redirected_logging():
        temperature = _read_thermometer()
    measuring.debug("{} degrees", temperature)
    return temperature


def _read_thermometer() -> float:
    _noisy.warning("this thermometer was calibrated by somebody else")
    return 96.5
