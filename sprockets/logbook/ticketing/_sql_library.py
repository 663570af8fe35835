"""SQLAlchemy, imported when a name of it is first used: it is an extra, and takes its time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sprockets._support.optional import optional

if TYPE_CHECKING:
    import sqlalchemy as sa
    from sqlalchemy.dialects import mysql, postgresql, sqlite
else:

    class _Library:
        def __init__(self, module: str) -> None:
            self._module = module

        def __getattr__(self, name: str) -> Any:
            library = optional(self._module, extra="sqlalchemy", needed_by="SQLAlchemyBackend")
            found = getattr(library, name)
            setattr(self, name, found)
            return found

    sa = _Library("sqlalchemy")
    mysql = _Library("sqlalchemy.dialects.mysql")
    postgresql = _Library("sqlalchemy.dialects.postgresql")
    sqlite = _Library("sqlalchemy.dialects.sqlite")

__all__ = ["mysql", "postgresql", "sa", "sqlite"]
