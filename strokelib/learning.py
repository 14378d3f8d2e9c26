"""Training on more and more scans: further synthetic cohorts, nested sets of whole patients, scans left on disk."""

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from strokelib import cases, crossvalidation, extra_inputs, inference, preprocess, training, validation
from strokelib.nifti import CaseError
from strokelib.phantom.cohort import cohort_digest
from strokelib.phantom.scan import plan_cohort
from strokelib.run.checks import require
from strokelib.run.digest import digest, module_digest
from strokelib.run.runtime import rng, write_whole
from strokelib.run.settings import Cohort, Settings
from strokelib.run.variants import Variant, at_changes_budget

TESTING, HELD_OUT, TRAINING = "testing", "held_out", "training"  # what a cohort is for
FEW = 4  # of a cohort's patients one in so many is as many as are held out
APART = 1000  # what numbers of scans differ by from cohort to cohort; none has as many scans
MADE_FROM = "made_from.txt"


def cohorts(settings: Settings) -> dict[str, Cohort]:
    """Name the cohorts of a learning curve: whose scans are tested, held out and trained on.

    Returns
    -------
    {"testing": Cohort, "held_out": Cohort, "training_1": Cohort, ...} with the seeds further.curve_seed and those after
    it, each of as many training patients as the settings' own cohort, but for the held-out one with a quarter of them;
    of those to train on as many as it takes for the largest of further.curve_scans.

    Our choice: several cohorts in place of a larger one, because the table of real geometry ends with 63 patients. The
    training split of each is used, which has labels; the one testing scan of each stands for none.
    """
    asked, own = settings.further, dataclasses.replace(settings.cohort, testing_patients=1, series_cases=0)
    few = dataclasses.replace(own, training_patients=max(1, own.training_patients // FEW))
    count = -(-asked.curve_scans[-1] // len(_plans(own)))
    named = {TESTING: own, HELD_OUT: few} | {f"{TRAINING}_{n}": own for n in range(1, count + 1)}
    return {
        name: dataclasses.replace(cohort, seed=asked.curve_seed + place)
        for place, (name, cohort) in enumerate(named.items())
    }


def _plans(cohort: Cohort):
    return [plan for plan in plan_cohort(cohort) if plan.split == "TRAINING"]


def number_of(made, name: str, case: int) -> int:
    """Return the number of a scan among those of all cohorts `made`, by its cohort's name and the case there.

    The draws of patches depend on it, so a scan gives the same patches in every set.
    """
    return APART * [*made].index(name) + case


def sets(settings: Settings) -> dict[int, dict[int, str]]:
    """List the scans of each set of the learning curve: for each of further.curve_scans, number of the scan to patient.

    A set holds whole patients, as few as have so many scans, and all of the set before it. Patients of a cohort come in
    an order that is drawn, cohort after cohort: the table of geometry goes by center and protocol, so the first half of
    it would be of other scanners than the whole.

    Raises
    ------
    SettingsError : two sets are the same, because a patient has more scans than lie between them.
    """
    order, made = [], cohorts(settings)
    for name, cohort in made.items():
        if not name.startswith(TRAINING):
            continue
        of = {}
        for plan in _plans(cohort):
            of.setdefault(f"{name} {plan.name}", []).append(number_of(made, name, plan.number))
        people = list(of.items())
        order += [people[i] for i in rng(cohort.seed, "learning curve").permutation(len(people))]
    ends, found = np.cumsum([len(scans) for _, scans in order]), {}
    for count in settings.further.curve_scans:
        taken = order[: int(np.searchsorted(ends, count)) + 1]
        found[count] = {number: patient for patient, scans in taken for number in scans}
    sizes = [len(own) for own in found.values()]
    asked = list(settings.further.curve_scans)
    differ = len({*sizes}) == len(sizes)
    require(differ, f"further.curve_scans, {asked}, come to {sizes} scans of whole patients: two sets are the same")
    return found


def prepare(root, name: str, settings: Settings) -> Iterator[tuple[int, int]]:
    """Preprocess the scans of a cohort as notebook 02 does on the CPU, one by one, and write each beside its cohort.

    Parameters
    ----------
    root : folder of the cohort, as `phantom.cohort.iter_cohort` made it
    name : in `cohorts`

    Yields
    ------
    (scans done, scans in all). One that is there is not made again, unless it was made of another cohort or by other
    code: then all are. Scans that no set needs are left out.

    Our choice: images to train on are written as float16, as their tensor holds them.
    """
    known, folder, learnt = cohorts(settings), Path(root) / "preprocessed", name.startswith(TRAINING)
    kind = settings.preprocess.registration
    made = digest(cohort_digest(known[name]), kind, name, learnt, module_digest("strokelib.preprocess"))
    marker = folder / MADE_FROM
    if not marker.is_file() or marker.read_text() != made:
        shutil.rmtree(folder, ignore_errors=True)
        write_whole(marker, lambda path: path.write_text(made))
    needed = sets(settings)[settings.further.curve_scans[-1]] if learnt else None
    files = {number_of(known, name, file.number): file for file in cases.find_cases(root, "TRAINING")}
    files = {number: file for number, file in files.items() if needed is None or number in needed}
    for done, (number, file) in enumerate(files.items(), 1):
        path = folder / f"case_{number}.npz"
        if not path.is_file():
            scan = preprocess.preprocess_case(cases.load_case(file), kind, device="cpu")
            images = scan.images.astype(np.float16) if learnt else scan.images
            renamed = dataclasses.replace(scan, images=images, number=number, patient=f"{name} {scan.patient}")
            preprocess.save_preprocessed(path, renamed)
        yield done, len(files)


@dataclass(frozen=True, eq=False)
class Stored:
    """A preprocessed scan whose images stay on disk until they are asked for; all else is as `Preprocessed` has it.

    Who builds a tensor of hundreds of scans would otherwise hold all images twice.
    """

    file: Path
    mask: np.ndarray
    lesion: np.ndarray
    spacing: np.ndarray
    number: int
    patient: str
    modalities: tuple[str, ...]
    made_from: str  # what tells it from other scans
    extra: str = ""  # see `extra_inputs`

    def load(self) -> preprocess.Preprocessed:
        """Read it, with its images as float32 and what it is given beside its modalities."""
        scan = preprocess.load_preprocessed(self.file)
        scan = dataclasses.replace(scan, images=scan.images.astype(np.float32, copy=False))
        return extra_inputs.extended(scan, self.extra)

    def inputs(self, mirrored: bool) -> np.ndarray:
        """Return what a network takes, float32 (input, x, y, slice), read anew at every call."""
        return self.load().inputs(mirrored)


def stored(root) -> list[Stored]:
    """List what `prepare` has written, in the order of numbers.

    Raises
    ------
    CaseError : a file is damaged.
    """
    folder, found = Path(root) / "preprocessed", []
    made = (folder / MADE_FROM).read_text()
    for path in sorted(folder.glob("case_*.npz"), key=lambda path: int(path.stem.removeprefix("case_"))):
        try:
            with np.load(path, allow_pickle=False) as file:  # which reads no array that is not asked for
                mask, lesion, spacing = (file[name] for name in ("mask", "lesion", "spacing"))
                facts = int(file["number"]), str(file["patient"]), tuple(file["modalities"].tolist())
        except Exception as error:  # numpy, zipfile, zlib and struct each raise their own
            raise CaseError(f"{path} is damaged ({error}); delete it and run notebook 25 again") from error
        found.append(Stored(path, mask, lesion, spacing, *facts, f"{made} {facts[0]}"))
    return found


def given(scans, extra: str) -> list[Stored]:
    """Return scans as a variant sees them that is given `extra` beside their modalities."""
    if not extra:
        return list(scans)
    kind, how = dataclasses.replace(scans[0], extra=extra).load().modalities, module_digest("strokelib.extra_inputs")
    origins = [f"{scan.made_from} {extra} {how}" for scan in scans]  # whose code tells networks apart, too
    return [
        dataclasses.replace(scan, extra=extra, modalities=kind, made_from=origin)
        for scan, origin in zip(scans, origins, strict=True)
    ]


def settings_of(settings: Settings, row: str) -> tuple[Variant, Settings]:
    """Say how a row or a change is trained on every set: the same updates, none of them saved by stopping early.

    Returns
    -------
    Variant, and the settings: sensitivity.updates, as many patches a scan as in the settings, scans as float16; a
    validation by the clock, where there is one after all patches alone as many updates as the smallest set takes for
    all of its own.

    Our choice: updates are what training costs; passes over the patches fall as the set grows, which is the point. The
    weights that are kept are the best on held-out scans, as in every row, but patience ends nothing.
    """
    variant, how = at_changes_budget(row, settings)
    budget = how.training
    smallest = settings.further.curve_scans[0] * how.sampling.patches_per_case // budget.batch_size
    every = budget.validate_every or max(1, smallest)
    budget = dataclasses.replace(
        budget, snapshots=(), patience=budget.max_updates, validate_every=min(every, budget.max_updates)
    )
    return variant, dataclasses.replace(
        how, training=budget, compute=dataclasses.replace(how.compute, resident="float16")
    )


def together(training_scans, held_out, row: str, settings: Settings) -> crossvalidation.Fold:
    """Put the scans of a set and those held out into what a network is trained from; it evaluates none of them."""
    variant, _ = settings_of(settings, row)
    count, total = len(training_scans), len(training_scans) + len(held_out)
    scans = given([*training_scans, *held_out], variant.extra)
    return crossvalidation.Fold(0, scans, np.arange(count), np.arange(count, total), np.empty(0, int))


def job_of(part: crossvalidation.Fold, row: str, settings: Settings, folder) -> training.Job:
    """Say what the network of a set is trained from, and where it goes."""
    variant, how = settings_of(settings, row)
    (job,) = crossvalidation.jobs(part, variant, how, Path(folder), [scan.made_from for scan in part.scans])
    return job


def train(
    part: crossvalidation.Fold, row: str, settings: Settings, folder, device, watch: Callable | None = None
) -> dict[str, float]:
    """Train the network of a set, or take it where it is there, and look whether it has learnt its scans by heart.

    Parameters
    ----------
    part : of `together`
    row : one of further.curve_rows
    folder : where the network goes
    device : torch device
    watch : as `training.train_fold`

    Returns
    -------
    updates; kept (after how many of them); patches (to train on), passes (over them); last_loss (of training, elastic
    copies and dropout included, since the last validation but one); training_loss and held_out_loss, of as many patches
    of each as a validation takes, seen as at prediction by the weights that were kept.

    One stack is in memory at a time, and each scan is read once for it.
    """
    variant, how = settings_of(settings, row)
    job = job_of(part, row, settings, folder)
    stack = crossvalidation.resident(part.scans, variant, how, device.type)
    patches = crossvalidation.sets(part, stack, variant, how)
    training.train_fold(job, stack, patches, device, watch)
    history = training.read_history(job.network_file)
    network, _ = inference.load_network(job.network_file, device)
    seen, unseen = (
        validation.validate(network, job.recipe, stack, some)["validation_loss"]
        for some in (patches.training, patches.stopping)
    )
    updates = int(history["updates"].iloc[-1])
    return {
        "updates": updates,
        "kept": int(history[history["best"].astype(bool)]["updates"].iloc[-1]),
        "patches": len(patches.training),
        "passes": updates * how.training.batch_size / len(patches.training),
        "last_loss": float(history["loss"].iloc[-1]),
        "training_loss": seen,
        "held_out_loss": unseen,
    }


def predict(network, scans, row: str, settings: Settings) -> Iterator[tuple[Stored, np.ndarray]]:
    """Yield each scan with its probabilities, float32 (x, y, slice), by patches as `settings.prediction` asks."""
    variant, how = settings_of(settings, row)
    sweep = inference.sweep(variant, how.prediction)
    for scan in given(scans, variant.extra):
        generator = inference.dropout_generator(how.seed, 0, scan.number)
        images = scan.inputs(variant.mirrored)
        yield scan, inference.predict([network], images, scan.mask, sweep, generator).probability
