"""Before numpy, torch or matplotlib are imported: one thread a test process, and no window."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
