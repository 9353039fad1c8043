"""Mixes: runs of a method that execute its phases another number of times, for the energy of each phase.

    [[mixes]]
    of = "step"                        # a method; each mix becomes a method of its own, step-mix1, step-mix2, ...
    phases = ["forward", "update"]     # those of the method by default
    levels = [1, 3]                    # each phase so often or so often: see `session.regression.two_levels`
    runs = [                           # or, instead of levels, by hand
        { forward = 1, update = 1 },
        { forward = 4, update = 1 },
    ]

What a device does with them:

    local, board    trains as always, but does each operation of a phase so many times in each step, and takes the
                    last result: the weights stay those of the plain run, which is checked. At least 1
    virtual         each phase takes so many times its time, at its power; 0 leaves it out
    command         the command finds JOULEBIT_EXECUTIONS, such as '{"forward": 3, "update": 1}', in its
                    environment, and answers `executions` in the JSON object of its last line

The method itself is done in the same way, each phase once, so that what an engine saves by joining phases (one
list for two passes, one launch for all layers' updates) is in none of them: a plain run may take less.

Whether the mixes tell the phases apart is checked before anything is measured; the net energies are then fitted by
`session.regression`, the fit compared with the method's own energy, measured by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import attrs

from joulebit.errors import JoulebitError, did_you_mean
from joulebit_host.campaign.reading import CampaignError
from joulebit_host.campaign.schema import Campaign, DevicePlan, Method, Mixes
from joulebit_host.session.phases import PHASES
from joulebit_host.session.regression import check_design, poor_phases, two_levels

ENVIRONMENT = "JOULEBIT_EXECUTIONS"


def with_mixes(campaign: Campaign) -> Campaign:
    """The plan with a method for each mix, and without `mixes`.

    A phase that another mix of the method names, but this one does not, is executed 0 times; one that none names
    belongs to what every run does.
    """
    wholes = {method.name: method for method in campaign.methods if not method.part_of}
    added: list[Method] = []
    for entry in campaign.mixes:
        if entry.of not in wholes:
            known = ", ".join(wholes)
            raise CampaignError(
                f"[mixes]: of must name a method that is no part itself ({known}), got {entry.of!r}"
                f"{did_you_mean(entry.of, wholes)}"
            )
        whole = wholes[entry.of]
        for number, executions in enumerate(_executions(entry, whole), start=1):
            added.append(
                attrs.evolve(whole, name=f"{whole.name}-mix{number}", mix_of=whole.name, executions=executions)
            )
    methods = (*campaign.methods, *added)
    named: dict[str, dict[str, int]] = {}  # every phase that some mix of a method names, 0 times
    for method in methods:
        if method.mix_of:
            named.setdefault(method.mix_of, {}).update(dict.fromkeys(method.executions, 0))
    return attrs.evolve(campaign, methods=tuple(_complete(method, named) for method in methods), mixes=())


def _complete(method: Method, named: Mapping[str, Mapping[str, int]]) -> Method:
    """With the executions of every phase that mixes name: 0 in a mix that does not, once in the method itself."""
    if method.mix_of:
        return attrs.evolve(method, executions=in_order({**named[method.mix_of], **method.executions}))
    if method.name in named:
        return attrs.evolve(method, executions=in_order(dict.fromkeys(named[method.name], 1)))
    return method


def in_order(executions: Mapping[str, int]) -> dict[str, int]:
    """Phases of a training step first, others by name: the order is that of the regression's coefficients."""
    known = {phase: executions[phase] for phase in PHASES if phase in executions}
    return {**known, **{phase: executions[phase] for phase in sorted(executions) if phase not in known}}


def _executions(entry: Mixes, whole: Method) -> list[dict[str, int]]:
    if entry.runs:
        if entry.phases:
            raise CampaignError(f"mixes of {entry.of}: runs name their phases themselves, leave out 'phases'")
        return [dict(run) for run in entry.runs]
    if len(entry.levels) != 2 or not 0 <= entry.levels[0] < entry.levels[1]:
        raise CampaignError(
            f"mixes of {entry.of}: levels must be two numbers, the smaller first, got {list(entry.levels)}"
        )
    phases = entry.phases or _phases(whole)
    if not phases:
        raise CampaignError(f"mixes of {entry.of}: nothing says which phases a command has: set phases = [...]")
    return two_levels(phases, *entry.levels)


def _phases(whole: Method) -> tuple[str, ...]:
    """The phases of a training step; of counters those that they hold; () for a command."""
    if whole.counters:
        held = {key.split(".")[1] for key in whole.counters if key.count(".") == 2}
        return tuple(phase for phase in PHASES if phase in held)
    return PHASES if whole.source else ()


def check_mixes(campaign: Campaign) -> None:
    """Raises CampaignError for mixes that say nothing, that a device cannot do, or that cannot be fitted here."""
    known = mixes_of(campaign)
    if known and find_spec("scipy") is None:
        raise CampaignError("the fit of mixes needs the package 'scipy': pip install 'joulebit[simulator]'")
    for name, mixes in known.items():
        try:
            check_design([mix.executions for mix in mixes])
        except JoulebitError as error:
            raise CampaignError(f"mixes of {name}: {error}") from None
        for mix in mixes:
            _check_mix(campaign, mix)


def _check_mix(campaign: Campaign, mix: Method) -> None:
    if not any(mix.executions.values()):
        raise CampaignError(f"method {mix.name} executes nothing")
    for device in campaign.devices:
        trains = device.kind in ("local", "board")
        for phase, count in mix.executions.items():
            if trains and phase not in PHASES:
                raise CampaignError(
                    f"method {mix.name}: device {device.name} trains, its phases are {', '.join(PHASES)}; got "
                    f"{phase!r}{did_you_mean(phase, PHASES)}"
                )
            if trains and count < 1:
                raise CampaignError(
                    f"method {mix.name}: device {device.name} trains and executes each phase at least once, got "
                    f"{phase} = {count}: use levels = [1, 3]"
                )


def check_trained(method: Method, config: Mapping[str, Any], devices: Sequence[DevicePlan]) -> None:
    """Raises CampaignError for a training run whose phases a device cannot do one by one.

    Args:
        method: with executions.
        config: table of its training configuration.
        devices: of the plan.
    """
    for device in devices:
        if device.kind == "local" and (device.engine or config["engine"]) == "float32":
            raise CampaignError(
                f"method {method.name}: engine float32 has no phases that can be executed one by one"
            )
        if device.kind == "board" and config["method"]["update"] == "psg":
            raise CampaignError(
                f"method {method.name}: with predicted signs a board forms prediction and gradient in one piece, "
                "whose phases cannot be executed one by one: leave the mixes out, or measure another update"
            )


def mixes_of(campaign: Campaign) -> dict[str, list[Method]]:
    """The mixes of each method that has some."""
    found: dict[str, list[Method]] = {}
    for method in campaign.methods:
        if method.mix_of:
            found.setdefault(method.mix_of, []).append(method)
    return found


def warnings(campaign: Campaign) -> list[str]:
    """A line for each method whose mixes tell some phases apart badly."""
    lines = []
    for name, mixes in mixes_of(campaign).items():
        design = check_design([mix.executions for mix in mixes])
        for phase in poor_phases(design):
            lines.append(
                f"mixes of {name}: they hardly tell {phase} from the other phases (its variance is "
                f"{design['inflation'][phase]:.0f} times that of a good design): vary it by itself"
            )
    return lines


def multiplied(counters: Mapping[str, int], executions: Mapping[str, int]) -> dict[str, int]:
    """Counters of a plain run (see `joulebit.energy.counters`) as those of a mix: its work, phase by phase."""
    found = {}
    for key, count in counters.items():
        family, _, rest = key.partition(".")
        if family in ("macs", "ops", "bytes", "pruned"):
            count *= executions.get(rest.partition(".")[0], 1)
        found[key] = count
    return {key: count for key, count in found.items() if count or not counters[key]}
