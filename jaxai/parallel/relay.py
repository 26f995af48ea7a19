"""A process's way to the coordination service, which lives in the first process, so that its end can be lived through.

JAX's client aborts the process at the moment at which its connection to the service breaks, before anything can be
said. Here it talks to a relay in its own process, which keeps the client's side open and reports the broken one.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

_WAIT_SECONDS = 10
_CHUNK = 65536


class Relay:
    """Passes on every connection made to `address`, on this machine, to `target`."""

    def __init__(self, target: str, broken: Callable[[], bool], silent_seconds: float):
        host, _, port = target.rpartition(":")
        self._target = host.strip("[]"), int(port)
        self._broken, self._silent = broken, silent_seconds
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, name="jaxai relay", daemon=True).start()

    def _accept(self) -> None:
        while True:
            ours, _ = self._listener.accept()
            try:
                theirs = socket.create_connection(self._target, timeout=_WAIT_SECONDS)
            except OSError:
                ours.close()  # the first process is not there yet: the client tries again
                continue
            theirs.settimeout(None)
            # A machine that has lost its power says nothing: what it does not acknowledge for so long is broken.
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                theirs.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(self._silent * 1000))
            for source, sink in ((ours, theirs), (theirs, ours)):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._pass_on, args=(source, sink, theirs), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, theirs: socket.socket) -> None:
        """Until one side ends; the client hears of the other's end only where `broken` says so."""
        failed = None
        try:
            while chunk := source.recv(_CHUNK):
                failed = sink
                sink.sendall(chunk)
                failed = None
        except OSError:
            failed = failed or source
        if (failed or source) is theirs and not self._broken():
            threading.Event().wait()  # with the client's side open, until this process has ended
        for sock in (source, sink):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
