"""Kernels that fork from one Python with the chapters' libraries in it, and so start at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from jupyter_client import AsyncKernelManager
from jupyter_client.provisioning import LocalProvisioner

FORKING = """
import json, os, signal, sys
import cfgtoy.explorers, cfgtoy.plotting, ipykernel.kernelapp, torch._dynamo  # which torch's optimizers import
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how a kernel ended
for line in sys.stdin:
    asked = json.loads(line)
    if not (kernel := os.fork()):
        break
    print(kernel, flush=True)
else:
    sys.exit()
signal.signal(signal.SIGCHLD, signal.SIG_DFL)
os.setsid()
for number in (0, 1):
    os.dup2(os.open(os.devnull, os.O_RDWR), number)
os.chdir(asked["cwd"])
os.environ.update(asked["env"] | {"JPY_PARENT_PID": str(os.getppid())})  # with which it ends
sys.argv, sys.path[:0] = asked["argv"], [""]
ipykernel.kernelapp.launch_new_instance()
"""
"""A kernel leaves its loop. What forks must have one thread, hence one for each of the libraries' pools."""

LOCK = threading.Lock()


@cache
def forking() -> subprocess.Popen[str]:
    """The Python that forks, until this one ends."""
    one = {"MPLBACKEND": "module://matplotlib_inline.backend_inline", "OMP_NUM_THREADS": "1"}
    command, pipe = [sys.executable, "-c", FORKING], subprocess.PIPE
    return subprocess.Popen(command, env=os.environ | one, text=True, stdin=pipe, stdout=pipe)


class Kernel:
    """What a provisioner asks of the process of a kernel, whose number is that of its group."""

    stdin = stdout = stderr = None

    def __init__(self, argv: list[str], cwd: str, env: dict[str, str]) -> None:
        with LOCK:
            server = forking()
            assert server.stdin is not None
            assert server.stdout is not None
            print(json.dumps({"argv": argv, "cwd": cwd, "env": env}), file=server.stdin, flush=True)
            self.pid = int(server.stdout.readline())

    def poll(self) -> int | None:
        """None while it runs."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return 0
        return None

    wait = poll

    def send_signal(self, number: int) -> None:
        """To a kernel that has ended meanwhile, none."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)


class Provisioner(LocalProvisioner):
    """Forks where its parent class would start a program."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
        self.cwd = kwargs.get("cwd", Path.cwd())
        self.process = Kernel(["kernel", *cmd[cmd.index("-f") :]], str(self.cwd), kwargs["env"])
        self.pid = self.pgid = self.process.pid
        return self.connection_info


class Manager(AsyncKernelManager):
    """For ``nbclient``'s ``kernel_manager_class``."""

    async def _async_pre_start_kernel(self, **kwargs: Any) -> Any:
        self.provisioner = Provisioner(kernel_id=str(id(self)), kernel_spec=self.kernel_spec, parent=self)
        return await super()._async_pre_start_kernel(**kwargs)
