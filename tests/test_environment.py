"""One list of packages: pyproject.toml says why, the locks say which, environment.yml repeats nothing."""

import tomllib
from importlib.metadata import requires, version

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from strokelib.run.runtime import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def lock(name):
    lines = (ROOT / name).read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(pin.name): pin.specifier for pin in pins}


RUN, LAB, TEST, BENCH, BROWSER, CLUSTER, DICOM = (
    lock(f"requirements{part}.lock") for part in ("", "-lab", "-test", "-bench", "-browser", "-cluster", "-dicom")
)
EXTRAS = PROJECT["optional-dependencies"]


def exact(specifier):
    """Return the version of a specifier like ==1.2.3."""
    (only,) = specifier
    assert only.operator == "=="
    assert not only.version.endswith("*")
    return only.version


@pytest.mark.parametrize(
    ("pins", "least"),
    [(RUN, 10), (LAB, 10), (TEST, 10), (BENCH, 10), (BROWSER, 2), (CLUSTER, 2), (DICOM, 4)],
    ids=["run", "lab", "test", "bench", "browser", "cluster", "dicom"],
)
def test_every_line_of_a_lock_is_one_exact_version_without_a_build_tag(pins, least):
    assert len(pins) >= least
    for name, specifier in pins.items():
        assert "+" not in exact(specifier), name


def test_locks_do_not_overlap():
    locks = (RUN, LAB, TEST, BENCH, BROWSER, CLUSTER, DICOM)
    assert len(RUN | LAB | TEST | BENCH | BROWSER | CLUSTER | DICOM) == sum(map(len, locks))


@pytest.mark.parametrize(
    ("listed", "pins"),
    [
        (PROJECT["dependencies"], RUN),
        (EXTRAS["workflow"], RUN),
        (EXTRAS["lab"], LAB),
        (EXTRAS["test"], TEST),
        (EXTRAS["parquet"], TEST),  # so that the tests unpack such files
        (EXTRAS["bench"], BENCH),
        (EXTRAS["browser"], BROWSER),
        (EXTRAS["cluster"], CLUSTER),
        (EXTRAS["dicom"], DICOM),
    ],
    ids=["project", "workflow", "lab", "test", "parquet", "bench", "browser", "cluster", "dicom"],
)
def test_direct_dependencies_are_what_the_locks_hold(listed, pins):
    for requirement in map(Requirement, listed):
        pin = exact(pins[canonicalize_name(requirement.name)])
        if requirement.name == "torch":  # the one range: several releases work
            assert requirement.specifier.contains(pin)
        else:
            assert exact(requirement.specifier) == pin


def test_what_the_run_needs_in_turn_is_pinned_with_it():
    """As the packages that are here say; what they need on another system alone is not asked of them."""
    needed = {canonicalize_name(need.name): name for name in RUN for need in map(Requirement, requires(name) or [])
              if need.marker is None or need.marker.evaluate({"extra": ""})}  # fmt: skip
    cuda = ("nvidia", "triton", "cuda")  # of torch's other build, by pip itself
    assert {name: by for name, by in needed.items() if name not in RUN and not name.startswith(cuda)} == {}
    assert needed["formulaic"] == "statsmodels"


def test_no_cuda_package_is_pinned():
    assert not [name for name in RUN if name.startswith(("nvidia", "triton"))]


def test_conda_takes_python_only_and_the_same_locks():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    assert environment["name"] == PROJECT["name"]
    assert [item.split("=")[0] for item in conda] == ["python", "pip"]
    python = Version(conda[0].split("=")[1])
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(python)
    locks = [f"-r requirements{part}.lock" for part in ("", "-lab", "-dicom", "-test")]
    assert pip == {"pip": [*locks, "-e ."]}


def test_the_locked_versions_are_those_running():
    for name in ("torch", "numpy", "scipy", "pandas", "nibabel", "snakemake"):
        assert Version(version(name)).public == exact(RUN[name])
