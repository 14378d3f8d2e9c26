"""A copy of the project that a test may run, edit and spoil."""

import os
import shutil
import subprocess
import sys

from strokelib.run.runtime import ROOT

TINY = "tests/tiny.toml"
TIMEOUT_S = 2400  # of a whole tiny study on a machine that is busy with others


def surroundings(folder):
    """Return the environment in which python imports the copy's strokelib."""
    left_out = ("STROKELIB_DATA", "STROKELIB_RESULTS", "MPLBACKEND")
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    return kept | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}


def call(folder, *command):
    """Run python with these arguments in the copy, which imports the copy's strokelib."""
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=folder,
        env=surroundings(folder),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )


def copy_project(folder):
    """Copy what a run needs: no results, no scans, no environment."""
    for name in ("strokelib", "notebooks", "configs", "profiles", "tools", "figures", "networks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    scans = ("synthetic", "isles2018", "isles2024", "*.zip", "hospital")  # anybody's
    shutil.copytree(ROOT / "data", folder / "data", ignore=shutil.ignore_patterns(*scans))
    shutil.copy(ROOT / "Snakefile", folder)
    (folder / "tests").mkdir()
    shutil.copy(ROOT / TINY, folder / TINY)
    return folder


def edited(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
