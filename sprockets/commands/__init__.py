"""Commands: what the command line can do."""

__all__: list[str] = []
