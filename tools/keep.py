"""Publish a finished run in figures/SETTINGS: python tools/keep.py study; one notebook of it: ... study 17_leakage

Nothing else writes there. Copied from results/SETTINGS are figures/, with its tables and manifests, and the executed
notebooks 00 and from 06 on, without their times and paths; those of the demo are the committed ones. run.json says what
made the run, how many notebooks it took and how many hours these worked; of a training that was stopped and went on,
that is its last part, so the hours that were reckoned before the run began stand beside.

In behind/ lies what the tables were made from, so that they can be made again without a run (tools/redo.py): the tables
of the run, the grid at the chosen pairs and its means over scans, the histories of all networks, who was predicted in
which fold, and what machine did each fold.

A notebook from 09 on, made when asked for, hours after the rest or on another machine, or added since to what every
run makes, can be published by itself: its figures, tables and manifests, as it ran, and nothing of what else is kept
changes.
"""

import dataclasses
import json
import re
import sys
from datetime import datetime
from pathlib import Path

import ahead  # this copy of the project first
import estimate
import numpy as np
import pandas as pd
import redo

from strokelib.run import saved, stages
from strokelib.run.checks import SettingsError
from strokelib.run.digest import digest
from strokelib.run.paths import place_environment
from strokelib.run.private import check_private
from strokelib.run.runtime import ROOT, write_whole
from strokelib.run.settings import Settings, load_settings
from strokelib.run.variants import ASKED, method

KEPT = ("00_overview", "06_ablations", "07_leaderboard_submission", "08_errors_and_uncertainty")
LATER = range(9, 100)  # numbers of notebooks that a run may have besides
MANIFEST = ".manifest.json"
ALONE = tuple(name for name in stages.STAGES if int(name[:2]) in LATER)  # that can be published by themselves
MOST_BYTES = 1_000_000  # of a table behind others
PAIR = ["threshold", "min_lesion_voxels"]
MACHINE = ("processor", "vector_instructions", "multiplies_bf16", "cores", "threads", "device", "pinned", "commit")
MACHINE += ("edited", "code")


def cleaned(path: Path, results: Path) -> str:
    """Read an executed notebook and drop what belongs to one run of it and to nobody else; return its JSON.

    Parameters
    ----------
    results : the folder of the run; wherever it lies, the text says results/
    """
    book = json.loads(path.read_text(encoding="utf-8"))
    book["metadata"] = {key: book["metadata"][key] for key in ("kernelspec", "language_info")}
    for cell in book["cells"]:
        cell["metadata"] = {"tags": tags} if (tags := cell["metadata"].get("tags")) else {}
    text = json.dumps(book, indent=1, ensure_ascii=False) + "\n"
    for folder, said in ((results.parent, "results/"), (ROOT, "")):  # settings may be given by a path
        text = re.sub(rf"(?<![\w/+]){re.escape(str(folder))}/", said, text)  # a picture may hold a short one by chance
    return text


def hours(settings: Settings) -> dict:
    """Add up how long the notebooks of a run worked, as papermill noted it; several of them work at a time."""
    noted = [json.loads(path.read_text())["metadata"] for path in sorted(settings.results.rglob("[0-9][0-9]_*.ipynb"))]
    times = [metadata["papermill"] for metadata in noted if metadata.get("papermill", {}).get("end_time")]
    if not times:
        raise FileNotFoundError(f"no executed notebook in {settings.results}; run tools/run.py {settings.name} first")
    began, ended = (min(t["start_time"] for t in times), max(t["end_time"] for t in times))
    span = datetime.fromisoformat(ended) - datetime.fromisoformat(began)
    return {
        "notebooks": len(times),
        "hours_of_notebooks": round(sum(t["duration"] for t in times) / 3600, 2),
        "hours_from_first_to_last": round(span.total_seconds() / 3600, 2),
        "began": began,
        "ended": ended,
    } | reckoned(settings)


def reckoned(settings: Settings) -> dict:
    """Return the hours that a run was said to take at most, before it began; nothing where nobody asked."""
    try:
        found = json.loads((settings.results / "estimate.json").read_text(encoding="utf-8"))
        return {"hours_reckoned": round(estimate.total(found, settings) / 3600, 2)}
    except (OSError, ValueError, KeyError):
        return {}


def manifest(path: Path) -> dict:
    """Read a manifest, or say which one cannot be."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        notebook = path.name.removesuffix(".manifest.json")
        raise ValueError(f"{path} is no manifest; run {notebook} again") from None


def sources(settings: Settings) -> list[str]:
    """Name the kinds of scans that a run was made from, as its manifests and these settings say."""
    manifests = sorted(settings.results.rglob("*.manifest.json"))
    made = [manifest(path)["settings"]["data"]["source"] for path in manifests]
    return sorted({settings.data.source, *made})


def behind(settings: Settings) -> dict[str, bytes]:
    """Collect what the tables of a run were made from, by file name; a table of more than MOST_BYTES is left out."""
    tables = {path.stem: saved.read(path) for path in sorted(settings.results.glob("*.csv"))}
    if {"grid", "choice"} <= tables.keys():
        tables["grid_means"] = grid_means(tables["grid"])
        tables["grid"] = grid_at(tables["grid"], tables["choice"])
    tables |= of_folds(settings)
    written = {f"{name}.csv": text(frame) for name, frame in tables.items()}
    return {name: content for name, content in written.items() if len(content) <= MOST_BYTES}


def text(frame: pd.DataFrame) -> bytes:
    """Write a table as a run does."""
    return frame.to_csv(index=False, float_format="%.6g", lineterminator="\n").encode()


def grid_at(grid: pd.DataFrame, choice: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the grid at every pair that was chosen for their variant, over all folds or for one."""
    pairs = choice[["variant", *PAIR]].drop_duplicates()
    return grid.merge(pairs, on=["variant", *PAIR])


def grid_means(grid: pd.DataFrame) -> pd.DataFrame:
    """Average the grid over the scans of each fold, so that any choice of a pair can be made again.

    Returns
    -------
    frame, a row per (variant, fold, pair) : scans, dsc and hd_mm, an infinite distance as the scan's diagonal.
    """
    finite = grid.assign(hd_mm=grid["hd_mm"].where(np.isfinite(grid["hd_mm"]), grid["diagonal_mm"]))
    by = finite.groupby(["variant", "fold", *PAIR], as_index=False, sort=False)
    return by.agg(scans=("case", "size"), dsc=("dsc", "mean"), hd_mm=("hd_mm", "mean"))


def of_folds(settings: Settings) -> dict[str, pd.DataFrame]:
    """Collect histories, predicted scans and machines of all folds, a column for variant and fold each."""
    found = {"histories": [], "predictions": [], "networks": []}
    for home in sorted(settings.results.glob("*/fold*/05_crossvalidation.manifest.json")):
        variant, fold = home.parts[-3], int(home.parts[-2].removeprefix("fold"))
        if fold >= settings.folds.count or not known(variant, settings):
            continue  # of other settings
        made = manifest(home)
        row = {"variant": variant, "fold": fold} | {name: made.get(name) for name in MACHINE}
        row["minutes"] = minutes(home.with_name("05_crossvalidation.ipynb"))
        predicted = saved.read(home.with_name("predictions.csv"))
        row["network"] = predicted.pop("network").iloc[0]  # what it was trained from, the same for all scans of a fold
        found["networks"].append(pd.DataFrame([row]))
        found["predictions"].append(named(predicted, variant, fold))
        if (path := home.with_name("history.csv")).is_file():  # not where another variant's networks predict
            found["histories"].append(named(saved.read(path), variant, fold))
    return {name: pd.concat(frames, ignore_index=True) for name, frames in found.items() if frames}


def named(frame: pd.DataFrame, variant: str, fold: int) -> pd.DataFrame:
    """Put variant and fold in front of a table's own columns."""
    frame = frame.drop(columns=["variant", "fold"], errors="ignore")
    return pd.concat([pd.DataFrame({"variant": variant, "fold": fold}, index=frame.index), frame], axis=1)


def known(variant: str, settings: Settings) -> bool:
    """Tell whether these settings have a row of Table 1, or a change, of that name."""
    try:
        method(variant, settings)
    except SettingsError:
        return False
    return True


def minutes(notebook: Path) -> float | None:
    """Return how long a notebook ran; None where nothing tells."""
    if not notebook.is_file():
        return None
    took = json.loads(notebook.read_text(encoding="utf-8"))["metadata"].get("papermill", {}).get("duration")
    return None if took is None else round(took / 60, 2)


def executed(settings: Settings) -> dict[str, Path]:
    """Find the notebooks to be shown with the figures: those that every run has, and what it has besides."""
    if settings.name == "demo":
        return {}
    more = [path.stem for path in settings.results.glob("[0-9][0-9]_*.ipynb") if int(path.stem[:2]) in LATER]
    return {name: settings.results / f"{name}.ipynb" for name in (*KEPT, *sorted(more))}


def keep(settings: Settings) -> list[Path]:
    """Replace what is kept of a run by copies of its files, what is behind them, and run.json; return their paths.

    Raises
    ------
    FileNotFoundError : the run is not finished: its manifest or a notebook of it is missing. Without the runs of
        notebook 09 and later ones, which are their own, the others are kept.
    ValueError : the run is of patients' scans, whatever the settings say now, and git does not ignore where it goes; or
        it was made with other settings.
    """
    for source in sources(settings):
        of_run = dataclasses.replace(settings, data=dataclasses.replace(settings.data, source=source))
        check_private(of_run, settings.kept / "fig1.png", "it stays in results/")
    finished = settings.results / "manifest.json"
    if not finished.is_file():
        raise FileNotFoundError(f"{finished} is missing; run tools/run.py {settings.name} to its end first")
    if manifest(finished).get("digest") != digest(settings):
        raise ValueError(f"{finished} is of other settings than {settings.name} has now; run tools/run.py again")
    found = executed(settings).items()
    books = {name: cleaned(path, settings.results) for name, path in found}  # all are read before any is written
    manifests = {path.stem: json.loads(path.read_text()) for path in sorted(settings.results.glob("manifest*.json"))}
    facts = json.dumps(hours(settings) | manifests, indent=1) + "\n"
    made = [path for path in sorted((settings.results / "figures").iterdir()) if not path.name.startswith(".")]
    published = {path.name: path.read_bytes() for path in made}
    published |= {f"{name}.ipynb": book.encode() for name, book in books.items()} | {"run.json": facts.encode()}
    published |= {f"behind/{name}": content for name, content in behind(settings).items()}
    paths = publish(settings, published)
    made = {name.removesuffix(MANIFEST) for name in published if name.endswith(MANIFEST)}
    for path in sorted(settings.kept.rglob("*"), reverse=True):
        name = path.relative_to(settings.kept).as_posix()
        if path.is_file() and name not in published and owner(name) in {"", *made}:  # of a run before
            path.unlink()
    return paths


def linked(book: str, there: set[str]) -> str:
    """Let a kept notebook's links lead to the notebooks beside it, and to the committed ones where it has none.

    Parameters
    ----------
    book : a notebook, as JSON
    there : names of what is kept beside it
    """
    return re.sub(r"\]\(([0-9]{2}_\w+\.ipynb)", lambda m: m[0] if m[1] in there else f"](../../notebooks/{m[1]}", book)


def publish(settings: Settings, contents: dict[str, bytes]) -> list[Path]:
    """Write files into the kept folder, each whole; return their paths."""
    there = {*contents, *(path.name for path in settings.kept.glob("*.ipynb"))}
    for name, content in contents.items():
        if name.endswith(".ipynb"):
            content = linked(content.decode(), there).encode()
        write_whole(settings.kept / name, lambda path, content=content: path.write_bytes(content))
    return [settings.kept / name for name in contents]


def owner(name: str) -> str:
    """Name the notebook that is made when asked for and that a kept file is of; "" for those of every run."""
    book = re.match(r"[0-9]{2}_\w+", Path(name).name)
    try:
        notebook = book[0] if book else stages.maker(Path(name).name if "behind/" in name else f"figures/{name}")
    except KeyError:  # such as run.json
        return ""
    return notebook if notebook in ASKED else ""


def keep_one(settings: Settings, notebook: str) -> list[Path]:
    """Publish one notebook, from 09 on, beside what is kept of the run; return the files' paths.

    Raises
    ------
    ValueError : another notebook, or none; patients' scans or other settings, see `keep`.
    FileNotFoundError : it was not run.
    """
    if notebook not in ALONE:
        raise ValueError(f"{notebook} is none of {', '.join(ALONE)}; the others are kept with their run")
    book = settings.results / f"{notebook}.ipynb"
    home = settings.results / "figures" / f"{notebook}{MANIFEST}"
    for path in (book, home):
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing; run {notebook} to its end first")
    if manifest(home).get("depends") != json.loads(json.dumps(stages.depends(notebook, settings))):
        raise ValueError(f"{home} is of other settings than {settings.name} has now; run {notebook} again")
    source = manifest(home)["settings"]["data"]["source"]
    of_run = dataclasses.replace(settings, data=dataclasses.replace(settings.data, source=source))
    check_private(of_run, settings.kept / home.name, "it stays in results/")
    contents = {home.name: home.read_bytes()}
    if settings.name != "demo":  # whose notebooks are the committed ones
        contents[book.name] = cleaned(book, settings.results).encode()
    stage = stages.STAGES[notebook]
    for name in (*stage.writes, *stage.may_write):
        path = settings.results / name
        if not path.is_file():
            continue
        if name.startswith("figures/"):
            contents[path.name] = path.read_bytes()
        elif (content := text(saved.read(path))) and len(content) <= MOST_BYTES:
            contents[f"behind/{path.name}"] = content
    return publish(settings, contents)


def main() -> None:
    ahead.explain(__doc__)
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python tools/keep.py SETTINGS [NOTEBOOK]; SETTINGS is a name in configs/ or a .toml file")
    place_environment()
    try:
        settings = load_settings(sys.argv[1])
        for path in keep_one(settings, sys.argv[2]) if sys.argv[2:] else keep(settings):
            print(f"wrote {path.relative_to(settings.kept)} ({path.stat().st_size / 1000:.0f} kB)")
        kept = redo.frames(settings.kept)
        if redo.can_be_redone(kept):
            count, lines = redo.redo(kept, settings.seed)
            print(f"{count} numbers behind Table 1 and the claims made again from what is kept; {len(lines)} differ")
            print(*lines, sep="\n")
    except (ValueError, OSError) as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    main()
