"""A client of Redis that finds the master by Redis Sentinel, as a process; standard library only.

    python3 -m lab.redis_client FILE SENTINEL [SENTINEL ...]

sends 50 SETs a second on one connection, and writes a line for each to FILE:
``ok|failed BEGAN SECONDS HOST``. After a failure it asks for the master again.
"""

import socket
import sys
import time

PORT, SENTINEL_PORT = 6379, 26379
EVERY_S, PATIENCE_S, SENTINEL_PATIENCE_S = 0.02, 1.0, 0.3


class Connection:
    """One connection to a server, with a deadline for each answer."""

    def __init__(self, host, port, patience_s):
        self._sock = socket.create_connection((host, port), timeout=patience_s)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._sock.makefile("rb")

    def call(self, *words):
        """Send one command; return its answer. OSError where there is none, or an error."""
        parts = [f"${len(word)}\r\n{word}\r\n" for word in words]
        self._sock.sendall(f"*{len(words)}\r\n{''.join(parts)}".encode())
        return self._answer()

    def _answer(self):
        line = self._file.readline()
        if line[:1] not in (b"+", b"$", b"*", b":"):
            raise OSError(line)
        if line[:1] == b"*":
            return [self._answer() for _ in range(int(line[1:]))]
        if line[:1] == b"$":
            return self._file.read(int(line[1:]) + 2)[:-2].decode()
        return line[1:].strip().decode()

    def close(self):
        """Close it."""
        self._sock.close()


def master(sentinels):
    """Return the master's address, from the first Redis Sentinel that answers."""
    for host in sentinels:
        try:
            asked = Connection(host, SENTINEL_PORT, SENTINEL_PATIENCE_S)
            answer = asked.call("SENTINEL", "get-master-addr-by-name", "m")
            asked.close()
            return answer[0]
        except OSError:
            continue
    return ""


def main():
    """Send until the machine ends."""
    file, *sentinels = sys.argv[1:]
    connection, host, due = None, "", time.time()
    with open(file, "w", encoding="ascii", buffering=1) as out:
        while True:
            due = max(due + EVERY_S, time.time() - PATIENCE_S)  # no more is made up for
            time.sleep(max(0, due - time.time()))
            began = time.time()
            try:
                if not connection:
                    host = master(sentinels)
                    connection = Connection(host, PORT, PATIENCE_S)
                connection.call("SET", "key", str(began))
                word = "ok"
            except OSError:
                word = "failed"
                connection = connection and connection.close()
            print(word, began, time.time() - began, host or "-", file=out)


if __name__ == "__main__":
    main()
