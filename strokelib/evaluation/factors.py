"""What of RT carries it: the effect of each of its parts, added to the baseline and taken from RT."""

import pandas as pd

from strokelib.evaluation import stats
from strokelib.run.checks import require_columns
from strokelib.run.variants import VARIANTS

# By what differs, a field of Variant: the row that adds it to the baseline, and the row that takes it from RT.
PARTS = {
    "networks": ("baseline_single", "rt_cascade"),
    "loss": ("baseline_gdl", "rt_cross_entropy"),
    "patch_size": ("baseline_side64", "rt_side48"),
}
ENDS = ("baseline", "rt", "mean", "interaction")


def named(name: str, monitor: str) -> str:
    """Name a cell as it is when the network kept is that of a monitor, its row's own or the other's.

    Parameters
    ----------
    name : a cell of the design, such as "rt_cascade"
    monitor : "l1_error" or "dice", Variant.monitor
    """
    own = VARIANTS[name.split("_")[0]].monitor
    return name if monitor == own else f"{name}_by_{monitor}"


def cells(updates: int) -> list[str]:
    """List the cells of the design: baseline and RT of so many updates, and each with one part changed."""
    added, taken = zip(*PARTS.values(), strict=True)
    return [f"baseline_at_{updates}", *added, f"rt_at_{updates}", *taken]


def predicted(updates: int) -> list[str]:
    """List the cells by both monitors: what must have been predicted."""
    return [named(name, monitor) for name in cells(updates) for monitor in ("dice", "l1_error")]


def _ends(updates: int, monitor: str | None) -> dict[str, tuple[str, str, str, str]]:
    """Return for each part four cells: baseline with and without it, RT with and without it."""
    base, full = f"baseline_at_{updates}", f"rt_at_{updates}"
    if monitor is not None:
        return {
            part: tuple(named(name, monitor) for name in (added, base, full, taken))
            for part, (added, taken) in PARTS.items()
        }
    own = {part: (added, base, full, taken) for part, (added, taken) in PARTS.items()}
    return own | {"monitor": (named(base, "l1_error"), base, full, named(full, "dice"))}


def effects(scores, metric, updates, monitor=None, unit="scan", generator=None) -> pd.DataFrame:
    """Test what each part of RT does when it is added to the baseline, and when it is there to be taken from RT.

    Parameters
    ----------
    scores : a row per (variant, case) : variant, case, patient, the metric; the cells by both monitors
    metric : str, a column
    updates : int, of every cell
    monitor : "l1_error" or "dice" for all cells; None leaves the baseline its own and RT its own, and the monitor is
        a part like the others
    unit, generator : as `stats.paired_tests`

    Returns
    -------
    frame, a row a (part, end) : part and end before the columns of `stats.paired_tests`. Ends: "baseline" (baseline and
    the part − baseline), "rt" (RT − RT without the part), "mean" of the two, and "interaction", "rt" − "baseline". All
    are signed as the part's own doing. p_holm is over the parts of an end.

    Raises
    ------
    ValueError : a cell is missing, or holds a case twice.

    Source: Clèrigues et al. 2019, sec. 4.1 (what RT is made of). Our choice: the design, one part at a time from both
    ends.
    """
    parts, found = _ends(updates, monitor), []
    for end, frame in _contrasts(scores, metric, parts):
        pairs = [(part, f"without {part}") for part in parts]
        tests = stats.paired_tests(frame, metric, pairs, unit, generator)
        found.append(tests.assign(part=list(parts), end=end).drop(columns=["pair", "new", "old"]))
    table = pd.concat(found, ignore_index=True)
    return table[["part", "end", *(name for name in table if name not in ("part", "end"))]]


def summed(scores, metric, updates, generator) -> pd.DataFrame:
    """Test what the four parts come to together, each alone at one end: RT − baseline, if they added up.

    Parameters
    ----------
    scores, metric, updates, generator : as `effects`, each row with its own monitor

    Returns
    -------
    frame, a row an end of "baseline", "rt" and "mean" : end, and the columns of `stats.paired_tests`, by patient.
    """
    parts, found = _ends(updates, None), []
    for end, frame in _contrasts(scores, metric, parts):
        if end == "interaction":
            continue
        side = frame["variant"].str.startswith("without ").map({True: "without", False: "parts"})
        whole = frame.assign(variant=side).groupby(["variant", "case", "patient"])[metric].sum(min_count=len(parts))
        tests = stats.paired_tests(whole.reset_index(), metric, [("parts", "without")], "patient", generator)
        found.append(tests.assign(end=end))
    return pd.concat(found, ignore_index=True)


def _contrasts(scores, metric, parts):
    """Yield each end with a frame of the two sides of every part, a row a scan; refuse cells that are not whole."""
    require_columns(scores, "variant", "case", "patient", metric)
    if scores.duplicated(["variant", "case"]).any():
        raise ValueError("a cell holds a case twice; give one row per (variant, case)")
    table = scores.pivot(index="case", columns="variant", values=metric).replace([float("inf")], float("nan"))
    missing = sorted({name for four in parts.values() for name in four} - set(table))
    if missing:
        raise ValueError(f"no scores of {', '.join(missing)}; make rt-apart predicts them")
    patients = scores.drop_duplicates("case").set_index("case")["patient"]
    for end in ENDS:
        frame = pd.concat(_contrast(part, end, [table[name] for name in four], metric) for part, four in parts.items())
        yield end, frame.assign(patient=frame["case"].map(patients))


def _contrast(part, end, values, metric):
    """Return the two sides of a difference, a row a scan each, under the names of the part and "without" it."""
    baseline_with, baseline_without, rt_with, rt_without = values
    new, old = {
        "baseline": (baseline_with, baseline_without),
        "rt": (rt_with, rt_without),
        "mean": ((baseline_with + rt_with) / 2, (baseline_without + rt_without) / 2),
        "interaction": (rt_with - rt_without, baseline_with - baseline_without),
    }[end]
    sides = {part: new, f"without {part}": old}
    return pd.concat(side.rename(metric).reset_index().assign(variant=name) for name, side in sides.items())


def monitors(scores, metric, updates, unit="scan", generator=None) -> pd.DataFrame:
    """Test in each cell what the monitor of RT does in place of the baseline's.

    Parameters
    ----------
    scores, metric, updates, unit, generator : as `effects`

    Returns
    -------
    frame, a row a cell : row ("baseline" or "rt") and part (of PARTS, in which it differs from that row; "" for none)
    before the columns of `stats.paired_tests`, L1 loss + error rate − probabilistic Dice loss
    """
    names = cells(updates)
    pairs = [(named(name, "l1_error"), named(name, "dice")) for name in names]
    tests = stats.paired_tests(scores, metric, pairs, unit, generator)
    tests.insert(0, "row", [name.split("_")[0] for name in names])
    tests.insert(1, "part", ["", *PARTS] * 2)
    return tests


def beside_others(row) -> str:
    """Say in words whether a part does more or less in RT, beside the other parts, than at the baseline.

    Parameters
    ----------
    row : of `effects`, end "interaction", of a metric of which more is better

    Our choice: by its interval and by p after Holm, as in `carriers`.
    """
    less = "it does less beside the other parts, which do its work or undo it"
    return stats.side_in_words(row, "it does more beside the other parts", less)


def carriers(table, harm: bool = False) -> list[str]:
    """List the parts that carry RT: those with an effect above 0 at both ends, each by its interval and p after Holm.

    Parameters
    ----------
    table : frame of `effects`, of one metric of which more is better, and of one unit
    harm : those that harm instead, with an effect below 0 at both ends

    Our choice: at one end alone it may be luck, or the part may work beside the others only.
    """
    ends = table[table["end"].isin(["baseline", "rt"])]
    told = ends.assign(told=[stats.side(row) == (-1 if harm else 1) for row in ends.itertuples()])
    both = told.groupby("part", sort=False)["told"].all()
    return both.index[both].tolist()
