"""A campaign's plan as frozen objects: every key, its meaning, its default; how a file is read and checked.

    name = "sign-gradients"
    seed = 7
    repeats = 5
    [[methods]]
    name = "fixed"
    source = "digits-resnet8-fixed"        # a preset, or a file relative to this one
    [[methods]]
    name = "psg"
    source = "digits-resnet8-psg"
    set = ["training.epochs=1"]
    [[meters]]
    name = "shunt"
    spec = "ina226:/dev/ttyUSB0?shunt_ohm=0.01"
    [[devices]]
    name = "here"
    kind = "local"
    [session]                              # keys of `SessionSettings`
    window_s = 20
    [session.limits]
    largest_gap_share = 0.0005

Cells are methods x models x meters x devices x repeats. `models` replaces each source's own model; without it
every source keeps its own. Unknown, missing and ill-typed keys stop the campaign before anything is measured.

A method with `replay_of = "step"` and `phase = "forward"` does that phase alone, as often as one run of the method
"step" does it; being repeated for a whole window, it can be as short as it likes. Where all such methods are
measured, their net energies are set beside that of the whole, and whether they add up is said.

    [[mixes]]
    of = "step"

does the method "step" with its phases executed more often than once, for a regression; see `mixes`.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
from attrs import Factory, field, frozen

from joulebit.errors import JoulebitError, did_you_mean
from joulebit_host.campaign.reading import CampaignError, structure
from joulebit_host.session.settings import SessionSettings

DEVICES = ("local", "command", "virtual", "board")
WORKS = ("source", "command", "counters")
#: What each kind of device can do.
ABLE = {"local": ("source",), "command": ("command",), "virtual": ("source", "counters"), "board": ("source",)}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]*")


def _name(instance: Any, attribute: attrs.Attribute[Any], value: str) -> None:
    if not _NAME.fullmatch(value):
        raise CampaignError(f"{attribute.name} must be letters, digits, _, + and -, got {value!r}")


def _range(low: float, high: float = math.inf) -> Any:
    def check(instance: Any, attribute: attrs.Attribute[Any], value: float) -> None:
        if not low <= value <= high:
            what = f"at least {low:g}" if math.isinf(high) else f"in [{low:g}, {high:g}]"
            raise CampaignError(f"{attribute.name} must be {what}, got {value!r}")

    return check


def _known_device(instance: Any, attribute: attrs.Attribute[Any], value: str) -> None:
    if value not in DEVICES:
        raise CampaignError(
            f"kind must be one of {', '.join(DEVICES)}, got {value!r}{did_you_mean(value, DEVICES)}"
        )


@frozen
class Method:
    """What is done. Exactly one of source, command and counters says it."""

    name: str = field(validator=_name)
    source: str = ""  #: a training configuration: preset or file
    set: tuple[str, ...] = ()  #: changes of it, `section.key=value`
    command: str = ""  #: a shell command, for devices of kind command
    counters: Mapping[str, int] = Factory(dict)  #: of one run, by the keys of `joulebit.energy.counters`
    replay_of: str = ""  #: the method of which this one repeats a phase, as often as that does in one run
    phase: str = ""  #: that phase's name
    mix_of: str = ""  #: the method of which this one executes the phases another number of times, see `mixes`
    executions: Mapping[str, int] = Factory(dict)  #: of each phase in one run, where there are mixes

    def __attrs_post_init__(self) -> None:
        given = [work for work in WORKS if getattr(self, work)]
        if len(given) != 1:
            came = " and ".join(given) or "none"
            raise CampaignError(f"method {self.name}: exactly one of {', '.join(WORKS)} must be given, got {came}")
        if bool(self.replay_of) != bool(self.phase):
            raise CampaignError(f"method {self.name}: replay_of and phase belong together, one of them is missing")
        if self.mix_of and not self.executions:
            raise CampaignError(
                f"method {self.name}: a mix needs the key 'executions', how often it does each phase"
            )
        if not self.mix_of and set(self.executions.values()) - {1}:
            raise CampaignError(f"method {self.name}: only a mix executes phases more often than once: set mix_of")
        if self.mix_of and self.replay_of:
            raise CampaignError(f"method {self.name} is either a mix or a replay, not both")
        if self.set and not self.source:
            raise CampaignError(f"method {self.name}: set changes a source, but there is none")
        for name in ("counters", "executions"):
            for key, count in getattr(self, name).items():
                if isinstance(count, bool) or not isinstance(count, int) or count < 0:
                    raise CampaignError(
                        f"method {self.name}: {name}.{key} must be a whole number >= 0, got {count!r}"
                    )

    @property
    def work(self) -> str:
        """Which of source, command and counters."""
        return next(work for work in WORKS if getattr(self, work))

    @property
    def part_of(self) -> str:
        """The method of which this one measures the phases, by replay or as a mix; "" for one that is whole."""
        return self.replay_of or self.mix_of


@frozen
class Mixes:
    """Mixes of a method's phases; see `mixes`."""

    of: str
    phases: tuple[str, ...] = ()  #: those of the method if empty
    levels: tuple[int, ...] = (1, 3)  #: how often a phase is executed: fewer times or more
    runs: tuple[Mapping[str, int], ...] = ()  #: instead of levels: the executions of each mix


@frozen
class MeterPlan:
    """A meter; for a virtual device the kind that is emulated, without an address."""

    name: str = field(validator=_name)
    spec: str  #: see `joulebit_host.meters.registry`; "own" is this machine's own counter
    ranging_s: float = field(default=0.0, validator=_range(0))  #: length of a ranging run, see `ranges`; 0: none


@frozen
class DevicePlan:
    """A device under test."""

    name: str = field(validator=_name)
    kind: str = field(validator=_known_device)
    timeout_s: float = field(default=86400.0, validator=_range(0.1))  #: longest silence of a run
    data_dir: str = ""  #: local: where data sets lie
    engine: str = ""  #: local: who computes; the configuration's own if empty
    board: str = ""  #: board: whose accelerator computes, see `joulebit_host.boards`
    array_config: str = "default"  #: board: the accelerator's configuration
    table: str = ""  #: virtual, and board where that is virtual: the hidden energy table of the virtual bench
    port_pj_per_byte: tuple[float, ...] = ()  #: board with a table: of ports 0 and 1; else the table's dram
    between_lists_s: float = field(default=1e-3, validator=_range(0))  #: board with a table: the processor's time
    idle_w: float = field(default=2.5, validator=_range(0))  #: virtual: power at rest
    noise_w: float = field(default=0.02, validator=_range(0))  #: virtual: noise of one reading of its meter
    gain: float = field(default=0.0, validator=_range(-0.5, 0.5))  #: virtual: gain error of its meter
    offset_w: float = 0.0  #: virtual: offset of its meter
    idle_drift_w: float = 0.0  #: virtual: change of the power at rest over a measurement, on attempts with a fault
    faults: tuple[str, ...] = ()  #: virtual: of its meter, such as unplug@30+5; or of the device, see `virtual`
    faults_in: tuple[str, ...] = ()  #: virtual: methods that suffer them; all if empty
    faults_last: int = field(default=1, validator=_range(0))  #: virtual: so many attempts suffer them
    interaction: tuple[str, ...] = ()  #: virtual: two phases; see interaction_share
    interaction_share: float = 0.0  #: virtual: by which the second costs more for each execution of the first
    speed: float = field(default=0.0, validator=_range(0))  #: virtual: seconds per real second; 0 = no limit

    def __attrs_post_init__(self) -> None:
        if self.kind == "virtual" and not self.table:
            raise CampaignError(f"device {self.name}: a virtual device needs the key 'table', its energy table")
        if len(self.interaction) not in (0, 2):
            raise CampaignError(
                f"device {self.name}: interaction must name two phases, got {list(self.interaction)}"
            )
        if self.kind == "board":
            self._check_board()
        elif self.board:
            raise CampaignError(f'device {self.name} ({self.kind}) has no board: set kind = "board"')

    def _check_board(self) -> None:
        from joulebit.spec.accelerator import CONFIGS
        from joulebit_host.boards import BOARD_NAMES

        kinds = [name.partition(":")[0] for name in BOARD_NAMES]
        kind, _, where = self.board.partition(":")
        if kind not in kinds or bool(where) != (kind == "remote"):
            raise CampaignError(
                f"device {self.name}: board must be one of {', '.join(BOARD_NAMES)}, got {self.board!r}"
            )
        if self.array_config not in CONFIGS:
            raise CampaignError(
                f"device {self.name}: array_config must be one of {', '.join(CONFIGS)}, got {self.array_config!r}"
            )
        if self.engine:
            raise CampaignError(f"device {self.name}: a board's engine is overlay, the key 'engine' must be empty")
        if self.table and not kind.startswith("virtual"):
            raise CampaignError(
                f"device {self.name}: table is for virtual boards, {self.board} is measured as it is: leave it out"
            )
        if len(self.port_pj_per_byte) not in (0, 2) or min(self.port_pj_per_byte, default=0) < 0:
            raise CampaignError(
                f"device {self.name}: port_pj_per_byte must be two numbers >= 0, got {list(self.port_pj_per_byte)}"
            )


@frozen
class Campaign:
    """A plan."""

    name: str = field(validator=_name)
    methods: tuple[Method, ...]
    meters: tuple[MeterPlan, ...]
    devices: tuple[DevicePlan, ...]
    description: str = ""
    seed: int = field(default=0, validator=_range(0))  #: of the order
    repeats: int = field(default=5, validator=_range(1, 10_000))
    models: tuple[str, ...] = ()
    whole_runs: bool = False  #: measure each run once, as a whole, instead of as often as fills a window
    retries: int = field(default=2, validator=_range(0, 100))  #: of a cell that failed or came out invalid
    backoff_s: float = field(default=5.0, validator=_range(0))  #: before the first retry; doubled for each further
    largest_backoff_s: float = field(default=600.0, validator=_range(0))
    cooldown_s: float = field(default=0.0, validator=_range(0))  #: rest between cells, in real time
    session: SessionSettings = Factory(SessionSettings)
    mixes: tuple[Mixes, ...] = ()  #: empty once the plan is read: each mix is then one of the methods

    def __attrs_post_init__(self) -> None:
        for what in ("methods", "meters", "devices"):
            entries = getattr(self, what)
            names = [entry.name for entry in entries]
            if not names:
                raise CampaignError(f"[[{what}]] must have at least one entry")
            for name in names:
                if names.count(name) > 1:
                    raise CampaignError(f"[[{what}]] has two entries named {name!r}")
        if len(set(self.models)) != len(self.models):
            raise CampaignError(f"models has an entry twice: {list(self.models)}")
        for model in self.models:
            if not _NAME.fullmatch(model):
                raise CampaignError(f"models must be names of models, got {model!r}")
        for device in self.devices:
            for method in self.methods:
                if method.work not in ABLE[device.kind]:
                    raise CampaignError(
                        f"device {device.name} ({device.kind}) cannot do method {method.name} ({method.work}); "
                        f"it takes {' or '.join(ABLE[device.kind])}"
                    )
            names = [method.name for method in self.methods]
            for name in device.faults_in:
                if name not in names:
                    raise CampaignError(
                        f"device {device.name}: faults_in: unknown method {name!r}{did_you_mean(name, names)}"
                    )
        for method in self.methods:
            self._check_part(method)
            if self.models and not method.source:
                raise CampaignError(f"models cannot be applied to method {method.name}: it has no source")

    def _check_part(self, method: Method) -> None:
        """A replay or a mix belongs to a method that is whole, and no other replays the same phase."""
        if not method.part_of:
            return
        key = "replay_of" if method.replay_of else "mix_of"
        whole = [other.name for other in self.methods if not other.part_of]
        if method.part_of not in whole:
            raise CampaignError(
                f"method {method.name}: {key} must name a method that is no part itself "
                f"({', '.join(whole)}), got {method.part_of!r}{did_you_mean(method.part_of, whole)}"
            )
        same = [
            o.name for o in self.methods if o.phase and (o.replay_of, o.phase) == (method.replay_of, method.phase)
        ]
        if len(same) > 1:
            raise CampaignError(f"methods {' and '.join(same)} replay the same phase {method.phase!r}")


def load_campaign(path: Path | str) -> Campaign:
    """The plan in a TOML file; CampaignError says in one line what is wrong with it. Sources that are files are
    made absolute, so that the plan can be kept elsewhere."""
    from joulebit.experiments.config import read_toml

    path = Path(path)
    return campaign_from_table(read_toml(path), str(path), path.parent)


def campaign_from_table(table: Mapping[str, Any], where: str = "campaign", folder: Path = Path(".")) -> Campaign:
    """The plan that nested dictionaries describe; `where` begins the messages, `folder` is where files lie."""
    from joulebit_host.campaign.mixes import check_mixes, with_mixes

    try:
        campaign = with_mixes(structure(Campaign, table, ""))
        check_mixes(campaign)
    except JoulebitError as error:
        raise CampaignError(f"{where}: {error}") from None
    methods = tuple(
        attrs.evolve(m, source=str((folder / m.source).resolve())) if _is_file(m.source) else m
        for m in campaign.methods
    )
    devices = tuple(
        attrs.evolve(d, table=str((folder / d.table).resolve())) if _is_file(d.table) else d
        for d in campaign.devices
    )
    return attrs.evolve(campaign, methods=methods, devices=devices)


def as_table(campaign: Campaign) -> dict[str, Any]:
    """Plain JSON values, every key written out; `campaign_from_table` gives the same plan back."""
    table: dict[str, Any] = json.loads(json.dumps(attrs.asdict(attrs.evolve(campaign, session=None))))  # type: ignore[arg-type]
    table["session"] = campaign.session.as_json()
    return table


def campaign_hash(campaign: Campaign) -> str:
    """SHA-256 (hex) of what the cells' results follow from: not the description, retries and waiting times."""
    table = as_table(campaign)
    for key in ("description", "retries", "backoff_s", "largest_backoff_s", "cooldown_s"):
        del table[key]
    for device in table["devices"]:
        del device["speed"], device["timeout_s"], device["data_dir"]
    return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()


def _is_file(source: str) -> bool:
    return source.endswith(".toml") or "/" in source
