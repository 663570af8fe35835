"""What a peer in trouble looks like: a relay before it that can be made to behave badly.

Usage: ``python -P _relay.py HOST PORT``

Prints its own port, and reads from standard input what it is to be: ``fine``, ``slow`` (four
kilobytes each five milliseconds), ``black hole`` (takes connections, and nothing that they bring)
or ``dead`` (connections end, and new ones are refused).
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time

PIECE = 4096
PAUSE = 0.005
ROOM = 65_536
"""Bytes that the kernel keeps for who does not read."""


class Relay:
    def __init__(self, host: str, port: int) -> None:
        self.there = (host, port)
        self.server = socket.create_server(("127.0.0.1", 0), backlog=1000)
        self.server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)
        self.mood = "fine"
        self.kept: list[socket.socket] = []

    def accept(self) -> None:
        while True:
            near, _ = self.server.accept()
            self.kept.append(near)
            if self.mood == "black hole":
                continue
            far = socket.create_connection(self.there)
            self.kept.append(far)
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self.pump, args=(source, sink), daemon=True).start()

    def pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while True:
                while self.mood == "black hole":
                    time.sleep(PAUSE)
                data = source.recv(PIECE if self.mood == "slow" else ROOM)
                if not data:
                    break
                if self.mood == "slow":
                    time.sleep(PAUSE)
                sink.sendall(data)
        except OSError:
            pass
        for each in (source, sink):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


def main() -> None:
    relay = Relay(sys.argv[1], int(sys.argv[2]))
    threading.Thread(target=relay.accept, daemon=True).start()
    print(relay.server.getsockname()[1], flush=True)
    for line in sys.stdin:
        relay.mood = line.strip()
        if relay.mood == "dead":
            os._exit(0)
        print(relay.mood, flush=True)


if __name__ == "__main__":
    main()
