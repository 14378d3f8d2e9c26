"""Rules of the house that a reader relies on, read from the source."""

import ast
import re

import pytest

import strokelib
from strokelib.run.runtime import ROOT

# A room imports only from rooms named before it.
ROOMS = ["run.runtime", "run.checks", "run.variants", "modalities", "vocabulary", "run.settings", "run.digest"]
ROOMS += ["run.stages", "run.provenance", "run.notebook", "nifti", "cases", "folds", "phantom.perfusion"]
ROOMS += ["phantom.fields", "phantom.anatomy", "phantom.patient", "phantom.pathology", "phantom.scan"]
ROOMS += ["phantom.cohort", "registration", "preprocess", "run.results", "patches", "network", "packed", "losses"]
ROOMS += ["metrics", "inference", "steps", "training", "crossvalidation", "postprocess", "evaluation.gridsearch"]
ROOMS += ["evaluation.summary", "evaluation.stats", "evaluation.stopping", "evaluation.tables"]
ROOMS += ["evaluation.agreement", "submission", "figures.style", "figures.cohort", "figures.comparisons"]
ROOMS += ["figures.network", "figures.scans", "figures.scores", "figures.training"]
PRINTING = ("run.notebook", "run.results")  # rooms that speak to the reader
LIBRARY = ROOT / "strokelib"
SOURCES = {
    ".".join(path.relative_to(LIBRARY).with_suffix("").parts): path.read_text()
    for path in sorted(LIBRARY.rglob("*.py"))
    if path.stem != "__init__"
}
TREES = {name: ast.parse(source) for name, source in SOURCES.items()}
each_module = pytest.mark.parametrize("name", sorted(TREES))


def imported(tree):
    """Modules of strokelib that a module imports."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name.removeprefix("strokelib.") for name in found} & {*ROOMS}


def test_every_room_has_its_place():
    assert sorted(TREES) == sorted(ROOMS)


def test_the_package_names_the_rooms_in_this_order():
    assert ", ".join(ROOMS) in " ".join(strokelib.__doc__.split())


@each_module
def test_a_room_imports_only_from_rooms_below(name):
    below = ROOMS[: ROOMS.index(name)]
    assert imported(TREES[name]) <= set(below)


@each_module
def test_modules_and_public_functions_say_what_they_do(name):
    bare = [
        node.name
        for node in TREES[name].body
        if isinstance(node, ast.FunctionDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert ast.get_docstring(TREES[name])
    assert bare == []


@each_module
def test_nothing_prints_asserts_or_passes_keywords_through(name):
    for node in ast.walk(TREES[name]):
        where = f"{name}.py line {getattr(node, 'lineno', 0)}"
        assert not isinstance(node, ast.Assert), f"{where}: raise an error that says what to do"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{where}: name the exception"
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            assert node.args.kwarg is None, f"{where}: name the arguments"
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print":
            assert name in PRINTING, f"{where}: only notebooks print"


@each_module
@pytest.mark.parametrize(
    "pattern",
    [
        r"random\.seed\(",  # one global stream; generators are arguments
        r"\bpickle\b|allow_pickle=True|torch\.load\(|torch\.save\(",  # runs code from a file
        r"\.cuda\(",  # the device is an argument
        r"filterwarnings|simplefilter",
        r"sys\.path|os\.chdir|getcwd",  # paths hang off runtime.ROOT
    ],
)
def test_what_is_not_done_here(name, pattern):
    code = re.sub(r'""".*?"""|#[^\n]*', "", SOURCES[name], flags=re.DOTALL)
    assert not re.search(pattern, code)


def test_no_file_names_somebodys_disk():
    suffixes = {".py", ".md", ".toml", ".yaml", ".yml", ".ipynb", ".csv", ".cff", ".lock", ""}
    skipped = {".git", ".venv", "results", "synthetic", "isles2018", ".snakemake", "__pycache__"}
    checked = 0
    for path in ROOT.rglob("*"):
        parts = set(path.relative_to(ROOT).parts)
        if path.is_file() and path.suffix in suffixes and not parts & skipped:
            found = re.search(r"/(home|root|Users)/\w+", path.read_text(errors="replace"))
            assert not found, f"{path.relative_to(ROOT)}: {found[0]}"
            checked += 1
    assert checked > 40
