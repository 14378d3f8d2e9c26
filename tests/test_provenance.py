"""What made a file: written beside it, and held against what is there before anything of it is read."""

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess

import pandas as pd
import pytest
import torch

from strokelib import hardware
from strokelib.run import digest as digests
from strokelib.run import provenance, runtime
from strokelib.run.digest import digest
from strokelib.run.results import start
from strokelib.run.settings import load_settings

NAME = "05_crossvalidation"
FACTS = ["notebook", "settings", "digest", "seed", "commit", "edited", "code", "depends", "python", "versions"]
FACTS += ["device", "threads", "pinned", "processor", "vector_instructions", "multiplies_bf16", "cores"]
FACTS += ["platform", "folder", "read", "files"]


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """A copy of the code, with the demo's settings; what is written in it stays there."""
    for folder in ("strokelib", "configs"):
        shutil.copytree(runtime.ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "notebooks").mkdir()
    for name in (NAME, "02_preprocessing", "03_sampling", "06_ablations"):
        shutil.copy(runtime.ROOT / "notebooks" / f"{name}.ipynb", tmp_path / "notebooks")
    monkeypatch.setattr(runtime, "ROOT", tmp_path)
    digests.module_digest.cache_clear()
    demo = tmp_path / "configs" / "demo.toml"  # in which any precision can be set
    demo.write_text(demo.read_text().replace("portable = true", "portable = false"))
    return load_settings("demo")


def prepare(settings):
    """Write what a run of notebook 02 leaves, and one of notebook 01 before it."""
    settings.results.mkdir(parents=True, exist_ok=True)
    run = start("02_preprocessing", "demo")
    run.table(pd.DataFrame({"split": ["TRAINING"], "case": [1], "sha256": ["ab"]}), "registration")
    provenance.write_manifests(settings.results, run.known, {}, run.written)
    return settings.results / "registration.csv"


def write_fold(settings, fold=0):
    """Write what a run of notebook 05 leaves, with its manifest; return the folder."""
    if not (settings.results / "registration.csv").is_file():
        prepare(settings)
    run = start(NAME, "demo", "cpu", "rt", fold)
    run.read("registration")
    run.table(pd.DataFrame({"variant": ["rt"], "case": [1], "patient": ["p"], "fold": [fold]}), "predictions")
    names = ("network.safetensors", "case_1.nii.gz", "case_2.nii.gz", "history.png", "probability.png")
    for path in (run.folder() / name for name in names):
        path.write_text(f"{path.name} of fold {fold}")
        run.wrote(path)
    run.finish()
    return run.folder()


def verify(settings, fold=0):
    return provenance.verify(settings, f"rt/fold{fold}/case_1.nii.gz")


def read(folder):
    return json.loads((folder / f"{NAME}.manifest.json").read_text())


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_manifest_names_every_file_and_what_made_it(settings):
    folder = write_fold(settings)
    facts = read(folder)
    assert list(facts) == FACTS
    assert (facts["notebook"], facts["folder"], facts["device"], facts["threads"]) == (NAME, "rt/fold0", "cpu", 1)
    assert facts["settings"] == json.loads(json.dumps(dataclasses.asdict(settings)))
    assert facts["digest"] == digest(dataclasses.replace(settings, name=""))
    assert facts["depends"]["training.rho"] == settings.training.rho and facts["depends"]["variant.patch_size"] == 64
    assert facts["seed"] == settings.seed
    assert all(facts["versions"].values()) and facts["python"] and facts["platform"] and facts["processor"]
    here = {name: facts[name] for name in ("processor", "vector_instructions", "multiplies_bf16", "cores")}
    assert here == provenance.machine() and here["cores"] <= os.cpu_count()
    assert here["vector_instructions"] == torch.backends.cpu.get_cpu_capability()
    assert here["multiplies_bf16"] == hardware.multiplies_bf16()
    assert facts["commit"] is facts["edited"] is None, "the copy is no repository"
    assert facts["files"].keys() == {p.name for p in folder.iterdir()} - {f"{NAME}.manifest.json"}
    for name, digits in facts["files"].items():
        assert digits == hashlib.sha256((folder / name).read_bytes()).hexdigest()
    contents = (settings.results / "registration.csv").read_bytes()
    assert facts["read"] == {"registration.csv": hashlib.sha256(contents).hexdigest()}


def test_a_rerun_writes_the_same_bytes_and_no_path_of_this_machine(settings):
    path = write_fold(settings) / f"{NAME}.manifest.json"
    first = path.read_text()
    write_fold(settings)
    assert path.read_text() == first
    assert str(runtime.ROOT) not in first
    assert len(first) < 8000


def test_figures_have_a_manifest_of_their_own_and_the_other_is_written_last(settings, monkeypatch):
    written = []
    whole = runtime.write_whole
    monkeypatch.setattr(runtime, "write_whole", lambda path, write: written.append(path) or whole(path, write))
    paths = ("sampling.csv", "figures/centers.png", "figures/patches.png")
    for path in paths:
        (settings.results / path).parent.mkdir(parents=True, exist_ok=True)
        (settings.results / path).write_text(path)
    provenance.write_manifests(settings.results, {"notebook": "03_sampling"}, {}, paths)
    assert [path.parent.name for path in written] == ["figures", "demo"]
    first, last = (json.loads(path.read_text()) for path in written)
    assert (first["folder"], list(first["files"])) == ("figures", ["centers.png", "patches.png"])
    assert (last["folder"], list(last["files"])) == (".", ["sampling.csv"])


def test_code_edited_while_a_notebook_runs_is_not_what_made_its_files(settings):
    prepare(settings)
    run = start("03_sampling", "demo")
    before = run.known["code"]
    edit(runtime.ROOT / "strokelib" / "patches.py", '"""\n', '"""\n\nNEW = 1\n')
    provenance.write_manifests(settings.results, run.known, {}, ["registration.csv"])
    made = json.loads((settings.results / "03_sampling.manifest.json").read_text())
    assert made["code"] == before != provenance.made_by("03_sampling", settings)["code"]


def test_commit_and_edits_are_those_of_this_repository(settings):
    def git(*words):
        named = ("-c", "user.name=a", "-c", "user.email=a@b")
        return subprocess.run(["git", *named, *words], cwd=runtime.ROOT, check=True, capture_output=True, text=True)

    def facts():
        known = start("03_sampling", "demo").known
        return known["commit"], known["edited"]

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    commit = git("rev-parse", "HEAD").stdout.strip()
    assert facts() == (commit, False)
    book = runtime.ROOT / "notebooks" / "03_sampling.ipynb"
    edit(book, "**Purpose**", "**Aim**")
    assert facts() == (commit, False), "prose, and what a notebook shows"
    edit(book, "run.finish()", "run.finish(); 1")
    assert facts() == (commit, True)
    git("checkout", "-q", ".")
    (runtime.ROOT / "strokelib" / "new.py").write_text("")
    assert facts() == (commit, True)


def test_the_commit_of_a_repository_around_this_folder_is_not_ours(settings, monkeypatch):
    subprocess.run(["git", "init", "-q"], cwd=runtime.ROOT, check=True)
    inner = runtime.ROOT / "inner"
    for folder in ("strokelib", "notebooks", "configs"):
        shutil.copytree(runtime.ROOT / folder, inner / folder)
    named = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", *named, "commit", "-q", "--allow-empty", "-m", "x"], cwd=runtime.ROOT, check=True)
    monkeypatch.setattr(runtime, "ROOT", inner)
    assert provenance.git("rev-parse", "HEAD"), "git finds the outer one"
    known = start("03_sampling", "demo").known
    assert known["commit"] is known["edited"] is None


def test_without_git_there_is_no_commit(settings, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert start("03_sampling", "demo").known["commit"] is None


def test_what_is_as_it_was_made_passes(settings):
    folder = write_fold(settings)
    assert verify(settings) == folder / f"{NAME}.manifest.json"


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("case_1.nii.gz", lambda p: p.write_text("another map")),
        ("case_2.nii.gz", lambda p: shutil.copy(p.with_name("case_1.nii.gz"), p)),
        ("predictions.csv", lambda p: p.write_text(p.read_text() + "\n")),
        ("network.safetensors", lambda p: p.write_text("trained from something else")),
        ("../../registration.csv", lambda p: p.write_text("case,sha256\n1,cd\n")),
    ],
)
def test_a_changed_file_is_refused_by_name_with_what_to_do(settings, file, change):
    folder = write_fold(settings)
    change(folder / file)
    with pytest.raises(ValueError, match=f"{file.split('/')[-1]} is not the file that .*sha256 is .*, expected ") as e:
        verify(settings)
    assert f"run notebook {NAME} again for results/demo/rt/fold0, by hand or by make once" in str(e.value)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("file", ["case_1.nii.gz", "network.safetensors", f"{NAME}.manifest.json"])
def test_a_lost_file_is_refused_by_name(settings, file):
    folder = write_fold(settings)
    (folder / file).unlink()
    with pytest.raises(FileNotFoundError, match=rf"results/demo/rt/fold0/{file} is missing.*run notebook {NAME} "):
        verify(settings)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("", "seed", 7),
        ("", "threads", 2),
        ("training", "max_updates", 70),
        ("sampling", "elastic_alpha", 0.0),
        ("prediction", "step", 10),
        ("folds", "scheme", "balanced"),
        ("compute", "precision", "bf16"),
        ("data", "source", "isles2018"),
    ],
)
def test_other_settings_are_refused_by_key(settings, section, key, value):
    write_fold(settings)
    if section:
        value_of = dataclasses.replace(getattr(settings, section), **{key: value})
        other = dataclasses.replace(settings, **{section: value_of})
        old = getattr(getattr(settings, section), key)
    else:
        other, old = dataclasses.replace(settings, **{key: value}), getattr(settings, key)
    path = f"{section}.{key}".strip(".")
    with pytest.raises(ValueError, match=rf"made with {path} = {old}, expected {value}; run notebook {NAME} again"):
        verify(other)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("postprocess", "thresholds", (0.5,)),
        ("prediction", "batch_size", 7),
        ("compute", "folds_at_once", 4),
        ("cohort", "jobs", 7),
    ],
)
def test_settings_that_change_no_map_refuse_nothing(settings, section, key, value):
    write_fold(settings)
    value_of = dataclasses.replace(getattr(settings, section), **{key: value})
    assert verify(dataclasses.replace(settings, **{section: value_of}))


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("strokelib/losses.py", '"""\n', '"""\n\nNEW = 1\n'),
        ("strokelib/figures/style.py", '"""\n', '"""\n\nNEW = 1\n'),
        ("strokelib/run/runtime.py", '"""\n', '"""\n\nNEW = 1\n'),
        (f"notebooks/{NAME}.ipynb", "run.finish()", "run.finish(); 1"),
    ],
)
def test_other_code_is_refused_as_the_workflow_would_run_it_again(settings, file, old, new):
    write_fold(settings)
    before = provenance.stage_digest(NAME, settings, "rt")
    edit(runtime.ROOT / file, old, new)
    assert provenance.stage_digest(NAME, settings, "rt") != before
    with pytest.raises(ValueError, match=rf"made by other code, .* run notebook {NAME} again"):
        verify(settings)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("strokelib/evaluation/gridsearch.py", '"""\n', '"""\n\nNEW = 1\n'),
        ("strokelib/run/settings.py", '"""\n', '"""\n\nNEW = 1\n'),
        ("strokelib/losses.py", '"""', '"""New prose. '),
        ("strokelib/losses.py", "import", "# why\nimport"),
        (f"notebooks/{NAME}.ipynb", "**Purpose**", "**Aim**"),
    ],
)
def test_prose_declarations_and_later_steps_refuse_and_rerun_nothing(settings, file, old, new):
    write_fold(settings)
    before = provenance.stage_digest(NAME, settings, "rt")
    edit(runtime.ROOT / file, old, new)
    assert verify(settings)
    assert provenance.stage_digest(NAME, settings, "rt") == before


def test_a_fold_in_the_place_of_another_is_refused(settings):
    first, second = write_fold(settings, 0), write_fold(settings, 1)
    shutil.copytree(first, second, dirs_exist_ok=True)
    with pytest.raises(ValueError, match="made for the folder rt/fold0, expected rt/fold1"):
        verify(settings, 1)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null", '{"settings": 1, "code": 2}', "\x00"])
def test_a_damaged_manifest_is_refused(settings, content):
    folder = write_fold(settings)
    (folder / f"{NAME}.manifest.json").write_text(content)
    with pytest.raises(ValueError, match=rf"manifest.json is damaged, or .*; run notebook {NAME} again"):
        verify(settings)
