"""A run of one notebook: it knows where everything lies, checks what it reads, and records what it writes.

    run = start("06_ablations", settings)
    for scan, p in run.maps("rt", scans): ...
    run.table(grid, "grid")
    run.finish()

Names of tables and figures are those of `stages`; what is not declared there is refused. What other notebooks left is
held against its manifest when something of it is first read.
"""

import dataclasses
import platform
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from strokelib import cases, nifti, preprocess
from strokelib.run import portable, private, provenance, runtime, saved, stages
from strokelib.run.checks import Missing
from strokelib.run.digest import digest
from strokelib.run.notebook import (
    check_parameters,
    inputs,
    progress,
    running,
    show_figures_as_jpeg,
    show_tables_whole,
)
from strokelib.run.provenance import short
from strokelib.run.settings import Settings, check_fold, check_sensitivity, load_settings
from strokelib.run.worlds import NOTEBOOKS, check_worlds


def start(
    notebook: str, settings, device: str = "cpu", variant: str = "", fold: int | None = None, world: str = ""
) -> "Run":
    """Check the parameters, load the settings, fix the number of threads, and print where the numbers come from.

    The line names neither time nor commit, so that a notebook run twice stays the same file.

    Parameters
    ----------
    notebook : the name of this one, such as "03_sampling"
    settings : a name in configs/ or the path of a .toml file
    device : "auto" (CUDA where there is one), "cpu" or "cuda"
    variant, fold : of a crossvalidation, its own
    world : of another cohort, a name in `worlds.worlds`

    Raises
    ------
    FileNotFoundError, SettingsError : see `settings.load_settings`; an unknown variant or fold.
    ValueError : a parameter that the notebook does not have; patients' scans, and git does not ignore the results or
        this notebook; see also `runtime.choose_device`.
    """
    import torch

    check_parameters(inputs())
    loaded = load_settings(settings)
    if fold is not None:
        check_fold(loaded, fold)
    if notebook in ("09_sensitivity", "12_rt_apart") or variant in loaded.sensitivity.changes:
        check_sensitivity(loaded)
    if notebook in NOTEBOOKS:
        check_worlds(loaded, notebook, world)
    private.check_results(loaded)
    private.check_notebook(loaded, notebook, running(notebook))
    place = runtime.choose_device(device, loaded.compute.portable)
    runtime.prepare_torch(loaded.threads, loaded.compute.precision)
    show_figures_as_jpeg()
    show_tables_whole()
    known = provenance.facts(notebook, loaded, place, variant, world)
    contents = dataclasses.replace(loaded, name="")
    # Who looks at the scans says what they are; what was said when they were looked at last may be of others.
    label = loaded.source if "cohort.csv" in stages.STAGES[notebook].writes else loaded.label
    print(
        f"settings {loaded.name} ({digest(contents)}), seed {loaded.seed}, {label} | "
        f"{place}, threads {loaded.threads} | python {platform.python_version()}, "
        f"torch {torch.__version__}, numpy {np.__version__}"
    )
    if loaded.compute.portable and (reason := portable.missing()):
        print(f"not portable: another processor may give other last digits; {reason}")
    return Run(notebook, loaded, place, known, variant, fold, world)


@dataclass
class Run:
    """What `start` knew, and what has been read and written since."""

    notebook: str
    settings: Settings
    device: object  # of torch
    known: dict  # provenance.facts: code that is edited while a notebook runs is not what made its files
    variant: str = ""
    fold: int | None = None
    world: str = ""
    read_files: dict[str, str] = field(default_factory=dict)  # path in results/<settings>, and its sha256
    written: list[str] = field(default_factory=list)
    verified: set[Path] = field(default_factory=set)  # manifests
    fold_of: dict[tuple[str, int], tuple] = field(default_factory=dict)  # by variant and case; several where by slice
    found: dict[str, dict] = field(default_factory=dict)  # raw scans, by split and case

    @property
    def label(self) -> str:
        """What every figure and table must say of the scans."""
        return self.settings.label

    # What other notebooks left

    def read(self, name: str, variant: str = "", fold: int | None = None, world: str = "") -> pd.DataFrame:
        """Read a table by name; one of a crossvalidation by its variant and fold, of another cohort by its world."""
        stage = stages.STAGES[self.notebook]
        pattern = self._named((*stage.reads, *stage.may_read), f"{name}.csv")
        return saved.read(self.file(pattern.format(variant=variant, fold=fold, world=world)))

    def picture(self, name: str):
        """Return a figure that another notebook saved, to be shown at the end of a cell."""
        return saved.read(self.file(self._named(stages.STAGES[self.notebook].reads, f"{name}.png")))

    def kept(self, name: str, run: str):
        """Read a table or facts, or return a figure named with its suffix, that the project publishes of another run.

        Raises
        ------
        FileNotFoundError : nothing of that run, or not this, is kept.
        """
        known = stages.STAGES[self.notebook].kept
        file = name if name.endswith(".png") else f"{name}.json" if f"{name}.json" in known else f"{name}.csv"
        path = self.settings.kept.parent / run / self._named(known, file)
        if not path.is_file():
            raise Missing(f"{short(path)} is missing; make {run}, then make keep SETTINGS={run}, write it")
        return saved.read(path)

    def scans(self, split: str) -> Iterator[preprocess.Preprocessed]:
        """Yield the preprocessed scans of "TRAINING" or "TESTING" in the order of their cases."""
        table = self.read("registration")
        for case in progress(table.case[table.split == split].tolist(), "scans"):
            yield self.scan(split, case)

    def scan(self, split: str, case: int) -> preprocess.Preprocessed:
        """Load one preprocessed scan."""
        return preprocess.load_preprocessed(self.file(stages.SCAN.format(split=split, case=case)))

    def series_file(self, split: str, case: int) -> Path:
        """Return where the maps that were fitted to the raw series of a scan lie."""
        return self.file(stages.SERIES.format(split=split, case=case))

    def usable(self) -> tuple[dict[str, list[cases.CaseFiles]], pd.DataFrame]:
        """Check the scans as they came, before notebook 02 has; return what `preprocess.check_cases` does."""
        files, bad = preprocess.check_cases(self.settings.data_root, self.settings.data.source)
        self.found = {split: {file.number: file for file in found} for split, found in files.items()}
        return files, bad

    def raw_files(self, split: str) -> list[cases.CaseFiles]:
        """Find the scans as they came: those that notebook 02 could use, or that were found usable just now."""
        if split not in self.found:
            table = self.read("registration")
            wanted = table.case[table.split == split].tolist()  # none of a split that is not there
            where = self.settings.data_root, split, wanted, self.settings.data.source
            files = cases.find_cases(*where) if wanted else []
            self.found[split] = {file.number: file for file in files}
        return list(self.found[split].values())

    def raw(self, split: str, case: int) -> cases.Case:
        """Load one scan as it came."""
        self.raw_files(split)
        return cases.load_case(self.found[split][case])

    def head(self, split: str, case: int) -> np.ndarray:
        """Load the image of a scan as it came that shows the head, (x, y, slice): what figures draw upon."""
        return self.raw(split, case).head

    def raws(self) -> Iterator[tuple[str, cases.CaseFiles, cases.Case]]:
        """Yield split, files and scan of all scans as they came, one loaded at a time."""
        files = [(split, file) for split in cases.SPLITS for file in self.raw_files(split)]
        for split, file in progress(files, "scans"):
            yield split, file, cases.load_case(file)

    def hidden_truth(self, case: int) -> tuple[np.ndarray, np.ndarray]:
        """Read the lesion of a synthetic testing scan, bool, and its spacing in mm: for scoring alone."""
        truth, spacing = nifti.read_image(cases.hidden_truth(self.settings.data_root, case), case)
        return truth > 0, spacing

    def predictions(self, variants, folds: int | None = None) -> pd.DataFrame:
        """Read who was predicted, by variants or changes, in all folds or the first so many.

        Returns
        -------
        frame, a row a (variant, case, fold) : variant, case, patient, fold. By slice alone a case has several folds.
        """
        folds = self.settings.folds.count if folds is None else folds
        table = pd.concat([self.read("predictions", name, fold) for name in variants for fold in range(folds)])
        table = table[["variant", "case", "patient", "fold"]]
        self.fold_of |= {name: tuple(own) for name, own in table.groupby(["variant", "case"]).fold}
        return table

    def map(self, variant: str, case: int, spread: bool = False) -> np.ndarray:
        """Load the probabilities of a scan, or their spread over the passes, by the fold not trained on it.

        By slice they are the sum of its folds' maps, each of which is 0 in all slices but its own.
        """
        if (variant, case) not in self.fold_of:
            self.predictions([variant])
        pattern, folds = stages.SPREAD if spread else stages.MAP, self.fold_of[variant, case]
        paths = [self.file(pattern.format(variant=variant, fold=fold, case=case)) for fold in folds]
        maps = np.stack([nifti.read_image(path, case)[0] for path in paths])
        if (maps.any(axis=(1, 2)).sum(axis=0) > 1).any():
            raise ValueError(f"case_{case}: folds {folds} of {variant} share slices; run notebook 05 of them again")
        return maps.sum(axis=0)

    def maps(self, variant: str, scans) -> Iterator[tuple]:
        """Yield each of the scans with its probabilities."""
        for scan in progress(scans, f"maps of {variant}"):
            yield scan, self.map(variant, scan.number)

    def network_files(self, variant: str) -> list[Path]:
        """Return the networks of all folds of a variant, to be loaded by `inference.load_network`."""
        folds = range(self.settings.folds.count)
        return [self.file(f"{variant}/fold{fold}/network.safetensors") for fold in folds]

    def histories(self) -> Iterator[tuple[str, int, pd.DataFrame]]:
        """Yield variant, fold and history of all networks trained so far by these settings and this code."""
        for path in sorted(self.settings.results.glob("*/fold*/history.csv")):
            variant, fold = path.parts[-3], int(path.parts[-2].removeprefix("fold"))
            try:
                yield variant, fold, self.read("history", variant, fold)
            except (ValueError, FileNotFoundError):  # left by other settings or other code
                continue

    def file(self, path: str) -> Path:
        """Return where a file in results/<settings> lies, verified with all that was written with it.

        Raises
        ------
        ValueError : the notebook is not declared to read it; see also `provenance.verify`.
        FileNotFoundError : it is not there, or there is no manifest with it.
        """
        stage, place = stages.STAGES[self.notebook], self.settings.results / path
        if path in self.written:
            return place
        pattern = stages.declared((*stage.reads, *stage.may_read), path)
        if not pattern:
            raise ValueError(f"{self.notebook} is not declared to read {path}; add it in strokelib/run/stages.py")
        if self.settings.results / stages.manifest(stages.maker(path), path) not in self.verified:
            self.verified.add(provenance.verify(self.settings, path))
        if not place.is_file():
            raise Missing(f"{short(place)} is missing; run notebook {stages.maker(path)} again")
        if "{case}" not in pattern and path not in self.read_files:  # scans and maps stand in tables that are read
            self.read_files[path] = provenance.sha256(place)
        return place

    # What this one writes

    def table(self, frame: pd.DataFrame, name: str, cohort=None) -> pd.DataFrame:
        """Save a frame as csv to six significant digits, with a column `cohort` that says whose numbers they are.

        The frame itself is returned as it was given, so that it can be saved where it is made.

        Parameters
        ----------
        cohort : a text, or one a row, in place of the label of this run

        Raises
        ------
        ValueError : a column `cohort` of the frame says something else, which would be lost.
        """
        path = self._own(f"{name}.csv")
        labeled = frame.assign(cohort=self.label if cohort is None else cohort)
        if "cohort" in frame and (frame["cohort"] != labeled["cohort"]).any():
            raise ValueError(f"the column cohort of {name!r} would be overwritten by {self.label!r}; name it otherwise")
        saved.write_table(path, labeled)
        self.wrote(path)
        return frame

    def figure(self, figure, name: str):
        """Save a figure as PNG and return it: end the cell with it."""
        path = self._own(f"{name}.png")
        saved.write_figure(path, figure)
        self.wrote(path)
        return figure

    def save_scan(self, split: str, scan: preprocess.Preprocessed) -> str:
        """Save a preprocessed scan; return the sha256 of its contents."""
        path = self.settings.results / stages.SCAN.format(split=split, case=scan.number)
        sha256 = preprocess.save_preprocessed(path, scan)
        self.wrote(path)
        return sha256

    def save_series(self, split: str, case: int, maps: dict[str, np.ndarray]) -> None:
        """Save the maps that were fitted to the raw series of a scan; `extra_inputs.load_maps` reads them."""
        path = self.settings.results / stages.SERIES.format(split=split, case=case)
        saved.write_arrays(path, maps)
        self.wrote(path)

    def save_map(self, split: str, case: int, array, spread: bool = False) -> None:
        """Save the probabilities of a scan, or their spread, with the header of its CT, as float32."""
        self.raw_files(split)
        path = self._own(f"case_{{case}}{'_spread' if spread else ''}.nii.gz", case)
        nifti.save_map(path, array, self.found[split][case].reference, np.float32)
        self.wrote(path)

    def folder(self, name: str = "") -> Path:
        """Return the folder of a variant's networks in this run's fold, or one that a library function writes to.

        Of another cohort it lies in the world's own.
        """
        if self.world:
            return self.settings.results / "worlds" / self.world / name
        return self.settings.results / (name if self.fold is None else f"{name or self.variant}/fold{self.fold}")

    def trained(self, file: Path) -> Path:
        """Return a network's file, recorded as written by this run, or verified as one of the variant it is of."""
        if file.parent == self.folder():
            self.wrote(file)
        else:
            self.file(file.relative_to(self.settings.results).as_posix())
        return file

    def wrote(self, path: Path) -> None:
        """Record a file that this run has written.

        Raises
        ------
        ValueError : the notebook is not declared to write it.
        """
        stage, name = stages.STAGES[self.notebook], path.relative_to(self.settings.results).as_posix()
        if not stages.declared((*stage.writes, *stage.may_write), name):
            raise ValueError(f"{self.notebook} is not declared to write {name}; add it in strokelib/run/stages.py")
        if name not in self.written:
            self.written.append(name)

    def finish(self) -> None:
        """Print what was written, with its size, and write the manifests.

        Raises
        ------
        ValueError : something that the notebook is declared to write was not.
        """
        stage = stages.STAGES[self.notebook]
        for pattern in stage.writes:
            if not any(stages.declared([pattern], name) for name in self.written):
                raise ValueError(f"{self.notebook} is declared to write {pattern} and has not; see stages.py")
        groups = {}
        for name in self.written:  # files a scan by their folder, others one by one
            per_case = "{case}" in stages.declared((*stage.writes, *stage.may_write), name)
            groups.setdefault(f"{Path(name).parent.as_posix()}/" if per_case else name, []).append(name)
        for shown, names in groups.items():
            size = sum((self.settings.results / name).stat().st_size for name in names)
            count = f", {len(names)} files" if shown.endswith("/") else ""
            slash = "/" if count else ""
            print(f"wrote {short(self.settings.results / shown)}{slash} ({saved.in_words(size)}{count})")
        provenance.write_manifests(self.settings.results, self.known, self.read_files, self.written)

    def _own(self, file: str, case: int | None = None) -> Path:
        """Return where this run's own file of that name goes."""
        stage = stages.STAGES[self.notebook]
        pattern = self._named((*stage.writes, *stage.may_write), file)
        return self.settings.results / pattern.format(variant=self.variant, fold=self.fold, case=case, world=self.world)

    def _named(self, paths, file: str) -> str:
        """Return the declared path that ends in this name."""
        for path in paths:
            if path.rpartition("/")[2] == file:
                return path
        known = ", ".join(path.rpartition("/")[2] for path in paths)
        raise ValueError(f"{self.notebook} declares no {file} here, but {known}; see strokelib/run/stages.py")
