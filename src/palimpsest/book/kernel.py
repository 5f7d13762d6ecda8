"""The kernel in which a run executes a notebook: this Python, and it dies with the run.

A kernel found by name may belong to another environment, so the run names the interpreter itself.
A run that is killed must not leave a kernel behind that still writes to its folder; on Linux the
kernel asks the system to be killed with its parent, elsewhere ipykernel's own poller notices.
"""

import ctypes
import os
import runpy
import signal
import sys

PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Have the system kill this process when the one that started it ends (Linux)."""
    parent = int(os.environ.get("JPY_PARENT_PID") or 0)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent and os.getppid() != parent:
        # It ended before the request was made.
        os._exit(1)


if __name__ == "__main__":
    die_with_parent()
    runpy.run_module("ipykernel_launcher", run_name="__main__", alter_sys=True)
