"""Before numpy, torch or matplotlib are imported: one thread a test process, and no window."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")


def pytest_collection_modifyitems(items):
    """Put the run of the whole workflow first: the longest, it would else be left to one worker at the end."""
    items.sort(key=lambda item: item.path.name != "test_workflow.py")
