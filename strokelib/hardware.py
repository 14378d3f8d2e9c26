"""What a machine can do for a training step: compile it, multiply in bf16."""

import os
import shutil
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import torch


def can_compile(device) -> bool:
    """Tell whether torch can compile for a device.

    It takes Python's header files (Debian's python3-dev) and for a CPU a C++ compiler (CXX, g++ or clang++), for a GPU
    Triton and a C compiler, which builds Triton's launchers.
    """
    headers = Path(sysconfig.get_paths()["include"], "Python.h").is_file()
    if torch.device(device).type == "cpu":
        return headers and any(map(shutil.which, filter(None, (os.environ.get("CXX"), "g++", "clang++"))))
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang") or shutil.which("cc")
    return headers and find_spec("triton") is not None and bool(compiler)


def multiplies_bf16() -> bool:
    """Tell whether the CPU multiplies bf16 in hardware."""
    found = torch.cpu.get_capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16") or found.get("amx_tile"))
