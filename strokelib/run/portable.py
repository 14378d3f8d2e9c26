"""What is set before numpy and torch load: threads, and what gives the same bits on every x86-64 processor with AVX2.

Their libraries choose kernels by the processor they find, and each kernel rounds in its own way. Pinned, all of them
take those that every such processor has, and sums keep their order. What is left is MKL's square root, which torch
uses on whole tensors and which rounds otherwise on another vendor's processors: see `optimizer.PortableAdadelta`.
Nothing here loads either of the two.
"""

import os
import platform

PINS = {
    "ONEDNN_MAX_CPU_ISA": "AVX2",  # torch's convolutions
    "ATEN_CPU_CAPABILITY": "avx2",  # torch's own loops
    "MKL_CBWR": "COMPATIBLE",  # torch's matrix products and Fourier transforms; the one way that all vendors share
    "OPENBLAS_CORETYPE": "Haswell",  # the linear algebra of numpy and of scipy
    "NPY_DISABLE_CPU_FEATURES": "X86_V4,AVX512_ICL,AVX512_SPR",  # numpy's own loops beyond AVX2, by their names there
    "OMP_NUM_THREADS": "1",  # sums depend on the number of threads
}


def pins(settings) -> dict[str, str]:
    """Return the environment variables that a process needs for these settings: none where compute.portable is off."""
    return PINS if settings.compute.portable else {}


def surroundings(settings) -> dict[str, str]:
    """Return the environment variables that a process of these settings is started with, its pins included.

    Threads that wait sleep: by default they spin, for nothing where other programs want the cores. No number depends
    on it. OpenMP reads it when torch loads. What torch compiles lies beside the results, for all processes to come.
    """
    compiled = os.environ.get("TORCHINDUCTOR_CACHE_DIR") or str(settings.results.parent / ".compiled")
    shared = {"TORCHINDUCTOR_CACHE_DIR": compiled} if settings.compute.compile else {}
    return {"OMP_NUM_THREADS": str(settings.threads), "OMP_WAIT_POLICY": "passive"} | shared | pins(settings)


def missing(environment=os.environ) -> str:
    """Say why the bits of this process are its processor's own; "" where they are the same everywhere.

    Parameters
    ----------
    environment : variables that the process was started with
    """
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return f"the processor is no x86-64 but {platform.machine()}"
    unset = [name for name, value in PINS.items() if environment.get(name) != value]
    some = unset if len(unset) < 3 else [unset[0], f"{len(unset) - 1} more"]
    return f"{' and '.join(some)} not set before Python started, as make, make lab and snakemake do" if unset else ""
