"""One digest of code: comments and prose change nothing, an edit changes what uses it and nothing else."""

import shutil

import nbformat
import pytest

from strokelib.run import digest, runtime

MODULES = {
    "__init__": '"""The library."""\n',
    "losses": 'def loss():\n    """Sum."""\n    return 1\n',
    "training": "from strokelib.losses import loss\n\n\ndef steps(s):\n    return loss() * s.rho\n",
    "plots": "X = 1\n",
    "run/__init__": '"""Around it."""\n',
    "run/settings": "from strokelib.run import checks\n\nDEFAULT = 1\n",
    "run/checks": "Y = 1\n",
    "run/runtime": "from strokelib.run.settings import DEFAULT\n",
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of a few modules and one notebook, which uses three of them."""
    monkeypatch.setattr(runtime, "ROOT", tmp_path)
    digest.module_digest.cache_clear()
    for name, text in MODULES.items():
        path = tmp_path / "strokelib" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    write(tmp_path, "Prose.", "from strokelib import training\nfrom strokelib.run import runtime\n\ntraining.steps(s)")
    yield tmp_path
    digest.module_digest.cache_clear()


def write(folder, prose, code):
    cells = [nbformat.v4.new_markdown_cell(prose), nbformat.v4.new_code_cell(code)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "05.ipynb")


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_modules_are_found_by_import_and_theirs_in_turn_and_those_that_declare_are_left_out(project):
    used = {"strokelib", "strokelib.training", "strokelib.losses"}
    assert digest._used({"strokelib.training"}).keys() == used
    assert digest._used({"strokelib.run.runtime"}).keys() == {"strokelib", "strokelib.run", "strokelib.run.runtime"}


def test_prose_comments_and_docstrings_change_nothing(project):
    first = digest.notebook_digest(project / "05.ipynb")
    code = "from strokelib import training  # why\nfrom strokelib.run import runtime\n\n# how\ntraining.steps(s)"
    write(project, "Other prose.", code)
    edit(project / "strokelib/losses.py", '"""Sum."""', '"""Sum of squares."""')
    edit(project / "strokelib/losses.py", "return 1", "return 1  # at most")
    edit(project / "strokelib/training.py", "    return", '    """Take all."""\n    return')
    edit(project / "strokelib/__init__.py", "The library", "A library")
    assert digest.notebook_digest(project / "05.ipynb") == first


@pytest.mark.parametrize("name", ["plots", "run/settings", "run/checks"])
def test_what_is_not_used_or_only_declares_changes_nothing(project, name):
    first = digest.notebook_digest(project / "05.ipynb"), digest.module_digest("strokelib.training")
    edit(project / "strokelib" / f"{name}.py", "1\n", "2\n") if name != "run/settings" else edit(
        project / "strokelib/run/settings.py", "DEFAULT = 1", "DEFAULT = 2"
    )
    digest.module_digest.cache_clear()
    assert (digest.notebook_digest(project / "05.ipynb"), digest.module_digest("strokelib.training")) == first


def test_an_edit_changes_what_uses_it_through_another_module_too(project):
    first = digest.notebook_digest(project / "05.ipynb"), digest.module_digest("strokelib.training")
    edit(project / "strokelib/losses.py", "return 1", "return 2")
    assert digest.module_digest("strokelib.training") == first[1], "what runs is what was imported"
    digest.module_digest.cache_clear()
    second = digest.notebook_digest(project / "05.ipynb"), digest.module_digest("strokelib.training")
    assert first[0] != second[0] and first[1] != second[1]
    write(project, "Prose.", "from strokelib import training\n\ntraining.steps(1)")
    assert digest.notebook_digest(project / "05.ipynb") not in (first[0], second[0])


def test_a_cell_that_does_not_parse_has_a_digest_of_its_own(project):
    write(project, "Prose.", "if True\n    1")
    first = digest.notebook_digest(project / "05.ipynb")
    write(project, "Prose.", "if True\n    2")
    assert digest.notebook_digest(project / "05.ipynb") != first


def test_a_comment_or_docstring_in_any_module_of_the_library_changes_no_digest(tmp_path, monkeypatch):
    root = runtime.ROOT
    for folder in ("strokelib", "notebooks"):
        shutil.copytree(root / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(runtime, "ROOT", tmp_path)

    def digests():
        digest.module_digest.cache_clear()
        found = sorted((tmp_path / "notebooks").glob("[0-9][0-9]_*.ipynb"))
        books = {path.stem: digest.notebook_digest(path) for path in found}
        return books | {"training": digest.module_digest("strokelib.training")}

    before = digests()
    for path in (tmp_path / "strokelib").rglob("*.py"):
        path.write_text(path.read_text().replace('"""', '"""New words. ', 1) + "\n# a comment\n")
    assert digests() == before
    edit(tmp_path / "strokelib/losses.py", "def cross_entropy", "NEW = 1\n\n\ndef cross_entropy")
    changed = {name for name, value in digests().items() if value != before[name]}
    assert {"training", "05_crossvalidation", "04_model"} <= changed
    assert not {"01_data_exploration", "02_preprocessing", "03_sampling", "06_ablations"} & changed
    digest.module_digest.cache_clear()
