"""``python -m sprockets.http``: serve an application."""

import sys

from sprockets.http._command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
