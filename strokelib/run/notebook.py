"""What a notebook needs of the place it runs in: its parameters checked, progress shown, figures small."""

import ast
import difflib
import os
import sys
import time
from pathlib import Path

from strokelib.run import runtime

SILENT_S = 2.0  # a loop shorter than this shows no progress
UPDATE_S = 1.0  # seconds between two updates of the progress line
MANY = 100  # pieces of work; where they are more, the first says nothing of the rest: it may have compiled
ROWS = 500  # of a table that is shown whole: more than ISLES 2018 has scans


def inputs() -> list[str]:
    """Return what has been run in this kernel, cell by cell: IPython's `In`; nothing elsewhere."""
    ipython = sys.modules.get("IPython")
    shell = ipython and ipython.get_ipython()
    return shell.user_ns.get("In", []) if shell else []


def running(notebook: str) -> Path | None:
    """Return the notebook file that shows what this process does; None where no kernel runs.

    tools/execute.py names it in STROKELIB_NOTEBOOK, JupyterLab and VS Code each in a way of its own. Who names none,
    such as nbconvert, may well write in place: then it is taken to be the one in notebooks/.
    """
    shell = _kernel()
    if shell is None:
        return None
    named = os.environ.get("STROKELIB_NOTEBOOK") or _opened(shell)
    return Path(named or runtime.ROOT / "notebooks" / f"{notebook}.ipynb")


def live() -> bool:
    """Tell whether somebody looks on in JupyterLab or VS Code: a batch run names no front end, or is papermill's.

    nbconvert, nbval and papermill start a kernel without one. What tools/execute.py runs is a batch run even where a
    notebook in JupyterLab has started it.
    """
    shell = _kernel()
    return shell is not None and "STROKELIB_NOTEBOOK" not in os.environ and bool(_opened(shell))


def _opened(shell) -> str:
    """Return the notebook that VS Code or JupyterLab says it has opened; "" where neither does."""
    return shell.user_ns.get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME") or ""


def _kernel():
    """Return IPython's shell where this process is the kernel of a notebook, else None."""
    ipython = sys.modules.get("IPython")
    shell = ipython and ipython.get_ipython()
    return shell if hasattr(shell, "kernel") else None


def check_parameters(history) -> None:
    """Compare the parameters papermill passed with those the notebook has.

    papermill takes a misspelt name without a word and runs the defaults. It puts the values it was
    given into a cell of their own right after the parameters cell, so in its fresh kernel they are
    the first two inputs. Without such a cell there is nothing to check.

    Parameters
    ----------
    history : list of str
        What `inputs` returns.

    Raises
    ------
    ValueError : a parameter the notebook does not have, or a value of another type.
    """
    if len(history) < 3 or not history[2].startswith("# Parameters\n"):
        return
    known, passed = _assigned(history[1]), _assigned(history[2])
    for name, value in passed.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
            raise ValueError(f"unknown parameter {name!r}; {hint}")
        kind = type(known[name])
        if type(value) is not kind and (type(value), kind) != (int, float):
            raise ValueError(f"parameter {name!r} must be {kind.__name__}, got {value!r}")


def _assigned(source: str) -> dict:
    """Return name: literal of the assignments that a cell of parameters consists of; refuse any other code."""
    found = {}
    for node in ast.parse(source).body:
        try:
            (target,) = node.targets
            found[target.id] = ast.literal_eval(node.value)
        except (AttributeError, ValueError):
            raise ValueError(
                f"a parameter is a name and a plain value, not code, got {ast.unparse(node)!r}"
            ) from None
    return found


def show_figures_as_jpeg() -> None:
    """Embed what a notebook shows as JPEG: scans are noisy, and as PNG they make notebooks of a megabyte."""
    if _kernel():
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("jpeg", pil_kwargs={"quality": 65})


def show_tables_whole() -> None:
    """Show the tables of a notebook with all rows, up to ROWS, and all of their texts: "..." tells a reader nothing."""
    if _kernel():
        import pandas as pd

        pd.options.display.max_rows, pd.options.display.max_colwidth = ROWS, None


def progress(items, label: str):
    """Yield the items; meanwhile show how many are done and about how long the rest takes.

    In a notebook one line is updated in place and gone at the end, together with anything the same
    cell printed before: print after the loop. In a terminal the line is on stderr; elsewhere there
    is none. A loop of less than two seconds shows nothing.

    Parameters
    ----------
    items : sequence, or iterable of (done, total) such as `training.training_steps` and
        `phantom.cohort.iter_cohort`
    label : str
        What is counted, such as "scans".
    """
    began = shown = since = time.monotonic()
    line = None
    try:
        for index, item in enumerate(items):
            done, total = (index, len(items)) if hasattr(items, "__len__") else item
            if index == 0:  # work taken up where an earlier run left it says nothing about speed
                before = counted = done if hasattr(items, "__len__") else done - 1
            now = time.monotonic()
            if done == before + 1 and total - before > MANY:
                counted, since = done, now
            due = now - began > SILENT_S if line is None else now - shown > UPDATE_S
            if due and done > before:
                left = f", {time_left((now - since) * (total - done) / (done - counted))}" if done > counted else ""
                line, shown = _show(f"{done} of {total} {label}{left}", line), now
            yield item
    finally:
        if line is not None:
            _show("", line)


def watch(items, label: str) -> None:
    """Do all the work that an iterable does as it goes, and show its progress; see `progress`."""
    for _ in progress(items, label):
        pass


def time_left(seconds: float) -> str:
    """Say a duration roughly: "about 5 min left"."""
    if seconds < 100:
        return f"about {max(1, round(seconds))} s left"
    if seconds < 6000:
        return f"about {seconds / 60:.0f} min left"
    return f"about {seconds / 3600:.1f} h left"


def _show(text: str, line=None):
    """Put the text in the place of `line`, or remove that where the text is empty; return it."""
    if _kernel():
        from IPython.display import clear_output, display

        if not text:
            clear_output()
        elif line is None:
            return display({"text/plain": text}, raw=True, display_id=True)
        else:
            line.update({"text/plain": text}, raw=True)
        return line
    if sys.stderr.isatty():
        print(f"\r{text:<70}", end="\r" if not text else "", file=sys.stderr, flush=True)
    return True
