"""A disk that is full or may not be written to, a GPU too small or missing, two runs at once, half a download.

Each ends with one error that names the file and says what to do, leaves nothing half written, and the next run goes on.
"""

import ctypes
import dataclasses
import fcntl
import os
import re
import resource
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from project import TINY, copy_project, surroundings
from test_damaged import head, write_scan
from test_settings import tool
from test_training import job, train, world  # noqa: F401, the fixture

from strokelib import cases, inference, nifti, preprocess, submission
from strokelib.inference import Sweep
from strokelib.network import Network
from strokelib.phantom import cohort
from strokelib.run import runtime
from strokelib.run.results import start
from strokelib.run.runtime import ROOT
from strokelib.run.saved import write_figure, write_table
from strokelib.run.settings import load_settings
from strokelib.stack import stack_scans

COHORT = dataclasses.replace(
    load_settings(runtime.ROOT / TINY).cohort, training_patients=1, testing_patients=1, jobs=1
)
NETWORK = Network(5)
FULL = r"cannot write .*{}.*\(No space left on device\); make room"


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """The folder of a data set of one scan, and the scan prepared."""
    root = tmp_path_factory.mktemp("one")
    write_scan(root, head())
    write_scan(root, head(), 1, split="TESTING", first_id=9500)
    files = cases.find_cases(root, "TRAINING")[0]
    return root, files, preprocess.preprocess_case(cases.load_case(files), device="cpu")


def save_zip(path, files):
    """Write a submission whose one mask is there already, so that the zip is what is written."""
    submission.write_submission([np.zeros((64, 64, 2), bool)], [files], path.parent, "test")


WRITERS = {
    "table.csv": lambda path, files, p: write_table(path, pd.DataFrame({"a": range(9000)})),
    "figure.png": lambda path, files, p: write_figure(path, Figure()),
    "case_7.npz": lambda path, files, p: preprocess.save_preprocessed(path, p),
    "map.nii.gz": lambda path, files, p: nifti.save_map(path, p.provided[0], files.reference, np.float32),
    "map.nii": lambda path, files, p: nifti.save_map(path, p.provided[0], files.reference, np.float32),
    "network.safetensors": lambda path, files, p: inference.save_network(path, NETWORK, {"digest": "of a test"}),
    "submission.zip": lambda path, files, p: save_zip(path, files),
}
each_writer = pytest.mark.parametrize("name", WRITERS)


def full_disk(path):
    """Let the temporary file of `write_whole` be one that no byte fits in."""
    path.with_name(f".{os.getpid()}.part.{path.name}").symlink_to("/dev/full")


@each_writer
def test_a_full_disk_is_one_error_and_leaves_the_old_file(name, scan, tmp_path):
    _, files, p = scan
    path = tmp_path / name
    WRITERS[name](path, files, p)
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    assert len(before[name]) > 200
    full_disk(path)
    with pytest.raises(OSError, match=FULL.format(re.escape(str(path)))) as error:
        WRITERS[name](path, files, p)
    assert error.value.errno == 28
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == before
    path.unlink()
    WRITERS[name](path, files, p)
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == before, "the next run goes on"


def limited(size, *command):
    """Run python in a process in which no file may grow above `size` bytes: what is written is cut off there."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=runtime.ROOT,
        env=surroundings(runtime.ROOT),
        capture_output=True,
        text=True,
        timeout=300,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )


COHORT_SCRIPT = """
import sys
from strokelib.phantom import cohort
from strokelib.run.settings import load_settings
import dataclasses
tiny = load_settings("tests/tiny.toml").cohort
cohort.make_cohort(sys.argv[1], dataclasses.replace(tiny, training_patients=1, testing_patients=1, jobs=1))
"""


def test_a_cohort_cut_off_in_the_middle_of_a_file_is_finished_by_the_next_run(tmp_path):
    told = limited(20_000, "-c", COHORT_SCRIPT, str(tmp_path / "a"))
    assert told.returncode != 0
    last = told.stderr.strip().splitlines()[-1]
    assert re.search(r"cannot write .*case_1.*\(File too large\); make room", last)
    there = [p.name for p in (tmp_path / "a").rglob("*") if p.is_file()]
    assert not [name for name in there if ".part." in name] and "phantom.json" not in there
    cohort.make_cohort(tmp_path / "a", COHORT)
    cohort.make_cohort(tmp_path / "b", COHORT)
    one, other = ({p.relative_to(r): p.read_bytes() for p in r.rglob("*") if p.is_file()} for r in
                  (tmp_path / "a", tmp_path / "b"))  # fmt: skip
    assert one == other and len(one) > 15


def test_a_training_on_a_full_disk_goes_on_from_its_last_whole_epoch(world, tmp_path, monkeypatch):  # noqa: F811
    undisturbed, todo = job(tmp_path / "a"), job(tmp_path / "b")
    steps = train(world, undisturbed)
    usual, kept = inference.write_whole, []

    def fills_up(path, write):
        kept.append(path)
        if len(kept) == 2:
            full_disk(path)
        return usual(path, write)

    monkeypatch.setattr(inference, "write_whole", fills_up)
    with pytest.raises(OSError, match=FULL.format("network.checkpoint.safetensors")):
        train(world, todo)
    assert [p.name for p in todo.folder.iterdir()] == ["network.checkpoint.safetensors"]
    monkeypatch.undo()
    assert len(train(world, todo)) == len(steps) * 2 // 3, "one of three epochs was whole"
    for file in ("network.safetensors", "network.checkpoint.safetensors"):
        assert (todo.folder / file).read_bytes() == (undisturbed.folder / file).read_bytes()


def without_privilege():
    """Take from root what lets it write everywhere; from anyone else there is nothing to take."""
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP: what is started next lacks it


def read_only(folder, *command):
    """Run python while nothing may be written in the folder and below; root may not either."""
    folders = [folder, *(p for p in folder.rglob("*") if p.is_dir())]
    for path in folders:
        path.chmod(0o555)
    try:
        return subprocess.run(
            [sys.executable, *map(str, command)],
            cwd=folder.parent,
            env=surroundings(runtime.ROOT),
            capture_output=True,
            text=True,
            timeout=300,
            preexec_fn=without_privilege,
        )
    finally:
        for path in folders:
            path.chmod(0o755)


def test_a_read_only_folder_is_read_only_here(tmp_path):
    (tmp_path / "held").mkdir()
    told = read_only(tmp_path / "held", "-c", "open('held/file', 'w')")
    assert told.returncode != 0 and "PermissionError" in told.stderr


READ = """
import sys
from pathlib import Path
from strokelib import cases, nifti, preprocess
root, out = map(Path, sys.argv[1:])
usable, bad = preprocess.check_cases(root)
assert bad.empty, bad.problem[0]
for files in usable["TRAINING"] + usable["TESTING"]:
    p = preprocess.preprocess_case(cases.load_case(files), device="cpu")
    preprocess.save_preprocessed(out / f"{files.folder.parent.name}_{p.number}.npz", p)
    nifti.save_map(out / f"{p.number}.nii.gz", p.provided[0], files.reference, "float32")
"""


def stamps(root):
    """Return what changes when something is written, made or removed anywhere below."""
    return {p: (p.lstat().st_mtime_ns, p.lstat().st_size) for p in (root, *root.rglob("*"))}


def test_the_users_scans_are_read_where_nothing_may_be_written(scan, tmp_path):
    root = shutil.copytree(scan[0], tmp_path / "data")
    before = stamps(root)
    told = read_only(root, "-c", READ, root, tmp_path / "out")
    assert told.returncode == 0, told.stderr
    assert len(list((tmp_path / "out").iterdir())) == 4 and stamps(root) == before


@pytest.mark.parametrize("name", ["case_1.npz", "deep/case_1.npz"])
def test_results_that_may_not_be_written_are_named(name, scan, tmp_path):
    (tmp_path / "results").mkdir()
    save = "import sys; from pathlib import Path; from strokelib.run.runtime import write_whole\n"
    save += "write_whole(Path(sys.argv[1]), lambda path: path.write_text('whole'))"
    path = tmp_path / "results" / name
    told = read_only(tmp_path / "results", "-c", save, path)
    assert told.returncode != 0 and not any((tmp_path / "results").rglob("*"))
    last = told.stderr.strip().splitlines()[-1]
    assert last.startswith("PermissionError") and f"cannot write {path} (Permission denied); make room" in last


def test_a_cohort_where_nothing_may_be_written_says_so_or_is_there(tmp_path):
    (tmp_path / "data").mkdir()
    script = COHORT_SCRIPT.replace("tests/tiny.toml", str(runtime.ROOT / TINY))
    told = read_only(tmp_path / "data", "-c", script, "data")
    assert told.returncode != 0 and not any((tmp_path / "data").iterdir())
    assert "cannot write data/.synthetic (Permission denied)" in told.stderr.strip().splitlines()[-1]
    cohort.make_cohort(tmp_path / "data", COHORT)
    before = stamps(tmp_path / "data")
    script = COHORT_SCRIPT.replace("tests/tiny.toml", str(runtime.ROOT / TINY))
    told = read_only(tmp_path / "data", "-c", script, "data")
    assert told.returncode == 0, told.stderr
    assert stamps(tmp_path / "data") == before


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return copy_project(tmp_path_factory.mktemp("project"))


def test_a_log_on_a_full_disk_stops_the_run_and_all_it_started(project):
    """The log is the first that the front door writes; snakemake would run on with nobody to follow it."""
    log, published = project / "results" / "tiny" / "snakemake.log", {*project.rglob("cohort.csv")}
    log.parent.mkdir(parents=True)
    log.symlink_to("/dev/full")
    told = run_study(project)
    assert told.returncode == 1
    last = told.stderr.splitlines()[-1]
    assert last.startswith("stopped: cannot write ") and "results/tiny (No space left on device)" in last
    assert "Traceback" not in told.stderr
    log.unlink()
    with open(project / "results/tiny/.lock") as file:  # free: snakemake held it, too
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert {*project.rglob("cohort.csv")} == published


def run_study(project, **options):
    command = [sys.executable, "tools/run.py", TINY]
    around = surroundings(project)
    return subprocess.run(command, cwd=project, env=around, capture_output=True, text=True, timeout=300, **options)


def test_a_results_folder_that_may_not_be_written_is_one_line(project):
    (project / "results" / "tiny").mkdir(parents=True, exist_ok=True)
    (project / "results" / "tiny").chmod(0o555)
    (project / "results").chmod(0o555)
    try:
        told = run_study(project, preexec_fn=without_privilege)
    finally:
        (project / "results").chmod(0o755)
        (project / "results" / "tiny").chmod(0o755)
    assert told.returncode == 1 and told.stdout == ""
    assert re.fullmatch(r"stopped: cannot write \S+results/tiny/\S+ \(Permission denied\); .*\n", told.stderr)


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path, monkeypatch):
    door = tool("run")
    monkeypatch.setattr(runtime, "ROOT", tmp_path)
    settings = load_settings(runtime.__file__.replace("strokelib/run/runtime.py", TINY))
    gone = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, gone.pid, os.WEXITED | os.WNOWAIT)  # ended, but its number is still taken
    folders = [settings.results / "rt" / "fold0", settings.results / "figures", settings.data_root / ".truth"]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / f".{gone.pid}.part.case_1.npz").write_text("half")
        (folder / f".{os.getpid()}.part.case_2.npz").write_text("being written")
        (folder / f".{os.getpid()}.part.case_3.npz").write_text("older than this process, which has the number again")
        os.utime(folder / f".{os.getpid()}.part.case_3.npz", (1, 1))
        (folder / "case_1.npz").write_text("whole")
        (folder / ".x.part.y").write_text("of somebody else")
    door.clear(settings)
    for folder in folders:
        assert sorted(p.name for p in folder.iterdir()) == sorted(
            [f".{os.getpid()}.part.case_2.npz", ".x.part.y", "case_1.npz"]
        )
    other = dataclasses.replace(settings, data=dataclasses.replace(settings.data, source="isles2018"))
    gone.wait()
    for folder in folders:
        (folder / f".{gone.pid}.part.case_1.npz").write_text("half, and the number is free again")
    door.clear(other)
    left = [(folder / f".{gone.pid}.part.case_1.npz").is_file() for folder in folders]
    assert left == [False, False, True], "a folder of the user's own data is not touched"


def test_a_notebook_beside_a_run_may_write_the_same_file_at_once(tmp_path, monkeypatch):
    """A notebook takes no lock: each of the two writes a file of its own, and the last whole one stays."""
    path, own = tmp_path / "table.csv", os.getpid()

    def write(temporary):
        temporary.write_text("the run's, half")
        monkeypatch.setattr(os, "getpid", lambda: own + 1)
        runtime.write_whole(path, lambda other: other.write_text("the notebook's, whole"))
        assert path.read_text() == "the notebook's, whole"
        temporary.write_text("the run's, whole")

    runtime.write_whole(path, write)
    assert path.read_text() == "the run's, whole"
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]


def too_large(*_, **__):
    raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def test_a_gpu_too_small_for_a_batch_predicts_by_a_smaller_one_and_logs_it(scan, monkeypatch, caplog):
    """The same bits as with that batch from the start, every fold and pass; memory fails in the middle of a scan."""
    p, networks, usual = scan[2], [Network(10), Network(10)], Network.deterministic
    how, small = (Sweep(8, passes=3, batch_size=number) for number in (40, 10))
    keep, sizes = ("spread", "each"), []
    expected = inference.predict(networks, p.images, p.mask, small, runtime.rng(0), keep=keep)

    def deterministic(self, batch):
        sizes.append(len(batch))
        return too_large() if len(batch) > 10 and len(sizes) > 1 else usual(self, batch)

    monkeypatch.setattr(Network, "deterministic", deterministic)
    found = inference.predict(networks, p.images, p.mask, how, runtime.rng(0), keep=keep)
    assert sizes[:4] == [40, 40, 20, 10]
    assert [record.getMessage() for record in caplog.records] == [
        f"the GPU's memory is too small for {n} patches at a time, taking {n // 2}" for n in (40, 20)
    ]
    for name in ("probability", "spread", "each"):
        assert np.array_equal(getattr(found, name), getattr(expected, name)) and getattr(found, name).any()


def test_a_gpu_too_small_for_a_single_patch_or_a_slice_is_told_so(scan, monkeypatch, caplog):
    p, network = scan[2], Network(10)
    told = r"the GPU's memory is too small for one scan; end what else uses it, or set device = 'cpu'"
    with monkeypatch.context() as patched:
        patched.setattr(Network, "deterministic", too_large)
        with pytest.raises(RuntimeError, match=told):
            inference.predict([network], p.images, p.mask, Sweep(32))
        assert caplog.messages[-1].endswith("too small for 2 patches at a time, taking 1")
        with pytest.raises(RuntimeError, match=told):
            inference.predict_slices([network], p.images, p.mask)
    caplog.clear()
    monkeypatch.setattr(inference, "_stack", too_large)  # no smaller batch helps a scan that finds no room
    with pytest.raises(RuntimeError, match=told):
        inference.predict([network], p.images, p.mask, Sweep(32))
    assert not caplog.messages


def test_a_gpu_too_small_to_train_is_told_what_to_set_and_goes_on(world, tmp_path, monkeypatch):  # noqa: F811
    undisturbed, todo = job(tmp_path / "a"), job(tmp_path / "b")
    steps = train(world, undisturbed)
    usual = Network.forward

    def forward(self, images, kept=None):
        return too_large() if todo.checkpoint_file.exists() else usual(self, images, kept=kept)

    monkeypatch.setattr(Network, "forward", forward)
    with pytest.raises(RuntimeError, match=r"too small to train on batches of 16 .* set compute\.folds_at_once = 1"):
        train(world, todo)
    assert [p.name for p in todo.folder.iterdir()] == ["network.checkpoint.safetensors"]
    monkeypatch.undo()
    assert 0 < len(train(world, todo)) < len(steps)
    assert todo.network_file.read_bytes() == undisturbed.network_file.read_bytes()


def test_a_gpu_too_small_for_the_scans_is_told_what_to_set(scan, monkeypatch):
    monkeypatch.setattr(torch, "zeros", too_large)
    with pytest.raises(RuntimeError, match=r"too small for all 2 scans; .*compute\.resident = 'float16'"):
        stack_scans([scan[2], scan[2]], True, "cpu")


def test_a_gpu_asked_for_where_there_is_none_is_refused_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(runtime, "ROOT", tmp_path)
    path = shutil.copy(ROOT / TINY, tmp_path)
    with pytest.raises(ValueError, match="'cuda' was asked for but torch sees no GPU; use device='cpu'"):
        start("05_crossvalidation", str(path), "cuda", "rt", 0)
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.toml"]


@pytest.fixture
def download(tmp_path):
    """A download of someone's own scans, packed: eight for training and two for testing."""
    for number in range(1, 9):
        write_scan(tmp_path / "packed", head((32, 32, 1)), number, first_id=9000 + 10 * number)
    for number in (1, 2):
        write_scan(tmp_path / "packed", head((32, 32, 1)), number, split="TESTING", first_id=9500 + 10 * number)
    with zipfile.ZipFile(tmp_path / "data.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted((tmp_path / "packed").rglob("*.*")):
            if path.is_file():
                file.write(path, path.relative_to(tmp_path / "packed"))
    return tmp_path / "data.zip", tmp_path / "data"


def unpack(archive, folder, names=None):
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder, names and [n for n in file.namelist() if names(n)])


def test_a_download_that_is_still_packed_is_told_where_to_go(download):
    archive, folder = download
    folder.mkdir()
    shutil.copy(archive, folder)
    with pytest.raises(FileNotFoundError, match=r"no folder TRAINING in .*data.*data/README\.md tells how"):
        preprocess.check_cases(folder)


def test_a_download_that_was_cut_off_cannot_be_unpacked(download):
    archive, folder = download
    archive.write_bytes(archive.read_bytes()[:-3000])
    with pytest.raises(zipfile.BadZipFile):
        unpack(archive, folder)


def test_a_folder_unpacked_by_half_names_what_is_missing_and_what_is_cut_off(download):
    archive, folder = download
    unpack(archive, folder, lambda name: not re.search(r"case_[35]/|case_7/.*(MTT|OT)", name))
    (path,) = folder.glob("TRAINING/case_6/*CT_CBF*/*.nii")
    path.write_bytes(path.read_bytes()[:1000])
    usable, bad = preprocess.check_cases(folder)
    assert [files.number for files in usable["TRAINING"]] == [1, 2, 4, 8]
    assert bad.case.tolist() == [6, 7] and set(bad.split) == {"TRAINING"}, "3 and 5 are not there"
    for row, part in zip(bad.itertuples(), ("cannot read", "no MTT, no OT"), strict=True):
        assert f"case_{row.case}" in row.problem and part in row.problem
        assert re.search("unpack the download again|replace the file", row.problem)
    unpack(archive, folder)
    assert preprocess.check_cases(folder)[1].empty, "unpacked again, all is there"


def test_a_scan_of_the_synthetic_cohort_that_was_removed_is_made_again(tmp_path, monkeypatch):
    two = dataclasses.replace(COHORT, training_patients=2)
    cohort.make_cohort(tmp_path, two)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    shutil.rmtree(tmp_path / "TRAINING" / "case_2")
    assert not cohort.finished(tmp_path, two)
    progress = list(cohort.iter_cohort(tmp_path, two))
    assert len(progress) == 1, "the others stay"
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    shutil.rmtree(tmp_path / "TRAINING" / "case_1")
    usual = cohort._write_image

    def write_image(path, *rest):
        if "_MTT." in path.name:
            raise KeyboardInterrupt
        usual(path, *rest)

    monkeypatch.setattr(cohort, "_write_image", write_image)
    with pytest.raises(KeyboardInterrupt):
        cohort.make_cohort(tmp_path, two)
    monkeypatch.undo()
    assert (tmp_path / "TRAINING" / "case_1").is_dir() and not cohort.finished(tmp_path, two)
    cohort.make_cohort(tmp_path, two)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
