"""What a reader types to make what a notebook misses: the one place that spells it."""

import os
import shlex

from strokelib.run import runtime
from strokelib.run.paths import placed
from strokelib.run.variants import (
    ASKED,
    BEYOND,
    CHANGES,
    FINALISTS,
    LEAKAGE,
    LOSSES,
    REMARKS,
    chain,
    main_rows,
    seeded,
)
from strokelib.run.worlds import CONFIRMING

TAKE_DATA = ("isles2018", "isles2018_small")  # settings of whose scans make takes the folder: DATA=folder
MADE = ("demo", "study", "phantom", *TAKE_DATA)  # settings that make has a target for


def command(settings, notebook: str = "", variant: str = "", world: str = "") -> str:
    """Say what makes all that lies in results/<settings>, or what is asked for apart: a notebook, or what one reads."""
    target = ("cohorts" if world.startswith("cohort_") else "symmetry") if world else ""
    target = "chain" if world == CONFIRMING else target or ASKED.get(notebook, "").replace("_", "-")
    if variant and variant not in main_rows(settings):
        target = next((name for name, names in _asked_for(settings).items() if variant in names), "rt-apart")
    return made_with(settings, target)


def made_with(settings, target: str = "", root=None) -> str:
    """Write the command of a run, or of a target of it as make spells it, with what it was given beside the settings.

    Parameters
    ----------
    root : folder of the scans, by default that of the settings; named where it is not the one they would have
    """
    root, name = root or settings.data_root, settings.name
    usual = os.path.realpath(root) == os.path.realpath(placed(settings.data.folder))
    folder = shlex.quote(str(root))
    if not target and name in TAKE_DATA:
        return f"make {name}" + ("" if usual else f" DATA={folder}")
    given = "" if usual else f"STROKELIB_DATA={folder} "
    if not (runtime.ROOT / "configs" / f"{name}.toml").is_file():
        return given + " ".join(["python tools/run.py", f"{name}.toml", target.replace("-", "_")]).strip()
    if target:
        return f"{given}make {target} SETTINGS={name}"
    return given + (f"make {name}" if name in MADE else f"python tools/run.py {name}")


def _asked_for(settings) -> dict:
    """Return the changes that each target makes, by target; the rest is of rt-apart."""
    return {
        "sensitivity": CHANGES,
        "seeds": seeded(settings),
        "leakage": LEAKAGE,
        "imbalance": LOSSES,
        "remarks": REMARKS,
        "beyond": BEYOND,
        "finalists": FINALISTS,
        "chain": chain(settings),
    }
