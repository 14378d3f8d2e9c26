"""Files of a run: tables, figures, arrays and facts, each read by its suffix and written whole or not at all."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from strokelib.run import runtime


def read(path: Path):
    """Read a table (.csv) as a frame, facts (.json) as a dict, or a figure (.png) to be shown at the end of a cell."""
    if path.suffix == ".json":
        return json.loads(path.read_text(encoding="utf-8"))
    if path.suffix == ".png":
        from IPython.display import Image

        return Image(filename=path, width=800)
    # A patient may be called 01, 1 or NA: a name, whatever else the column holds. What is missing is written as "".
    return pd.read_csv(path, dtype={"patient": str}, keep_default_na=False, na_values=[""])


def write_table(path, frame: pd.DataFrame) -> None:
    """Write a frame as csv to six significant digits."""
    runtime.write_whole(path, lambda temporary: frame.to_csv(temporary, index=False, float_format="%.6g"))


def write_figure(path, figure) -> None:
    """Write a figure as PNG, the same bytes for the same data, and close it, or it would be shown once more."""
    import matplotlib.pyplot as plt

    runtime.write_whole(path, lambda temporary: figure.savefig(temporary, dpi=150))
    plt.close(figure)


def write_arrays(path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays by name as an uncompressed .npz."""
    runtime.write_whole(path, lambda temporary: np.savez(temporary, **arrays))


def in_words(count: int) -> str:
    """Say how large a file of so many bytes is."""
    if count < 1000:
        return f"{count} B"
    return f"{count / 1e3:.0f} kB" if count < 1e6 else f"{count / 1e6:.1f} MB"
