"""Child processes that never outlive us, however we end."""

import ctypes
import os
import signal
import subprocess

from . import SLOWNESS

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1


def _die_with_parent(parent: int):
    def prepare() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    return prepare


def start(argv: list, **options) -> subprocess.Popen:
    """
    Like subprocess.Popen, but the child gets SIGTERM when we die. Must be called from a thread that keeps running,
    because the kernel signals the death of the thread, not of the process. Ctrl-C on the terminal only reaches us, and
    we stop the child.
    """
    return subprocess.Popen([str(arg) for arg in argv], preexec_fn=_die_with_parent(os.getpid()), process_group=0,
                            **options)


def stop(process: subprocess.Popen, signum: int = signal.SIGTERM, timeout: float = 10) -> int:
    """
    Sends the signal and waits. Returns the exit status. A process that does not exit in time is killed, which is
    reported.
    """
    if process.poll() is None:
        process.send_signal(signum)
    try:
        return process.wait(timeout * SLOWNESS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        name = signal.Signals(signum).name
        raise AssertionError(f"{process.args[0]} ({process.pid}) did not leave within {timeout} s of {name}") from None
