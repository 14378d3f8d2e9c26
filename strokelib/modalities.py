"""The images of a scan, one row each: everything that depends on a modality asks for it here, by name."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Modality:
    """One kind of image, as its files hold it and as it is shown."""

    mark: str  # what names it in a file name
    largest: float  # in file units: far beyond what a scan holds, below what a wrong byte order, type or unit makes
    unit: str  # in which it is shown
    divisor: float  # file values / this are in that unit
    window: tuple[float, float]  # in that unit, as it is shown
    colors: str  # a color map of matplotlib
    head: tuple[float, float] | None = None  # file values between which the head is held against its mirror image;
    # None for a map of blood flow, which is 0 outside the brain


# An early release of ISLES 2018 wrote MR_ for CT_ before the names of maps, hence no prefix. CBF and CBV are stored
# tenfold.
MODALITIES = {
    "CT": Modality(".CT.", 32767, "HU", 1, (0, 80), "gray", head=(0, 100)),
    "CBF": Modality("_CBF.", 30000, "mL/100 g/min", 10, (0, 60), "inferno"),
    "CBV": Modality("_CBV.", 10000, "mL/100 g", 10, (0, 8), "inferno"),
    "MTT": Modality("_MTT.", 1000, "s", 1, (0, 20), "inferno"),
    "Tmax": Modality("_Tmax.", 1000, "s", 1, (0, 20), "inferno"),
}
OUTLINE, SERIES = ".OT.", "_4DPWI."  # marks of the lesion's outline and of the raw perfusion series


@dataclass(frozen=True)
class Source:
    """Whose scans they are, and what comes with each of them: one that shows the head, and maps."""

    label: str  # what every figure and table made from them says
    modalities: tuple[str, ...]  # in the order in which a network takes them


ISLES = ("CT", "CBF", "CBV", "MTT", "Tmax")
SOURCES = {  # by data.source of the settings
    "synthetic": Source("synthetic cohort", ISLES),
    "isles2018": Source("ISLES 2018", ISLES),
    "isles2024": Source("ISLES 2024 (infarct of days 2 to 9)", ISLES),  # another question than the core: so it says
}


def head(names) -> str:
    """Return which of these modalities shows the head.

    Raises
    ------
    ValueError : none of them, or more than one.
    """
    found = [name for name in names if MODALITIES[name].head]
    if len(found) != 1:
        raise ValueError(
            f"a scan needs one modality that shows the head, such as CT; among {', '.join(names)} are {len(found)}"
        )
    return found[0]


def maps(names) -> list[int]:
    """Return the places of the perfusion maps among these modalities."""
    return [place for place, name in enumerate(names) if not MODALITIES[name].head]


def mirrored(name: str) -> str:
    """Name the mirror image of a modality."""
    return f"mirrored {name}"


def inputs(names, with_mirrored: bool) -> tuple[str, ...]:
    """Name what a network takes: the modalities, and after them their mirror images."""
    return (*names, *map(mirrored, names)) if with_mirrored else tuple(names)
