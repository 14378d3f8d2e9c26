"""What a reader types to make what is missing, held to the Makefile."""

import dataclasses
import os
import re
import subprocess

import pytest
from test_settings import tool

from strokelib.run import commands
from strokelib.run.runtime import ROOT
from strokelib.run.settings import load_settings
from strokelib.run.stages import STAGES
from strokelib.run.variants import ASKED, CHANGES, apart, compared, main_rows
from strokelib.run.worlds import listed


@pytest.mark.parametrize(
    ("name", "variant", "expected"),
    [
        ("demo", "", "make demo"),
        ("study", "rt_sm", "make study"),
        ("study_1500", "rt", "python tools/run.py study_1500"),  # no target of make
        ("demo", "rt_at_60", "make demo"),  # kept on the way, for notebook 10
        ("demo", "patch_32", "make sensitivity SETTINGS=demo"),
        ("study", "rt_sm_seed7", "make seeds SETTINGS=study"),
        ("study", "rt_sm_uf_at_1500", "make chain SETTINGS=study"),
        ("demo", "beyond", "make chain SETTINGS=demo"),
        ("study_1500", "patch_32", "make sensitivity SETTINGS=study_1500"),
        ("mine", "", "python tools/run.py mine.toml"),
        ("mine", "patch_32", "python tools/run.py mine.toml sensitivity"),
    ],
)
def test_what_makes_the_files_of_a_run_is_named(name, variant, expected):
    settings = load_settings("demo" if name == "mine" else name)
    settings = dataclasses.replace(settings, name=name)
    if "seed" in variant:
        settings = dataclasses.replace(settings, sensitivity=dataclasses.replace(settings.sensitivity, seeds=(7,)))
    assert commands.command(settings, variant=variant) == expected


def test_what_is_made_when_asked_for_has_a_target_and_says_what_it_reads():
    settings, targets = load_settings("demo"), tool("run").TARGETS
    assert {*ASKED.values()} == {*targets} - {""} and {*ASKED} <= {*STAGES}
    read = {name for name in ASKED if any("{variant}" in path for path in STAGES[name].reads)}
    assert {name for name in ASKED if compared(name, settings)[0]} == read
    assert {name for name in ASKED if listed(name, settings)} == {"21_cohorts", "22_symmetry", "27_chain"}
    with pytest.raises(KeyError):
        compared("06_ablations", settings)
    makefile = (ROOT / "Makefile").read_text()
    for target in ASKED.values():
        assert re.search(rf"^{target.replace('_', '-')}: .*\n.* tools/run.py \$\(SETTINGS\) {target}$", makefile, re.M)


@pytest.mark.parametrize(
    ("world", "target"),
    [("cohort_2101", "cohorts"), ("symmetry_0.50", "symmetry"), ("affine", "symmetry"), ("confirming", "chain")],
)
def test_what_makes_another_cohort_is_named(world, target):
    assert commands.command(load_settings("demo"), world=world) == f"make {target} SETTINGS=demo"


def test_a_notebook_that_is_made_when_asked_for_is_made_by_its_target():
    """As the series of notebook 23, which notebook 05 may be the first to miss."""
    demo, makefile = load_settings("demo"), (ROOT / "Makefile").read_text()
    assert commands.command(demo, "23_raw_series") == "make raw-series SETTINGS=demo"
    assert commands.command(demo, "02_preprocessing") == "make demo"
    for notebook in ASKED:
        target = commands.command(demo, notebook).split()[1]
        assert re.search(rf"^{target}: ", makefile, re.M), target
    there = {path.stem for path in (ROOT / "configs").glob("*.toml")}
    assert {name for name in there if re.search(rf"^[a-z0-9_ ]*\b{name}\b.*: ", makefile, re.M)} == {*commands.MADE}


def test_what_rt_apart_alone_predicts_is_made_by_it():
    settings = load_settings("demo")
    own = apart(settings).keys() - {*main_rows(settings), *CHANGES}
    assert own and {commands.command(settings, variant=name) for name in own} == {"make rt-apart SETTINGS=demo"}


@pytest.mark.parametrize(
    ("words", "named", "expected"),
    [
        (["imbalance"], "", "tools/run.py study imbalance"),
        (["imbalance"], "study_750", "tools/run.py study_750 imbalance"),
        (["imbalance", "SETTINGS=demo"], "study_750", "tools/run.py demo imbalance"),
        (["keep"], "", "tools/keep.py study"),
        (["keep"], "demo", "tools/keep.py demo"),
        (["clean"], "", 'rm -rf "results/demo"'),
        (["clean"], "mine", 'rm -rf "results/mine"'),
    ],
)
def test_make_hears_the_settings_of_its_command_then_of_the_environment(words, named, expected):
    left_out = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "SETTINGS", "STROKELIB_RESULTS")
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    environment |= {"SETTINGS": named} if named else {}
    told = subprocess.run(["make", "-n", *words], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert told.returncode == 0 and expected in told.stdout, told.stdout + told.stderr
