"""The loggers of the library, and the group that steers them."""

from sprockets.logbook import WARNING, Logger, LoggerGroup

brewing = Logger("teapot.brewing")
measuring = Logger("teapot.measuring")

logs = LoggerGroup([brewing, measuring], level=WARNING)
"""Quiet by default: what is below a warning is for those who ask for it."""
