"""The synthetic scans: heads, strokes, perfusion and the cohort; and perfusion maps from anybody's series."""
