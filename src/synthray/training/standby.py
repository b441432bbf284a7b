"""A process that has imported torch and the network already, and forks worker processes from itself.

Importing costs seconds of CPU, forking a few hundredths: with one standby on a node a worker that was lost is
back before anybody looks. It computes nothing, since neither OpenMP nor CUDA survives a fork; the threads
that imports start, of allocators and BLAS, have fork handlers of their own. It must not import Ray. It
detaches itself from who starts it, and ends when the process that is its lifeline ends.
"""

import gc
import os
import selectors
import signal
import socket
import sys
import traceback
from fcntl import LOCK_EX, LOCK_NB, flock
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from synthray.training.process_title import set_process_title

SOCKET_NAME, LOCK_NAME = "standby.sock", "standby.lock"

_BACKLOG = 64
_IDLE_SECONDS = 600.0
_PRELOADED = (
    "synthray.training.worker_process",
    "synthray.training.loop",
    "synthray.training.segment",
    "torch.distributed",
    "torch.optim.adamw",
    "pyarrow.dataset",
    "synthray.storage.s3",
)


class Standby:
    """Forks a worker for whoever connects, and remembers how each one ended."""

    def __init__(self, listener: socket.socket, lifeline: int, lock: int) -> None:
        self._listener = listener
        self._lifeline = lifeline
        self._lock = lock
        self._workers: set[int] = set()
        self._ends: dict[int, int] = {}
        self._wake_reading, self._wake_writing = socket.socketpair()

    def serve(self) -> None:
        """Answer until the lifeline's process ends, or nobody has wanted anything for long."""
        self._wake_writing.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_writing.fileno(), warn_on_full_buffer=False)
        with selectors.DefaultSelector() as selector:
            for source in (self._listener, self._wake_reading, self._lifeline):
                selector.register(source, selectors.EVENT_READ)
            while True:
                events = selector.select(_IDLE_SECONDS)
                if not events and not self._workers:
                    return
                for key, _ in events:
                    if key.fileobj is self._lifeline:
                        self._end_workers()
                        return
                    if key.fileobj is self._wake_reading:
                        self._wake_reading.recv(_BACKLOG)
                        self._reap()
                    else:
                        self._answer()

    def _answer(self) -> None:
        accepted, _ = self._listener.accept()
        connection = Connection(accepted.detach())
        try:
            request: dict[str, Any] = connection.recv()
            if "exit_of" in request:
                self._reap()
                connection.send(self._ends.get(request["exit_of"]))
            elif (process_id := os.fork()) == 0:
                self._become_worker(connection, request)
            else:
                self._workers.add(process_id)
        except (EOFError, OSError) as error:
            print(f"standby: a request was lost: {error}", file=sys.stderr)
        finally:
            connection.close()

    def _become_worker(self, connection: Connection, request: dict[str, Any]) -> None:
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for inherited in (self._listener, self._wake_reading, self._wake_writing):
                inherited.close()
            for inherited_handle in (self._lifeline, self._lock):
                os.close(inherited_handle)
            set_process_title(request["title"])
            os.environ.clear()
            os.environ.update(request["environment"])
            log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(log, sys.stdout.fileno())
            os.dup2(log, sys.stderr.fileno())
            code = import_module("synthray.training.worker_process").run_worker(connection)
        except BaseException:  # noqa: BLE001 a forked process must never run on into its parent's code
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._workers.discard(pid)
            self._ends[pid] = os.waitstatus_to_exitcode(status)

    def _end_workers(self) -> None:
        """Workers end by themselves when their pipe closes, but for those that were stopped."""
        for pid in self._workers:
            os.kill(pid, signal.SIGKILL)


def main(directory: Path, lifeline_process_id: int) -> int:
    """Be the standby of `directory`, unless another one is."""
    lock = os.open(directory / LOCK_NAME, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    if os.fork() > 0:
        return 0
    os.setsid()
    try:
        flock(lock, LOCK_EX | LOCK_NB)
        lifeline = os.pidfd_open(lifeline_process_id)
    except (BlockingIOError, ProcessLookupError):
        return 0
    os.ftruncate(lock, 0)
    os.write(lock, str(os.getpid()).encode())
    path = directory / SOCKET_NAME
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(_BACKLOG)
        for module in _PRELOADED:
            import_module(module)
        # What exists now is never collected, so that collecting in a worker copies none of its pages.
        gc.freeze()
        Standby(listener, lifeline, lock).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
