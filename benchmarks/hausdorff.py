"""Hausdorff distance of one scan, and the grid search of 54 pairs: ours against medpy and the plain way."""
