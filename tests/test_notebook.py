import dataclasses
import re

import matplotlib.pyplot as plt
import nbformat
import pandas as pd
import pytest
from nbclient import NotebookClient

from strokelib import config, notebook

PARAMETERS = 'settings = "demo"  # a name\nvariant = "rt_sm"\nfold = 0\nstep = 3.0'


def passed(**values):
    return "# Parameters\n" + "".join(f"{name} = {value!r}\n" for name, value in values.items())


def executed(*sources):
    """Run code cells in a kernel of their own; return each cell's outputs."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in sources])
    NotebookClient(book, kernel_name="python3", allow_errors=True).execute()
    return [cell.outputs for cell in book.cells]


def test_known_parameters_pass():
    history = ["", PARAMETERS, passed(settings="phantom", fold=3), "check_parameters(In)"]
    assert notebook.check_parameters(history) is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"folds": 3}, "unknown parameter 'folds'; did you mean 'fold'?"),
        ({"epochs": 3}, "unknown parameter 'epochs'; there are settings, variant, fold, step"),
        ({"fold": "two"}, "parameter 'fold' must be int, got 'two'"),
        ({"variant": 1}, "parameter 'variant' must be str, got 1"),
    ],
)
def test_wrong_parameters_are_named(values, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        notebook.check_parameters(["", PARAMETERS, passed(**values), "check_parameters(In)"])


@pytest.mark.parametrize(
    "line",
    [
        "import os",
        "fold = __import__('os').getpid()",
        "fold = 1; print(1)",
        "fold = float('nan')",
        "fold: int = 1",
        "fold = variant = 1",
        "fold.real = 1",
        "settings = 'demo' + 'x'",
    ],
)
def test_a_parameter_is_a_plain_value_and_no_code(line):
    with pytest.raises(ValueError, match=r"^a parameter is a name and a plain value, not code, got "):
        notebook.check_parameters(["", PARAMETERS, f"# Parameters\n{line}\n", "check_parameters(In)"])


@pytest.mark.parametrize("value", ["; import os", "'\"\n__import__('os')", "$(touch pwned)", "{0}", "a\\b", "\"\"\""])
def test_a_value_that_looks_like_code_stays_a_value(value):
    assert notebook._assigned(passed(settings=value)) == {"settings": value}
    assert notebook.check_parameters(["", PARAMETERS, passed(settings=value), "check_parameters(In)"]) is None


def test_whole_number_does_for_a_float():
    notebook.check_parameters(["", PARAMETERS, passed(step=2), "check_parameters(In)"])
    with pytest.raises(ValueError, match=r"must be int, got 2\.0"):
        notebook.check_parameters(["", PARAMETERS, passed(fold=2.0), "check_parameters(In)"])


@pytest.mark.parametrize(
    "history",
    [
        ["", PARAMETERS, "check_parameters(In)"],
        ["", "1 + 1", "import os", PARAMETERS, "check_parameters(In)"],
        ["", "check_parameters(In)"],
    ],
)
def test_nothing_to_check_without_papermill(history):
    assert notebook.check_parameters(history) is None


def test_start_prints_provenance_that_does_not_change(capsys):
    settings, device = notebook.start("demo", "cpu")
    first = capsys.readouterr().out
    assert (settings, str(device)) == (config.load_settings("demo"), "cpu")
    notebook.start("demo", "cpu")
    assert capsys.readouterr().out == first
    assert "settings demo (" in first
    assert f"seed {settings.seed}" in first
    assert "synthetic cohort" in first


def test_start_tells_apart_settings_that_differ_in_one_number(tmp_path, capsys):
    text = (config.ROOT / "configs" / "demo.toml").read_text()
    lines = []
    for folder, content in (("a", text), ("b", text), ("c", text.replace("count = 3", "count = 4"))):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.toml").write_text(content)
        notebook.start(tmp_path / folder / "mine.toml", "cpu")
        lines.append(capsys.readouterr().out)
    assert lines[0] == lines[1] != lines[2]


def test_start_sets_the_threads_of_the_settings(tmp_path, capsys):
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    text = (config.ROOT / "configs" / "demo.toml").read_text()
    (tmp_path / "two.toml").write_text(text.replace("threads = 1", "threads = 2"))
    try:
        notebook.start(tmp_path / "two.toml", "cpu")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert "threads 2" in capsys.readouterr().out


def test_progress_yields_every_item_and_shows_nothing_outside_terminal_and_notebook(capsys):
    assert list(notebook.progress([3, 1, 2], "scans")) == [3, 1, 2]
    assert list(notebook.progress(iter([(1, 2), (2, 2)]), "steps")) == [(1, 2), (2, 2)]
    assert list(notebook.progress([], "scans")) == []
    assert capsys.readouterr() == ("", "")


def test_progress_in_a_terminal_counts_and_cleans_up(monkeypatch, capsys):
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(notebook.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    list(notebook.progress(range(4), "scans"))
    shown = [text.strip() for text in capsys.readouterr().err.split("\r") if text.strip()]
    # Ten seconds pass between two looks at the clock: 20 s after one scan, 30 s after two, ...
    assert shown == [
        "1 of 4 scans, about 60 s left",
        "2 of 4 scans, about 30 s left",
        "3 of 4 scans, about 13 s left",
    ]


def test_progress_estimates_from_this_run_alone_where_work_was_resumed(monkeypatch, capsys):
    clock = iter([0, 10, 20])
    monkeypatch.setattr(notebook.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    list(notebook.progress(iter([(91, 100), (92, 100)]), "steps"))
    assert "91 of 100 steps, about 90 s left" in capsys.readouterr().err


def test_progress_shows_a_line_in_a_notebook_and_leaves_none():
    setup = "from strokelib import notebook\nnotebook.SILENT_S = notebook.UPDATE_S = 0.0"
    loop = "import time\nfor i in notebook.progress(range(3), 'scans'):\n    time.sleep(0.01)"
    kept = f"{loop}\n    if i == 2:\n        break\n    time.sleep(0.01)"
    outputs = executed(setup, f"{loop}\nprint('done')", "raise KeyError('x')", kept)
    assert [o.text for o in outputs[1]] == ["done\n"]
    assert outputs[2][0].ename == "KeyError"
    assert outputs[3] == []
    during = "p = notebook.progress(range(3), 'scans')\nnext(p), time.sleep(0.1), next(p);"
    line = executed(setup, "import time", during)[2]
    assert line[0].data["text/plain"].startswith("1 of 3 scans, about ")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "about 1 s left"),
        (99, "about 99 s left"),
        (100, "about 2 min left"),
        (5999, "about 100 min left"),
        (7200, "about 2.0 h left"),
    ],
)
def test_time_left(seconds, text):
    assert notebook.time_left(seconds) == text


def test_a_saved_figure_is_closed_and_the_same_bytes_twice(tmp_path):
    for name in ("a.png", "b.png"):
        figure, axes = plt.subplots()
        axes.plot([1, 2, 4])
        notebook.save_figure(figure, tmp_path / "new" / name)
        assert not plt.fignum_exists(figure.number)
    first, second = ((tmp_path / "new" / name).read_bytes() for name in ("a.png", "b.png"))
    assert first == second
    assert first.startswith(b"\x89PNG")


def test_a_figure_is_shown_once(tmp_path, monkeypatch):
    monkeypatch.delenv("MPLBACKEND", raising=False)
    draw = f"fig, _ = plt.subplots()\nsave_figure(fig, {str(tmp_path / 'fig.png')!r})\nfig"
    setup = "import matplotlib.pyplot as plt\nfrom strokelib.notebook import save_figure"
    for outputs in executed(setup, draw, draw)[1:]:
        assert [o.output_type for o in outputs] == ["execute_result"]
        assert "image/png" in outputs[0].data


def test_a_saved_table_says_whose_numbers_it_holds(tmp_path):
    frame = pd.DataFrame({"dsc": [1 / 3, float("nan")], "case": [1, 2]})
    notebook.save_table(frame, tmp_path / "t.csv", "synthetic cohort")
    lines = (tmp_path / "t.csv").read_text().splitlines()
    assert lines[0] == "dsc,case,cohort"
    assert lines[1:] == ["0.333333,1,synthetic cohort", ",2,synthetic cohort"]
    assert list(frame) == ["dsc", "case"]


def test_written_prints_sizes(tmp_path, capsys):
    (tmp_path / "a.csv").write_bytes(b"x" * 999)
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "b.nii").write_bytes(b"x" * 2_500_000)
    (tmp_path / "maps" / "c.nii").write_bytes(b"x" * 1000)
    notebook.written(tmp_path / "a.csv", tmp_path / "maps", config.ROOT / "pyproject.toml")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"wrote {tmp_path}/a.csv (999 B)"
    assert lines[1] == f"wrote {tmp_path}/maps/ (2.5 MB, 2 files)"
    assert lines[2].startswith("wrote pyproject.toml (")
    with pytest.raises(FileNotFoundError, match=r"missing\.csv"):
        notebook.written(tmp_path / "missing.csv")


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """A project of three modules and one notebook, which uses two of them."""
    monkeypatch.setattr(notebook, "ROOT", tmp_path)
    (tmp_path / "strokelib").mkdir()
    modules = {
        "config": '"""Settings."""\n',
        "losses": 'from strokelib import config\n\n\ndef loss():\n    """Sum."""\n    return 1\n',
        "training": "from strokelib.losses import loss\n\n\ndef steps(s):\n    return s.rho\n",
        "submission": "X = 1\n",
    }
    for name, text in modules.items():
        (tmp_path / "strokelib" / f"{name}.py").write_text(text)
    write_stage(tmp_path, "Prose.", "from strokelib import training\n\ntraining.steps(s.training)")
    return tmp_path


def write_stage(folder, prose, code):
    cells = [nbformat.v4.new_markdown_cell(prose), nbformat.v4.new_code_cell(code)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "05.ipynb")


def change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_digest_follows_code_modules_and_settings_used(stage):
    settings = config.load_settings("demo")

    def digest(s=settings):
        return notebook.stage_digest(stage / "05.ipynb", s)

    first = digest()
    assert digest() == first

    write_stage(stage, "Other prose.", "from strokelib import training  # why\n\ntraining.steps(s.training)")
    change(stage / "strokelib" / "losses.py", '"""Sum."""', '"""Sum of squares."""')
    change(stage / "strokelib" / "submission.py", "X = 1", "X = 2")
    change(stage / "strokelib" / "config.py", "Settings", "All settings")
    other = dataclasses.replace(settings.postprocess, thresholds=(0.5,))
    elsewhere = dataclasses.replace(settings, name="mine", postprocess=other)
    assert digest() == digest(elsewhere) == first, "prose, comments, docstrings, modules not used"

    longer = dataclasses.replace(settings.training, max_epochs=99)
    assert digest(dataclasses.replace(settings, training=longer)) != first
    change(stage / "strokelib" / "losses.py", "return 1", "return 2")
    second = digest()
    assert second != first, "a module used through another one"
    write_stage(stage, "Prose.", "from strokelib import training\n\ntraining.steps(s.folds)")
    assert digest() not in (first, second)


def test_digest_of_a_cell_that_does_not_parse(stage):
    settings = config.load_settings("demo")
    write_stage(stage, "Prose.", "if True\n    1")
    first = notebook.stage_digest(stage / "05.ipynb", settings)
    write_stage(stage, "Prose.", "if True\n    2")
    assert notebook.stage_digest(stage / "05.ipynb", settings) != first
