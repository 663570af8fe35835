"""One process writes what many log: three tills, one file that is rolled over, nothing lost.

Run it with ``python -P examples/collected.py``.  It writes into a temporary folder, and ends by
itself.  A service does the same with ``run(..., settings={"collector": "logging.toml"})``; several
machines, with ``sprockets collect``.
"""

import multiprocessing
import sys
import tempfile
from pathlib import Path

from sprockets.logbook import Logger, StreamHandler, setups
from sprockets.logbook.collecting import Collector, source_from_url
from sprockets.logbook.delivery import Spool
from sprockets.logbook.queues import ReliableZeroMQHandler

TILLS = 3
SALES = 200

log = Logger("till")


def sell(folder: str, number: int) -> None:
    """Be a till: all that it logs goes to the collector, and to a folder while that is away."""
    handler = ReliableZeroMQHandler(f"ipc://{folder}/socket", spool=Spool(f"{folder}/spool"))
    with handler.applicationbound():
        for sale in range(SALES):
            log.info("till {} sold item {}", number, sale)
    handler.close()


def main() -> None:
    """Sell, collect, and look at what has been written."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        setup = setups.load(
            {
                "setups": {"default": {"handlers": ["sales"]}},
                "handlers": {
                    "sales": {
                        "class": "rotating_file",
                        "filename": str(folder / "sales.log"),
                        "max_size": 8000,
                        "backup_count": 20,
                    }
                },
            }
        )
        source = source_from_url(f"zmq+reliable://{folder}/socket")
        spawn = multiprocessing.get_context("spawn")
        tills = [spawn.Process(target=sell, args=(name, number)) for number in range(TILLS)]
        with Collector([source], setup) as collector:
            for till in tills:
                till.start()
            for till in tills:
                till.join()
        setup.close()
        lines = [
            line
            for path in folder.glob("sales*.log*")
            for line in path.read_text("utf-8").splitlines()
            if " sold item " in line
        ]
        counts = collector.statistics()
        with StreamHandler(sys.stdout, format_string="{record.message}"):
            log.info("received {received}, duplicates {duplicates}, gaps {gaps}", **counts)
            log.info("{} lines in {} files", len(lines), len(list(folder.glob("sales*.log*"))))
        assert len(set(lines)) == TILLS * SALES, "a sale is lost"


if __name__ == "__main__":
    main()
