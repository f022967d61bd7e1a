"""Commands, each in a process of its own that does not have to import torch again.

Processes are forked from one that has imported the package and done nothing else; what they run is
the function that the installed script calls.
"""

import gc
import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from ssvae.cli import COMMANDS

SCRIPT = str(Path(sys.executable).with_name("ssvae"))
os.environ["COLUMNS"] = "200"  # of all that is started here
# Options of `train tiny` that make it take a second.
TINY = [
    "--batch-size",
    "2",
    "--model.z-dim",
    "4",
    "--model.base-channels",
    "8",
    "--clip.height",
    "16",
    "--clip.width",
    "16",
]
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["tyro", *{f"ssvae.cli.{command.module}" for command in COMMANDS.values()}]
)


def _run(words: list[str], output: str, folder: str) -> None:
    with open(output, "w") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    gc.freeze()  # what was imported before it was forked
    signal.signal(signal.SIGINT, signal.default_int_handler)  # not ignored, as in the background
    os.chdir(folder)
    sys.argv = ["ssvae", *words]
    from ssvae.cli import main

    main()


def started(*words, folder: Path) -> tuple[ForkServerProcess, Path]:
    """A command that runs in a folder now, and the file of what it says."""
    count = len(list(folder.parent.glob(f"{folder.name}-said-*")))
    said = folder.with_name(f"{folder.name}-said-{count}")
    said.touch()
    process = CONTEXT.Process(target=_run, args=(list(map(str, words)), str(said), str(folder)))
    process.start()
    return process, said


def status_and_output(*words, folder: Path) -> tuple[int, str]:
    """A command in a folder: its status, and what it says."""
    process, said = started(*words, folder=folder)
    process.join()
    assert process.exitcode is not None
    return process.exitcode, said.read_text()


def wait_until(true: Callable[[], bool], process: ForkServerProcess) -> None:
    """Until something holds that a process that goes on is to bring about."""
    deadline = time.monotonic() + 240
    while not true():
        assert process.exitcode is None, "it has ended"
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.05)


def status_of_code(code: str, folder: Path) -> tuple[int, str]:
    """The same of lines of Python, with the folder tests/ to import from."""
    script = folder / "lines.py"
    script.write_text(code)
    said = folder / "lines-said"
    process = CONTEXT.Process(target=_run_script, args=(str(script), [], str(said), {}))
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode, said.read_text()


def launch(script: Path, *words, processes: int = 2, **environment: str) -> str:
    """What a script says that runs in several processes, as torchrun would start them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        started, outputs = [], [Path(folder) / str(rank) for rank in range(processes)]
        for rank, output in enumerate(outputs):
            ranks = dict(RANK=rank, LOCAL_RANK=rank)
            sizes = dict(WORLD_SIZE=processes, LOCAL_WORLD_SIZE=processes)
            around = ranks | sizes | dict(MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
            around = (around if processes > 1 else {}) | environment
            given = {name: str(value) for name, value in around.items()}
            arguments = str(script), list(map(str, words)), str(output), given
            started.append(CONTEXT.Process(target=_run_script, args=arguments))
            started[-1].start()
        for process in started:
            process.join(timeout=240)
        said = "".join(output.read_text() for output in outputs)
        for process in started:
            process.kill()
        assert [process.exitcode for process in started] == [0] * processes, said
    return said


def _run_script(script: str, words: list[str], output: str, environment: dict[str, str]) -> None:
    with open(output, "w") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    gc.freeze()
    os.environ |= environment
    sys.argv = [script, *words]
    runpy.run_path(script, run_name="__main__")


def installed(*words) -> str:
    """What the installed script says."""
    return _said([SCRIPT, *words])


def torchrun(*words) -> str:
    """What a command says that torchrun starts twice."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return _said([sys.executable, *launcher, "-m", "ssvae", *words])


def _said(command) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
