"""Run a command on a GPU that has room for it: python tools/on_gpu.py SETTINGS COMMAND ...

A GPU takes `compute.folds_at_once` commands at a time, each of which sees it alone, by CUDA_VISIBLE_DEVICES. A place on
a GPU is a locked file among the system's temporary ones, and the lock goes with the command, however that ends: all
runs of a user on this machine share the GPUs. Where all are taken, the command waits. Where the user has set
CUDA_VISIBLE_DEVICES, the GPUs it names alone are handed out. A job of SLURM has its GPU from SLURM, and portable bits
come from the CPU: there, and where there is no GPU, the command runs as it is.
"""

import fcntl
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import ahead  # this copy of the project first

from strokelib.run.settings import load_settings


def gpus() -> list[str]:
    """Name the CUDA devices that may be used, as CUDA_VISIBLE_DEVICES would, without importing torch."""
    if not shutil.which("nvidia-smi"):
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True)
    count = sum(line.startswith("GPU") for line in listed.stdout.splitlines())
    own = os.environ.get("CUDA_VISIBLE_DEVICES")
    if own is None or not count:
        return [str(number) for number in range(count)]
    names = [name.strip() for name in own.split(",")]
    return list(itertools.takewhile(lambda name: name not in ("", "-1"), names))  # as CUDA reads it


def take(names: list[str], folds: int) -> tuple[str, int]:
    """Wait for a place on one of these GPUs, the emptier first; return its name and the open file that holds it."""
    folder = Path(tempfile.gettempdir()) / f"strokelib-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    while True:
        for place, name in itertools.product(range(folds), names):
            file = os.open(folder / f"{name.replace('/', '_')}.{place}", os.O_RDWR | os.O_CREAT)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
            else:
                return name, file
        time.sleep(1)


def main() -> None:
    ahead.explain(__doc__)
    if len(sys.argv) < 3:
        sys.exit("usage: python tools/on_gpu.py SETTINGS COMMAND ...; SETTINGS is a name in configs/ or a .toml file")
    try:
        compute = load_settings(sys.argv[1]).compute
    except (ValueError, OSError) as error:
        sys.exit(f"{error}")
    names = [] if compute.portable or "SLURM_JOB_ID" in os.environ else gpus()
    if names:
        os.environ["CUDA_VISIBLE_DEVICES"], place = take(names, compute.folds_at_once)
        os.set_inheritable(place, True)  # the command holds it on
    try:
        os.execvp(sys.argv[2], sys.argv[2:])
    except OSError as error:
        sys.exit(f"cannot run {sys.argv[2]} ({error.strerror or error})")


if __name__ == "__main__":
    main()
