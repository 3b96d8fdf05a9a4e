"""Child processes that never outlive us, whatever happens to us."""

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
    As subprocess.Popen, but the child gets SIGTERM when we die. Call it from a thread that stays: the kernel takes the
    death of the thread for the death of the parent. A Ctrl-C on the terminal is for us alone, who then stop the child.
    """
    return subprocess.Popen([str(arg) for arg in argv], preexec_fn=_die_with_parent(os.getpid()), process_group=0,
                            **options)


def stop(process: subprocess.Popen, signum: int = signal.SIGTERM, timeout: float = 10) -> int:
    """Sends the signal and waits. Returns the exit status; kills, and says so, what does not leave in time."""
    if process.poll() is None:
        process.send_signal(signum)
    try:
        return process.wait(timeout * SLOWNESS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        name = signal.Signals(signum).name
        raise AssertionError(f"{process.args[0]} ({process.pid}) did not leave within {timeout} s of {name}") from None
