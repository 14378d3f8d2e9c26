"""The benchmarks are complete and write what they measured; nothing is timed here."""

import ast
import csv
import importlib.util
import json
import re

import pytest

from strokelib.run.runtime import ROOT

FOLDER = ROOT / "benchmarks"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in ("measure", "run"))
MACHINE = {"processor": "a | b", "cores": 2, "gpu": "none", "versions": {"torch": "2.13.0", "torchio": "not installed"}}


@pytest.fixture
def measure(monkeypatch):
    """Import it as a script in that folder would, but let it not load torch to count threads."""
    monkeypatch.syspath_prepend(FOLDER)
    module = importlib.import_module("measure")
    monkeypatch.setattr(module, "threads", lambda: 1)
    return module


@pytest.fixture
def run(measure):
    spec = importlib.util.spec_from_file_location("benchmarks_run", FOLDER / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def found(measure, run):
    """Rows of two subjects, made by hand: one target met, one not, one peer that is not there."""
    agreement = {"slow": "|difference| <= 1e-5", "slower": "equal"}
    seconds, target = {"ours": 2.0, "slow": 5.0, "slower": 24.0}, {"slow": 3, "slower": 12}
    sampling = measure.rows("a work", seconds, "ours", agreement, 3, target)
    memory = measure.rows("another", {"ours": 0.0123456}, "ours", {}, 3) + measure.missing(
        "another", "x is not installed"
    )
    subjects = {"sampling": sampling, "fold": memory}
    return run.tabulate([{"subject": name, **row} for name, rows in subjects.items() for row in rows])


def test_every_script_is_run_and_make_runs_them(run):
    assert sorted(run.SUBJECTS) == SCRIPTS
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(r"^bench: \.venv/\.bench .*\n\t\$\(own\) \$\(PY\) benchmarks/run\.py$", makefile, re.MULTILINE)


def test_what_they_write_can_be_committed(run):
    assert f"!/{run.FOLDER.relative_to(ROOT)}" in (ROOT / ".gitignore").read_text().splitlines()


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_says_what_it_compares(name):
    tree = ast.parse((FOLDER / f"{name}.py").read_text())
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert ast.get_docstring(tree)
    assert [argument.arg for argument in functions["compare"].args.args] == ["repeats"]
    assert ast.unparse(tree.body[-1]) == "if __name__ == '__main__':\n    measure.main(compare)"


def test_ratios_are_seconds_over_ours(measure):
    seconds = {"peer": 6.0, "ours": 0.5, "quick": 0.25}
    rows = measure.rows("work", seconds, "ours", {"peer": "equal"}, 7, {"peer": 10})
    assert [row["contender"] for row in rows] == ["peer", "ours", "quick"]
    assert [row["ratio_to_ours"] for row in rows] == [12, 1, 0.5]
    assert [row["target_ratio"] for row in rows] == [10, None, None]
    assert [row["agreement"] for row in rows] == ["equal", "", ""]
    assert {row["repeats"] for row in rows} == {7} and {row["work"] for row in rows} == {"work"}


def test_contenders_run_in_turn_after_one_run_to_warm_up(measure):
    calls = []
    seconds = measure.in_turn({name: lambda name=name: calls.append(name) for name in "abc"}, 4)
    assert calls == list("abc") * 5
    assert list(seconds) == list("abc") and min(seconds.values()) >= 0


def test_a_target_is_met_or_not_or_not_asked_for(run, found):
    assert found["ratio"].dropna().tolist() == [1, 2.5, 12, 1]
    assert found["met"].tolist() == ["", "no", "yes", "", ""]
    told = run.tabulate(
        [{"subject": "cohort", "work": "w", "contender": "ours", "seconds": 3.0, "met": "no", "limit": 2}]
    )
    assert told["met"].tolist() == ["no"] and told["limit"].tolist() == [2]


def test_what_is_written_is_read_back(run, found, tmp_path):
    run.write(tmp_path, found, MACHINE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "benchmarks.csv", "machine.json"]
    assert json.loads((tmp_path / "machine.json").read_text()) == MACHINE
    back = run.read(tmp_path)
    words = ["subject", "work", "contender", "met", "agreement", "threads"]
    assert (
        list(back.columns) == list(found.columns)
        and back[words].to_numpy().tolist() == found[words].to_numpy().tolist()
    )
    for column in ("seconds", "ratio", "target"):
        assert back[column].tolist() == pytest.approx(found[column].tolist(), rel=1e-3, nan_ok=True)

    text = (tmp_path / "README.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    assert cells[0] == run.COLUMNS and set(cells[1]) == {"---"}
    with open(tmp_path / "benchmarks.csv", newline="") as file:
        expected = [[row[column] for column in run.COLUMNS] for row in csv.DictReader(file)]
    for row, (now, before) in enumerate(zip(expected, [None, *expected[:-1]], strict=True)):
        shown = ["", ""] if before and now[:2] == before[:2] else now[:2]
        assert [cell.replace("\\|", "|") for cell in cells[2 + row]] == [*shown, *now[2:]]
    assert "- processor: a | b" in text and "- versions: torch 2.13.0, torchio not installed" in text


def test_a_run_of_some_subjects_replaces_only_theirs_and_only_on_the_same_machine(run, found, tmp_path):
    assert run.earlier(tmp_path, MACHINE).empty
    run.write(tmp_path, found, MACHINE)
    assert run.earlier(tmp_path, MACHINE | {"cores": 64}) is None
    new = run.tabulate([{"subject": "elastic", "work": "w", "contender": "ours", "seconds": 1.0, "ratio_to_ours": 1.0}])
    joined = run.join(run.earlier(tmp_path, MACHINE), new, ["sampling", "elastic"])
    assert joined["subject"].tolist() == ["elastic", "fold", "fold"]
    joined = run.join(run.earlier(tmp_path, MACHINE), new, ["elastic"])
    assert joined["subject"].tolist() == ["sampling"] * 3 + ["elastic"] + ["fold"] * 2
    assert joined["met"].tolist() == ["", "no", "yes", "", "", ""]


def test_a_subject_that_fails_is_named_and_the_others_are_written(run, monkeypatch, tmp_path, capsys):
    scripts, folder = tmp_path / "benchmarks", tmp_path / "figures"
    scripts.mkdir()
    (scripts / "sampling.py").write_text(
        "import json, os, sys\n"
        "row = {'work': 'w', 'contender': 'ours', 'seconds': 1, 'threads': int(os.environ['OMP_NUM_THREADS'])}\n"
        "open(sys.argv[sys.argv.index('--out') + 1], 'w').write(json.dumps([row]))\n"
    )
    (scripts / "slices.py").write_text("raise SystemExit('not equal')")
    monkeypatch.setattr(run, "__file__", str(scripts / "run.py"))
    monkeypatch.setattr(run, "FOLDER", folder)
    monkeypatch.setattr(run, "SUBJECTS", ("training_step", "sampling", "slices"))  # the first has no script
    monkeypatch.setattr(run.measure, "machine", lambda: MACHINE)
    monkeypatch.setattr("sys.argv", ["run.py", "--threads", "3"])
    with pytest.raises(SystemExit, match="failed: training_step, slices"):
        run.main()
    assert "2 of 3: sampling" in capsys.readouterr().out
    written = run.read(folder)
    assert written["subject"].tolist() == ["sampling"] and written["threads"].tolist() == [3]
