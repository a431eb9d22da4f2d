"""Programs in processes of their own, forked from one that has imported torch: most of what a new Python would do."""

from __future__ import annotations

import atexit
import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

SERVER = """
import json, os, sys
{before}
import torch
for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if not child:
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    sys.exit()
for number, name in (("0", os.devnull), ("1", asked["stdout"]), ("2", asked["stderr"])):
    os.dup2(os.open(name, os.O_RDWR), int(number))
os.chdir(asked["cwd"])
inherited = [path for path in sys.path if path not in os.environ.get("PYTHONPATH", "").split(os.pathsep) + [""]]
os.environ.clear()
os.environ.update(asked["env"])
sys.path[:] = ["", *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)), *inherited]
sys.argv = asked["argv"]
exec(compile(asked["program"], "<string>", "exec"), {{"__name__": "__main__"}})
"""
"""Its child leaves the loop and goes on as ``python -c program`` would: what ends that, ends it."""


class Forks:
    """A Python that has imported torch, after whatever ``before`` says, and forks for each program."""

    def __init__(self, before: str = "") -> None:
        command = [sys.executable, "-c", SERVER.format(before=before)]
        self.server = subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        atexit.register(self.close)

    def close(self) -> None:
        """Let it end."""
        assert self.server.stdin is not None
        self.server.stdin.close()
        self.server.wait()

    def run(
        self, program: str, *arguments: str, cwd: Path | None = None, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """What ``python -c program arguments`` puts out, in the folder ``cwd``, with ``env`` in the environment too."""
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        with tempfile.TemporaryDirectory() as folder:
            out, err = (Path(folder) / name for name in ("stdout", "stderr"))
            out.touch()
            err.touch()
            asked = {
                "program": program, "argv": ["-c", *arguments], "cwd": str(cwd or Path.cwd()),
                "env": os.environ | (env or {}), "stdout": str(out), "stderr": str(err),
            }  # fmt: skip
            self.server.stdin.write(json.dumps(asked) + "\n")
            self.server.stdin.flush()
            code = int(self.server.stdout.readline())
            return subprocess.CompletedProcess(["python"], code, out.read_text(), err.read_text())


@functools.cache
def forks() -> Forks:
    """One for all tests of a process."""
    return Forks()


def python(
    program: str, *arguments: str, cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """As :meth:`Forks.run`."""
    return forks().run(program, *arguments, cwd=cwd, env=env)


def module(
    name: str, *arguments: str, cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """What ``python -m name arguments`` puts out."""
    program = f"import runpy; runpy.run_module({name!r}, run_name='__main__', alter_sys=True)"
    return python(program, *arguments, cwd=cwd, env=env)
