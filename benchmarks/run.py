"""Run all benchmarks in turn and write their table: figures/benchmarks/README.md, benchmarks.csv and machine.json.

python benchmarks/run.py [--only sampling elastic] [--repeats 5] [--threads 1]

Each subject runs in a process of its own, so that none inherits what another loaded, and alone, so that nothing else
takes the cores. One that fails is named at the end; the others are run and written all the same.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import measure
import pandas as pd

from strokelib.run.runtime import ROOT, write_whole

SUBJECTS = (
    "training_step",
    "sampling",
    "prediction",
    "slices",
    "own",
    "evaluation",
    "registration",
    "elastic",
    "cohort",
    "fold",
    "precision",
)
COLUMNS = ["subject", "work", "contender", "seconds", "ratio", "target", "met", "agreement", "threads"]
FOLDER = ROOT / "figures" / "benchmarks"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SUBJECTS, metavar="NAME", help=f"of {', '.join(SUBJECTS)}")
    parser.add_argument("--repeats", type=int, default=5, help="times each contender is measured (5)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of every contender (1)")
    arguments = parser.parse_args()

    chosen = [name for name in SUBJECTS if name in (arguments.only or SUBJECTS)]
    found, failed = [], []
    for number, name in enumerate(chosen, 1):
        print(f"{number} of {len(chosen)}: {name}", flush=True)
        began = time.monotonic()
        rows = run_subject(name, arguments.repeats, arguments.threads)
        took = f"{time.monotonic() - began:.0f} s"
        if rows is None:
            failed.append(name)
        else:
            found += rows
        print(f"  {name} {'failed after' if rows is None else 'took'} {took}", flush=True)

    frame, machine = tabulate(found), measure.machine()
    print(measure.table(frame.to_dict("records")) if found else "nothing was measured")
    before = earlier(FOLDER, machine)
    if arguments.only and before is None:
        print(f"not written: {FOLDER} is of another machine or of other versions; run all subjects")
    elif found:
        if arguments.only:
            frame = join(before, frame, chosen)
        write(FOLDER, frame, machine)
        print(f"written to {FOLDER}")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def run_subject(name: str, repeats: int, threads: int) -> list | None:
    """Run one script; return its rows, named after it, or None where it failed. What it has to say goes to stderr."""
    # Libraries read these when they are loaded: OpenMP, numpy's linear algebra, ITK.
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
    environment = os.environ | dict.fromkeys(names, str(threads))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "rows.json"
        command = [sys.executable, Path(__file__).with_name(f"{name}.py"), "--out", out]
        command += ["--repeats", str(repeats), "--threads", str(threads)]
        # Its own table is not shown: all rows are, at the end.
        done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False)
        if done.returncode or not out.is_file():
            return None
        return [{"subject": name, **row} for row in json.loads(out.read_text())]


def tabulate(rows: list) -> pd.DataFrame:
    """Put rows under the table's columns and say of each target whether it is met, unless the row says so itself.

    What a subject's rows hold beyond these columns comes last.
    """
    frame = pd.DataFrame(rows).rename(columns={"ratio_to_ours": "ratio", "target_ratio": "target"})
    frame = frame.reindex(columns=[*COLUMNS, *frame.columns.difference(COLUMNS, sort=False)])
    for column in ("seconds", "ratio", "target"):
        frame[column] = pd.to_numeric(frame[column])
    asked = frame["target"].notna() & frame["ratio"].notna()
    met = (frame["ratio"] >= frame["target"]).map({True: "yes", False: "no"}).where(asked)
    return fill(frame.assign(met=frame["met"].where(frame["met"].notna(), met)))


def fill(frame: pd.DataFrame) -> pd.DataFrame:
    """Leave no missing words; a column of them that is empty would read as numbers."""
    words = ["contender", "met", "agreement"]
    return frame.assign(**frame[words].astype(object).fillna(""))


def earlier(folder: Path, machine: dict) -> pd.DataFrame | None:
    """Read the table that is there: empty where there is none, None where it is of another machine or versions."""
    try:
        known = json.loads((folder / "machine.json").read_text())
    except FileNotFoundError:
        return tabulate([])
    return read(folder) if known == machine else None


def read(folder: Path) -> pd.DataFrame:
    """Read the table that `write` wrote; numbers have four digits there."""
    return fill(pd.read_csv(folder / "benchmarks.csv"))


def join(before: pd.DataFrame, frame: pd.DataFrame, chosen: list) -> pd.DataFrame:
    """Replace the rows of the subjects that were run, and keep the order of the list."""
    joined = pd.concat([before[~before["subject"].isin(chosen)], frame])
    return joined.sort_values("subject", key=lambda names: names.map(SUBJECTS.index), kind="stable", ignore_index=True)


def write(folder: Path, frame: pd.DataFrame, machine: dict) -> None:
    """Write the table as CSV, the machine as JSON, and both to be read."""
    write_whole(folder / "benchmarks.csv", lambda path: frame.to_csv(path, index=False, float_format="%.4g"))
    write_whole(folder / "machine.json", lambda path: path.write_text(json.dumps(machine, indent=1) + "\n"))
    write_whole(folder / "README.md", lambda path: path.write_text(readme(frame, machine)))


def readme(frame: pd.DataFrame, machine: dict) -> str:
    """Write the page that shows the table, says what a ratio means and which machine it is of."""
    facts = [(name.replace("_", " "), value) for name, value in machine.items() if name != "versions"]
    facts.append(("versions", ", ".join(f"{name} {version}" for name, version in machine["versions"].items())))
    shown = frame.drop(columns="repeats", errors="ignore")
    repeated = shown.duplicated(["subject", "work"])
    shown = shown.assign(subject=shown["subject"].mask(repeated, ""), work=shown["work"].mask(repeated, ""))
    lines = [list(shown.columns), ["---"] * len(shown.columns), *shown.itertuples(index=False)]
    return (
        "# Benchmarks\n\n"
        "Written by `make bench`. Each work is done by this project (ours), by other tools and in the plain way, on\n"
        "the same data and in one process; `benchmarks/<subject>.py` says what it is and where the tools differ.\n\n"
        "- seconds: the median of several runs, taken in turn after one to warm up. Works are timed minutes apart: a\n"
        "  whole may come out below its part.\n"
        "- ratio: a contender's seconds over ours. At 12 ours is twelve times as fast, below 1 it is slower. It moves\n"
        "  by about a tenth from run to run.\n"
        "- target: the least ratio asked for, and whether it is met.\n"
        "- agreement: how a contender's result was held against ours before anything was timed.\n\n"
        "The machine:\n\n"
        + "".join(f"- {name}: {value}\n" for name, value in facts)
        + "\n"
        + "".join(f"| {' | '.join(map(cell, line))} |\n" for line in lines)
    )


def cell(value) -> str:
    """Return a value as it stands in a table of Markdown."""
    if isinstance(value, str):
        return value.replace("|", "\\|")
    return "" if pd.isna(value) else f"{value:.4g}"


if __name__ == "__main__":
    main()
