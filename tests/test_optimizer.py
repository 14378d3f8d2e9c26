"""Each optimizer against torch's own and against its rule written out; resumed, it goes on as it was."""

import copy
import dataclasses

import pytest
import torch
from test_training import changed, job, train, training, world  # noqa: F401, world is a fixture

from strokelib.optimizer import PortableAdamW, _power, make_optimizer, pace, paced
from strokelib.run.settings import load_settings

DEMO = dataclasses.replace(load_settings("demo").training, snapshots=())
NAMES = ("adadelta", "adamw", "sgd")


def make(values, name, rate, **how):
    return make_optimizer(values, dataclasses.replace(DEMO, optimizer=name, learning_rate=rate), **how)


def gradients(seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in ((7,), (3, 5, 2, 2), (1,))]


def take(values, optimizer, seeds):
    for seed in seeds:
        for value, gradient in zip(values, gradients(seed), strict=True):
            value.grad = gradient.to(value.dtype)
        optimizer.step()


@pytest.mark.parametrize("rate", [1e-4, 1e-2])
def test_portable_adamw_is_torchs_up_to_rounding(rate):
    """Values of 2 to 4 are rounded by 1.2e-7 at most, twice in each of 29 steps."""
    values = [torch.nn.Parameter(value) for value in gradients(0)]
    exact = [torch.nn.Parameter(value.detach().double()) for value in values]
    ours, theirs = make(values, "adamw", rate, portable=True), torch.optim.AdamW(exact, lr=rate)
    assert type(ours) is PortableAdamW
    take(values, ours, range(1, 30))
    take(exact, theirs, range(1, 30))
    for value, other, first in zip(values, exact, gradients(0), strict=True):
        assert torch.allclose(value.double(), other, rtol=0, atol=1e-5) and not torch.equal(value, first)


def test_a_value_without_a_gradient_only_decays():
    value = torch.nn.Parameter(torch.ones(3))
    optimizer = make([value], "adamw", 0.1, portable=True)
    value.grad = torch.zeros(3)
    optimizer.step()
    assert torch.allclose(value, torch.full((3,), 1 - 0.1 * 0.01))


def test_sgd_is_its_rule():
    """Momentum 0.9: v = 0.9 v + g, x = x - rate v; from x = 1 with g = 1, 2: 1 - 0.1 - 0.1 * 2.9."""
    value = torch.nn.Parameter(torch.ones(1))
    optimizer = make([value], "sgd", 0.1)
    for gradient in (1.0, 2.0):
        value.grad = torch.tensor([gradient])
        optimizer.step()
    assert value.item() == pytest.approx(1 - 0.1 - 0.29)


@pytest.mark.parametrize(("name", "rate"), [("adadelta", 1.0), ("adamw", 0.01), ("sgd", 0.1)])
def test_one_vector_of_a_recorded_step_is_updated_as_the_parameters_that_it_holds(name, rate):
    values = [torch.nn.Parameter(value) for value in gradients(0)]
    vector = torch.nn.Parameter(torch.cat([value.detach().flatten() for value in values]))
    apart, together = make(values, name, rate), make([vector], name, rate, recorded=True)
    for seed in range(1, 12):
        take(values, apart, [seed])
        vector.grad = torch.cat([gradient.flatten() for gradient in gradients(seed)])
        together.step()
        assert torch.allclose(vector, torch.cat([value.flatten() for value in values]), rtol=1e-6, atol=1e-7)
    assert (vector - torch.cat([value.flatten() for value in gradients(0)])).abs().min() > 0, "all of them moved"


@pytest.mark.parametrize("count", [0, 1, 2, 7, 1000])
def test_a_power_by_products(count):
    assert _power(0.999, count) == pytest.approx(0.999**count, rel=1e-12)


@pytest.mark.parametrize("portable", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_the_state_goes_to_a_checkpoint_and_back(name, portable):
    values = [torch.nn.Parameter(value) for value in gradients(0)]
    again = copy.deepcopy(values)
    first, second = (make(some, name, 0.01, portable=portable) for some in (values, again))
    take(values, first, [1, 2])
    take(again, second, [1])
    third = make(again, name, 0.01, portable=portable)
    third.load_state_dict(second.state_dict())
    take(again, third, [2])
    assert all(torch.equal(a, b) for a, b in zip(values, again, strict=True))


@pytest.mark.parametrize("portable", [True, False])
@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_a_killed_training_resumes_to_the_same_file(world, tmp_path, name, portable):  # noqa: F811
    def todo(folder):
        made = job(tmp_path / folder, optimizer=name, learning_rate=0.01)
        return changed(made, compute={"portable": portable})

    whole, killed = todo("whole"), todo("killed")
    train(world, whole)
    run = training.training_steps(killed, world[1], world[2])
    for _ in range(9):
        next(run)
    run.close()
    assert train(world, killed)[0][0] == 9
    assert killed.network_file.read_bytes() == whole.network_file.read_bytes()


@pytest.mark.parametrize("most", [10, 24, 1500])
def test_one_cycle_is_torchs(most):
    settings = dataclasses.replace(DEMO, optimizer="adamw", learning_rate=3e-3, schedule="one_cycle")
    value = torch.nn.Parameter(torch.ones(1))
    theirs = torch.optim.AdamW([value], lr=1.0)
    cycle = torch.optim.lr_scheduler.OneCycleLR(theirs, max_lr=3e-3, total_steps=most)
    for done in range(most):
        assert paced(settings, done, most) == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-6)
        if done < most - 1:
            theirs.step()
            cycle.step()
    assert paced(settings, 0, most) == pytest.approx(3e-3 / 25) and paced(settings, most - 1, most) < 2e-8


def test_a_constant_rate_stays():
    assert {paced(DEMO, done, 100) for done in range(100)} == {DEMO.learning_rate}


@pytest.mark.parametrize("recorded", [False, True])
def test_a_rate_that_is_set_is_taken_by_the_next_step(recorded):
    """A gradient that stays the same moves a value by the rate, less what it decays by; 2 is half of 4."""
    value = torch.nn.Parameter(torch.zeros(1))
    settings = dataclasses.replace(DEMO, optimizer="adamw", learning_rate=4e-3, schedule="one_cycle")
    optimizer, moved = make_optimizer([value], settings, recorded=recorded), []
    for rate in (4e-3, 2e-3):
        before = value.item()
        pace(optimizer, rate)
        value.grad = torch.ones(1)
        optimizer.step()
        moved.append(before - value.item())
    assert moved == pytest.approx([4e-3, 2e-3], rel=1e-3)
