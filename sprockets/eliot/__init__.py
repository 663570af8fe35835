"""Actions: messages in a tree of cause and effect, across tasks, threads and processes."""

__all__: list[str] = []
