"""From a scan of one's own to its page: how long each part takes, by whole slices and by overlapping patches.

A synthetic testing scan of 8 slices of the demo's cohort (made by notebook 01), with the five networks that ship, which
are loaded before. "All" is read, prepared, segmented, measured, drawn and written. The plain rival of slices is the
exact way, which is timed once.
"""

import shutil
import tempfile
import time
from pathlib import Path

import measure

from strokelib import cases, metrics
from strokelib.own import arrival, output, segment
from strokelib.run.settings import load_settings

SLICES = 8


def compare(repeats: int) -> list:
    settings = load_settings("demo")
    try:
        files = cases.find_cases(settings.data_root, "TESTING", source=settings.data.source)
    except FileNotFoundError:
        return measure.missing("a scan to its page", "run notebook 01 first")
    slices = {scan.folder: cases.load_case(scan).head.shape[2] for scan in files}
    folder = max((folder for folder in slices if slices[folder] <= SLICES), key=slices.get)
    networks, out = segment.load_networks(), Path(tempfile.mkdtemp())
    scan = arrival.read_folder(folder)
    prepared = segment.prepare(scan)
    found = segment.segment(scan, prepared, networks)

    def whole(mode: str):
        def run():
            own = arrival.read_folder(folder)
            output.save(segment.segment(own, segment.prepare(own), networks, mode), networks, out)

        return run

    parts = {
        "all, slices": whole("slices"),
        "read": lambda: arrival.read_folder(folder),
        "prepare": lambda: segment.prepare(scan),
        "networks, slices": lambda: segment.segment(scan, prepared, networks),
        "measure, draw, write": lambda: output.save(found, networks, out),
    }
    work = f"a scan of {scan.case.head.shape[2]} slices to its page, 5 networks"
    seconds = measure.in_turn(parts, repeats)
    began = time.perf_counter()
    exact = segment.segment(scan, prepared, networks, "exact")
    seconds["networks, exact"] = time.perf_counter() - began
    shutil.rmtree(out)
    alike, told = metrics.dsc(exact.core, found.core), segment.exact_seconds(prepared, networks)
    agreement = {"networks, exact": f"DSC {alike:.3f} with the core by slices; estimated {told:.1f} s"}
    return measure.rows(work, seconds, "all, slices", agreement, repeats)


if __name__ == "__main__":
    measure.main(compare)
