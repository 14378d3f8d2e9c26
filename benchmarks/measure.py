"""What the benchmarks share: measuring in turn, checking first, one row a contender, the machine's description.

Every script in this folder is one subject. It has `compare() -> list of rows` and ends with
`measure.main(compare)`, so that it runs alone (python benchmarks/evaluation.py) or from run.py.
"""

import argparse
import importlib
import importlib.metadata
import json
import platform
import statistics
import sys
import time
from pathlib import Path

import pandas as pd

from strokelib.run import provenance
from strokelib.run.runtime import prepare_torch


def peer(module: str, distribution: str | None = None):
    """Import a peer and return (module, "name version"); (None, why not) where it is not installed."""
    try:
        loaded = importlib.import_module(module)
    except ImportError as error:
        return None, f"{module} is not installed ({error})"
    return loaded, f"{module} {importlib.metadata.version(distribution or module)}"


def in_turn(contenders: dict, repeats: int) -> dict[str, float]:
    """Run every contender once to warm up, then all of them in turn; return median seconds by name.

    In turn, because a machine's speed drifts: what slows one slows all.
    """
    seconds = {name: [] for name in contenders}
    for name, work in contenders.items():
        work()
        print(f"  {name} is warm", file=sys.stderr)
    for _ in range(repeats):
        for name, work in contenders.items():
            began = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in seconds.items()}


def rows(work: str, seconds: dict[str, float], ours: str, agreement: dict[str, str], repeats: int, target=None) -> list:
    """Make one row a contender.

    Parameters
    ----------
    work : str, what each of them did, with its size
    seconds : median seconds by contender, as `in_turn` returns them
    ours : which of them is this project's
    agreement : by contender, how its result was held against ours before it was timed: "equal", "|difference| <= 1e-5"
    target : least ratio asked for, by contender; None or missing where none is
    """
    return [
        {
            "work": work,
            "contender": name,
            "seconds": value,
            "ratio_to_ours": value / seconds[ours],
            "target_ratio": (target or {}).get(name),
            "agreement": agreement.get(name, ""),
            "repeats": repeats,
            "threads": threads(),
        }
        for name, value in seconds.items()
    ]


def missing(work: str, why: str) -> list:
    """Make the row of a peer that is not there."""
    return [{"work": work, "contender": why, "threads": threads()}]


def threads() -> int:
    import torch

    return torch.get_num_threads()


def machine() -> dict:
    """Describe the machine and the versions that the numbers come from."""
    import torch

    names = ["torch", "numpy", "scipy", "monai", "torchio", "medpy", "SimpleITK", "antspyx"]
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return {
        **provenance.machine(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": found,
    }


def table(found: list) -> str:
    """Lay rows out as text."""
    frame = pd.DataFrame(found)
    return frame.to_string(
        index=False, na_rep="–", float_format=lambda value: f"{value:.4g}", max_colwidth=70, justify="left"
    )


def main(compare) -> None:
    """Run one subject: print its rows and, with --out, write them as JSON."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of every contender (1)")
    parser.add_argument("--repeats", type=int, default=5, help="times each contender is measured (5)")
    parser.add_argument("--out", type=Path, help="write the rows as JSON here")
    arguments = parser.parse_args()
    prepare_torch(arguments.threads)
    found = compare(arguments.repeats)
    print(table(found))
    if arguments.out:
        arguments.out.write_text(json.dumps(found))
