"""pymongo, imported when a name of it is first used: it is an extra, and takes its time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sprockets._support.optional import optional

if TYPE_CHECKING:
    import bson
    import pymongo
    from pymongo import errors
else:

    class _Library:
        def __init__(self, module: str) -> None:
            self._module = module

        def __getattr__(self, name: str) -> Any:
            library = optional(self._module, extra="mongodb", needed_by="MongoDBBackend")
            found = getattr(library, name)
            setattr(self, name, found)
            return found

    bson = _Library("bson")
    pymongo = _Library("pymongo")
    errors = _Library("pymongo.errors")

__all__ = ["bson", "errors", "pymongo"]
