"""Optional libraries: import one, or say how to install it.

Used in the constructor of what needs the library, so that importing our modules needs none:

>>> optional("json", extra="none", needed_by="JSONHandler").dumps({})
'{}'
"""

from importlib import import_module
from types import ModuleType


class MissingDependency(ImportError, RuntimeError):
    """Raised where a library that is an extra cannot be imported; ``name`` is the library's."""


def optional(module: str, *, extra: str, needed_by: str) -> ModuleType:
    """Import *module*, a dotted name, or say which extra brings it.

    Args:
        module: What to import, as in ``redis`` or ``sqlalchemy.orm``.
        extra: The extra of this distribution that installs it.
        needed_by: What the user asked for, as the text should call it.

    Raises:
        MissingDependency: It is not installed, or is and fails to import; the original error is
            the cause.
    """
    try:
        return import_module(module)
    except ImportError as error:
        library = module.partition(".")[0]
        # Installed but broken is another story, and installing it again does not end it.
        missing = isinstance(error, ModuleNotFoundError) and (error.name or "") in _parts(module)
        why = "" if missing else f", which fails to import ({error})"
        raise MissingDependency(
            f"{needed_by} needs {library!r}{why};"
            f" install it with: pip install 'sprockets.http[{extra}]'",
            name=library,
        ) from error


def _parts(module: str) -> set[str]:
    names = module.split(".")
    return {".".join(names[:count]) for count in range(1, len(names) + 1)}
