"""Worlds: what is other than in the settings, by name, and what is refused before anything is made."""

import dataclasses

import pytest

from strokelib.run import stages, worlds
from strokelib.run.checks import SettingsError
from strokelib.run.settings import load_settings

DEMO = load_settings("demo")


def with_further(settings, **values):
    return dataclasses.replace(settings, further=dataclasses.replace(settings.further, **values))


def test_each_world_differs_in_one_thing():
    known = worlds.worlds(DEMO)
    assert worlds.of_cohorts(DEMO) == ["cohort_2101", "cohort_2102"]
    assert worlds.of_symmetry(DEMO)[-1] == "affine" and "symmetry_0.50" in known
    own = worlds.World(DEMO.cohort.seed, "rigid")
    for name in worlds.of_cohorts(DEMO) + worlds.of_symmetry(DEMO):
        world = known[name]
        fields = ("seed", "registration", "symmetry")
        changed = {field for field in fields if getattr(world, field) != getattr(own, field)}
        expected = {"cohort": {"seed"}, "symmetry": {"symmetry"}, "affine": {"symmetry", "registration"}}
        assert changed == expected[name.split("_")[0]]
    assert known["affine"].symmetry == max(DEMO.further.symmetry_networks)
    trained = {name for name in worlds.of_symmetry(DEMO) if known[name].rows == worlds.ROWS}
    assert trained == {"symmetry_0.00", "symmetry_0.92"}


def test_without_networks_the_other_registration_has_the_largest_symmetry():
    known = worlds.worlds(with_further(DEMO, symmetry_networks=()))
    of_symmetry = {known[name].rows for name in worlds.of_symmetry(with_further(DEMO, symmetry_networks=()))}
    assert known["affine"].symmetry == 0.92 and of_symmetry == {()}


def test_each_notebook_reads_its_own_worlds():
    every = [name for notebook in ("21_cohorts", "22_symmetry", "27_chain") for name in worlds.listed(notebook, DEMO)]
    assert every == [*worlds.worlds(DEMO)] and worlds.listed("17_leakage", DEMO) == []


def test_a_chain_is_confirmed_in_all_folds_on_a_cohort_of_its_own():
    known = worlds.worlds(DEMO)[worlds.CONFIRMING]
    assert (known.seed, known.rows) == (DEMO.further.confirming_seed, ("rt_sm_uf", "beyond"))
    assert (known.folds, known.seeds, known.truths) == (DEMO.folds.count, (2018,), True)
    others = [world for name, world in worlds.worlds(DEMO).items() if name != worlds.CONFIRMING]
    assert {(world.folds, world.seeds, world.truths) for world in others} == {(0, (), False)}
    assert worlds.folds_of(DEMO, known).folds.inner_split, "weights are kept by none of the scans that are judged"
    assert all(worlds.folds_of(DEMO, world) == DEMO for world in others) and not DEMO.folds.inner_split
    for without in ({"chain": ()}, {"confirming_training_seeds": ()}):
        assert worlds.listed("27_chain", with_further(DEMO, **without)) == []


def test_the_confirming_world_depends_on_what_its_rows_are():
    name, key = "20_another_cohort", "world.beyond.training.schedule"
    before = {world: stages.depends(name, DEMO, world=world) for world in worlds.worlds(DEMO)}
    assert before[worlds.CONFIRMING][key] == "one_cycle" and not any("beyond" in key for key in before["cohort_2101"])
    other = with_further(DEMO, chain=("flips",))
    after = {world: stages.depends(name, other, world=world) for world in worlds.worlds(other)}
    assert {world for world in before if before[world] != after[world]} == {worlds.CONFIRMING}
    assert key not in after[worlds.CONFIRMING] and after[worlds.CONFIRMING]["world.beyond.sampling.flips"] is True


def test_the_cohort_of_a_world_has_the_settings_training_scans():
    made = worlds.cohort_of(DEMO, worlds.worlds(DEMO)["cohort_2101"])
    kept = dataclasses.replace(DEMO.cohort, seed=2101, testing_patients=1, series_cases=0)
    assert made == kept and made.training_patients == DEMO.cohort.training_patients


def test_real_scans_are_refused_in_one_sentence():
    real = load_settings("isles2018")
    assert worlds.worlds(real) == {}
    for name in worlds.NOTEBOOKS:
        with pytest.raises(SettingsError, match=r"needs data\.source = 'synthetic'"):
            worlds.check_worlds(real, name, "cohort_2101")


def test_real_testing_scans_are_refused_where_their_truth_is_needed():
    """Before the rows of Table 1 are made, which takes hours or days."""
    real = load_settings("isles2018")
    with pytest.raises(SettingsError, match=r"15_uncertainty needs testing scans with a known truth.* of isles2018"):
        worlds.check_truth(real)
    worlds.check_truth(DEMO)
    assert worlds.has_cohorts("15_uncertainty", DEMO) and not worlds.has_cohorts("15_uncertainty", real)


def test_an_unknown_world_and_an_empty_list_are_refused():
    with pytest.raises(SettingsError, match="did you mean 'cohort_2101'"):
        worlds.check_worlds(DEMO, "20_another_cohort", "cohort_2101x")
    with pytest.raises(SettingsError, match="cohort_seeds of demo is empty"):
        worlds.check_worlds(with_further(DEMO, cohort_seeds=()), "21_cohorts")
    with pytest.raises(SettingsError, match="training_seeds of demo is empty"):
        worlds.check_worlds(with_further(DEMO, training_seeds=()), "21_cohorts")
    with pytest.raises(SettingsError, match="symmetries of demo is empty"):
        worlds.check_worlds(with_further(DEMO, symmetries=(), symmetry_networks=()), "22_symmetry")


def test_a_world_depends_on_itself_and_on_no_other():
    name = "20_another_cohort"
    before = {world: stages.depends(name, DEMO, world=world) for world in worlds.worlds(DEMO)}
    other = with_further(DEMO, cohort_seeds=(2101, 7), symmetry_networks=(0.0, 0.5, 0.92))
    after = {world: stages.depends(name, other, world=world) for world in worlds.worlds(other)}
    assert {world for world in before if world in after and after[world] != before[world]} == {"symmetry_0.50"}
    assert stages.manifest(name, "worlds/affine/scores.csv") == "worlds/affine/20_another_cohort.manifest.json"
    assert stages.maker("worlds/affine/scores.csv") == name


def test_which_notebooks_find_the_cohorts_they_cannot_do_without():
    real, bare = load_settings("isles2018"), with_further(DEMO, cohort_seeds=())
    need = {"21_cohorts", "22_symmetry", "25_learning_curve"}
    assert all(worlds.has_cohorts(name, DEMO) for name in (*need, "24_beyond", "27_chain"))
    assert not any(worlds.has_cohorts(name, real) for name in need) and worlds.has_cohorts("27_chain", real)
    assert not worlds.has_cohorts("21_cohorts", bare) and worlds.has_cohorts("22_symmetry", bare)
