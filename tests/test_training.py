import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
import torch

from strokelib import crossvalidation, inference, preprocess, steps, training, validation
from strokelib.crossvalidation import Fold
from strokelib.network import Network
from strokelib.optimizer import make_optimizer
from strokelib.run import runtime
from strokelib.run.settings import load_settings
from strokelib.run.variants import VARIANTS
from strokelib.stack import stack_scans
from strokelib.steps import Recipe

DEMO = load_settings("demo")
DEMO = dataclasses.replace(DEMO, compute=dataclasses.replace(DEMO.compute, portable=False))  # of any precision
ROW = dataclasses.replace(VARIANTS["rt"], patch_size=32)


def scan(number, seed):
    """A small scan whose lesion is plainly visible in the first modality."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((64, 64, 1), bool)
    mask[8:56, 8:56] = True
    lesion = np.zeros_like(mask)
    x, y = rng.integers(14, 40, 2)
    lesion[x : x + 12, y : y + 12] = True
    images = rng.standard_normal((10, *mask.shape)).astype(np.float32)
    images[0] += 3 * lesion
    images *= mask
    return preprocess.Preprocessed(
        images, mask, lesion, np.array([1.0, 1.0, 5.0]), number, f"p{number}", np.eye(3), 0.9, 0.8
    )


def listed(scans, part, stack):
    """List 32 patches of each of some scans, those of seed 1 and fold 0."""
    sampling = dataclasses.replace(DEMO.sampling, patches_per_case=32)
    settings = dataclasses.replace(DEMO, seed=1, sampling=sampling)
    return crossvalidation.patch_set(Fold(0, scans, None, None, None), part, stack, ROW, settings)


@pytest.fixture(scope="module")
def world():
    scans = [scan(n, n) for n in range(1, 7)]
    stack = stack_scans(scans, False, "cpu", 16)
    return scans, stack, training.Sets(listed(scans, range(4), stack), listed(scans, range(4, 6), stack), scans[4:])


def job(folder, **changes):
    base = {"batch_size": 16, "max_updates": 24, "validate_every": 0, "stopping_batches": 0, "patience": 10}
    base |= {"statistics_batches": 2, "snapshots": ()}
    settings = dataclasses.replace(DEMO.training, **base | changes)
    return training.Job("network", folder, Recipe(1, 0, ROW, settings, DEMO.compute, (2.5, 0.12)), "scans")


def changed(todo, **recipe):
    """Return the same job with something else in its recipe; `compute` and `training` take what differs in them."""
    for name in {"compute", "training"} & {*recipe}:
        recipe[name] = dataclasses.replace(getattr(todo.recipe, name), **recipe[name])
    return dataclasses.replace(todo, recipe=dataclasses.replace(todo.recipe, **recipe))


def train(world, todo):
    """Train a network to its end; return the steps."""
    _scans, stack, sets = world
    return list(training.training_steps(todo, stack, sets))


@pytest.fixture(scope="module")
def trained(world, tmp_path_factory):
    todo = job(tmp_path_factory.mktemp("whole"))
    return todo, train(world, todo)


def test_it_learns_and_reports_every_validation(trained):
    todo, steps = trained
    assert steps[-1] == (24, 24) and [s for s, _ in steps] == list(range(1, 25))
    history = training.read_history(todo.network_file)
    assert history.updates.tolist() == [8, 16, 24] and history.epochs.tolist() == [1, 2, 3]
    assert history.loss.iloc[-1] < 0.6 * history.loss.iloc[0]
    assert history.validation_dsc.iloc[-1] > 0.5
    assert history.accuracy.between(0, 1).all() and history.best.iloc[0]


def test_the_saved_weights_are_those_of_the_best_validation(world, trained):
    """Their monitored value, measured anew, is the least of the history."""
    _scans, stack, sets = world
    todo, _ = trained
    network, _ = inference.load_network(todo.network_file)
    value = validation.validate(network, todo.recipe, stack, sets.stopping)["monitored"]
    history = training.read_history(todo.network_file)
    kept = history[history.best].monitored.iloc[-1]
    assert math.isclose(value, kept, rel_tol=1e-6) and kept <= history.monitored.min() + 1e-4


def test_the_same_job_gives_the_same_file(world, trained, tmp_path):
    todo = job(tmp_path)
    train(world, todo)
    assert todo.network_file.read_bytes() == trained[0].network_file.read_bytes()


@pytest.mark.parametrize("stop_after", [3, 8, 9, 20])
def test_a_killed_run_resumes_to_the_same_file(world, trained, tmp_path, stop_after):
    """8 updates to a validation: killed in the first, right after its checkpoint, in the second and in the third."""
    _scans, stack, sets = world
    todo = job(tmp_path)
    run = training.training_steps(todo, stack, sets)
    for _ in range(stop_after):
        next(run)
    run.close()
    assert not todo.network_file.exists()
    done = train(world, todo)
    assert done[0][0] == (stop_after - 1) // 8 * 8 + 1  # from the last validation on
    assert todo.network_file.read_bytes() == trained[0].network_file.read_bytes()


@pytest.mark.parametrize("watched", [True, False])
def test_a_fold_is_trained_to_its_end_whether_anybody_watches_or_not(world, trained, tmp_path, watched):
    _scans, stack, sets = world
    todo, steps = trained
    same, seen = dataclasses.replace(todo, folder=tmp_path), []
    assert training.train_fold(same, stack, sets, watch=seen.extend if watched else None) is None
    assert same.network_file.read_bytes() == todo.network_file.read_bytes()
    assert seen == (steps if watched else [])


def test_who_watches_gets_the_steps_as_they_are_taken(world, tmp_path):
    """And a watch that looks away, as at a stop of the kernel, leaves what a killed run leaves."""
    _scans, stack, sets = world
    todo = job(tmp_path)

    def watch(taken):
        assert not todo.checkpoint_file.exists(), "nothing is trained before it is watched"
        for done, most in taken:
            assert todo.checkpoint_file.exists() == (done > 8) and most == 24
            if done == 10:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.train_fold(todo, stack, sets, watch=watch)
    assert not todo.network_file.exists() and train(world, todo)[0] == (9, 24)


def test_a_checkpoint_of_recorded_steps_is_not_continued_without_them(world, tmp_path, monkeypatch, caplog):
    """What their optimizer remembers is one vector: a run stopped on a GPU begins anew on a CPU, and says so."""
    _scans, stack, sets = world
    todo = job(tmp_path)
    monkeypatch.setattr(training, "is_recorded", lambda compute, device: True)
    for _ in range(2):  # the second goes on from the first one's validation after 8 updates
        run = training.training_steps(todo, stack, sets)
        done = [next(run) for _ in range(9)]
        run.close()
    assert done[0] == (9, 24) and not caplog.text
    monkeypatch.undo()
    assert train(world, todo)[0] == (1, 24)
    assert "is of a training on a GPU that records its steps: it is replaced, training begins anew" in caplog.text


def test_threads_are_a_part_of_what_a_network_depends_on(trained):
    todo, _ = trained
    other = dataclasses.replace(todo, recipe=dataclasses.replace(todo.recipe, threads=2))
    assert not training.is_finished(other) and "other threads:" in training.replaced(other)


def test_a_finished_job_trains_no_further(world, trained):
    todo, _ = trained
    before = todo.network_file.read_bytes()
    assert train(world, todo) == [] and todo.network_file.read_bytes() == before


def test_a_checkpoint_of_other_settings_is_not_continued(world, trained):
    todo, _ = trained
    other = changed(todo, seed=2, training={"max_updates": 8})
    assert other.digest != todo.digest
    copy = dataclasses.replace(other, folder=todo.folder.parent / "other")
    copy.folder.mkdir()
    copy.checkpoint_file.write_bytes(todo.checkpoint_file.read_bytes())
    assert training.replaced(copy) == (
        "network.checkpoint.safetensors was made with other seed, training: it is replaced, training begins anew"
    )
    assert len(train(world, copy)) == 8
    assert training.replaced(copy) == ""


def test_a_checkpoint_that_goes_on_or_is_not_there_is_not_called_replaced(trained, tmp_path):
    todo, _ = trained
    assert training.replaced(todo) == training.replaced(dataclasses.replace(todo, folder=tmp_path)) == ""


def test_other_code_begins_training_anew_and_says_so(trained, monkeypatch):
    todo, _ = trained
    before = todo.digest
    monkeypatch.setattr(training, "module_digest", lambda name, without: "of other code")
    assert todo.digest != before
    assert "was made with other code:" in training.replaced(todo)


def test_a_job_depends_on_the_code_of_its_own_network_and_of_no_other(code, tmp_path):
    todo = job(tmp_path)
    other = changed(todo, variant=dataclasses.replace(ROW, network="narrow"))
    for name in ("training", "network", "narrow"):
        code(name, "WIDTH = 1")
    before = todo.digest, other.digest
    assert before[0] != before[1]
    code("narrow", "WIDTH = 2")
    assert todo.digest == before[0] and other.digest != before[1]
    code("narrow", "WIDTH = 1")
    code("network", "WIDTH = 2")
    assert todo.digest != before[0] and other.digest == before[1]


def test_a_variant_trains_the_network_it_names(world, tmp_path, narrow):
    row = dataclasses.replace(ROW, network=narrow)
    todo = changed(job(tmp_path, max_updates=8), variant=row)
    assert len(train(world, todo)) == 8
    network, facts = inference.load_network(todo.network_file)
    assert type(network).__module__ == f"strokelib.{narrow}" and facts["digest"] == todo.digest
    assert training.read_history(todo.network_file).loss[0] > 0


def test_a_damaged_checkpoint_is_not_continued(world, tmp_path):
    todo = job(tmp_path, max_updates=8)
    todo.checkpoint_file.write_bytes(b"half a file")
    assert len(train(world, todo)) == 8 and todo.network_file.exists()


def test_early_stopping_keeps_the_best_epoch():
    settings, history = dataclasses.replace(load_settings("demo").training, patience=2), []
    for value in (0.5, 0.4, 0.39995, 0.45, 0.1):
        if training._finished(history, settings, 50):
            break
        best = training._improves(value, [(row["monitored"], row["best"]) for row in history], settings)
        history.append({"updates": 5 * (len(history) + 1), "monitored": value, "best": best})
    # 0.39995 is no improvement of more than 1e-4, so two validations without one end it before the 0.1.
    assert [row["best"] for row in history] == [True, True, False, False]
    assert training._finished(history[:2], settings, 10) and not training._finished(history[:2], settings, 11)
    nan = float("nan")
    assert training._improves(0.7, [(nan, True)], settings) and training._improves(nan, [], settings)
    assert not training._improves(nan, [(nan, True)], settings) and not training._improves(nan, [(0.7, True)], settings)


def test_elastic_copies_are_drawn_for_repeats_alone(world):
    _scans, stack, sets = world
    marked = dataclasses.replace(sets.training, deform=np.arange(len(sets.training)) % 2 == 0)

    def cut(generator):
        return list(steps.batches(stack, marked, np.arange(16), 8, ROW, generator, (2.5, 0.12)))

    for (plain, _), (bent, labels) in zip(cut(None), cut(runtime.rng(0)), strict=True):
        differ = [not torch.equal(a, b) for a, b in zip(plain, bent, strict=True)]
        assert differ == [True, False] * 4 and set(labels.unique().tolist()) <= {0, 1}


@pytest.mark.parametrize("change", [{"precision": "bf16"}, {"resident": "float16"}])
def test_faster_settings_learn_as_well_and_are_another_job(world, trained, tmp_path, change, monkeypatch):
    monkeypatch.setattr(steps, "multiplies_bf16", lambda: True)  # torch converts where the processor does not
    scans, _stack, sets = world
    exact, _ = trained
    todo = changed(dataclasses.replace(exact, folder=tmp_path), compute=change)
    assert todo.digest != exact.digest
    stack = stack_scans(scans, False, "cpu", 16, todo.recipe.compute.resident)
    assert stack.images.dtype == getattr(torch, todo.recipe.compute.resident)
    training.train_fold(todo, stack, sets)
    ours, theirs = (training.read_history(j.network_file) for j in (todo, exact))
    assert np.abs(ours.loss / theirs.loss - 1).max() < 0.05 and not np.array_equal(ours.loss, theirs.loss)
    weights = inference.load_network(todo.network_file)[0].state_dict().values()
    assert all(w.dtype in (torch.float32, torch.int64) for w in weights)


def test_a_compiled_step_is_the_same_step(world, tmp_path, monkeypatch):
    """Traced and differentiated as for any compiler, but run as it stands, which needs neither one nor a minute."""
    _scans, stack, sets = world
    monkeypatch.setattr(steps, "can_compile", lambda device: True)
    compiler = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function: compiler(function, backend="aot_eager"))
    found = []
    for compiled in (False, True):
        recipe = changed(job(tmp_path), compute={"compile": compiled}).recipe
        torch.manual_seed(0)
        network = Network(5).to(memory_format=torch.channels_last)
        optimizer = make_optimizer(network.parameters(), recipe.training)
        forward = steps.forward_pass(network, recipe)
        torch.manual_seed(1)
        for images, labels in steps.batches(stack, sets.training, np.arange(32), 16, ROW, None, None):
            loss, errors = forward(images, labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            found.append((float(loss.detach()), errors))
    for (loss, errors), (other, others) in zip(found[:2], found[2:], strict=True):
        assert loss == pytest.approx(other, rel=1e-5) and torch.allclose(errors, others, rtol=1e-4)


def test_the_number_of_folds_at_once_is_no_part_of_a_network(tmp_path):
    todo = job(tmp_path)
    several = changed(todo, compute={"folds_at_once": 4})
    assert several.digest == todo.digest


@pytest.mark.parametrize(("batches", "count"), [(0, 100), (1, 64), (2, 100)])
def test_a_fixed_part_of_the_stopping_set_is_watched(batches, count):
    settings = dataclasses.replace(DEMO.training, stopping_batches=batches)
    found = validation.watched(100, settings)
    assert len(set(found.tolist())) == count and found.min() == 0 and found.max() < 100
    assert np.ptp(np.diff(found)) <= 1, "at regular steps"


def test_the_networks_of_a_cascade_share_the_updates_of_their_row(world, tmp_path):
    row = dataclasses.replace(ROW, networks=2)
    assert train(world, changed(job(tmp_path), variant=row))[-1] == (12, 12)


@pytest.mark.parametrize(("begin", "end"), [(0, 8), (0, 3), (3, 8), (5, 19), (8, 16), (23, 24)])
def test_all_patches_are_taken_once_before_any_again(begin, end):
    """In whatever parts the updates are asked for, they take the same patches."""
    recipe = job(None).recipe
    whole = training._order(recipe, 130, 0, 24).reshape(24, 16)
    part = training._order(recipe, 130, begin, end)
    assert np.array_equal(part.reshape(-1, 16), whole[begin:end])
    for first in (0, 8, 16):
        assert len(set(whole[first : first + 8].ravel().tolist())) == 128
    assert not np.array_equal(whole[:8], whole[8:16])


@pytest.fixture(scope="module")
def passing(world, tmp_path_factory):
    """A training that validates every five updates and keeps what it passes by."""
    todo = job(tmp_path_factory.mktemp("passing"), validate_every=5, max_updates=22, snapshots=(5, 15))
    train(world, todo)
    return todo


@pytest.mark.parametrize("updates", [5, 15])
def test_a_snapshot_is_what_a_training_of_so_many_updates_keeps(world, passing, tmp_path, updates):
    short = job(tmp_path, validate_every=5, max_updates=updates)
    train(world, short)
    for ours, theirs in ((f".at{updates}", ""), (f".at{updates}.dice", ".dice")):
        found, alone = (inference.load_network(todo.kept_file(kept))[0].state_dict()
                        for todo, kept in ((passing, ours), (short, theirs)))
        assert all(torch.equal(found[name], alone[name]) for name in alone)
    assert training.read_history(passing.network_file).updates.tolist() == [5, 10, 15, 20, 22]


def test_a_training_that_stops_early_leaves_the_later_snapshots_too(world, tmp_path):
    todo = job(tmp_path, validate_every=2, max_updates=22, snapshots=(4, 20), patience=1, min_improvement=9.0)
    assert train(world, todo)[-1][0] == 4
    last, kept = (inference.load_network(todo.kept_file(kept))[0].state_dict() for kept in ("", ".at20"))
    assert all(torch.equal(last[name], kept[name]) for name in last)


def test_the_other_monitor_would_have_kept_its_own_best(world, passing):
    """Its value, measured anew on the weights kept by it, is the least that it took, to what counts as better."""
    _scans, stack, sets = world
    history = training.read_history(passing.network_file)
    network, _ = inference.load_network(passing.kept_file(".dice"))
    value = validation.validate(network, passing.recipe, stack, sets.stopping)["dice"]
    assert value == pytest.approx(history[history.other_best].dice.iloc[-1], rel=1e-6)
    assert value <= history.dice.min() + passing.recipe.training.min_improvement
    assert np.array_equal(history.monitored, history.l1_error) and not np.array_equal(history.dice, history.l1_error)


def test_batch_normalization_is_measured_on_training_patches(world):
    """The first layer's statistics are the mean over the batches of what its input has, whatever was remembered."""
    _scans, stack, sets = world
    recipe = job(None, statistics_batches=3).recipe
    torch.manual_seed(0)
    network = Network(5)
    layer, entered = network.encoder[0].before1[0], []
    hook = layer.register_forward_hook(lambda module, inputs, output: entered.append(inputs[0].detach()))
    layer.running_mean += 7
    validation.measure_statistics(network, recipe, stack, sets.training)
    hook.remove()
    assert len(entered) == 3 and layer.momentum == 0.01
    means = torch.stack([values.mean((0, 2, 3)) for values in entered])
    spreads = torch.stack([values.var((0, 2, 3), unbiased=True) for values in entered])
    assert torch.allclose(layer.running_mean, means.mean(0), atol=1e-5)
    assert torch.allclose(layer.running_var, spreads.mean(0), rtol=1e-4)
    again = {name: value.clone() for name, value in network.state_dict().items()}
    validation.measure_statistics(network, recipe, stack, sets.training)
    assert all(torch.equal(again[name], value) for name, value in network.state_dict().items()), "the same batches"


def test_statistics_are_left_alone_where_none_are_asked_for(world):
    _scans, stack, sets = world
    network = Network(5)
    validation.measure_statistics(network, job(None, statistics_batches=0).recipe, stack, sets.training)
    assert float(network.encoder[0].before1[0].running_mean.abs().max()) == 0


def test_averaged_weights_are_kept_and_resume(world, passing, tmp_path):
    """They lie between the iterates; a killed run ends with the same ones."""
    _scans, stack, sets = world
    todo = job(tmp_path / "whole", validate_every=5, max_updates=15, averaging=0.5)
    train(world, todo)
    again = dataclasses.replace(todo, folder=tmp_path / "killed")
    run = training.training_steps(again, stack, sets)
    for _ in range(12):
        next(run)
    run.close()
    train(world, again)
    assert again.network_file.read_bytes() == todo.network_file.read_bytes()
    ours, plain = (inference.load_network(j.kept_file(k))[0].state_dict() for j, k in ((todo, ""), (passing, ".at15")))
    assert set(ours) == set(plain) and not torch.equal(ours["enter.weight"], plain["enter.weight"])


@pytest.mark.parametrize("stop_after", [3, 9])
def test_a_cycle_of_rates_and_turned_patches_resume_to_the_same_file(world, tmp_path, stop_after):
    how = {"optimizer": "adamw", "learning_rate": 3e-3, "schedule": "one_cycle"}
    todo, plain = (changed(job(tmp_path / name, **how), flips=True) for name in ("killed", "whole"))
    for made in (todo, plain):
        made.folder.mkdir()
    train(world, plain)
    run = training.training_steps(todo, *world[1:])
    for _ in range(stop_after):
        next(run)
    run.close()
    train(world, todo)
    assert todo.network_file.read_bytes() == plain.network_file.read_bytes()
    history = training.read_history(todo.network_file)
    assert history.loss.iloc[-1] < 0.8 * history.loss.iloc[0], "it learns"
    constant = changed(job(tmp_path, **how | {"schedule": "constant"}), flips=True)
    assert constant.digest != todo.digest != changed(todo, flips=False).digest


def test_too_few_patches_for_a_batch_is_an_error(world, tmp_path):
    with pytest.raises(ValueError, match="hold no batch of 500"):
        train(world, job(tmp_path, batch_size=500))


def test_history_of_an_untrained_network_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="notebook 05"):
        training.read_history(tmp_path / "network.safetensors")


def test_the_baselines_loss_and_monitor_are_used(world, tmp_path):
    row = dataclasses.replace(ROW, loss="cross_entropy", monitor="dice")
    todo = changed(job(tmp_path, max_updates=8), variant=row)
    train(world, todo)
    row = training.read_history(todo.network_file).iloc[0]
    assert isinstance(row, pd.Series) and row.loss < 1.0  # cross-entropy alone; the sum with GDL starts above 1
    assert 0 <= row.monitored <= 1
