"""``python -m sprockets.tickets``: serve the tickets of a store, or look after them."""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module

if __name__ == "__main__":
    # By name: commands stand above us.
    main: Callable[[Sequence[str], str], int] = import_module("sprockets.commands.tickets").main
    sys.exit(main(sys.argv[1:], "python -m sprockets.tickets"))
