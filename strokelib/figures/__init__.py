"""Figures, one module a kind: arrays or frames in, a Figure out; only display windows are computed.

Words shared by all functions: `label` names the scans (Settings.label) and stands at the figure's
foot; `k` is the slice shown; volumes are (x, y, slice); `lesion` is a bool volume to outline, or None.
Slices are drawn upright, the front of the head at the top. Frames that lack a column raise a
ValueError that names it. The caller saves the figure and closes it.
"""

from strokelib.figures import cohort, comparisons, network, scans, scores, style, training, trust

__all__ = ["cohort", "comparisons", "network", "scans", "scores", "style", "training", "trust"]
