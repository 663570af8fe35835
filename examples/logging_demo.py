"""What the stacks do for a service: who logs what, where it goes, what is kept until it matters.

Run it with ``python -P examples/logging_demo.py``.  It needs nothing but the library,
writes into a temporary folder, and ends by itself.
"""

import asyncio
import json
import logging
import sys
import tempfile
import warnings
from pathlib import Path

from sprockets.logbook import (
    Fields,
    FileHandler,
    FingersCrossedHandler,
    JSONFormatter,
    Logger,
    NestedSetup,
    NullHandler,
    StreamHandler,
)
from sprockets.logbook.compat import redirected_logging, redirected_warnings
from sprockets.logbook.concurrency import ContextThreadPoolExecutor

log = Logger("shop")
stdlib = logging.getLogger("payments")

LAYOUT = "{record.level_name:<7} {record.channel:<12} [{record.extra[request_id]}] {record.message}"


def look_up_price(item: str) -> int:
    """Work in a thread; its records belong to the request all the same."""
    log.debug("looking up {!r}", item)
    return {"tea": 4, "coffee": 5}[item]


async def order(number: int, item: str) -> None:
    """Serve one request, with everything it logs stamped with its id."""
    details = FingersCrossedHandler(StreamHandler(sys.stdout, format_string=LAYOUT))
    with Fields(request_id=f"r{number}"), details:
        loop = asyncio.get_running_loop()
        try:
            price = await loop.run_in_executor(None, look_up_price, item)
        except KeyError:
            stdlib.warning("cache miss for %s", item)
            warnings.warn("prices without a currency are going away", FutureWarning, stacklevel=1)
            log.exception("cannot price {!r}", item)
        else:
            log.info("sold {} for {}", item, price)


async def serve() -> None:
    """Serve three requests at once."""
    asyncio.get_running_loop().set_default_executor(ContextThreadPoolExecutor())
    await asyncio.gather(*(order(n, item) for n, item in enumerate(("tea", "scones", "coffee"), 1)))


def main() -> None:
    """Show it."""
    print("1. Without any set-up, a record is a line on standard error:\n")
    sys.stdout.flush()
    log.warning("only {} left", 2)

    print("\n2. Three requests at once. Each keeps its records back; only the one that fails shows")
    print("   them, those of stdlib logging and of warnings too, with the request's id:\n")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shop.jsonl"
        lines = FileHandler(path)
        lines.formatter = JSONFormatter(["time", "level_name", "channel", "message", "extra"])
        setup = NestedSetup([NullHandler(), lines])
        with setup.applicationbound(), redirected_logging(False), redirected_warnings():
            warnings.simplefilter("always")
            asyncio.run(serve())
            with Fields(request_id="after"):
                log.notice(
                    "outside of a request, a record goes to the file: one JSON object a line"
                )
        lines.close()

        print("\n3. The file has what nobody else took:\n")
        for line in path.read_text().splitlines():
            facts = json.loads(line)
            del facts["time"]
            print(json.dumps(facts))


if __name__ == "__main__":
    main()
