"""Logbook 1.10, the real one, writing and reading a store of tickets; run as a program.

python logbook_store.py URI write NUMBER    each on a channel of its own, three on the first
python logbook_store.py URI again           one more on the first channel
python logbook_store.py URI list            tickets and their occurrences, in JSON
python logbook_store.py URI remove ID
"""

import json
import sys


def warn(number):
    import logbook

    logbook.Logger(f"channel {number}").warning("hello {0}", number, extra={"number": number})


def main(uri, what, argument=None):
    from logbook.ticketing import TicketingHandler

    handler = TicketingHandler(uri)
    with handler:
        if what == "write":
            for number in [0, 0, *range(int(argument))]:
                warn(number)
        elif what == "again":
            warn(0)
    if what == "remove":
        handler.db.delete_ticket(int(argument))
    if what == "list":
        print(
            json.dumps(
                [
                    {
                        "channel": ticket.channel,
                        "count": ticket.occurrence_count,
                        "solved": ticket.solved,
                        "level": ticket.level_name,
                        "messages": [found.message for found in ticket.get_occurrences()],
                    }
                    for ticket in handler.db.get_tickets(order_by="ticket_id", limit=5_000)
                ]
            )
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
