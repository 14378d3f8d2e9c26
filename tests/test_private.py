"""No image of a patient where git would commit it: every place that a run, a notebook or `make keep` writes to."""

import json
import shutil
import subprocess
import sys

import nbformat
import pytest
from nbclient import NotebookClient
from project import copy_project, surroundings
from test_settings import changed, tool

from strokelib.run import notebook, private, runtime
from strokelib.run.settings import load_settings

START = 'settings = {!r}\nfrom strokelib.run.results import start\nrun = start("04_model", settings)\nprint("begun")'


def git(folder, *words):
    return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A clone of the project: tracked as here."""
    folder = copy_project(tmp_path_factory.mktemp("clone"))
    shutil.copy(runtime.ROOT / ".gitignore", folder)
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    assert "figures/study/fig4.png" in git(folder, "ls-files") and "data/anatomy.npz" in git(folder, "ls-files")
    return folder


@pytest.fixture
def real(tmp_path):
    """Settings of patients' scans by the name of a run that the project publishes."""
    path = changed(tmp_path, {"data.source": "isles2018"})
    return path.rename(path.with_name("study.toml"))


def test_scans_zips_links_and_results_are_ignored(repository, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    left = ["ISLES2018_Training.zip", "ISLES2018_TESTING.ZIP", "data/Testing.zip", "data/mine/case_1/scan.xml"]
    left += ["scan.nii", "SCAN.NII.GZ", "notebooks/map.nii.gz", "train.parquet", "figures/isles2018/fig1.png"]
    links = ["data/isles2018", "data/synthetic", "results", ".venv"]
    for name in left:
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_text("of a patient")
    for name in links:
        (repository / name).symlink_to(tmp_path / "elsewhere")
    try:
        assert git(repository, "status", "--porcelain", "--untracked-files=all", "--", *left, *links) == ""
        assert not private.is_tracked(repository / "results" / "isles2018" / "x.png"), "where a link leads, no git is"
    finally:
        for name in left + links:
            (repository / name).unlink()


def test_tracked_is_what_git_would_commit(repository, tmp_path):
    tracked = ["notebooks/01_data_exploration.ipynb", "figures/study/new.png", "new/x.png", "README.md"]
    free = ["results/isles2018/x.ipynb", "figures/isles2018/fig1.png", "data/isles2018/TRAINING/case_1/x.nii"]
    assert [private.is_tracked(repository / name) for name in tracked] == [True] * 4
    assert [private.is_tracked(repository / name) for name in free] == [False] * 3
    assert not private.is_tracked(tmp_path / "x.png")


def test_without_git_or_a_repository_nothing_is_tracked(repository, tmp_path, monkeypatch):
    unpacked = tmp_path / "zip"
    shutil.copytree(repository / "notebooks", unpacked / "notebooks")
    assert not private.is_tracked(unpacked / "notebooks" / "01_data_exploration.ipynb")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not private.is_tracked(repository / "notebooks" / "01_data_exploration.ipynb")


def test_a_folder_of_another_owner_is_asked_all_the_same(repository, monkeypatch):
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    assert private.is_tracked(repository / "notebooks" / "01_data_exploration.ipynb")


def test_results_of_patients_in_a_tracked_folder_are_refused_before_anything_is_made(repository, real, tmp_path):
    around = surroundings(repository) | {"STROKELIB_RESULTS": "figures"}
    told = subprocess.run(
        [sys.executable, "tools/run.py", real], cwd=repository, env=around, capture_output=True, text=True, timeout=120
    )
    assert told.returncode == 1 and told.stdout == ""
    assert told.stderr.startswith("figures/study/figures/fig1.png would show patients where git does not")
    assert "STROKELIB_RESULTS" in told.stderr and len(told.stderr.splitlines()) == 1
    assert "??" not in git(repository, "status", "--porcelain", "--", "figures"), "nothing new lies there"
    private.check_results(load_settings("demo"))


WHERE = """
import os
for name in ("JPY_SESSION_NAME", "STROKELIB_NOTEBOOK"):
    os.environ.pop(name, None)
__vsc_ipynb_file__ = ""
{}
"""
NAMED = {  # how a kernel knows its notebook: JupyterLab, tools/execute.py, VS Code
    "JPY_SESSION_NAME": "os.environ['JPY_SESSION_NAME'] = {!r}",
    "STROKELIB_NOTEBOOK": "os.environ['STROKELIB_NOTEBOOK'] = {!r}",
    "__vsc_ipynb_file__": "__vsc_ipynb_file__ = {!r}",
}


def test_patients_are_shown_in_an_ignored_notebook_alone(repository, real):
    """Run All in place, nbconvert --inplace, which names nothing, and an opened copy."""
    (repository / "results" / "study").mkdir(parents=True, exist_ok=True)
    cells, expected = [], []
    for file, settings in (("notebooks", real), ("results/study", real), ("notebooks", "demo")):
        for name in (*NAMED, None):
            named = NAMED[name].format(str(repository / file / "04_model.ipynb")) if name else ""
            cells += [WHERE.format(named), START.format(str(settings))]
            expected.append(settings == "demo" or (file != "notebooks" and name is not None))
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    around = surroundings(repository) | {"STROKELIB_RESULTS": "results"}
    NotebookClient(book, kernel_name="python3", allow_errors=True).execute(cwd=str(repository), env=around)
    told = [cell.outputs for cell in book.cells[1::2]]
    assert ["begun" in "".join(o.get("text", "") for o in outputs) for outputs in told] == expected
    for (error,) in (outputs for outputs, may in zip(told, expected, strict=True) if not may):
        assert error.ename == "ValueError"
        assert error.evalue.startswith("notebooks/04_model.ipynb would show patients where git does not")
        assert "copy notebooks/04_model.ipynb there and open the copy in JupyterLab" in error.evalue


def test_the_executed_copy_is_named_to_its_kernel(repository, real):
    (repository / "results" / "study").mkdir(parents=True, exist_ok=True)
    small = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(START.format(str(real)))])
    nbformat.write(small, repository / "notebooks" / "small.ipynb")
    try:
        for copy, code in (("results/study/small.ipynb", 0), ("notebooks/ran.ipynb", 1)):
            command = [sys.executable, "tools/execute.py", "notebooks/small.ipynb", copy, "--cwd", "notebooks"]
            command += ["-k", "python3"]
            around = surroundings(repository)
            told = subprocess.run(command, cwd=repository, env=around, capture_output=True, text=True)
            assert told.returncode == code, told.stderr[-2000:]
        assert "notebooks/ran.ipynb would show patients" in told.stderr
    finally:
        (repository / "notebooks" / "small.ipynb").unlink()
        (repository / "notebooks" / "ran.ipynb").unlink()


def test_no_kernel_shows_nothing():
    assert notebook.running("04_model") is None
    private.check_notebook(load_settings("isles2018"), "04_model", None)


@pytest.mark.parametrize("source_now", ["isles2018", "synthetic"])
def test_patients_are_not_published_whatever_the_settings_say_by_now(repository, tmp_path, monkeypatch, source_now):
    """A run of somebody's study.toml leaves results/study, which configs/study.toml names, too."""
    monkeypatch.setattr(runtime, "ROOT", repository)
    monkeypatch.setenv("STROKELIB_RESULTS", str(tmp_path / "out"))
    path = changed(tmp_path, {"data.source": source_now})
    settings = load_settings(path.rename(path.with_name("study.toml")))
    (settings.results / "figures").mkdir(parents=True)
    (settings.results / "figures" / "fig4.png").write_text("of a patient")
    made = {"settings": {"data": {"source": "isles2018"}}}
    (settings.results / "figures" / "06_ablations.manifest.json").write_text(json.dumps(made))
    (settings.results / "manifest.json").write_text("{}")
    before = {p: p.read_bytes() for p in settings.kept.rglob("*") if p.is_file()}
    with pytest.raises(ValueError, match=r"figures/study/fig1\.png would show patients .* in results/"):
        tool("keep").keep(settings)
    assert {p: p.read_bytes() for p in settings.kept.rglob("*") if p.is_file()} == before
