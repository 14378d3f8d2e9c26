import re

import nbformat
import pandas as pd
import pytest
from nbclient import NotebookClient

from strokelib.run import notebook

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


def test_tables_are_shown_whole_in_a_notebook_and_options_left_alone_elsewhere():
    before = pd.options.display.max_rows, pd.options.display.max_colwidth
    notebook.show_tables_whole()
    assert (pd.options.display.max_rows, pd.options.display.max_colwidth) == before, "no kernel runs here"
    setup = "import pandas as pd\nfrom strokelib.run import notebook\nnotebook.show_tables_whole()"
    table = "pd.DataFrame({'row': range(notebook.ROWS), 'text': 'long ' * 40 + 'end'})"
    shown = executed(setup, table)[1][0].data["text/html"]
    assert shown.count("<tr") == notebook.ROWS + 1 and shown.count("long end</td>") == notebook.ROWS
    assert "..." not in shown


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


def test_progress_of_many_pieces_says_nothing_by_the_first_which_may_compile(monkeypatch, capsys):
    clock = iter([0, 300, 301, 303])
    monkeypatch.setattr(notebook.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    list(notebook.progress(iter([(251, 750), (252, 750), (254, 750)]), "updates"))
    shown = [text.strip() for text in capsys.readouterr().err.split("\r") if text.strip()]
    assert shown == ["251 of 750 updates", "254 of 750 updates, about 8 min left"]


def test_progress_shows_a_line_in_a_notebook_and_leaves_none():
    setup = "from strokelib.run import notebook\nnotebook.SILENT_S = notebook.UPDATE_S = 0.0"
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


@pytest.mark.parametrize("kind", ["Missing", "Outdated"])
def test_where_something_has_to_be_run_first_a_notebook_ends_with_the_sentence_alone(kind):
    raised = f"from strokelib.run.checks import {kind}\ndef read():\n    raise {kind}('run this first')"
    (output,) = executed(raised, "read()")[1]
    assert (output.output_type, output.ename, output.traceback) == ("error", kind, ["run this first"])


def test_errors_of_any_other_kind_show_where_they_were_raised():
    (output,) = executed("def read():\n    raise FileNotFoundError('no such thing')", "read()")[1]
    assert len(output.traceback) > 1
