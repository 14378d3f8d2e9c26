"""Publish a finished run in figures/SETTINGS: python tools/keep.py study

Nothing else writes there. Copied from results/SETTINGS are figures/, with its tables and manifests, and the executed
notebooks 00 and 06 to 09, without their times and paths; those of the demo are the committed ones. run.json says what
made the run, how many notebooks it took and how many hours these worked.
"""

import dataclasses
import json
import sys
from datetime import datetime
from pathlib import Path

import ahead  # noqa: F401, this copy of the project first

from strokelib.run.paths import place_environment
from strokelib.run.private import check_private
from strokelib.run.runtime import ROOT, write_whole
from strokelib.run.settings import Settings, load_settings

KEPT = ("00_overview", "06_ablations", "07_leaderboard_submission", "08_errors_and_uncertainty", "09_sensitivity")


def cleaned(path: Path) -> str:
    """Read an executed notebook and drop what belongs to one run of it and to nobody else; return its JSON."""
    book = json.loads(path.read_text(encoding="utf-8"))
    book["metadata"] = {key: book["metadata"][key] for key in ("kernelspec", "language_info")}
    for cell in book["cells"]:
        cell["metadata"] = {"tags": tags} if (tags := cell["metadata"].get("tags")) else {}
    text = json.dumps(book, indent=1, ensure_ascii=False) + "\n"
    return text.replace(f"{ROOT}/", "")  # settings given by a path stand in papermill's cell


def hours(settings: Settings) -> dict:
    """Add up how long the notebooks of a run worked, as papermill noted it; several of them work at a time."""
    noted = [json.loads(path.read_text())["metadata"] for path in sorted(settings.results.rglob("0*.ipynb"))]
    times = [metadata["papermill"] for metadata in noted if "papermill" in metadata]
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
    }


def sources(settings: Settings) -> list[str]:
    """Name the kinds of scans that a run was made from, as its manifests and these settings say."""
    manifests = sorted(settings.results.rglob("*.manifest.json"))
    made = [json.loads(path.read_text(encoding="utf-8"))["settings"]["data"]["source"] for path in manifests]
    return sorted({settings.data.source, *made})


def keep(settings: Settings) -> list[Path]:
    """Replace what is kept of a run by copies of its files and run.json; return their paths.

    Raises
    ------
    FileNotFoundError : the run is not finished: its manifest or a notebook of it is missing. Without the run of
        notebook 09, which is one of its own, the others are kept.
    ValueError : the run is of patients' scans, whatever the settings say now, and git does not ignore where it goes.
    """
    for source in sources(settings):
        of_run = dataclasses.replace(settings, data=dataclasses.replace(settings.data, source=source))
        check_private(of_run, settings.kept / "fig1.png", "it stays in results/")
    finished = settings.results / "manifest.json"
    if not finished.is_file():
        raise FileNotFoundError(f"{finished} is missing; run tools/run.py {settings.name} to its end first")
    executed = {name: settings.results / f"{name}.ipynb" for name in KEPT if settings.name != "demo"}
    if executed and not executed["09_sensitivity"].is_file():
        del executed["09_sensitivity"]
    books = {name: cleaned(path) for name, path in executed.items()}  # all are read before any is written
    manifests = {path.stem: json.loads(path.read_text()) for path in sorted(settings.results.glob("manifest*.json"))}
    facts = json.dumps(hours(settings) | manifests, indent=1) + "\n"
    made = [path for path in sorted((settings.results / "figures").iterdir()) if not path.name.startswith(".")]
    published = {path.name: path.read_bytes() for path in made}
    published |= {f"{name}.ipynb": book.encode() for name, book in books.items()} | {"run.json": facts.encode()}
    for name, content in published.items():
        write_whole(settings.kept / name, lambda path, content=content: path.write_bytes(content))
    for path in settings.kept.iterdir():
        if path.name not in published:  # of a run before
            path.unlink()
    return [settings.kept / name for name in published]


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python tools/keep.py SETTINGS; SETTINGS is a name in configs/ or a .toml file")
    place_environment()
    try:
        for path in keep(load_settings(sys.argv[1])):
            print(f"wrote {path.name}")
    except (ValueError, OSError) as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    main()
