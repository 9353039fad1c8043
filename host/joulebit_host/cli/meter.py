"""`joulebit meter`: finding, reading, recording and emulating power meters."""

from __future__ import annotations

import contextlib
import inspect
import signal
import time
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from joulebit.cli.console import emit_json, json_option, note, notes, show, si
from joulebit.errors import JoulebitError, did_you_mean

if TYPE_CHECKING:
    from joulebit_host.meters.base import Meter, Summary
    from joulebit_host.meters.collect import Progress
    from joulebit_host.meters.emulators.emulator import Emulator

SPEC_HELP = "A meter is written KIND:ADDRESS?OPTION=VALUE&..., such as 'ina226:/dev/ttyUSB0?shunt_ohm=0.01'."


@click.group()
def meter() -> None:
    """Find, read, record and emulate power meters."""


@meter.command("list")
@click.option("--options", "kind_name", metavar="KIND", help="Show the options of a kind of meter instead.")
@json_option
def list_command(kind_name: str | None, as_json: bool) -> None:
    """List the meters of this machine and the kinds of meters there are."""
    from joulebit_host.meters import registry

    if kind_name is not None:
        _show_options(kind_name, as_json)
        return
    found = registry.list_meters()
    kinds = [registry.kind(name) for name in registry.kind_names()]
    if as_json:
        meters = [{"spec": m.spec, "title": m.title, "usable": m.usable, "hint": m.hint} for m in found]
        known = [{"kind": k.name, "title": k.title, "address": k.address} for k in kinds]
        emit_json({"meters": meters, "kinds": known})
        return
    if not found:
        show("no meter and no serial port found")
    for item in found:
        show(f"{item.spec:<40} {item.title}{'' if item.usable else f' ({item.hint})'}")
    show("")
    for item_kind in kinds:
        show(f"{item_kind.name:<12} {item_kind.title} [{item_kind.address}]")
    note(SPEC_HELP + " `--options KIND` shows the options.")


def _show_options(kind_name: str, as_json: bool) -> None:
    import dataclasses

    from joulebit_host.meters import registry

    fields = dataclasses.fields(registry.kind(kind_name).options)
    rows = [
        {
            "name": field.name,
            "default": list(field.default) if isinstance(field.default, tuple) else field.default,
            "unit": field.metadata["unit"],
            "choices": list(field.metadata["choices"]),
            "text": field.metadata["text"],
        }
        for field in fields
    ]
    limits = None if kind_name == "replay" else registry.describe(kind_name, {})[1]
    if as_json:
        known = None if limits is None else dataclasses.asdict(limits)
        emit_json({"kind": kind_name, "options": rows, "error_limits": known})
        return
    for row in rows:
        choices = f" ({', '.join(map(str, row['choices']))})" if row["choices"] else ""
        default = "" if row["default"] in (None, "", []) else f" [{row['default']} {row['unit']}".rstrip() + "]"
        show(f"{row['name']:<20} {row['text']}{choices}{default}")
    if limits is not None:
        from joulebit_host.meters.limits import limits_text

        show(f"error limits: {limits_text(limits)}")
        show(f"source: {limits.source}")


@meter.command()
@click.argument("spec")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="How long; 10 s by default.")
@click.option("--samples", type=click.IntRange(min=1), help="How many samples, instead of a time.")
@click.option("--csv", "as_csv", is_flag=True, help="Print every sample as a line of CSV instead of the summary.")
@json_option
def read(spec: str, seconds: float | None, samples: int | None, as_csv: bool, as_json: bool) -> None:
    """Read a meter for a while and print mean power and energy (exit code 1 if nothing could be read).

    SPEC names the meter: KIND:ADDRESS?OPTION=VALUE&..., such as 'ina226:/dev/ttyUSB0?shunt_ohm=0.01' or 'rapl'.
    """
    if as_csv and as_json:
        raise click.UsageError("--csv and --json exclude each other")
    if seconds is None and samples is None and not spec.startswith("replay:"):
        seconds = 10.0
    with _opened(spec) as device:
        _run(device, seconds, samples, as_json, as_csv=as_csv)


@meter.command()
@click.argument("spec")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The new recording.")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="How long; until Ctrl-C by default.")
@json_option
def record(spec: str, output: Path, seconds: float | None, as_json: bool) -> None:
    """Record everything that a meter sends, for `replay:FILE` and the audit.

    The recording is an append-only, hash-chained log; what was written stays readable when the process is killed.
    """
    from joulebit_host.meters.recording import create_recording

    with _opened(spec) as device, create_recording(output, device) as log:
        _run(device, seconds, None, as_json, log=log, output=output)


def _run(
    device: Meter,
    seconds: float | None,
    samples: int | None,
    as_json: bool,
    *,
    log: Any = None,
    output: Path | None = None,
    as_csv: bool = False,
) -> None:
    from joulebit_host.meters.collect import collect

    note(f"{device.kind}: {device.identity}")
    if as_csv:
        show("t_s,power_w,voltage_v,current_a,energy_j,marker,dropped,valid")
    with _signals() as caught, _live(device, as_csv) as on_progress:
        summary = collect(
            device,
            seconds=seconds,
            samples=samples,
            log=log,
            on_progress=on_progress,
            stop=lambda: bool(caught),
        )
    if not as_csv:
        _print_summary(device, summary, as_json, output)
    if caught and (seconds is not None or samples is not None):
        raise click.exceptions.Exit(128 + caught[0])
    if summary.samples == summary.invalid:
        note("joulebit: no valid sample came")
        raise click.exceptions.Exit(1)


def _print_summary(device: Meter, summary: Summary, as_json: bool, output: Path | None) -> None:
    faults = {fault.value: count for fault, count in summary.faults.items()}
    if as_json:
        result: dict[str, Any] = {
            "kind": device.kind,
            "identity": device.identity,
            "reading": device.reading.value,
            "samples": summary.samples,
            "invalid": summary.invalid,
            "mean_w": summary.mean_w,
            "energy_j": summary.energy_j,
            "seconds": summary.seconds,
            "gap_s": summary.gap_s,
            "dropped": summary.dropped,
            "faults": faults,
        }
        emit_json(result | ({"recording": str(output)} if output is not None else {}))
        return
    show(_line(summary))
    if output is not None:
        show(f"recording: {output}")


def _line(summary: Summary) -> str:
    mean = "no power" if summary.mean_w is None else f"{si(summary.mean_w, 'W')} mean"
    energy = "no energy" if summary.energy_j is None else si(summary.energy_j, "J")
    text = f"{mean}, {energy} in {summary.seconds:.3f} s, {summary.samples} samples"
    if summary.gap_s:
        text += f", gaps {summary.gap_s:.3f} s"
    if summary.dropped:
        text += f", {summary.dropped} dropped"
    faults = ", ".join(f"{fault.value} {count}" for fault, count in sorted(summary.faults.items()))
    return text + (f"; faults: {faults}" if faults else "")


@contextlib.contextmanager
def _opened(spec: str) -> Iterator[Meter]:
    from joulebit_host.meters.registry import open_meter

    device = open_meter(spec)
    try:
        yield device
    finally:
        device.close()


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM instead of dying, so that the meter is stopped and the log is closed."""
    caught: list[int] = []
    before = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, lambda got, _frame: caught.append(got))
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _live(device: Meter, as_csv: bool) -> Iterator[Callable[[Progress], None]]:
    """Shows power, energy and faults in one line of the terminal; CSV lines on stdout if asked."""
    from rich.live import Live
    from rich.text import Text

    console = notes()
    live = Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None

    def on_progress(progress: Progress) -> None:
        if as_csv:
            for s in progress.new:
                values = (
                    s.t_s,
                    s.power_w,
                    s.voltage_v,
                    s.current_a,
                    s.energy_j,
                    s.marker,
                    s.dropped,
                    int(s.valid),
                )
                rest = ",".join("" if value is None else f"{value:.9g}" for value in values[1:])
                click.echo(f"{s.t_s:.6f},{rest}")
        if live is not None:
            now = progress.last.power_w if progress.last is not None else None
            head = "UNPLUGGED" if not progress.connected else "-" if now is None else si(now, "W")
            live.update(Text(f"{head:>10}   {_line(progress.summary)}"))

    with live if live is not None else contextlib.nullcontext():
        yield on_progress


@meter.command()
@click.argument("kind_name", metavar="KIND")
@click.option(
    "--curve",
    default="3",
    show_default=True,
    help="Watts: 3, steps:0=2.5,10=4,period=20, FILE.csv; ~0.1 for noise.",
)
@click.option("--link", type=click.Path(path_type=Path), help="Stable name for the pseudo-terminal.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting of the emulated meter.")
@click.option(
    "--fault",
    "fault_texts",
    multiple=True,
    metavar="NAME=RATE|NAME@START+SECONDS",
    help="A fault, may be repeated.",
)
@click.option("--gain", type=float, default=0.0, help="Relative error of the current.")
@click.option("--offset-a", type=float, default=0.0, help="Added to the current, in amperes.")
@click.option("--noise-w", type=float, default=0.0, help="Standard deviation of a reading's noise, in watts.")
@click.option(
    "--clock-error", type=float, default=0.0, help="Relative error of the meter's clock: 1e-4 gains 0.1 ms/s."
)
@click.option("--seed", type=int, default=0, help="Of noise and faults.")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="How long; until Ctrl-C by default.")
@json_option
def emulate(
    kind_name: str,
    curve: str,
    link: Path | None,
    settings: tuple[str, ...],
    fault_texts: tuple[str, ...],
    gain: float,
    offset_a: float,
    noise_w: float,
    clock_error: float,
    seed: int,
    seconds: float | None,
    as_json: bool,
) -> None:
    """Play a power curve of known energy as a serial meter behind a pseudo-terminal."""
    from joulebit_host.meters.emulators.curve import parse_curve
    from joulebit_host.meters.emulators.emulator import Imperfections
    from joulebit_host.meters.emulators.faults import FaultPlan
    from joulebit_host.meters.emulators.pty import PtyServer

    if link is not None and link.exists() and not link.is_symlink():
        raise JoulebitError(f"--link {link} exists and is no link: name another path")
    if link is not None and not link.parent.is_dir():
        raise JoulebitError(f"--link {link}: there is no folder {link.parent}")
    power = parse_curve(curve, seed)
    emulator, given = _emulator(
        kind_name,
        settings,
        curve=power,
        faults=FaultPlan.parse(fault_texts),
        imperfections=Imperfections(gain=gain, offset_a=offset_a, noise_w=noise_w, clock_error=clock_error),
        seed=seed,
        keep_truths=False,
    )
    with _signals() as caught, PtyServer(emulator, link) as server:
        note(f"emulating {kind_name}; read it with: joulebit meter read '{_spec(kind_name, server.path, given)}'")
        end_s = server.started_s + seconds if seconds is not None else float("inf")
        while not caught and (left_s := end_s - time.monotonic()) > 0:
            time.sleep(min(0.1, left_s))
        played_s = time.monotonic() - server.started_s
    energy_j = power.energy_j(0.0, played_s)
    if as_json:
        emit_json(
            {
                "kind": kind_name,
                "path": server.path,
                "seconds": played_s,
                "true_energy_j": energy_j,
                "true_mean_w": energy_j / played_s,
                "frames": emulator.counts.sent,
                "faults": emulator.counts.faults,
            }
        )
        return
    show(f"played {si(energy_j, 'J')} in {played_s:.3f} s, {emulator.counts.sent} frames sent whole")


def _emulator(kind_name: str, settings: tuple[str, ...], **more: Any) -> tuple[Emulator, dict[str, Any]]:
    """The emulator and what was set, from KEY=VALUE texts."""
    from joulebit_host.meters.emulators.catalogue import EMULATORS

    if kind_name not in EMULATORS:
        known = ", ".join(EMULATORS)
        raise JoulebitError(f"no emulator of {kind_name!r}{did_you_mean(kind_name, EMULATORS)}; known: {known}")
    make = EMULATORS[kind_name]
    types = _settable(make)
    given: dict[str, Any] = {}
    for text in settings:
        name, equals, value = text.partition("=")
        if not equals or name not in types:
            known = ", ".join(types)
            raise JoulebitError(
                f"emulated {kind_name}: cannot set {text!r}{did_you_mean(name, types)}; known: {known}"
            )
        try:
            given[name] = types[name](value)
        except ValueError:
            raise JoulebitError(f"emulated {kind_name}: {name} must be a number, got {value!r}") from None
    voltage_v = given.get("voltage_v")
    if voltage_v is not None:
        from joulebit_host.meters.emulators.emulator import Supply

        more["supply"] = Supply(voltage_v)
    return make(**more, **{name: value for name, value in given.items() if name != "voltage_v"}), given


def _settable(make: Callable[..., Emulator]) -> dict[str, type]:
    """The plain settings of an emulator: name -> type."""
    function = getattr(make, "func", make)
    hints = typing.get_type_hints(function.__init__)
    names = inspect.signature(function).parameters
    plain = {name: hints[name] for name in names if hints.get(name) in (int, float, str)}
    fixed: Mapping[str, Any] = getattr(make, "keywords", {})
    return {"voltage_v": float} | {name: kind for name, kind in plain.items() if name not in fixed}


def _spec(kind_name: str, path: str, given: dict[str, Any]) -> str:
    """The specification that fits an emulator with these settings."""
    import dataclasses

    from joulebit_host.meters.registry import kind

    names = {field.name for field in dataclasses.fields(kind(kind_name).options)}
    query = "&".join(f"{name}={value}" for name, value in given.items() if name in names)
    return f"{kind_name}:{path}" + (f"?{query}" if query else "")
