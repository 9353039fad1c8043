"""The functional model, quicker: whole layers at once where a descriptor list is one of the planner's."""

from __future__ import annotations

from joulebit.accelerator.functional import Functional

__all__ = ["FastFunctional"]


class FastFunctional(Functional):
    """`Functional`."""
