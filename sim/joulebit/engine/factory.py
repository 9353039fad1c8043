"""Engines by name."""

from __future__ import annotations

from joulebit.engine.base import Engine
from joulebit.engine.sessions import added_engines, current_session, wrapped
from joulebit.fixed.arithmetic import Arithmetic

INTEGER_ENGINES = ("numpy", "numba", "torch")


def make_engine(name: str, arithmetic: Arithmetic, threads: int | None = None) -> Engine:
    """The integer engine called `name`, of this package or added by another; imports only what that engine needs.

    threads limits the numba engine (None: all processors); the torch engine computes on a CUDA device where there
    is one. The bits depend on neither. ValueError for an unknown name, or when the package that an engine needs is
    not installed.
    """
    return wrapped(_made(name, arithmetic, threads))


def _made(name: str, arithmetic: Arithmetic, threads: int | None) -> Engine:
    try:
        if name == "numpy":
            from joulebit.engine.numpy_engine import NumpyEngine

            return NumpyEngine(arithmetic)
        if name == "numba":
            from joulebit.engine.numba_engine import NumbaEngine

            return NumbaEngine(arithmetic, threads)
        if name == "torch":
            from joulebit.engine.torch_engine import TorchEngine

            return TorchEngine(arithmetic, "auto")
    except ModuleNotFoundError as error:
        raise ValueError(
            f"engine {name!r} needs the package {error.name!r}, which is not installed: "
            "pip install 'joulebit[simulator]', or use engine numpy"
        ) from None
    if name in added_engines():
        return current_session(name).make(arithmetic, threads)
    raise ValueError(f"engine must be one of {', '.join((*INTEGER_ENGINES, *added_engines()))}, got {name!r}")
