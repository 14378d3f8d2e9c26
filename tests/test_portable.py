"""What is pinned, who sets it, who says that it is not; and the bits themselves, held to `portable_bits.json`."""

import copy
import dataclasses
import json
import os
import subprocess
import sys
from importlib.metadata import version

import numpy as np
import pytest
import torch
from test_settings import changed, refused

from strokelib import steps, training
from strokelib.modalities import ISLES
from strokelib.optimizer import PortableAdadelta, make_optimizer
from strokelib.run import portable, runtime
from strokelib.run.portable import PINS
from strokelib.run.results import start
from strokelib.run.settings import load_settings
from strokelib.run.variants import VARIANTS
from strokelib.stack import Resident

HELD = json.loads((runtime.ROOT / "tests" / "portable_bits.json").read_text())
HAS_AVX2 = torch.backends.cpu.get_cpu_capability().startswith("AVX")
needs_avx2 = pytest.mark.skipif(not HAS_AVX2, reason="the bits are those of x86-64 processors with AVX2")
SHOW = (
    "import os, torch, scipy.linalg, threadpoolctl; "
    "from numpy._core._multiarray_umath import __cpu_dispatch__ as groups, __cpu_features__ as found; "
    "print(torch.backends.cpu.get_cpu_capability(), any(found[name] for name in groups if name != 'X86_V3'), "
    "{item['architecture'] for item in threadpoolctl.threadpool_info() if item['user_api'] == 'blas'})"
)


def python(*arguments, environment=None):
    """Run Python at the root of the repository; return what it printed."""
    surroundings = {name: value for name, value in os.environ.items() if name not in PINS} | (environment or {})
    told = subprocess.run(
        [sys.executable, *arguments],
        cwd=runtime.ROOT,
        env=surroundings | {"PYTHONPATH": str(runtime.ROOT)},
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stderr
    return told.stdout


def settings_file(tmp_path, on: bool):
    return changed(tmp_path, {"compute.portable": on})


@needs_avx2
def test_every_stage_gives_the_bits_that_other_processors_gave():
    known = {name: version(name).split("+")[0] for name in HELD["versions"]}
    assert known == HELD["versions"], "another version may round otherwise: see tests/portable_bits.py"
    found = dict(line.split(": ") for line in python("tests/portable_bits.py", environment=PINS).splitlines())
    different = [stage for stage in HELD["sha256"] if found[stage] != HELD["sha256"][stage]]
    assert not different, f"first in the stage {different[0]!r}; seen equal on {', '.join(HELD['seen'])}"
    assert list(found) == list(HELD["sha256"])


@needs_avx2
def test_the_pins_reach_the_libraries():
    """Of numpy its groups of instructions count, by which it chooses its loops; single instructions stay listed."""
    assert python("-W", "error", "-c", SHOW, environment=PINS).split() == ["AVX2", "False", "{'Haswell'}"]


def test_numpy_knows_the_names_of_all_that_is_switched_off():
    """numpy names its groups of instructions anew from release to release, and passes over names it does not know."""
    from numpy._core._multiarray_umath import __cpu_baseline__, __cpu_dispatch__

    beyond = {*__cpu_dispatch__} - {"X86_V3"}
    assert set(PINS["NPY_DISABLE_CPU_FEATURES"].split(",")) == beyond and __cpu_baseline__ == ["X86_V2"]


def test_nothing_is_missing_where_all_is_set():
    assert portable.missing(PINS) == ""
    assert portable.missing({**PINS, "MKL_CBWR": "AVX2"}).startswith("MKL_CBWR not set")
    assert portable.missing({}).startswith("ONEDNN_MAX_CPU_ISA and 5 more not set before Python started")


def test_another_kind_of_processor_is_named(monkeypatch):
    monkeypatch.setattr(portable.platform, "machine", lambda: "aarch64")
    assert portable.missing(PINS) == "the processor is no x86-64 but aarch64"


@pytest.mark.parametrize("on", [True, False])
def test_the_launcher_sets_what_the_settings_ask_for(tmp_path, on):
    names = [*PINS, "OMP_WAIT_POLICY"]
    show = f"import os; print(*(os.environ.get(name) for name in {names!r}), sep='|')"
    told = python("tools/pinned.py", str(settings_file(tmp_path, on)), sys.executable, "-c", show)
    always = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    assert told.strip().split("|") == [(PINS | always if on else always).get(name, "None") for name in names]


@pytest.mark.parametrize("on", [True, False])
def test_the_workflow_sets_what_the_settings_ask_for(tmp_path, on):
    """Threads that wait must not spin: on a box that others use, too, a training took six times as long."""
    command = ["-m", "snakemake", "-n", "-p", "--nolock", "--forceall", "--config"]
    file = changed(tmp_path, {"compute.portable": on, "threads": 1 if on else 2})
    told = python(*command, f"settings={file}")
    commands = [line for line in told.splitlines() if "tools/execute.py" in line]
    assert len(commands) > 10
    expected = {"OMP_NUM_THREADS": "1" if on else "2", "OMP_WAIT_POLICY": "passive"} | (PINS if on else {})
    for command in commands:
        assert all(f"{name}={value} " in command for name, value in expected.items())
        assert on or "MKL_CBWR" not in command


def test_make_starts_kernels_by_the_launcher():
    text = (runtime.ROOT / "Makefile").read_text()
    kernels = [line for line in text.splitlines() if "jupyterlab -" in line or "--execute" in line]
    assert len(kernels) == 2 and all("tools/pinned.py" in line for line in kernels)


@pytest.mark.parametrize("on", [True, False])
def test_a_kernel_started_without_the_pins_says_so(tmp_path, on, monkeypatch, capsys):
    monkeypatch.delenv("MKL_CBWR", raising=False)
    run = start("04_model", settings_file(tmp_path, on))
    line = "not portable: another processor may give other last digits; "
    assert (line in capsys.readouterr().out) == on
    assert run.known["pinned"] is False
    for name, value in PINS.items():
        monkeypatch.setenv(name, value)
    assert start("04_model", settings_file(tmp_path, on)).known["pinned"] is True
    assert line not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"compute.precision": "bf16"}, "needs compute.precision = 'float32' and compute.compile = false: "),
        ({"compute.precision": "tf32"}, "got 'tf32' and false"),
        ({"compute.compile": True}, "got 'float32' and true"),
        ({"threads": 2}, "compute.portable needs threads = 1, because sums depend on their number; got 2"),
    ],
)
def test_what_no_other_processor_repeats_is_refused(tmp_path, change, message):
    assert message in refused(changed(tmp_path, {"compute.portable": True, **change}))
    load_settings(changed(tmp_path, {"compute.portable": False, **change}))


def test_a_gpu_is_not_taken_by_itself_and_refused_where_it_is_asked_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [runtime.choose_device("auto", on).type for on in (False, True)] == ["cuda", "cpu"]
    with pytest.raises(ValueError, match=r"whose bits are its own; set compute\.portable = false"):
        runtime.choose_device("cuda", True)


def tensors(seed, *shapes):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def test_the_optimizer_is_adadelta_up_to_rounding():
    """Against torch's own in float64, over steps in which the gradients change; a tensor in channels-last order too."""
    shapes = [(7,), (3, 5, 2, 2), (1,)]
    values = [torch.nn.Parameter(value) for value in tensors(0, *shapes)]
    values[1].data = values[1].data.to(memory_format=torch.channels_last)
    exact = [torch.nn.Parameter(value.detach().double()) for value in values]
    optimizers = [
        make_optimizer(some, load_settings("demo").training, portable=on)
        for some, on in ((values, True), (exact, False))
    ]
    assert [type(optimizer) for optimizer in optimizers] == [PortableAdadelta, torch.optim.Adadelta]
    for step in range(20):
        for value, other, gradient in zip(values, exact, tensors(step, *shapes), strict=True):
            value.grad, other.grad = gradient, gradient.double()
        for optimizer in optimizers:
            optimizer.step()
    begun = tensors(0, *shapes)
    for value, other, first in zip(values, exact, begun, strict=True):
        assert torch.allclose(value.double(), other, rtol=0, atol=1e-6) and not torch.equal(value, first)


def test_the_optimizers_state_goes_to_a_checkpoint_and_back():
    values = [torch.nn.Parameter(value) for value in tensors(0, (7,), (2, 3))]
    again = copy.deepcopy(values)
    first, second = (
        make_optimizer(some, load_settings("demo").training, portable=True) for some in (values, again)
    )

    def take(some, optimizer, seed):
        for value, gradient in zip(some, tensors(seed, (7,), (2, 3)), strict=True):
            value.grad = gradient
        optimizer.step()

    take(values, first, 1)
    take(again, second, 1)
    third = make_optimizer(again, load_settings("demo").training, portable=True)
    third.load_state_dict(second.state_dict())
    take(values, first, 2)
    take(again, third, 2)
    assert all(torch.equal(a, b) for a, b in zip(values, again, strict=True))


@pytest.mark.parametrize("on", [True, False])
def test_a_network_is_trained_with_it_where_the_settings_ask_for_it(tmp_path, on):
    settings = load_settings("demo")
    compute = dataclasses.replace(settings.compute, portable=on)
    recipe = steps.Recipe(0, 0, VARIANTS["rt"], settings.training, compute, (2.5, 0.12))
    stack = Resident(torch.zeros(1, 64, 64, 5), torch.zeros(1, 64, 64, dtype=torch.uint8), [0], [1], 32, ISLES)
    begun = training._start(training.Job("network", tmp_path, recipe, "scans"), stack, "cpu")
    assert type(begun.optimizer) is (PortableAdadelta if on else torch.optim.Adadelta)


def test_a_root_by_its_reciprocal_is_the_root_to_one_bit_and_zero_at_zero():
    """What the spread of predictions and the optimizer rely on; numpy's is the processor's own, correctly rounded."""
    values = torch.rand(100_000, generator=torch.Generator().manual_seed(0)) ** 8
    values[:3] = torch.tensor([0.0, 1.0, 4.0])
    ours, right = values.rsqrt().reciprocal().numpy(), np.sqrt(values.numpy())
    assert (np.abs(ours - right) <= np.spacing(right)).all() and ours[:3].tolist() == [0.0, 1.0, 2.0]
    assert torch.equal(values[1:].rsqrt(), torch.from_numpy(np.float32(1) / right[1:]))
