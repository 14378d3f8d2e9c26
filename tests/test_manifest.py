"""What made a file: written beside it, and held against what is there before a table is made of it."""

import ast
import dataclasses
import hashlib
import json
import shutil
import subprocess

import pytest

from strokelib import config, notebook

NAME = "05_crossvalidation"
FACTS = ["notebook", "settings", "digest", "seed", "commit", "edited", "code", "python", "versions", "device"]
FACTS += ["threads", "processor", "platform", "folder", "read", "files"]


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """A copy of the code, with the demo's settings; what is written in it stays there."""
    for folder in ("strokelib", "configs"):
        shutil.copytree(config.ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "notebooks").mkdir()
    for name in (NAME, "03_sampling"):
        shutil.copy(config.ROOT / "notebooks" / f"{name}.ipynb", tmp_path / "notebooks")
    monkeypatch.setattr(config, "ROOT", tmp_path)
    monkeypatch.setattr(notebook, "ROOT", tmp_path)
    yield config.load_settings("demo")
    notebook._begun.clear()


def write_fold(settings, fold=0):
    """Write what a run of notebook 05 leaves, with its manifest; return the folder."""
    folder = settings.results / "rt" / f"fold{fold}"
    folder.mkdir(parents=True, exist_ok=True)
    made = [folder / name for name in ("predictions.csv", "network.safetensors", "case_1.nii.gz", "case_2.nii.gz")]
    for path in made:
        path.write_text(f"{path.name} of fold {fold}")
    registration = settings.results / "registration.csv"
    registration.write_text("number,sha256\n1,ab\n")
    notebook.start("demo", "cpu", NAME)
    notebook.written(*made, read=[registration])
    return folder


def read(folder):
    return json.loads((folder / f"{NAME}.manifest.json").read_text())


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_every_notebook_that_writes_names_itself():
    for path in sorted((config.ROOT / "notebooks").glob("*.ipynb")):
        cells = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
        calls = [
            node
            for cell in cells
            for node in ast.walk(ast.parse("".join(cell["source"])))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("start", "written")
        ]
        begun = next(node for node in calls if node.func.id == "start")
        writes = any(node.func.id == "written" for node in calls)
        assert [word.value for word in begun.args[2:]] == ([path.stem] if writes else []), path.name
        assert writes == (path.stem != "00_overview")


def test_a_manifest_names_every_file_and_what_made_it(settings):
    folder = write_fold(settings)
    facts = read(folder)
    assert list(facts) == FACTS
    assert (facts["notebook"], facts["folder"], facts["device"], facts["threads"]) == (NAME, "rt/fold0", "cpu", 1)
    assert facts["settings"] == json.loads(json.dumps(dataclasses.asdict(settings)))
    assert facts["digest"] == config.digest(dataclasses.replace(settings, name=""))
    assert facts["seed"] == settings.seed
    assert all(facts["versions"].values()) and facts["python"] and facts["platform"] and facts["processor"]
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
    assert str(config.ROOT) not in first
    assert len(first) < 6000


def test_each_folder_has_its_own_and_a_folder_is_listed_file_by_file(settings):
    table, picture = settings.results / "t.csv", settings.figures / "f.png"
    scans = [settings.results / "maps" / "TESTING" / f"case_{n}.npz" for n in (1, 2)]
    for path in (table, picture, *scans):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.name)
    notebook.start("demo", "cpu", "03_sampling")
    notebook.written(table, settings.results / "maps", picture)
    found = {p.parent: json.loads(p.read_text())["files"] for p in config.ROOT.rglob("*.manifest.json")}
    assert found.keys() == {settings.results, settings.figures}
    assert list(found[settings.results]) == ["t.csv", "maps/TESTING/case_1.npz", "maps/TESTING/case_2.npz"]
    assert found[settings.figures].keys() == {"f.png"}


def test_a_notebook_without_a_name_writes_none(settings):
    settings.results.mkdir(parents=True)
    (settings.results / "t.csv").write_text("1")
    notebook.start("demo", "cpu", NAME)
    notebook.start("demo", "cpu")
    notebook.written(settings.results / "t.csv")
    assert [p.name for p in settings.results.iterdir()] == ["t.csv"]


def test_code_edited_while_a_notebook_runs_is_not_what_made_its_files(settings):
    notebook.start("demo", "cpu", NAME)
    settings.results.mkdir(parents=True)
    (settings.results / "t.csv").write_text("1")
    before = notebook._numbers_code(NAME)[0]
    edit(config.ROOT / "strokelib" / "losses.py", '"""\n', '"""\n\nNEW = 1\n')
    notebook.written(settings.results / "t.csv")
    assert read(settings.results)["code"] == before != notebook._numbers_code(NAME)[0]


def test_commit_and_edits_are_those_of_this_repository(settings):
    def git(*words):
        named = ("-c", "user.name=a", "-c", "user.email=a@b")
        return subprocess.run(["git", *named, *words], cwd=config.ROOT, check=True, capture_output=True, text=True)

    def facts():
        notebook.start("demo", "cpu", NAME)
        return notebook._begun["commit"], notebook._begun["edited"]

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    commit = git("rev-parse", "HEAD").stdout.strip()
    assert facts() == (commit, False)
    book = config.ROOT / "notebooks" / f"{NAME}.ipynb"
    edit(book, "**Purpose**", "**Aim**")
    assert facts() == (commit, False), "prose, and what a notebook shows"
    edit(book, "check_parameters(In)", "check_parameters(In); 1")
    assert facts() == (commit, True)
    git("checkout", "-q", ".")
    (config.ROOT / "strokelib" / "new.py").write_text("")
    assert facts() == (commit, True)


def test_the_commit_of_a_repository_around_this_folder_is_not_ours(settings, monkeypatch):
    subprocess.run(["git", "init", "-q"], cwd=config.ROOT, check=True)
    inner = config.ROOT / "inner"
    shutil.copytree(config.ROOT / "strokelib", inner / "strokelib")
    shutil.copytree(config.ROOT / "notebooks", inner / "notebooks")
    named = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", *named, "commit", "-q", "--allow-empty", "-m", "x"], cwd=config.ROOT, check=True)
    monkeypatch.setattr(notebook, "ROOT", inner)
    assert notebook.git("rev-parse", "HEAD"), "git finds the outer one"
    notebook.start(settings.figures.parents[1] / "configs" / "demo.toml", "cpu", NAME)
    assert notebook._begun["commit"] is notebook._begun["edited"] is None


def test_without_git_there_is_no_commit(settings, monkeypatch):
    monkeypatch.setenv("PATH", "")
    notebook.start("demo", "cpu", NAME)
    assert notebook._begun["commit"] is None


def test_what_is_as_it_was_made_passes(settings):
    folder = write_fold(settings)
    assert notebook.check_made(folder, NAME, settings) is None


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("case_1.nii.gz", lambda p: p.write_text("another map")),
        ("case_2.nii.gz", lambda p: shutil.copy(p.with_name("case_1.nii.gz"), p)),
        ("predictions.csv", lambda p: p.write_text(p.read_text() + "\n")),
        ("network.safetensors", lambda p: p.write_text("trained from something else")),
        ("../../registration.csv", lambda p: p.write_text("number,sha256\n1,cd\n")),
    ],
)
def test_a_changed_file_is_refused_by_name_with_what_to_do(settings, file, change):
    folder = write_fold(settings)
    change(folder / file)
    with pytest.raises(ValueError, match=f"{file.split('/')[-1]} is not the file that .*sha256 is .*, expected ") as e:
        notebook.check_made(folder, NAME, settings)
    assert f"run notebook {NAME} again for results/demo/rt/fold0, by hand or by make once" in str(e.value)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("file", ["case_1.nii.gz", "network.safetensors", f"{NAME}.manifest.json"])
def test_a_lost_file_is_refused_by_name(settings, file):
    folder = write_fold(settings)
    (folder / file).unlink()
    with pytest.raises(FileNotFoundError, match=rf"results/demo/rt/fold0/{file} is missing.*run notebook {NAME} again"):
        notebook.check_made(folder, NAME, settings)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("", "seed", 7),
        ("", "threads", 2),
        ("training", "max_epochs", 7),
        ("sampling", "elastic_alpha", 0.0),
        ("prediction", "step", 10),
        ("folds", "scheme", "balanced"),
        ("compute", "precision", "bf16"),
        ("data", "source", "isles2018"),
    ],
)
def test_other_settings_are_refused_by_key(settings, section, key, value):
    folder = write_fold(settings)
    if section:
        value_of = dataclasses.replace(getattr(settings, section), **{key: value})
        other = dataclasses.replace(settings, **{section: value_of})
        old = getattr(getattr(settings, section), key)
    else:
        other, old = dataclasses.replace(settings, **{key: value}), getattr(settings, key)
    path = f"{section}.{key}".strip(".")
    with pytest.raises(ValueError, match=rf"made with {path} = {old}, expected {value}; run notebook {NAME} again"):
        notebook.check_made(folder, NAME, other)


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
    folder = write_fold(settings)
    value_of = dataclasses.replace(getattr(settings, section), **{key: value})
    assert notebook.check_made(folder, NAME, dataclasses.replace(settings, **{section: value_of})) is None


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("strokelib/losses.py", '"""\n', '"""\n\nNEW = 1\n'),
        ("strokelib/config.py", '"""\n', '"""\n\nNEW = 1\n'),
        (f"notebooks/{NAME}.ipynb", "check_parameters(In)", "check_parameters(In); 1"),
    ],
)
def test_other_code_is_refused(settings, file, old, new):
    folder = write_fold(settings)
    edit(config.ROOT / file, old, new)
    with pytest.raises(ValueError, match=rf"made by other code, .* run notebook {NAME} again"):
        notebook.check_made(folder, NAME, settings)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("strokelib/figures/style.py", '"""\n', '"""\n\nNEW = 1\n'),
        ("strokelib/postprocess.py", '"""\n', '"""\n\nNEW = 1\n'),
        ("strokelib/losses.py", '"""', '"""New prose. '),
        (f"notebooks/{NAME}.ipynb", "**Purpose**", "**Aim**"),
    ],
)
def test_prose_figures_and_later_steps_refuse_nothing(settings, file, old, new):
    folder = write_fold(settings)
    edit(config.ROOT / file, old, new)
    assert notebook.check_made(folder, NAME, settings) is None


def test_a_fold_in_the_place_of_another_is_refused(settings):
    first, second = write_fold(settings, 0), write_fold(settings, 1)
    shutil.copytree(first, second, dirs_exist_ok=True)
    with pytest.raises(ValueError, match="made for the folder rt/fold0, expected rt/fold1"):
        notebook.check_made(second, NAME, settings)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null", '{"settings": 1, "code": 2}', "\x00"])
def test_a_damaged_manifest_is_refused(settings, content):
    folder = write_fold(settings)
    (folder / f"{NAME}.manifest.json").write_text(content)
    with pytest.raises(ValueError, match=rf"manifest.json is damaged; run notebook {NAME} again"):
        notebook.check_made(folder, NAME, settings)
