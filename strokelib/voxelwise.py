"""Methods that look at a voxel and a little around it: logistic regression and boosted trees on named features.

Beside the networks they say what is there without shapes, without context and without hours of training.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.special import expit, logit
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from strokelib import metrics, modalities

SMOOTHING_MM = (0.0, 2.0, 5.0)  # SD of a Gaussian in plane; 0 for the voxel itself
LARGEST = 5.0  # standard deviations; what lies beyond is cut off, or a single vessel would rule the squares
REACH = 2.5  # standard deviations, of the Gaussian; beyond is nothing
VOXELS_PER_SCAN = 1000  # at most, half of them on lesion
KINDS = ("logistic", "trees")


@dataclass(frozen=True)
class Feature:
    """One number about a voxel."""

    image: str  # a modality or the mirror image of one
    smoothing_mm: float  # of SMOOTHING_MM
    squared: bool


@dataclass(frozen=True, eq=False)
class Voxels:
    """The brain of one scan, voxel by voxel.

    `values` (voxel, feature) float32 are those of `features`, the squares not among them; `lesion` (voxel,) bool. The
    voxels are those of `mask` (x, y, slice), in its order. `images` names the modalities as they came.
    """

    number: int
    patient: str
    values: np.ndarray
    features: tuple[Feature, ...]
    lesion: np.ndarray
    mask: np.ndarray
    images: tuple[str, ...]

    def map(self, values) -> np.ndarray:
        """Put a number for each voxel back where it lies, (x, y, slice) float32, 0 outside the brain."""
        whole = np.zeros(self.mask.shape, np.float32)
        whole[self.mask] = values
        return whole


@dataclass(frozen=True, eq=False)
class Model:
    """A classifier of `features`, each brought to mean 0 and standard deviation 1 by those it was fitted on."""

    kind: str
    mirrored: bool
    features: tuple[Feature, ...]
    mean: np.ndarray
    sd: np.ndarray
    shift: float  # of the log odds, from the voxels drawn to all voxels of the brain
    classifier: object  # of scikit-learn

    def log_odds(self, values) -> np.ndarray:
        """Compute the log odds of lesion, (voxel,), from (voxel, feature) of `design`."""
        with threadpool_limits(1):  # sums depend on the number of threads
            return self.classifier.decision_function((values - self.mean) / self.sd) + self.shift

    def predict(self, voxels) -> np.ndarray:
        """Compute the map of probabilities of a scan, (x, y, slice) float32, 0 outside the brain."""
        return voxels.map(expit(self.log_odds(design(voxels, self.mirrored)[0])))


def read_voxels(scan) -> Voxels:
    """Compute what is known of every brain voxel of a scan with its outline: all inputs, and smoothed copies of them.

    Parameters
    ----------
    scan : preprocess.Preprocessed

    Raises
    ------
    ValueError : the scan has no outline.

    Our choice: Gaussians of 2 and 5 mm in plane, over the brain alone, so that the 0 around it counts for nothing;
    values cut at 5 standard deviations.
    """
    if scan.lesion is None:
        raise ValueError(f"case_{scan.number} has no outline to learn from or to be judged by; give a training scan")
    box = metrics.bounding_box(scan.mask)
    brain = scan.mask[box]
    inside, columns, features = brain.astype(np.float32), [], []
    weights = {mm: _smooth(inside, mm, scan.spacing)[brain] for mm in SMOOTHING_MM}
    names = modalities.inputs(scan.modalities, with_mirrored=True)
    for name, image in zip(names, scan.images, strict=True):
        image = np.clip(image[box], -LARGEST, LARGEST) * inside
        for mm in SMOOTHING_MM:
            columns.append(_smooth(image, mm, scan.spacing)[brain] / weights[mm])
            features.append(Feature(name, mm, squared=False))
    values = np.stack(columns, axis=1)
    return Voxels(
        scan.number, scan.patient, values, tuple(features), scan.lesion[scan.mask], scan.mask, scan.modalities
    )


def _smooth(image, mm: float, spacing) -> np.ndarray:
    if not mm:
        return image
    sigma = [mm / side for side in spacing[:2]]
    return ndimage.gaussian_filter(image, (*sigma, 0), mode="constant", truncate=REACH)


def design(voxels, mirrored: bool, chosen=slice(None)) -> tuple[np.ndarray, tuple[Feature, ...]]:
    """Return features of some voxels of a scan, (voxel, feature) float32, and their names: values, then squares.

    Parameters
    ----------
    voxels : Voxels
    mirrored : the modalities and their mirror images, or the first only
    chosen : which voxels, by their numbers; all by default
    """
    own = _own(voxels, mirrored)
    places = [voxels.features.index(feature) for feature in own if not feature.squared]
    values = voxels.values[chosen][:, places]
    return np.concatenate([values, values**2], axis=1), own


def _own(voxels, mirrored: bool) -> tuple[Feature, ...]:
    names = {*modalities.inputs(voxels.images, mirrored)}
    plain = [feature for feature in voxels.features if feature.image in names]
    return (*plain, *(Feature(feature.image, feature.smoothing_mm, squared=True) for feature in plain))


def draw(voxels, generator, count: int = VOXELS_PER_SCAN) -> np.ndarray:
    """Draw voxels of a scan to be learnt from, by their numbers: half on lesion, as far as there is any, half not.

    Parameters
    ----------
    voxels : Voxels
    generator : numpy.random.Generator
    count : at most

    Our choice: balanced, as the networks' patches are, so that a scan counts as much as another whatever its lesion.
    """
    drawn = []
    for which in (voxels.lesion, ~voxels.lesion):
        there = np.flatnonzero(which)
        drawn.append(generator.choice(there, min(count // 2, len(there)), replace=False))
    return np.sort(np.concatenate(drawn))


def fit(kind: str, scans, mirrored: bool, drawn) -> Model:
    """Fit a classifier on drawn voxels of some scans.

    Parameters
    ----------
    kind : "logistic" or "trees"
    scans : sequence of Voxels
    mirrored : as `design`
    drawn : sequence of the numbers of the voxels of each scan, of `draw`

    Raises
    ------
    ValueError : an unknown kind; no voxel of one of both classes.

    One thread, and no randomness beyond what was drawn: the same bits every time.

    Our choice: scikit-learn's logistic regression with its own weak penalty (C = 1); its trees with 50 rounds at rate
    0.2, 15 leaves and no early stopping, the rest as it comes. Half of the drawn voxels being lesion, the log odds are
    moved by the odds of lesion in these brains over those among the drawn, so that thresholds mean what they say.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {KINDS}, got {kind!r}")
    parts = [design(voxels, mirrored, chosen) for voxels, chosen in zip(scans, drawn, strict=True)]
    values = np.concatenate([part for part, _ in parts])
    lesion = np.concatenate([voxels.lesion[chosen] for voxels, chosen in zip(scans, drawn, strict=True)])
    if lesion.all() or not lesion.any():
        raise ValueError(f"the {len(lesion)} voxels drawn are of one class; draw from scans with brain and lesion")
    mean, sd = values.mean(axis=0, dtype=np.float64), values.std(axis=0, dtype=np.float64)
    mean, sd = mean.astype(np.float32), np.where(sd > 0, sd, 1).astype(np.float32)
    if kind == "logistic":
        classifier = LogisticRegression(C=1.0, max_iter=1000)
    else:
        classifier = HistGradientBoostingClassifier(
            max_iter=50, learning_rate=0.2, max_leaf_nodes=15, early_stopping=False, random_state=0
        )
    with threadpool_limits(1):
        classifier.fit((values - mean) / sd, lesion)
    everywhere = np.concatenate([voxels.lesion for voxels in scans]).mean()
    shift = float(logit(everywhere) - logit(lesion.mean()))
    return Model(kind, mirrored, parts[0][1], mean, sd, shift, classifier)
