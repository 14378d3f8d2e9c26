"""Rules of the house that a reader relies on, read from the source."""

import ast
import re
import subprocess

import pytest

import strokelib
from strokelib.modalities import ISLES
from strokelib.run.digest import cells
from strokelib.run.runtime import ROOT

# A room imports only from rooms named before it, in the order that the package's own words give.
ROOMS = re.findall(r"[\w.]+", strokelib.__doc__.partition("named before it:")[2])
PRINTING = ("run.notebook", "run.results")  # rooms that speak to the reader
LIBRARY = ROOT / "strokelib"
SOURCES = {
    ".".join(path.relative_to(LIBRARY).with_suffix("").parts): path.read_text()
    for path in sorted(LIBRARY.rglob("*.py"))
    if path.stem != "__init__"
}
TREES = {name: ast.parse(source) for name, source in SOURCES.items()}
each_module = pytest.mark.parametrize("name", sorted(TREES))
FOLDERS = ("strokelib", "tools", "benchmarks")
SCRIPTS = sorted(path.relative_to(ROOT) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
NOTEBOOKS = sorted(path.relative_to(ROOT) for path in (ROOT / "notebooks").glob("*.ipynb"))
MOST = 7  # parameters


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
    assert len(ROOMS) > 40 and sorted(TREES) == sorted(ROOMS)


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


def too_many_parameters(source):
    """Name the public functions and methods with more than seven, self not counted."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            names = [a.arg for a in node.args.posonlyargs + node.args.args + node.args.kwonlyargs]
            names = names[1:] if names[:1] in (["self"], ["cls"]) else names
            found += [f"{node.name} has {len(names)}"] if len(names) > MOST else []
    return found


def test_who_asks_for_more_than_seven_things_is_seen():
    assert too_many_parameters("def f(a, b, c, d, *, e, f, g, h): ...") == ["f has 8"]
    assert too_many_parameters("class C:\n def m(self, a, b, c, d, e, f, g): ...") == []
    assert too_many_parameters("def _own(a, b, c, d, e, f, g, h): ...") == []


@pytest.mark.parametrize("path", SCRIPTS, ids=str)
def test_no_function_asks_for_more_than_seven_things(path):
    """More of them belong together: a dataclass with names, defaults and their checks."""
    assert too_many_parameters((ROOT / path).read_text()) == []


def counted(source):
    """List where a modality is asked for by its place, or all of them by their number; numbers of ISLES 2018."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Subscript) or ast.unparse(node.value).split(".")[-1] != "images":
            continue
        first = node.slice.elts[0] if isinstance(node.slice, ast.Tuple) else node.slice
        numbers = [first.lower, first.upper] if isinstance(first, ast.Slice) else [first]
        numbers = [ast.unparse(n) for n in numbers if n is not None]
        if isinstance(first, ast.Slice):
            forbidden = {str(sign * n * len(ISLES)) for n in (1, 2) for sign in (1, -1)} & {*numbers}
        else:
            forbidden = [n for n in numbers if re.fullmatch(r"-?\d+", n)]
        found += [ast.unparse(node)] if forbidden else []
    return found


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ("ct = case.images[0]", True),
        ("cbf = images[1, :, :, k]", True),
        ("last = images[-1]", True),
        ("given = p.images[:5]", True),
        ("mirrored = p.images[5:10, ..., k]", True),
        ("mirrored = p.images[-5:]", True),
        ("case.image('CT')", False),
        ("images[m]", False),
        ("images['CT'][0]", False),
        ("images[:, 1:]", False),
        ("images[: len(names)]", False),
    ],
)
def test_a_modality_that_is_counted_is_seen(source, seen):
    assert bool(counted(source)) == seen


@pytest.mark.parametrize("path", SCRIPTS, ids=str)
def test_no_code_counts_modalities(path):
    """They are asked for by name, so that other data may have others."""
    assert counted((ROOT / path).read_text()) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=str)
def test_no_notebook_counts_modalities(path):
    code = "\n".join(cells((ROOT / path).read_text()))
    assert "import" in code and counted(code) == []


def test_no_file_names_somebodys_disk():
    suffixes = {".py", ".md", ".toml", ".yaml", ".yml", ".ipynb", ".csv", ".cff", ".lock", ""}
    listed = ("git", "ls-files", "--cached", "--others", "--exclude-standard")  # what one keeps beside it is one's own
    told = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True)
    if told.returncode:
        pytest.skip("no git, or no repository")
    checked = 0
    for path in map(ROOT.joinpath, told.stdout.splitlines()):
        if path.is_file() and path.suffix in suffixes:
            found = re.search(r"/(home|root|Users)/\w+", path.read_text(errors="replace"))
            assert not found, f"{path.relative_to(ROOT)}: {found[0]}"
            checked += 1
    assert checked > 40
