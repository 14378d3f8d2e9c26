"""The committed notebooks: whole, executed in order, readable, and free of one machine's traces."""

import ast
import json
import re

import pytest

from strokelib.run.runtime import ROOT

NAMES = ["00_overview", "01_data_exploration", "02_preprocessing", "03_sampling", "04_model"]
NAMES += ["05_crossvalidation", "06_ablations", "07_leaderboard_submission", "08_errors_and_uncertainty"]
NAMES += ["09_sensitivity", "10_trust", "11_seeds", "12_rt_apart", "13_ladder", "14_published_numbers"]
NAMES += ["15_uncertainty", "16_segment_a_scan", "17_leakage", "18_imbalance", "19_remarks", "20_another_cohort"]
NAMES += ["21_cohorts", "22_symmetry", "23_raw_series", "24_beyond", "25_learning_curve", "26_finalists"]
NAMES += ["27_chain"]
each_notebook = pytest.mark.parametrize("name", NAMES)
# What tools/keep.py has put beside the figures of a run.
KEPT = [str(path.relative_to(ROOT).with_suffix("")) for path in sorted((ROOT / "figures").glob("*/[0-9][0-9]_*.ipynb"))]
each_executed = pytest.mark.parametrize("name", [*NAMES, *KEPT])


def file(name):
    """Return the path of a notebook, named alone or with its folder."""
    return (ROOT / name if "/" in name else ROOT / "notebooks" / name).with_suffix(".ipynb")


def load(name):
    return json.loads(file(name).read_text())


def code_cells(name):
    cells = [c for c in load(name)["cells"] if c["cell_type"] == "code"]
    return [(cell, "".join(cell["source"])) for cell in cells]


def outputs(name):
    return [output for cell, _ in code_cells(name) for output in cell["outputs"]]


def parameters(name):
    """Return name: literal of the tagged cell; fails where it holds anything else."""
    tagged = [
        (index, source)
        for index, (cell, source) in enumerate(code_cells(name))
        if "parameters" in cell["metadata"].get("tags", [])
    ]
    assert [index for index, _ in tagged] == [0], "the parameters are the first code cell"
    body = ast.parse(tagged[0][1]).body
    assert all(isinstance(node, ast.Assign) for node in body)
    return {node.targets[0].id: ast.literal_eval(node.value) for node in body}


def test_the_notebooks_are_the_study_and_nothing_else():
    assert sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb")) == NAMES


@each_notebook
def test_first_cell_says_what_it_is_for(name):
    first = load(name)["cells"][0]
    text = "".join(first["source"])
    assert first["cell_type"] == "markdown"
    assert text.startswith(f"# {name[:2]} ")
    for label in ("Purpose", "Reads", "Writes", "Time"):
        assert f"**{label}" in text


@each_notebook
def test_parameters_default_to_the_demo_and_hold_no_equals_sign(name):
    values = parameters(name)
    assert values["settings"] == "demo"
    # papermill cannot read such a line, and then calls the parameter unknown.
    assert not [v for v in values.values() if "=" in str(v)]
    for line in code_cells(name)[0][1].splitlines():
        assert "#" in line, "every parameter says its unit or choices"


def test_the_workflow_passes_only_parameters_that_are_there():
    for name in NAMES:
        assert "settings" in parameters(name)
    assert {"variant", "fold"} <= parameters("05_crossvalidation").keys()


@each_notebook
def test_third_cell_checks_the_parameters(name):
    source = code_cells(name)[1][1]
    assert f'run = start("{name}", settings' in source, "start checks the parameters that papermill passed"


@each_executed
def test_executed_in_order_from_a_fresh_kernel(name):
    counts = [cell["execution_count"] for cell, _ in code_cells(name)]
    assert counts == list(range(1, len(counts) + 1))


@each_notebook
def test_no_notebook_builds_a_path_or_opens_a_file(name):
    for _, source in code_cells(name):
        words = ("Path(", "settings.results", "read_csv", "to_csv", "np.load(", "savefig", "glob(", "open(", ".parent")
        for word in words:
            assert word not in source, f"{word}: ask the run"
        assert not re.search(r'\.(csv|npz|nii|nii\.gz|safetensors|json)"', source), source


@each_notebook
def test_the_last_cell_writes_the_manifest(name):
    last = code_cells(name)[-1][1]
    assert (last == "run.finish()") == (name != "00_overview")


@each_notebook
def test_a_notebook_is_no_book(name):
    assert len(code_cells(name)) <= 25


@each_notebook
def test_notebooks_speak_with_one_voice(name):
    prose = ["".join(c["source"]) for c in load(name)["cells"] if c["cell_type"] == "markdown"]
    for text in (*prose, *(source for _, source in code_cells(name))):
        assert not re.search(r"chapter|§|\bsec\.", text, re.I), text
        assert "end=" not in text and not re.search(r"\bfig\b(?!\.)", text), text


@each_notebook
def test_every_figure_is_announced_and_followed_by_what_to_notice(name):
    cells = load(name)["cells"]
    drawn = [k for k, cell in enumerate(cells) if re.search(r"run\.(figure|picture)\(", "".join(cell["source"]))]
    for k in drawn:
        assert cells[k - 1]["cell_type"] == "markdown", f"no word before {''.join(cells[k]['source'])[-200:]}"
        before = "".join(cells[k - 1]["source"]).splitlines()[-1]
        assert not before.startswith("#"), f"a heading alone announces no figure: {before}"
        after = [cell for cell in cells[k + 1 : k + 3] if cell["cell_type"] == "markdown"]
        assert after and not "".join(after[0]["source"]).startswith("#"), f"nothing to notice in figure after {before}"


@each_notebook
def test_cells_are_short_and_plain(name):
    for _, source in code_cells(name):
        assert source.strip()
        lines = source.splitlines()
        assert len(lines) <= 22, f"{len(lines)} lines: {lines[0]}"
        tree = ast.parse(source)  # no magics, no shell
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 6, f"move {node.name} to strokelib"
        for word in ("sys.path", "chdir", "filterwarnings", "tqdm", "ipywidgets"):
            assert word not in source


@each_executed
def test_no_error_no_stderr_no_progress_bar_is_left(name):
    for output in outputs(name):
        assert output["output_type"] != "error"
        assert output.get("name") != "stderr"
        assert "application/vnd.jupyter.widget-view+json" not in output.get("data", {})
        assert not "".join(output.get("data", {}).get("text/plain", "")).endswith(" left")


@each_executed
def test_at_most_one_figure_a_cell(name):
    for cell, source in code_cells(name):
        kinds = [kind for output in cell["outputs"] for kind in output.get("data", {})]
        images = [kind for kind in kinds if kind.startswith("image/")]
        assert len(images) <= 1, source


@each_notebook
def test_text_introduces_code(name):
    cells = load(name)["cells"]
    prose = sum(cell["cell_type"] == "markdown" for cell in cells)
    assert prose >= len(cells) / 3


@each_executed
def test_metadata_are_of_no_machine_and_no_run(name):
    book = load(name)
    assert book["metadata"]["kernelspec"]["name"] == "python3"
    assert not book["metadata"].keys() - {"kernelspec", "language_info"}
    for cell in book["cells"]:
        assert not cell["metadata"].keys() & {"papermill", "execution", "ExecuteTime", "collapsed"}
    text = json.dumps(book)
    assert str(ROOT) not in text
    assert "site-packages" not in text


@each_executed
def test_small_enough_to_read_on_the_web(name):
    assert file(name).stat().st_size <= (1_500_000 if "/" in name else 1_000_000)  # scans are noisy pictures


@pytest.mark.parametrize("name", KEPT)
def test_what_is_kept_of_a_run_says_of_which(name):
    run, text = name.split("/")[1], file(name).read_text()
    assert f"settings {run} (" in text, "the line that says where the numbers come from"
    assert f'settings = \\"{run}\\"' in text, "the cell that papermill puts in"
    assert "synthetic cohort" in text


def test_the_study_is_kept():
    kept = [name.split("/")[-1] for name in KEPT if "/study/" in name]
    assert {"00_overview", "06_ablations", "07_leaderboard_submission"} <= {*kept}
    assert {"08_errors_and_uncertainty", "10_trust"} <= {*kept}
