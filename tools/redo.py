"""Redo Table 1 and the paper's claims of a kept run from its kept scans: python tools/redo.py study

No run is needed: figures/SETTINGS/behind/ holds the rows that its tables were made from, a row a scan. Here they are
made again by the same functions and held against what is published.
"""

import sys
from pathlib import Path

import ahead  # this copy of the project first
import numpy as np
import pandas as pd

from strokelib.evaluation import stats, summary
from strokelib.postprocess import Pair
from strokelib.run import saved
from strokelib.run.runtime import ROOT, rng

DIGITS = 1e-4  # relative; files hold six digits, and means of differences lose some
OF_DIFFERENCES = 2e-3  # likewise, of what comes from t, which divides small numbers
OF_P = 0.02  # of p, which falls with the square of t; of ranks more, for rounding makes differences equal, or not
OF_RANKS = 0.05
BOOTSTRAPPED = 0.1  # of an interval's width: another generator draws other scans
DRAWN = ("low", "high")  # last words of columns that a bootstrap may have made
KEY = ("unit", "new", "old", "metric")


def frames(folder: Path) -> dict[str, pd.DataFrame]:
    """Read the tables of a kept run by name; those of its scans as behind/metrics and so on."""
    paths = sorted([*folder.glob("*.csv"), *folder.glob("behind/*.csv")])
    return {path.relative_to(folder).with_suffix("").as_posix(): saved.read(path) for path in paths}


def can_be_redone(kept: dict) -> bool:
    """Tell whether the scans behind Table 1 are kept; those of the first edition are not."""
    return {"behind/metrics", "behind/metrics_nested", "behind/choice", "table1"} <= kept.keys()


def redo(kept: dict, seed: int) -> tuple[int, list[str]]:
    """Make every number of Table 1 and of the claims again.

    Parameters
    ----------
    kept : of `frames`
    seed : of the run

    Returns
    -------
    how many numbers and verdicts were made again, and what differs, a line each.
    """
    table = kept["table1"]
    ours = table[table["source"] != "paper"]
    parts = [_redo_row(kept, row) for _, row in ours.iterrows()]
    parts += [_redo_claims(what, rows, scans, seed) for what, rows, scans in _claims(kept)]
    parts += [_redo_choice(kept)]
    return sum(count for count, _ in parts), [line for _, lines in parts for line in lines]


def _nested(name: str) -> bool:
    return "nested" in str(name)


def _scans(kept: dict, nested: bool) -> pd.DataFrame:
    return kept["behind/metrics_nested" if nested else "behind/metrics"]


def _redo_row(kept: dict, row) -> tuple[int, list[str]]:
    """Make a row of Table 1 again."""
    scans, pair = _scans(kept, _nested(row["source"])), None
    if not pd.isna(row["threshold"]):
        pair = Pair(row["threshold"], int(row["min_lesion_voxels"]))
    where = f"Table 1, {row['variant']}, {row['source']}"
    if row["variant"] not in set(scans["variant"]):
        return 0, [f"{where}: no scans of it are kept"]
    again = summary.table1(scans, {row["variant"]: pair}, row["source"]).iloc[0]
    return _differences(where, row, again, DIGITS)


def _claims(kept: dict):
    """Yield tables of claims made with one choice of pairs, or one training seed, and unit, and the scans behind each.

    Older tables tell all folds' choice alone; claims of all seeds together name none.
    """
    claims = kept.get("tests_of_significance", pd.DataFrame({"choice": [], "unit": []}))
    if "choice" not in claims:
        claims = claims.assign(choice="all folds")
    for (choice, unit), rows in claims.groupby(["choice", "unit"], sort=False):
        yield f"claims, {choice}, by {unit}", rows.drop(columns="choice"), _scans(kept, _nested(choice))
    claims, scans = kept.get("seeds_claims", kept.get("behind/seeds_claims")), kept.get("behind/seeds_metrics")
    if claims is None or scans is None:
        return
    for (seed, unit), rows in claims.groupby(["seed", "unit"], sort=False, dropna=False):
        own = scans if pd.isna(seed) else scans[scans["seed"] == seed]
        which = "all seeds" if pd.isna(seed) else f"seed {seed:.0f}"
        yield f"claims, {which}, by {unit}", rows.drop(columns="seed"), own


def _redo_claims(what: str, rows, scans, seed: int) -> tuple[int, list[str]]:
    """Make the tests of some claims, all by one unit, again."""
    unit, more = rows["unit"].iloc[0], {}
    if "share" in rows:
        more["share"] = float(rows["share"].iloc[0])
    again = stats.claims_table(scans, unit, rng(seed, "claims", unit), **more)
    again, count, lines = again.set_index([*KEY]), 0, []
    for _, row in rows.iterrows():
        name = tuple(row[column] for column in KEY)
        where = f"{what}: {row['metric']} of {row['new']} over {row['old']}"
        if name not in again.index:
            lines.append(f"{where}: the paper makes no such claim")
            continue
        found = _differences(where, row.drop([*KEY]), again.loc[name], OF_DIFFERENCES)
        count, lines = count + found[0], lines + found[1]
    return count, lines


def _redo_choice(kept: dict) -> tuple[int, list[str]]:
    """Hold the scores of every scan against the grid at one of the pairs chosen for it."""
    if "behind/grid" not in kept:
        return 0, []
    grid, choice, count, lines = kept["behind/grid"], kept["behind/choice"], 0, []
    pair = ["threshold", "min_lesion_voxels"]
    for nested in (False, True):
        by = ["variant", *pair, *(["fold"] if nested else [])]
        at = grid.merge(choice.loc[choice["fold"].notna() == nested, by].drop_duplicates(), on=by)
        scans = _scans(kept, nested)
        scans = scans[scans["variant"].isin(choice["variant"])]
        shared = [name for name in ("dsc", "hd_mm", "ppv", "sensitivity", "volume_ml") if name in scans]
        both = scans.merge(at, on=["variant", "case", *shared])
        lost = scans.merge(both[["variant", "case"]].drop_duplicates(), how="left", indicator=True)
        what = "nested" if nested else "all folds'"
        lines += [f"{row.variant}, scan {row.case}: its scores are those of no {what} pair"
                  for row in lost[lost["_merge"] == "left_only"].itertuples()]  # fmt: skip
        count += len(scans)
    return count, lines


def _differences(where: str, row, again, digits: float) -> tuple[int, list[str]]:
    """Compare what a row holds with what was made again."""
    lines, names = [], [name for name in row.index if name != "cohort"]
    for name in names:
        if name not in again.index:
            lines.append(f"{where}: {name} is not made any more")
        elif not _same(row, again, name, digits):
            lines.append(f"{where}: {name} is {row[name]} and comes out {again[name]}")
    return len(names), lines


def _same(row, again, name: str, digits: float) -> bool:
    ours, theirs = row[name], again[name]
    if isinstance(ours, str) or isinstance(theirs, str):
        return ours == theirs
    if pd.isna(ours) or pd.isna(theirs):
        return bool(pd.isna(ours) and pd.isna(theirs))
    stem, _, part = name.rpartition("_")
    prefix = f"{stem}_" if stem else ""
    if part in DRAWN:
        width = abs(row[f"{prefix}high"] - row[f"{prefix}low"])
        return bool(abs(ours - theirs) <= BOOTSTRAPPED * width + digits * abs(ours))
    if name in ("low_90", "high_90"):  # an end may lie next to 0
        return bool(abs(ours - theirs) <= digits * (row["high_90"] - row["low_90"]))
    if name.startswith("p_wilcoxon"):
        digits = OF_RANKS
    elif name == "p" or name.startswith("p_"):
        digits = OF_P
    return bool(np.isclose(ours, theirs, rtol=digits, atol=1e-9))


def main() -> None:
    ahead.explain(__doc__)
    if len(sys.argv) != 2:
        sys.exit("usage: python tools/redo.py SETTINGS; SETTINGS is a name in figures/")
    import json

    folder = ROOT / "figures" / sys.argv[1]
    if not folder.is_dir():
        sys.exit(f"there is no folder figures/{sys.argv[1]}; nothing is kept of a run of that name")
    kept = frames(folder)
    if not can_be_redone(kept):
        sys.exit(f"figures/{sys.argv[1]} holds no scans behind Table 1; tools/keep.py keeps them with a whole run")
    seed = json.loads((folder / "run.json").read_text())["manifest"]["seed"]
    count, lines = redo(kept, seed)
    print(f"{count} numbers and verdicts of Table 1, of the claims and of scans made again; {len(lines)} differ")
    sys.exit("\n".join(lines) if lines else 0)


if __name__ == "__main__":
    main()
