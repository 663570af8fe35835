"""A library: it logs, and leaves to the program what becomes of that.

Everything it says goes through the loggers of one group.  A program that wants more of it, or
nothing, says so to the group: ``teapot.logs.level = "DEBUG"``, ``teapot.logs.disabled = True``.
"""

from teapot._logs import logs
from teapot._pots import Pot, measure_quietly

__all__ = ["Pot", "logs", "measure_quietly"]
