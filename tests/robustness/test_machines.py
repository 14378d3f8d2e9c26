"""Machines as they are: a copied folder, a user's own kernels, a home nobody may write in, Windows, half a .venv."""

import os
import shutil
import subprocess
import sys

import nbformat
import pandas as pd
import pytest
from project import TINY, copy_project, surroundings
from test_resources import without_privilege

from strokelib.run.runtime import ROOT

PARAMETERS = 'settings = "demo"'
WRITES = """
import matplotlib.pyplot as plt
import pandas as pd
import strokelib, sys
from strokelib.run.results import start
run = start("04_model", settings)
run.table(pd.DataFrame({"code": [strokelib.__file__], "python": [sys.executable]}), "layers")
run.figure(plt.figure(), "fig2")
run.finish()
"""


def book(path):
    cells = [nbformat.v4.new_code_cell(source) for source in (PARAMETERS, WRITES)]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """A copy of the project whose Python, as that of a copied .venv, imports the original's strokelib."""
    folder = copy_project(tmp_path_factory.mktemp("copy of the project"))
    book(folder / "notebooks" / "04_model.ipynb")
    return folder


@pytest.fixture
def around(tmp_path):
    """Surroundings of a user with a python3 kernel of another Python, in both places where Jupyter looks first."""
    home, share = tmp_path / "home", tmp_path / "share"
    for folder in (home / ".local" / "share" / "jupyter", share):
        (folder / "kernels" / "python3").mkdir(parents=True)
        kernel = '{"argv": ["/bin/false", "{connection_file}"], "display_name": "mine", "language": "python"}'
        (folder / "kernels" / "python3" / "kernel.json").write_text(kernel)
    original = {"PYTHONPATH": str(ROOT), "HOME": str(home), "JUPYTER_PATH": str(share), "JUPYTER_PREFER_ENV_PATH": "0"}
    return surroundings(ROOT) | original


def call(folder, around, *command, **options):
    command = [sys.executable, *map(str, command)]
    told = subprocess.run(command, cwd=folder, env=around, capture_output=True, text=True, timeout=600, **options)
    assert told.returncode == 0, told.stdout[-2000:] + told.stderr[-2000:]
    return told.stderr.strip()


def test_every_tool_of_a_copy_runs_the_copys_code(copied, around):
    show = "import strokelib, sys; print(strokelib.__file__, file=sys.stderr)"
    there = str(copied / "strokelib" / "__init__.py")
    assert call(copied, around, "-c", f"import sys; sys.path.pop(0); {show}") == str(ROOT / "strokelib" / "__init__.py")
    child = [sys.executable, "-c", f"import sys; sys.path.pop(0); {show}"]
    assert call(copied, around, "tools/pinned.py", "demo", *child) == there
    names = ["run", "keep", "redo", "publish_networks", "execute", "workflow", "describe_cohort", "gpu_day", "estimate"]
    names += ["nnunet", "on_published"]
    listed = {path.stem for path in (ROOT / "tools").glob("*.py") if "strokelib" in path.read_text()}
    assert listed - {"ahead", "build_anatomy", "gpu_pieces", "pinned"} <= {*names, *LATER}
    for name in names:
        assert call(copied, around, "-c", f"import sys; sys.path[0] = 'tools'; import {name}; {show}") == there, name


# Their own tests.
LATER = ("check_data", "cluster", "on_gpu", "segment", "own_seen", "make_slabs", "calibrate_volumes", "pages")


def test_a_job_of_the_workflow_and_its_kernel_run_the_copys_code_in_this_python(copied, around):
    """Whatever the user's own kernels; the results lie in the copy, too."""
    options = ["--nolock", "--cores", "1", "--config", f"settings={TINY}"]
    call(copied, around, "tools/workflow.py", "results/tiny/layers.csv", *options)
    table = pd.read_csv(copied / "results" / "tiny" / "layers.csv")
    assert table.code.tolist() == [str(copied / "strokelib" / "__init__.py")]
    assert table.python.tolist() == [sys.executable]


def test_a_home_that_nobody_may_write_in_is_not_needed(copied, around, tmp_path):
    home = tmp_path / "home"
    before = sorted(home.rglob("*"))
    for folder in [home, *(path for path in before if path.is_dir())]:
        folder.chmod(0o555)
    options = ["--cwd", "notebooks", "-k", "python3", "-r", "settings", copied / TINY]
    told = call(
        copied, around, "tools/execute.py", "notebooks/04_model.ipynb", "ran.ipynb", *options,
        preexec_fn=without_privilege,
    )  # fmt: skip
    assert "Error" not in told and (copied / "ran.ipynb").is_file()
    assert sorted(home.rglob("*")) == before and (copied / ".cache").is_dir()


def test_windows_is_told_where_to_run_this():
    there = "contextlib, importlib.metadata, json, os, pathlib, platform, shutil, subprocess, sys, threading"
    pretend = f"import {there}; sys.path[0] = 'tools'; os.name = 'nt'; sys.modules['fcntl'] = None; import run"
    told = subprocess.run([sys.executable, "-c", pretend], cwd=ROOT, capture_output=True, text=True)
    assert told.returncode == 1 and told.stderr.startswith("this runs on Linux and macOS; on Windows run it in WSL")
    assert len(told.stderr.splitlines()) == 1


# make


@pytest.fixture
def makefile(tmp_path):
    """A folder with the Makefile alone, whose locks ask for nothing; pip is one that notes how it was called."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    locks = (f"requirements{part}.lock" for part in ("", "-dicom", "-lab", "-test"))
    for name in (*locks, "pyproject.toml"):
        (tmp_path / name).write_text("")
    return tmp_path


PIP = """
import os, sys
open("pip.txt", "a").write(f"{os.environ.get('PIP_USER')} {' '.join(sys.argv[1:])}\\n")
"""


def make(folder, *words, **around):
    command = ["make", f"PYTHON={sys.executable}", *words]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "PYTHONPATH"))}
    return subprocess.run(command, cwd=folder, env=kept | around, capture_output=True, text=True, timeout=300)


def venv(folder, pip=True):
    """Make .venv as an interrupted call left it: a Python, with a pip of ours or with none."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / ".venv"], check=True)
    if pip:
        (next((folder / ".venv" / "lib").glob("python*")) / "site-packages" / "pip.py").write_text(PIP)


def test_clean_removes_what_it_names_and_nothing_beside_it(makefile):
    """A results folder with a space in its name, and no settings at all."""
    out = makefile / "my disk" / "out"
    for folder in (out / "demo", out / "study", makefile / "my", makefile / "results" / "study"):
        folder.mkdir(parents=True)
    told = make(makefile, "clean", STROKELIB_RESULTS=str(out))
    assert told.returncode == 0, told.stderr
    assert not (out / "demo").exists() and (out / "study").is_dir() and (makefile / "my").is_dir()
    told = make(makefile, "clean", "SETTINGS=")
    assert told.returncode != 0 and "make clean SETTINGS=demo" in told.stderr
    assert (makefile / "results" / "study").is_dir()


def test_a_scan_that_is_not_named_is_asked_for_before_anything_is_installed(makefile):
    told = make(makefile, "segment")
    assert told.returncode != 0 and "name the folder: make segment SCAN=folder" in told.stderr
    assert not (makefile / ".venv").exists()


def test_pip_installs_into_the_venv_whatever_the_user_told_pip(makefile):
    venv(makefile)
    told = make(makefile, ".venv/.run", PIP_USER="1")
    assert told.returncode == 0, told.stderr
    calls = (makefile / "pip.txt").read_text().splitlines()
    assert {line.split()[0] for line in calls if " install " in line} == {"0"}
    assert len([line for line in calls if " install " in line]) == 2 and (makefile / ".venv" / ".run").is_file()


def test_a_venv_without_pip_is_made_again(makefile):
    venv(makefile, pip=False)
    (makefile / ".venv" / "half").write_text("of an interrupted call")
    told = make(makefile, ".venv/.run", "install=true")
    assert told.returncode == 0, told.stderr
    assert not (makefile / ".venv" / "half").exists()
    subprocess.run([makefile / ".venv/bin/python", "-m", "pip", "--version"], check=True, capture_output=True)


def test_a_python_that_makes_no_venv_is_one_sentence_and_leaves_none(makefile):
    broken = makefile / "python"
    broken.write_text(f'#!/bin/sh\n[ "$1" = -m ] && exit 1\nexec {sys.executable} "$@"\n')
    broken.chmod(0o755)
    told = make(makefile, ".venv/.run", f"PYTHON={broken}")
    assert told.returncode != 0
    assert "no .venv could be made; on Debian and Ubuntu: apt install python3-venv" in told.stdout
    assert not (makefile / ".venv").exists()


def test_another_python_is_refused_also_where_a_venv_has_it(makefile):
    (makefile / ".venv" / "bin").mkdir(parents=True)
    old = makefile / ".venv" / "bin" / "python"
    lines = ["import sys", "sys.version_info = (3, 9)", "code, sys.argv = sys.argv[2], sys.argv[2:]", "exec(code)"]
    old.write_text("\n".join([f"#!{sys.executable}", *lines]) + "\n")
    old.chmod(0o755)
    told = make(makefile, ".venv/.run")
    assert told.returncode != 0
    assert "Python 3.11, 3.12 or 3.13 is needed and .venv/bin/python is 3.9; remove .venv if it is there" in told.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone needs the option")
def test_root_may_open_jupyterlab(makefile):
    assert "--allow-root" in make(makefile, "-n", "lab").stdout


def test_a_download_is_checked_first_and_named_to_all(makefile):
    venv(makefile)
    (makefile / "tools").mkdir()
    for name in ("check_data", "run"):
        text = f"import os, sys; print('{name}', os.environ['STROKELIB_DATA'], os.environ.get('FORCE'), *sys.argv[1:])"
        (makefile / "tools" / f"{name}.py").write_text(text)
    told = make(makefile, "isles2018", "DATA=/my scans", "FORCE=1")
    assert told.stdout.splitlines()[-2:] == ["check_data /my scans 1 /my scans isles2018", "run /my scans 1 isles2018"]
    told = make(makefile, "isles2018_small", STROKELIB_DATA="/elsewhere")
    checked = "check_data /elsewhere None /elsewhere isles2018_small"
    assert told.stdout.splitlines()[-2:] == [checked, "run /elsewhere None isles2018_small"]
    told = make(makefile, "isles2018")
    assert told.stdout.splitlines()[-2:] == ["check_data  None data/isles2018 isles2018", "run  None isles2018"]
    told = make(makefile, "beyond", "SETTINGS=isles2018", "DATA=/my scans")
    assert told.stdout.splitlines()[-1] == "run /my scans None isles2018 beyond", "what is made when asked for, too"
    (makefile / "tools" / "check_data.py").write_text("import sys; sys.exit(1)")
    assert make(makefile, "isles2018").returncode != 0, "nothing is begun on data that cannot be used"
