"""tools/on_gpu.py on pretended devices: who gets which GPU, and when a place is free again."""

import os
import shutil
import signal
import subprocess
import sys
import time

import on_gpu
import pytest
from project import TINY, call, copy_project
from test_settings import tool

from strokelib.run.runtime import ROOT
from strokelib.run.settings import load_settings

# A command that says which GPU it sees, in a file of its own, and goes on until it is let go.
HOLD = """
import os, pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
(folder / f"{os.getpid()}.sees").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", "all"))
while not (folder / "go").exists():
    time.sleep(0.02)
"""


@pytest.fixture
def box(tmp_path, monkeypatch):
    """Return a function that pretends so many GPUs, with places of their own to lock."""
    for name in ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "bin").mkdir()
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def pretend(count):
        lines = "\n".join(f"GPU {n}: Pretended (UUID: GPU-{n})" for n in range(count))
        fake = tmp_path / "bin" / "nvidia-smi"
        fake.write_text(f"#!/bin/sh\ncat <<END\n{lines}\nEND\n")
        fake.chmod(0o755)

    return pretend


@pytest.fixture
def start(tmp_path):
    """Return a function that starts a command on a GPU and one that waits for what so many of them see."""
    (tmp_path / "held").mkdir()
    (tmp_path / "hold.py").write_text(HOLD)
    started = []

    def begin(settings="tests/tiny.toml"):
        command = [sys.executable, str(ROOT / "tools" / "on_gpu.py"), settings]
        command += [sys.executable, str(tmp_path / "hold.py"), str(tmp_path / "held")]
        started.append(subprocess.Popen(command, cwd=ROOT))
        return started[-1]

    def seen(count):
        while len(found := list((tmp_path / "held").glob("*.sees"))) < count:
            assert all(process.poll() is None for process in started if process.returncode is None)
            time.sleep(0.05)
        time.sleep(0.1)  # written
        return {int(path.stem): path.read_text() for path in found}

    yield begin, seen
    (tmp_path / "held" / "go").touch()
    for process in started:
        process.wait(30)


@pytest.mark.parametrize(
    ("own", "found"),
    [
        (None, ["0", "1", "2"]),
        ("2,0", ["2", "0"]),
        ("GPU-7a, GPU-9b", ["GPU-7a", "GPU-9b"]),
        ("", []),
        ("-1", []),
        ("1,-1,2", ["1"]),
    ],
)
def test_the_gpus_are_those_of_the_box_or_those_the_user_names(own, found, box, monkeypatch):
    box(3)
    if own is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", own)
    assert on_gpu.gpus() == found


def test_without_a_gpu_nothing_is_named(box, monkeypatch):
    box(0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert on_gpu.gpus() == []


def test_each_fold_sees_a_gpu_of_its_own_and_the_next_waits_for_the_first_that_is_free(box, start):
    box(3)
    begin, seen = start
    folds = [begin() for _ in range(3)]
    held = seen(3)
    assert sorted(held.values()) == ["0", "1", "2"] and held.keys() == {process.pid for process in folds}
    fourth = begin()
    time.sleep(2.5)
    assert len(seen(3)) == 3, "it waits"
    folds[1].send_signal(signal.SIGKILL)
    folds[1].wait()
    assert seen(4)[fourth.pid] == held[folds[1].pid]


def test_a_gpu_of_the_users_choice_takes_as_many_folds_as_the_settings_say(box, start, tmp_path, monkeypatch):
    box(4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    text = (ROOT / "tests" / "tiny.toml").read_text()
    (tmp_path / "two.toml").write_text(text.replace("folds_at_once = 1", "folds_at_once = 2"))
    begin, seen = start
    first = [begin(str(tmp_path / "two.toml")) for _ in range(2)]
    assert sorted(seen(2).values()) == ["1", "3"], "the emptier GPU first"
    rest = [begin(str(tmp_path / "two.toml")) for _ in range(2)]
    assert sorted(seen(4).values()) == ["1", "1", "3", "3"] and len(first + rest) == 4


@pytest.mark.parametrize(("job", "settings", "sees"), [("7", "tests/tiny.toml", "5"), (None, "demo", "5,6")])
def test_a_job_of_slurm_and_portable_bits_are_left_as_they_are(job, settings, sees, box, start, monkeypatch):
    """SLURM has chosen; and what runs on the CPU takes no place from others."""
    box(8)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", sees)
    if job:
        monkeypatch.setenv("SLURM_JOB_ID", job)
    begin, seen = start
    begin(settings)
    assert [*seen(1).values()] == [sees]
    assert not any(os.scandir(os.environ["TMPDIR"]))


def test_the_command_line_refuses_in_one_line(tmp_path):
    wrong = (["dmeo", "true"], "settings are one of ['demo'"), (["demo", "nosuch"], "cannot run nosuch (No such file")
    for arguments, part in (([], "usage: python tools/on_gpu.py"), *wrong):
        command = [sys.executable, str(ROOT / "tools" / "on_gpu.py"), *arguments]
        told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert told.returncode == 1 and part in told.stderr and len(told.stderr.splitlines()) == 1


def test_the_workflow_puts_one_fold_on_each_of_two_gpus(box, tmp_path):
    """By the command of tools/run.py, in a project whose notebooks are pretended (tests/pretended.py)."""
    box(2)
    project = copy_project(tmp_path / "project")
    shutil.copy(ROOT / "tests" / "pretended.py", project / "tools" / "execute.py")
    (project / "two_gpus").touch()
    folds = [f"{variant}/fold{fold}" for variant in ("rt", "rt_sm") for fold in (0, 1)]
    command = tool("run").command(TINY, load_settings(ROOT / TINY), "", None, 2)
    assert command[-4:-1] == ["--resources", "gpu=2", "--cores"]
    targets = [f"results/tiny/{fold}/predictions.csv" for fold in folds]
    told = call(project, *command[1:2], *targets, *command[2:-1], "8")
    assert told.returncode == 0, told.stderr[-3000:]
    started = [line.split() for line in (project / "started").read_text().splitlines()]
    seen = {fold: gpu for name, fold, gpu in (line for line in started if len(line) == 3)}
    assert seen.keys() == {*folds} and set(seen.values()) == {"0", "1"}
    assert not [line for line in started if line[0] != "05_crossvalidation" and line[-1] != "None"]
