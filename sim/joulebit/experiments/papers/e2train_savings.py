"""The relation behind E2-Train's computational savings, with shares out of counters.

    saving = 1 - (share of batches computed) * (share of layer computation done) * 0.37

Source: Wang et al., "E2-Train", NeurIPS 2019, sections 4.2 to 4.5.
"""

from __future__ import annotations

from collections.abc import Mapping

from joulebit.energy.counters import Counters

PSG_ENERGY_SHARE = 0.37  #: of PSG to float32: 1 - 63 %, Table 2, measured by the paper


def analytic_saving(batch_share: float, layer_share: float, energy_share: float = PSG_ENERGY_SHARE) -> float:
    """1 - batches * layers * energy share: the relation behind the paper's computational savings."""
    return 1 - batch_share * layer_share * energy_share


def savings_from_counters(
    counters: Counters | Mapping[str, int],
    reference_batches: int | None = None,
    energy_share: float = PSG_ENERGY_SHARE,
) -> dict[str, float]:
    """The shares that counters give, and the saving that follows.

    Args:
        counters: of a run, or of a schedule.
        reference_batches: batches of the standard run that this one replaces. SMD at the energy ratio 2/3 runs
            4/3 as long and drops half: it computes 1/2 of its own batches but 2/3 of these. None = its own.
        energy_share: what the arithmetic leaves of an iteration's energy; 1 for a method without PSG.

    Returns:
        batch_share: batches computed / reference_batches.
        layer_share: forward multiply-accumulates done / (done + those of blocks that were not entered).
        analytic_saving: 1 - batch_share * layer_share * energy_share.

    Raises:
        ValueError: the counters hold no batch or no forward pass.
    """
    values = Counters(dict(counters.items()))
    seen = values["batches.seen"]
    reference = seen + values["batches.dropped"] if reference_batches is None else reference_batches
    done = values.total("macs.forward.")
    if reference < 1 or done < 1:
        raise ValueError(
            f"shares need counters of a run: got {seen} batches of {reference}, "
            f"{done} forward multiply-accumulates"
        )
    closed = values["skipped.forward.slu"] + values["skipped.forward.sd"]
    batch_share, layer_share = seen / reference, done / (done + closed)
    return {
        "batch_share": batch_share,
        "layer_share": layer_share,
        "analytic_saving": analytic_saving(batch_share, layer_share, energy_share),
    }
