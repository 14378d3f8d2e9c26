"""The command that segments scans: many in one call, what it says, and what it does with those that cannot be used."""

import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import nibabel as nib
import own_scans
import pandas as pd
import pytest
import segment

from strokelib.own import segment as own
from strokelib.own.scan import DISCLAIMER
from strokelib.run.runtime import ROOT


def command(*words, where=ROOT):
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "segment.py", *map(str, words)], cwd=where, capture_output=True, text=True
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    """Three scans, of which the second lacks a map."""
    folder = tmp_path_factory.mktemp("hospital")
    own_scans.write(folder / "a")
    for name in ("b", "c"):
        shutil.copytree(folder / "a", folder / name)
    (folder / "b" / "mtt.nii").unlink()
    return folder


@pytest.fixture(scope="module")
def done(hospital, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    return (*command(hospital, "--out", out), out)


def test_those_that_can_be_used_are_segmented_and_the_other_is_named(done):
    status, said, told, out = done
    assert status == 1, "one could not be"
    assert "Traceback" not in told
    assert said.startswith(f"{DISCLAIMER}.\n")
    assert "b: not segmented. " in said and "MTT" in said
    assert sorted(path.name for path in out.iterdir()) == ["a", "c", "scans.csv"]
    assert "2 of 3 scans" in said


def test_the_table_has_both_and_they_are_alike(done):
    table = pd.read_csv(done[3] / "scans.csv")
    assert table.scan.tolist() == ["a", "c"]
    assert table.core_ml.iloc[0] == table.core_ml.iloc[1] > 0
    assert (table.core_low_ml <= table.core_ml).all() and (table.disclaimer == DISCLAIMER).all()


def test_progress_and_the_time_left_are_told(done):
    assert "1 of 3 scans, about " in done[2]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "no folder {cwd}/nowhere"),
        (["{hospital}", "--name", "x"], "--name is for one scan, 3 were found: a, b, c"),
        (["{hospital}/a", "--files", "CT"], "expected words such as CT=head.nii.gz, got 'CT'"),
        (["{hospital}/a", "--out", str(ROOT / "docs")], "lies where git would commit"),
        (["{hospital}/a", "--networks", "{hospital}"], "no facts.json"),
    ],
)
def test_a_mistake_is_one_sentence(hospital, tmp_path, words, said):
    words = [word.format(hospital=hospital) for word in words]
    words += [] if "--out" in words else ["--out", tmp_path]
    status, printed, told = command(*words)
    assert status == 1 and said.format(cwd=ROOT) in told.splitlines()[-1]
    assert "Traceback" not in told and printed.count("core ") == 0
    assert not (ROOT / "docs" / "a").exists()


def test_one_scan_under_another_name_by_patches(hospital, tmp_path):
    status, said, told = command(hospital / "a", "--name", "P 7", "--mode", "exact", "--out", tmp_path)
    assert status == 0, told
    assert "P_7: exact mode, about " in said
    assert (tmp_path / "P_7" / "report.pdf").read_bytes().startswith(b"%PDF")
    assert pd.read_csv(tmp_path / "scans.csv")["mode"].tolist() == ["exact"]


def test_a_scan_that_was_written_before_is_replaced_and_a_folder_of_others_is_not(hospital, tmp_path):
    shutil.copytree(hospital / "c", tmp_path / "c")
    status, _, told = command(hospital / "c", "--out", tmp_path)
    assert status == 1 and "was not written by this" in told
    assert (tmp_path / "c" / "cbf.nii").exists()


def test_both_modes_are_offered():
    assert own.MODES == ("slices", "exact")


def test_a_file_name_that_is_no_text_ends_nothing(hospital, tmp_path):
    """Names in Latin-1, of an old disk, have no letters in UTF-8."""
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/scans\xff")
    (tmp_path / odd / "1").mkdir(parents=True)
    shutil.copy(hospital / "a" / "ct.nii", tmp_path / odd / "1")
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "segment.py", odd, "--out", tmp_path / "out"],
        env=os.environ | {"PYTHONIOENCODING": "utf-8:strict"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1 and "codec" not in done.stdout + done.stderr
    assert "not segmented. " in done.stdout and "scans\\udcff" in done.stdout and "has no CBF" in done.stdout


@pytest.fixture
def called(hospital, tmp_path, monkeypatch):
    """Call the command in this process, with another way to segment one scan."""

    def call(one):
        monkeypatch.setattr(segment.segment, "load_networks", lambda *_: SimpleNamespace(words="none"))
        monkeypatch.setattr(segment.runtime, "prepare_torch", lambda *_: None)
        monkeypatch.setattr(segment, "one", lambda place, *_: one(place.name) or {"disclaimer": "", "scan": place.name})
        monkeypatch.setattr(sys, "argv", ["segment.py", str(hospital), "--out", str(tmp_path)])
        return segment.main()

    return call


def scans(folder):
    return pd.read_csv(folder / "scans.csv").scan.tolist()


@pytest.mark.parametrize("fault", [KeyError("x"), MemoryError(), RuntimeError("oblique")])
def test_a_fault_that_nobody_thought_of_costs_one_scan(called, tmp_path, capsys, fault):
    def one(name):
        if name == "b":
            raise fault

    assert called(one) == 1
    assert scans(tmp_path) == ["a", "c"]
    told = capsys.readouterr()
    assert f"b: not segmented, by a fault of this program or for want of memory ({type(fault).__name__}" in told.out
    assert "2 of 3 scans" in told.out and "Traceback" in told.err, "to be reported with"


@pytest.mark.parametrize(
    ("fault", "status"), [(OSError(28, "cannot write x"), "cannot write x"), (KeyboardInterrupt(), "130")]
)
def test_a_full_disk_or_an_interrupt_ends_all_and_the_table_has_what_is_done(called, tmp_path, fault, status):
    def one(name):
        if name == "b":
            raise fault

    with pytest.raises(SystemExit) as ended:
        called(one)
    assert str(ended.value.code) == status
    assert scans(tmp_path) == ["a"]


def test_a_disk_that_a_scan_cannot_be_read_from_costs_that_scan(hospital, tmp_path, monkeypatch, capsys):
    def gone(place, *_):
        raise OSError(5, "Input/output error", str(place.folder))

    monkeypatch.setattr(segment.folders, "read", gone)
    monkeypatch.setattr(segment.runtime, "prepare_torch", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["segment.py", str(hospital), "--out", str(tmp_path)])
    assert segment.main() == 1
    told = capsys.readouterr().out
    assert [f"{name}: not segmented. {hospital / name} cannot be read" in told for name in "abc"] == [True] * 3


@pytest.mark.parametrize("suffix", [".Nii", ".Nii.gz"])
def test_the_suffix_may_have_any_capitals(hospital, tmp_path, suffix):
    own_scans.write(tmp_path / "d", suffix=".nii.gz" if suffix.endswith("gz") else ".nii")
    for path in (tmp_path / "d").iterdir():
        path.rename(path.with_name(path.name.partition(".")[0].title() + suffix))
    status, said, told = command(tmp_path / "d", "--out", tmp_path / "out")
    assert status == 0, said + told
    assert nib.load(tmp_path / "out" / "d" / "core.nii.gz").shape == (256, 256, 4)


@pytest.mark.skipif(os.name != "posix", reason="signals of Unix")
def test_a_call_that_is_told_to_end_leaves_nothing_half(hospital, tmp_path):
    """As batch systems and docker stop do: SIGTERM, in the middle of writing."""
    waits = (
        "import os, runpy, signal, sys; from strokelib.own import output\n"
        "output.report.save_report = lambda *_: os.kill(os.getpid(), signal.SIGTERM)\n"
        f"sys.argv = ['segment.py', {str(hospital / 'a')!r}, '--out', {str(tmp_path / 'out')!r}]\n"
        f"sys.path.insert(0, {str(ROOT / 'tools')!r}); runpy.run_path({str(ROOT / 'tools' / 'segment.py')!r}, "
        "run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", waits], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 128 + 15, done.stdout + done.stderr
    assert [*(tmp_path / "out").iterdir()] == []
