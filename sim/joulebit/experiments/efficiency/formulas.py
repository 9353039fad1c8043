"""The equations of the efficiency framework: accuracy per joule, and its means.

    (1)  Eff = accuracy / energy
    (2)  of one model, over epochs: [Acc_i / sum of E_j, j <= i]; in total Acc / E
    (3)  of an architecture on a task under a criterion: the mean over its sizes s of Acc_s / E_s
    (4)  of an architecture on a task: the mean over the criteria of (3)

Accuracies are shares of 1, energies joules, so that efficiencies are in 1/J. (The paper adds up power samples and
calls the sum an energy; only ratios of its efficiencies can be compared with joules.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from joulebit.errors import JoulebitError


class EfficiencyError(JoulebitError, ValueError):
    """An efficiency cannot be computed. One line: what came, what was allowed."""


def efficiency(accuracy: float, energy_j: float) -> float:
    """Equation (1): accuracy 0..1 per joule."""
    if not 0 <= accuracy <= 1:
        raise EfficiencyError(f"an accuracy is a share in [0, 1], got {accuracy}")
    if not energy_j > 0:
        raise EfficiencyError(f"an efficiency needs an energy above 0 J, got {energy_j}")
    return accuracy / energy_j


def over_epochs(accuracies: Sequence[float], energies_j: Sequence[float]) -> list[float]:
    """Equation (2): after each epoch, its accuracy / all energy so far. energies_j: of each epoch alone."""
    if len(accuracies) != len(energies_j):
        raise EfficiencyError(
            f"one accuracy and one energy per epoch are needed, got {len(accuracies)} and {len(energies_j)}"
        )
    found, spent = [], 0.0
    for accuracy, energy_j in zip(accuracies, energies_j):
        spent += energy_j
        found.append(efficiency(accuracy, spent))
    return found


def over_sizes(results: Iterable[tuple[float, float]]) -> float:
    """Equation (3): the mean over (accuracy, energy in J) of the models of one architecture."""
    found = [efficiency(accuracy, energy_j) for accuracy, energy_j in results]
    if not found:
        raise EfficiencyError("the efficiency of an architecture needs at least one model, got none")
    return fmean(found)


def overall(by_criterion: Mapping[str, float]) -> float:
    """Equation (4): the mean over the stopping criteria."""
    if not by_criterion:
        raise EfficiencyError("an overall efficiency needs at least one stopping criterion, got none")
    return fmean(by_criterion.values())


def ratios(
    efficiencies: Mapping[tuple[str, str], float], first: str, second: str, easy: str, hard: str
) -> dict[str, float]:
    """Table 12: ratios of two architectures on two tasks.

    Args:
        efficiencies: by (architecture, task).
        first, second: architectures. easy, hard: tasks.

    Returns:
        "EASY/HARD of ARCHITECTURE" for both, "FIRST/SECOND on TASK" for both. The products of the two that lie
        across the table are equal: (first/second on easy) / (first/second on hard) = (easy/hard of first) /
        (easy/hard of second).
    """
    return {
        f"{easy}/{hard} of {first}": efficiencies[first, easy] / efficiencies[first, hard],
        f"{easy}/{hard} of {second}": efficiencies[second, easy] / efficiencies[second, hard],
        f"{first}/{second} on {easy}": efficiencies[first, easy] / efficiencies[second, easy],
        f"{first}/{second} on {hard}": efficiencies[first, hard] / efficiencies[second, hard],
    }
