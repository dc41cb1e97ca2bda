"""Start and end the process that decodes (:mod:`llaso_data.audio.decode_child`)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress

from llaso_data.errors import LLaSOError

_EXIT_WAIT_S = 1.0  # for a process to be gone after it has closed its pipe
_KILL_WAIT_S = 10.0  # for a killed process to be gone
_THREAD_COUNTS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")  # the child multiplies no matrices
_MODULE = "llaso_data.audio.decode_child"

COMMAND = f"{os.path.basename(sys.executable)} -m {_MODULE}"
"""What messages tell a user to try."""


def start(memory_mb: int) -> subprocess.Popen[bytes]:
    """Start a decoding process.

    It is a new interpreter, not a fork, because we have threads. It finds its modules where we find ours.

    Args:
        memory_mb: MiB that the decoders may take beyond what the process has after its imports.

    Raises:
        LLaSOError: where the system starts no process.
    """
    environment = {**os.environ, **dict.fromkeys(_THREAD_COUNTS, "1"), "PYTHONSAFEPATH": "1", "MALLOC_ARENA_MAX": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
    command = [sys.executable, "-m", _MODULE, str(os.getpid()), str(memory_mb)]
    # Ctrl-C reaches all processes of a terminal, but this one has to end with its parent. It inherits our signal mask.
    old_mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    try:
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, bufsize=0, close_fds=True
        )
    except OSError as error:
        raise LLaSOError(f"the decoding process cannot be started: {error}") from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old_mask)


def reap(process: subprocess.Popen[bytes]) -> int:
    """Wait for a process that is ending, kill it where it does not end, and collect it.

    A process that the kernel cannot end, because it waits for a disk, is left behind; ``subprocess`` collects it later.

    Returns:
        Its exit code; below 0 the signal that ended it, as ``subprocess`` counts.
    """
    with suppress(subprocess.TimeoutExpired):
        return process.wait(_EXIT_WAIT_S)
    process.kill()
    with suppress(subprocess.TimeoutExpired):
        return process.wait(_KILL_WAIT_S)
    return -signal.SIGKILL


def terminate(process: subprocess.Popen[bytes], owner: int) -> None:
    """Close the pipes of a process, kill it, and leave no zombie.

    Args:
        process: the child.
        owner: the process that started it, by its number. A fork of that process closes only its copies of the pipes.
    """
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
    if owner == os.getpid() and process.returncode is None:
        with suppress(OSError):
            process.kill()
        reap(process)
