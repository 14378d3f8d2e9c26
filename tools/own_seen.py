"""What do the networks know? python tools/own_seen.py [SETTINGS] [FOLDER]

Measures the training scans of a settings file (study, whose networks ship), which lie in its folder or in another, and
writes data/own_seen.csv: for each quantity the least, the quantiles and the most over scans. `strokelib.own.checks`
holds a scan of one's own against it. Minutes: each scan is aligned with its mirror image.
"""

import csv
import sys
from pathlib import Path

import ahead  # this copy of the project first
import numpy as np

from strokelib import cases, preprocess
from strokelib.own import checks
from strokelib.run.paths import place_environment
from strokelib.run.private import check_private
from strokelib.run.runtime import prepare_torch, write_whole
from strokelib.run.settings import load_settings


def measure(root, source: str, kind: str = "rigid") -> list[dict]:
    """Measure every training scan in a folder."""
    rows = []
    for file in cases.find_cases(root, "TRAINING", source=source):
        case = cases.load_case(file)
        rows.append(checks.measure(case, preprocess.preprocess_case(case, kind)))
    return rows


def summarize(rows: list[dict], source: str) -> list[tuple]:
    """Return the rows of the table, one a quantity, in the order of `checks.COLUMNS`."""
    table = []
    for quantity, unit in rows[0]:
        values = np.array([row[quantity, unit] for row in rows])
        quantiles = np.quantile(values, [0, 0.05, 0.5, 0.95, 1])
        table.append((quantity, unit, len(values), *(f"{value:.4g}" for value in quantiles), source))
    return table


def write(table: list[tuple], path: Path = checks.TABLE) -> None:
    """Write the table as csv, whole or not at all."""

    def rows(temporary: Path) -> None:
        with open(temporary, "w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([checks.COLUMNS, *table])

    write_whole(path, rows)


def main() -> None:
    ahead.explain(__doc__)
    place_environment()
    try:
        settings = load_settings(sys.argv[1] if len(sys.argv) > 1 else "study")
        root = Path(sys.argv[2]).expanduser() if len(sys.argv) > 2 else settings.data_root
        instead = "the table that ships is of synthetic scans: its ends are single scans' values"
        check_private(settings, checks.TABLE, instead)
        prepare_torch(settings.threads)
        rows = measure(root, settings.data.source, settings.preprocess.registration)
        source = f"{settings.source}, seed {settings.cohort.seed}" if settings.synthetic else settings.source
        write(summarize(rows, f"{source}, {settings.name}"))
    except (ValueError, OSError) as error:
        sys.exit(f"{error}")
    print(f"{len(rows)} scans of {root.name}: {checks.TABLE.relative_to(checks.ROOT)}")


if __name__ == "__main__":
    main()
