"""Segment scans of your own: python tools/segment.py FOLDER [FOLDER ...] [--out FOLDER] [--mode exact]

FOLDER is one scan (CT with the maps CBF, CBV, MTT and Tmax, or CT with the raw perfusion series; NIfTI or DICOM), or
holds one in each of its folders. For each scan a folder with maps, page and registry row is written below --out, and
scans.csv for these and those it named before, as long as they lie there. A scan that cannot be used is named with the
reason, and the others are segmented; the exit status is 1 then. Where results cannot be written all ends, and what is
done stays. Trained on synthetic scans; research only, not for clinical use.
"""

import argparse
import os
import re
import signal
import sys
import time
import traceback
from pathlib import Path

import ahead  # noqa: F401, this copy of the project first

from strokelib.evaluation.tables import counted
from strokelib.nifti import CaseError
from strokelib.own import folders, output, registry, segment
from strokelib.own.scan import DISCLAIMER
from strokelib.run import runtime
from strokelib.run.notebook import time_left
from strokelib.run.paths import place_environment
from strokelib.run.private import is_tracked

OUT = "own"  # in results/


def summary(found: segment.Segmented, remarks) -> str:
    """Say in a line what was found, and how many remarks there are."""
    low, high = found.interval_ml
    said = f"core {found.volume_ml:.1f} mL ({100 * found.interval.level:.0f} % interval {low:.1f} to {high:.1f} mL)"
    return f"{said}, {counted(len(remarks), 'remark', 'remarks')}" if remarks else said


def run(given) -> int:
    """Segment all scans; return how many could not be."""
    names, files = folders.find_scans(given.folders), folders.pairs(given.files)
    if given.name and len(names) == 1:
        names = [folders.Place(folders.plain(given.name), names[0].folder, names[0].dicom)]
    elif given.name:
        raise ValueError(f"--name is for one scan, {len(names)} were found: {', '.join(p.name for p in names)}")
    if len(names) > 1 and (other := [place for place in names if folders.outside_of(place, files)]):
        outside = ", ".join(folders.outside_of(other[0], files))
        raise ValueError(
            f"--files names what lies outside of {other[0].folder}, {outside}: one patient's file would be taken for "
            f"all {len(names)} scans; name files by their paths within each scan's folder, or segment the scans one by "
            "one"
        )
    out = Path(given.out).expanduser().absolute()
    if is_tracked(out / names[0].name / "report.png"):
        raise ValueError(f"{out} lies where git would commit what is in it; name a folder elsewhere with --out")
    output.check_folder(out, [place.name for place in names])
    networks = segment.load_networks(Path(given.networks or segment.NETWORKS).expanduser(), given.device)
    print(f"{DISCLAIMER}.\n{networks.words}", flush=True)
    if left := folders.passed_over(given.folders, names):
        print(f"passed over, neither NIfTI nor DICOM in it: {', '.join(left)}", flush=True)
    rows, seconds = [], []  # of those that could be used: another is refused in no time
    for done, place in enumerate(names):
        if done:
            left = f", {time_left(sum(seconds) / len(seconds) * (len(names) - done))}" if seconds else ""
            print(f"  {done} of {len(names)} scans{left}", file=sys.stderr, flush=True)
        began = time.monotonic()
        try:
            rows.append(one(place, files, networks, out, given))
            seconds.append(time.monotonic() - began)
        except (CaseError, ImportError) as error:
            print(f"{place.name}: not segmented. {error}", flush=True)
            continue
        except OSError:  # of the place where results go, which the next scan would meet, too
            raise
        except Exception as error:  # what nobody thought of in one scan shall not cost the others
            print(
                f"{place.name}: not segmented, by a fault of this program or for want of memory "
                f"({type(error).__name__}: {error}). Please report it, with what is said below it, if it comes again",
                flush=True,
            )
            traceback.print_exc()
            continue
        output.save_table(rows, out)  # after each, so that it fits what is there if the next one ends all
    if rows:
        print(f"{len(rows)} of {len(names)} scans: {out / output.TABLE}")
    return len(names) - len(rows)


def one(place, files, networks, out: Path, given) -> dict:
    """Segment one scan, say what was found, and return its row."""
    start = time.monotonic()
    try:
        scan = folders.read(place, files, given.seconds_per_frame)
    except OSError as error:  # of a disk that scans lie on, which costs this one alone
        raise CaseError(f"{place.folder} cannot be read ({error}); look at the disk, or copy the scan again") from error
    output.check_same(out / place.name, scan)
    prepared = segment.prepare(scan)
    if given.mode == "exact":
        print(f"{place.name}: exact mode, {time_left(segment.exact_seconds(prepared, networks))}", flush=True)
    found = segment.segment(scan, prepared, networks, given.mode)
    folder = output.save(found, networks, out)
    row = output.saved_row(folder)
    remarks = row["remarks"].split(registry.BETWEEN) if row["remarks"] else []
    print(f"{place.name}: {summary(found, remarks)}; {time.monotonic() - start:.1f} s; {folder}", flush=True)
    for remark in remarks:
        print(f"  - {remark}", flush=True)
    return row


def main() -> int:
    place_environment()
    results = Path(os.environ.get("STROKELIB_RESULTS") or runtime.ROOT / "results")
    parser = argparse.ArgumentParser(prog="tools/segment.py", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("folders", nargs="+", help="a scan, or a folder of scans")
    parser.add_argument("--out", default=str(results / OUT), help="where the results go (%(default)s)")
    parser.add_argument("--mode", choices=segment.MODES, default="slices", help="slices: seconds; exact: as the study")
    parser.add_argument("--files", nargs="+", default=[], metavar="CT=file",
                        help="after the folders: which file (or DICOM series) is which image; paths count from each "
                             "scan's folder")  # fmt: skip
    parser.add_argument("--name", default="", help="what to call the scan; by default as its folder")
    parser.add_argument("--seconds-per-frame", type=float, help="of a raw series whose header does not say, or wrongly")
    parser.add_argument("--networks", help="a folder of networks with facts.json; networks/ by default")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda", "auto"),
                        help="where the networks compute (%(default)s)")  # fmt: skip
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # as an error does, it leaves nothing half
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # a file's name may be no text
    runtime.prepare_torch(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    try:
        return 1 if run(given) else 0
    except (ValueError, OSError) as error:
        sys.exit(re.sub(r"^\[Errno \d+\] ", "", str(error)))
    except KeyboardInterrupt:
        sys.exit(130)  # as a shell has it: not all is done


if __name__ == "__main__":
    sys.exit(main())
