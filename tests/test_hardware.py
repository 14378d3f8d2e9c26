"""What a machine can do is asked of it, and steps are as asked where it can."""

import dataclasses
import sysconfig

import pytest
import torch

from strokelib import hardware, steps
from strokelib.run.settings import load_settings


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """A machine without a compiler; `install` puts one there."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    (tmp_path / "Python.h").touch()
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"include": str(tmp_path)})

    def install(name):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)

    return install


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_a_cpu_needs_a_compiler_to_compile(bare, compiler):
    assert not hardware.can_compile("cpu")
    bare(compiler)
    assert hardware.can_compile("cpu")


def test_a_compiler_may_be_named(bare, monkeypatch):
    bare("my-compiler")
    monkeypatch.setenv("CXX", "my-compiler")
    assert hardware.can_compile("cpu")


def test_without_pythons_headers_nothing_is_compiled(bare, tmp_path):
    bare("g++")
    (tmp_path / "Python.h").unlink()
    assert not hardware.can_compile("cpu")


def test_a_gpu_needs_triton_a_c_compiler_and_pythons_headers(bare, monkeypatch, tmp_path):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(hardware, "find_spec", lambda name: name == "triton")
    assert not hardware.can_compile("cuda")
    bare("gcc")
    assert hardware.can_compile("cuda")
    (tmp_path / "Python.h").unlink()
    assert not hardware.can_compile("cuda"), "Triton's launchers include them"


@pytest.mark.parametrize(
    ("flags", "there"),
    [({}, False), ({"avx512_bf16": False}, False), ({"avx512_bf16": True}, True), ({"amx_bf16": True}, True)],
)
def test_bf16_is_for_processors_that_multiply_it(monkeypatch, flags, there):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags)
    assert hardware.multiplies_bf16() is there


@pytest.mark.parametrize(
    ("asked", "compiler", "bf16", "found"),
    [
        (("bf16", True), True, True, (True, "bf16")),
        (("bf16", True), True, False, (True, "float32")),
        (("bf16", True), False, False, (False, "float32")),
        (("float32", True), True, True, (True, "float32")),
        (("tf32", False), True, True, (False, "float32")),
    ],
)
def test_steps_are_as_asked_where_the_cpu_can(monkeypatch, asked, compiler, bf16, found):
    monkeypatch.setattr(steps, "can_compile", lambda device: compiler)
    monkeypatch.setattr(steps, "multiplies_bf16", lambda: bf16)
    how = dataclasses.replace(load_settings("study").compute, precision=asked[0], compile=asked[1])
    assert steps.means(how, "cpu") == found


@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
def test_a_gpu_takes_the_precision_asked_for(monkeypatch, precision):
    monkeypatch.setattr(steps, "can_compile", lambda device: True)
    how = dataclasses.replace(load_settings("study").compute, precision=precision)
    assert steps.means(how, "cuda") == (True, precision)
