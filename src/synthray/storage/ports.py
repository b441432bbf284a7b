"""Ports of this machine's loopback that nobody listens on."""

import secrets
import socket

from synthray.errors import Unavailable

# Below the range from which the kernel draws the ports of outgoing connections, so that none of those takes
# one between its choice here and the server's start.
_FIRST, _LAST = 20_000, 32_000
_TRIES = 1000


def is_free_port(port: int, *, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def choose_free_ports(count: int) -> list[int]:
    """`count` different free ports, at random, so that servers started at once seldom choose the same."""
    chosen: set[int] = set()
    for _ in range(_TRIES):
        if len(chosen) == count:
            return sorted(chosen)
        port = secrets.randbelow(_LAST - _FIRST) + _FIRST
        if is_free_port(port):
            chosen.add(port)
    raise Unavailable(f"no {count} free ports between {_FIRST} and {_LAST} on 127.0.0.1; end some servers")
