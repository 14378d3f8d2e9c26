"""What a notebook needs around its science: parameters, provenance, progress, and what it wrote.

The first thing a notebook calls checks the parameters papermill passed; the last prints its files and
writes a manifest beside them, which `check_made` holds against what is there now.
`stage_digest` is for the workflow: it says when a notebook has to run again.
"""

import ast
import dataclasses
import difflib
import functools
import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

from strokelib.config import ROOT, Settings, choose_device, digest, load_settings, prepare_torch, write_whole

SILENT_S = 2.0  # a loop shorter than this shows no progress
UPDATE_S = 1.0  # seconds between two updates of the progress line
PACKAGES = ("torch", "numpy", "scipy", "pandas", "nibabel", "safetensors")  # that numbers come from
# What results of equal code do not depend on. Which scans were used, `registration.csv` says.
_NO_NUMBER = {"data.folder", "data.skip_bad_cases", "compute.folds_at_once", "prediction.batch_size", "drawing.colors"}
_begun = {}  # what `start` knew: code that is edited while a notebook runs is not what made its files


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


def start(settings_name: str, device: str = "auto", name: str = ""):
    """Load the settings, fix the number of threads, and print where the numbers come from.

    The line names neither time nor commit, so that a notebook run twice stays the same file.

    Parameters
    ----------
    settings_name : str
        A name in configs/ or the path of a .toml file.
    device : str
        "auto" (CUDA where there is one), "cpu" or "cuda".
    name : str
        Of this notebook in notebooks/, such as "03_sampling", for the manifests that `written` writes; without one it
        writes none.

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
    _begun.clear()
    if name:
        _begun.update(_facts(settings, place, name))
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

        set_matplotlib_formats("jpeg", pil_kwargs={"quality": 65})


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


def written(*paths, read=()) -> None:
    """Print the files a notebook has written with their sizes; a folder with how many it holds.

    Beside them goes `<notebook>.manifest.json`: what made them (settings, seed, commit, code, versions, device,
    threads, platform) and the sha256 of every file. It holds no time, so that a rerun gives the same bytes.

    Parameters
    ----------
    paths : files and folders; a folder is listed file by file in the manifest beside it
    read : files in results/<settings> that these depend on; their sha256 goes into the manifests

    Raises
    ------
    FileNotFoundError : one of them is not there.
    """
    beside = {}
    for path in map(Path, paths):
        # Without what a killed process left half written, which has a hidden name.
        inside = sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
        files = inside if path.is_dir() else [path]
        size = sum(p.stat().st_size for p in files)
        count = f", {len(files)} files" if path.is_dir() else ""
        print(f"wrote {_short(path)}{'/' if path.is_dir() else ''} ({_size(size)}{count})")
        beside.setdefault(path.parent, []).extend(files)
    if not _begun:
        return
    results = ROOT / "results" / _begun["settings"]["name"]
    inputs = {Path(os.path.relpath(path, results)).as_posix(): _sha256(path) for path in read}
    # Last the manifest of the folder named first: where it is, the notebook came to its end.
    for folder, files in reversed(beside.items()):
        outputs = {path.relative_to(folder).as_posix(): _sha256(path) for path in files}
        place = {"folder": Path(os.path.relpath(folder, results)).as_posix()}
        text = json.dumps(_begun | place | {"read": inputs, "files": outputs}, indent=1) + "\n"
        write_whole(folder / f"{_begun['notebook']}.manifest.json", lambda path, text=text: path.write_text(text))


def check_made(folder, name: str, settings: Settings) -> None:
    """Refuse what a notebook left in a folder unless it was made with these settings and this code, and is whole.

    Parameters
    ----------
    folder : path, where `written` wrote a manifest
    name : of the notebook, such as "05_crossvalidation"
    settings : Settings

    Figures and this module decide no number, so that a change of them refuses nothing; nor does another device.

    Raises
    ------
    FileNotFoundError : there is no manifest, or a file that it names is gone.
    ValueError : the manifest is damaged, or names other settings, other code, or another sha256 than a file it was
        written with, or was read by it, has now.
    """
    path = Path(folder) / f"{name}.manifest.json"
    again = f"run notebook {name} again for {_short(path.parent)}, by hand or by make once {path.name} is deleted"
    if not path.is_file():
        raise FileNotFoundError(f"{_short(path)} is missing; {again}")
    try:
        made = json.loads(path.read_text(encoding="utf-8"))
        there, code, of = _flat(made["settings"]), made["code"], made["folder"]
        files = {path.parent / file: digits for file, digits in made["files"].items()}
        files |= {settings.results / file: digits for file, digits in made["read"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{_short(path)} is damaged; {again}") from None
    here_code, names = _numbers_code(name)
    here = _flat(json.loads(json.dumps(dataclasses.asdict(settings))))
    for key, value in here.items():
        used = key.split(".")[0] in {*names, "seed", "threads", "data"} - {"name"} and key not in _NO_NUMBER
        if used and there.get(key) != value:
            raise ValueError(f"{_short(path)}: made with {key} = {there.get(key)}, expected {value}; {again}")
    if of != (own := Path(os.path.relpath(path.parent, settings.results)).as_posix()):
        raise ValueError(f"{_short(path)}: made for the folder {of}, expected {own}; {again}")
    if code != here_code:
        raise ValueError(f"{_short(path)}: made by other code, digest {code}, expected {here_code}; {again}")
    for file, digits in files.items():
        if not file.is_file():
            raise FileNotFoundError(f"{_short(file)} is missing, which {path.name} names; {again}")
        if (found := _sha256(file)) != digits:
            raise ValueError(
                f"{_short(file)} is not the file that {path.name} names: its sha256 is {found[:16]}, expected "
                f"{str(digits)[:16]}; {again}"
            )


def _facts(settings: Settings, place, name: str) -> dict:
    """Collect what makes the numbers of a notebook."""
    import torch

    top, _, commit = (git("rev-parse", "--show-toplevel", "HEAD") or "").partition("\n")
    if not top or Path(top).resolve() != ROOT:  # no repository, or one that this folder only lies in
        commit = None
    return {
        "notebook": name,
        "settings": dataclasses.asdict(settings),
        "digest": digest(dataclasses.replace(settings, name="")),
        "seed": settings.seed,
        "commit": commit,
        "edited": _edited(name) if commit else None,
        "code": _numbers_code(name)[0],
        "python": platform.python_version(),
        "versions": {package: version(package) for package in PACKAGES},
        "device": torch.cuda.get_device_name(place) if place.type == "cuda" else place.type,
        "threads": torch.get_num_threads(),
        "processor": processor(),
        "platform": platform.platform(),
    }


def _edited(name: str) -> bool:
    """Tell whether the code differs from that of the commit; what a notebook shows changes as it runs."""
    if git("status", "--porcelain", "--", "strokelib", "data"):
        return True
    committed = git("show", f"HEAD:notebooks/{name}.ipynb")
    return not committed or _cells(committed) != _cells((ROOT / "notebooks" / f"{name}.ipynb").read_text())


def git(*words: str) -> str | None:
    """Return what git prints of this repository; None where it fails or there is no git."""
    try:
        told = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
    except OSError:
        return None
    return told.stdout.strip() if told.returncode == 0 else None


def processor() -> str:
    """Name the CPU: sums in float32 differ in their last digit from one to another, and trained networks by more."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def _sha256(path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _short(path: Path) -> Path:
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def _flat(settings: dict) -> dict:
    """Return {"seed": value, "training.rho": value, ...}."""
    flat = {}
    for key, value in settings.items():
        flat |= {f"{key}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {key: value}
    return flat


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
    code, modules, names = _stage(notebook)
    used = {k: v for k, v in dataclasses.asdict(settings).items() if k in names and k != "name"}
    return digest(code, modules, used, settings.data, settings.threads)


def _numbers_code(name: str) -> tuple[str, set[str]]:
    """Digest the code that decides the numbers of a notebook; return it with the attributes that this code names."""
    code, modules, names = _stage(ROOT / "notebooks" / f"{name}.ipynb", without={"figures", "notebook"})
    return digest(code, modules), names


def _stage(notebook, without=frozenset()) -> tuple[list[str], dict[str, str], set[str]]:
    """Return the code of a notebook, that of each module of strokelib it uses, and the attributes they name."""
    code = _cells(Path(notebook).read_text())
    every = {path.stem for path in (ROOT / "strokelib").iterdir()} - without
    waiting, modules = set().union(*map(_imports, code)) & every, {}
    while waiting:
        name = waiting.pop()
        modules[name] = _code(_source(ROOT / "strokelib" / name))
        waiting |= (_imports(modules[name]) & every) - modules.keys()
    # config declares the sections and uses none.
    users = [*code, *(text for name, text in modules.items() if name != "config")]
    return code, modules, set().union(*map(_attributes, users))


def _source(module: Path) -> str:
    """Return the source of a module, or of all files of a folder."""
    files = sorted(module.glob("*.py")) if module.is_dir() else [module.with_suffix(".py")]
    return "\n".join(file.read_text() for file in files)


def _cells(notebook: str) -> list[str]:
    """Return the code cells of a notebook, given as JSON, without comments."""
    cells = json.loads(notebook)["cells"]
    return [_code("".join(c["source"])) for c in cells if c["cell_type"] == "code"]


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


@functools.cache
def _imports(code: str) -> frozenset[str]:
    """Return what the code imports from strokelib: modules, and names that only look like one."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("strokelib.")}
    return frozenset(found)


@functools.cache
def _attributes(code: str) -> frozenset[str]:
    return frozenset(node.attr for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Attribute))
