"""The errors of the package that are its own."""


class MisuseError(AssertionError, RuntimeError):
    """Something was called in a way or at a time that it cannot be: a mistake of the program's."""


class ServiceGoneError(RuntimeError):
    """The service behind a class has ended; the text says since when, and what to use instead."""
