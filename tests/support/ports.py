"""Ports of this machine for servers that tests start, stop and start again: nobody else gets them in between."""

import socket


def reserved(port: int = 0) -> socket.socket:
    """A socket that keeps `port` of 127.0.0.1, or a free one, without listening there; `getsockname` tells which.

    Until it is closed, the kernel gives the port to no other socket that asks for any port. Clients are refused. A
    server with SO_REUSEADDR, which all of ours set, can listen there, as often as it likes (socket(7), ip(7)).
    """
    keeper = socket.socket()
    try:
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        keeper.bind(("127.0.0.1", port))
    except OSError:
        keeper.close()
        raise
    return keeper


def free_port() -> int:
    """A port that nobody listens on, kept for as long as this process lives: its server may take seconds to start."""
    keeper = reserved()
    port = int(keeper.getsockname()[1])
    keeper.detach()
    return port
