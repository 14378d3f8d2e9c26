"""The figures under their former names."""
# ruff: noqa: F401

from strokelib.figures.cohort import class_fractions, cohort_summary, curves, registration_errors
from strokelib.figures.comparisons import changes, claims, paired_differences, seeds, sweeps
from strokelib.figures.network import network_diagram
from strokelib.figures.scans import (
    Row,
    centers,
    elastic,
    modalities,
    patch_examples,
    probability,
    provided_and_mirrored,
    registration,
    segmentations,
    uncertainty,
    worst_cases,
)
from strokelib.figures.scores import (
    bland_altman,
    by_group,
    grid_heatmaps,
    leaderboard,
    metric_boxes,
    reliability,
    volumes,
)
from strokelib.figures.style import WINDOWS
from strokelib.figures.training import history, stopping
from strokelib.vocabulary import COMPARED, METRICS, NAMES, STOPPING
