"""What a notebook needs around its science: parameters, provenance, progress, and what it wrote.

The first thing a notebook calls checks the parameters papermill passed; the last prints its files.
`stage_digest` is for the workflow: it says when a notebook has to run again.
"""

import ast
import dataclasses
import difflib
import functools
import json
import sys
import time
from pathlib import Path

from strokelib.config import ROOT, Settings, choose_device, digest, load_settings, prepare_torch, write_whole

SILENT_S = 2.0  # a loop shorter than this shows no progress
UPDATE_S = 1.0  # seconds between two updates of the progress line


def check_parameters(history) -> None:
    """Compare the parameters papermill passed with those the notebook has.

    papermill takes a misspelt name without a word and runs the defaults. It puts the values it was
    given into a cell of their own right after the parameters cell, so in its fresh kernel they are
    the first two inputs. Without such a cell there is nothing to check.

    Parameters
    ----------
    history : list of str
        IPython's `In`.

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
    """Return name: literal for the top-level assignments of a cell."""
    return {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign)
    }


def start(settings_name: str, device: str = "auto"):
    """Load the settings, fix the number of threads, and print where the numbers come from.

    The line names neither time nor commit, so that a notebook run twice stays the same file.

    Parameters
    ----------
    settings_name : str
        A name in configs/ or the path of a .toml file.
    device : str
        "auto" (CUDA where there is one), "cpu" or "cuda".

    Returns
    -------
    (Settings, torch.device)

    Raises
    ------
    FileNotFoundError, SettingsError : see `config.load_settings`.
    ValueError : see `config.choose_device`.
    """
    import numpy as np
    import torch

    settings = load_settings(settings_name)
    place = choose_device(device)
    prepare_torch(settings.threads, settings.compute.precision)
    _show_figures_as_jpeg()
    contents = dataclasses.replace(settings, name="")
    print(
        f"settings {settings.name} ({digest(contents)}), seed {settings.seed}, {settings.label} | "
        f"{place}, threads {settings.threads} | python {sys.version.split()[0]}, "
        f"torch {torch.__version__}, numpy {np.__version__}"
    )
    return settings, place


def _show_figures_as_jpeg() -> None:
    """Embed what a notebook shows as JPEG: scans are noisy, and as PNG they make notebooks of a megabyte."""
    ipython = sys.modules.get("IPython")
    if ipython and hasattr(ipython.get_ipython(), "kernel"):
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("jpeg")


def progress(items, label: str):
    """Yield the items; meanwhile show how many are done and about how long the rest takes.

    In a notebook one line is updated in place and gone at the end, together with anything the same
    cell printed before: print after the loop. In a terminal the line is on stderr; elsewhere there
    is none. A loop of less than two seconds shows nothing.

    Parameters
    ----------
    items : sequence, or iterable of (done, total) such as `training.train_fold` and
        `synthetic.iter_cohort`
    label : str
        What is counted, such as "scans".
    """
    began = shown = time.monotonic()
    line = None
    try:
        for index, item in enumerate(items):
            done, total = (index, len(items)) if hasattr(items, "__len__") else item
            if index == 0:  # work taken up where an earlier run left it says nothing about speed
                before = done if hasattr(items, "__len__") else done - 1
            now = time.monotonic()
            due = now - began > SILENT_S if line is None else now - shown > UPDATE_S
            if due and done > before:
                left = time_left((now - began) * (total - done) / (done - before))
                line, shown = _show(f"{done} of {total} {label}, {left}", line), now
            yield item
    finally:
        if line is not None:
            _show("", line)


def time_left(seconds: float) -> str:
    """Say a duration roughly: "about 5 min left"."""
    if seconds < 100:
        return f"about {max(1, round(seconds))} s left"
    if seconds < 6000:
        return f"about {seconds / 60:.0f} min left"
    return f"about {seconds / 3600:.1f} h left"


def _show(text: str, line=None):
    """Put the text in the place of `line`, or remove that where the text is empty; return it."""
    ipython = sys.modules.get("IPython")
    if ipython and hasattr(ipython.get_ipython(), "kernel"):
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


def save_figure(figure, path) -> None:
    """Save a figure as PNG and close it; the same data gives the same bytes.

    End the cell with the figure to show it, too. Closed, it is not shown a second time by itself.
    """
    import matplotlib.pyplot as plt

    write_whole(path, lambda temporary: figure.savefig(temporary, dpi=150))
    plt.close(figure)


def save_table(table, path, label) -> None:
    """Save a frame as csv to six significant digits; its column `cohort`, a text or one a row, says whose numbers."""
    table = table.assign(cohort=label)
    write_whole(path, lambda temporary: table.to_csv(temporary, index=False, float_format="%.6g"))


def written(*paths) -> None:
    """Print the files a notebook has written with their sizes; a folder with how many it holds.

    Raises
    ------
    FileNotFoundError : one of them is not there.
    """
    for path in map(Path, paths):
        files = [path] if not path.is_dir() else [p for p in path.rglob("*") if p.is_file()]
        size = sum(p.stat().st_size for p in files)
        shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
        count = f", {len(files)} files" if path.is_dir() else ""
        print(f"wrote {shown}{'/' if path.is_dir() else ''} ({_size(size)}{count})")


def _size(count: int) -> str:
    if count < 1000:
        return f"{count} B"
    return f"{count / 1e3:.0f} kB" if count < 1e6 else f"{count / 1e6:.1f} MB"


def stage_digest(notebook, settings: Settings) -> str:
    """Digest what the results of a notebook depend on besides its input files.

    These are its code cells, the strokelib modules it uses (with all that they use in turn) and the
    sections of the settings which that code names. Prose, comments and docstrings do not count, so
    that editing them reruns nothing.
    """
    cells = json.loads(Path(notebook).read_text())["cells"]
    code = [_code("".join(c["source"])) for c in cells if c["cell_type"] == "code"]
    waiting, modules = set().union(*map(_imports, code)), {}
    while waiting:
        name = waiting.pop()
        modules[name] = _code((ROOT / "strokelib" / f"{name}.py").read_text())
        waiting |= _imports(modules[name]) - modules.keys()
    # config declares the sections and uses none.
    users = [*code, *(text for name, text in modules.items() if name != "config")]
    names = set().union(*map(_attributes, users))
    used = {k: v for k, v in dataclasses.asdict(settings).items() if k in names and k != "name"}
    return digest(code, modules, used, settings.data, settings.threads)


@functools.cache
def _code(source: str) -> str:
    """Return the source without comments and docstrings; what does not parse, as a string."""
    try:
        tree = ast.parse(source)
    except SyntaxError:  # the notebook itself will say so, in its own place
        return repr(source)
    documented = (ast.Module, ast.FunctionDef, ast.ClassDef)
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            node.body[0] = ast.Pass()
    return ast.unparse(tree)


def _imports(code: str) -> set[str]:
    """Return the modules of strokelib that the code imports."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("strokelib.")}
    return {name for name in found if (ROOT / "strokelib" / f"{name}.py").is_file()}


def _attributes(code: str) -> set[str]:
    return {node.attr for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Attribute)}
