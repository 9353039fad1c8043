"""A device's end of the line: takes training settings, trains, sends results back. JSON lines over a pipe.

    down                                       back
                                               {"hello": "joulebit-device-1"}
    {"do": "prepare", "config": {...},         {"ok": {"config_hash": "..."}}
     "data_dir": null}
    {"do": "prepare", ..., "board": "virtual",  {"mark": "temperature", "celsius": 41.2} if the board gives one,
     "array_config": "default"}                  then as above: the run is computed by this board's accelerator
    {"do": "prepare", ..., "executions":        each operation of a phase is done so many times: see `repeating`
     {"forward": 3, ...}}
    {"do": "clock"}                            {"ok": {"clock_s": 12.5}}
    {"do": "run", "repeats": 3}                {"mark": "step", "clock_s": 12.6} ...
                                               {"ok": {"start_s": ..., "end_s": ..., "config_hash": ...,
                                                "weights_sha256": ..., "counters": {...}, ...}}
                                               with a board also "accelerator", see `board_worker`; of a mix
                                                "executions", as counted, and the counters with all of them
    {"do": "run", "repeats": 1, "lists": true}  "accelerator" holds also what each list of passes did
    anything that fails                        {"error": "one line"}

`start_s` and `end_s` are of the measured part: the first run's data and network are ready before start_s, and
the evaluation after the last run comes after end_s. Everything between belongs to the work: between two runs also
the building of the next network. A worker ends when its input ends, even in the middle of a run.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from joulebit_host.campaign.board_worker import AcceleratorRuns
    from joulebit_host.campaign.repeating import Repetition

HELLO = "joulebit-device-1"
_KEPT = ("config_hash", "weights_sha256", "counters", "top1", "steps", "energy_simulated_j", "engine")


def train_once(
    config: Mapping[str, Any],
    data_dir: str | None = None,
    started: Callable[[], None] | None = None,
    ended: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """One training run in a folder of its own that is removed again; what a campaign keeps of its summary.

    started and ended are called around the training steps, without set-up before and evaluation after.
    """
    from joulebit.experiments.config import config_from_table
    from joulebit.experiments.run import Trainer
    from joulebit.experiments.rundir import RunDirectory
    from joulebit.train.progress import SilentProgress

    table = {key: value for key, value in config.items()}
    table["training"] = {k: v for k, v in table["training"].items() if k not in ("iterations", "epochs") or v}
    run = config_from_table(table)
    folder = Path(data_dir) if data_dir else None
    with (
        tempfile.TemporaryDirectory(prefix="joulebit-") as place,
        RunDirectory.create(Path(place) / "run", run) as run_dir,
    ):
        trainer = Trainer(run, run_dir, folder)
        if started is not None:
            started()
        progress = SilentProgress()
        trainer.train(progress, lambda: 0)
        if ended is not None:
            ended()
        summary = trainer.finish(progress)
    return {key: summary[key] for key in _KEPT}


class Worker:
    """Serves one host over two files of lines."""

    def __init__(self, back: IO[str]) -> None:
        self._back = back
        self._config: dict[str, Any] | None = None
        self._data_dir: str | None = None
        self._board: AcceleratorRuns | None = None
        self._repetition: Repetition | None = None

    def send(self, message: Mapping[str, Any]) -> None:
        """One line."""
        self._back.write(json.dumps(message) + "\n")
        self._back.flush()

    def serve(self, line: str) -> None:
        """Does what a line asks."""
        try:
            asked = json.loads(line)
            answer = {"prepare": self._prepare, "clock": self._clock, "run": self._run}[asked["do"]](asked)
        except Exception as error:
            self.send({"error": " ".join(f"{type(error).__name__}: {error}".split())})
        else:
            self.send({"ok": answer})

    def _prepare(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        from joulebit.experiments.config import config_from_table, config_hash

        table = dict(asked["config"])
        table["training"] = {k: v for k, v in table["training"].items() if k not in ("iterations", "epochs") or v}
        config = config_from_table(table)
        if self._board is not None:
            self._board.close()
            self._board = None
        if asked.get("board"):
            from joulebit_host.campaign.board_worker import AcceleratorRuns

            selective = config.method.update == "psg"
            self._board = AcceleratorRuns(asked["board"], asked["array_config"], selective, self._temperature)
        executions = asked.get("executions")
        self._repetition = self._repeats(table, executions) if executions else None
        self._config, self._data_dir = table, asked.get("data_dir")
        return {"config_hash": config_hash(config)}

    def _repeats(self, table: dict[str, Any], executions: Mapping[str, int]) -> Repetition:
        """Executes phases several times; ValueError where those of this run cannot be."""
        from joulebit_host.campaign.repeating import Repetition

        if table["engine"] == "float32":
            raise ValueError("the phases of engine float32 cannot be executed one by one: choose another engine")
        if self._board is not None and table["method"]["update"] == "psg":
            raise ValueError(
                "the accelerator predicts signs in one piece with what it predicts them for: the phases of a run "
                "with predicted signs cannot be executed one by one on a board"
            )
        return Repetition(executions)

    def _temperature(self, celsius: float) -> None:
        self.send({"mark": "temperature", "celsius": celsius})

    def _clock(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        return {"clock_s": time.monotonic()}

    def _run(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        if self._config is None:
            raise ValueError("nothing was prepared")
        first, last = [], 0.0
        summary: dict[str, Any] | None = None

        board, repetition = self._board, self._repetition
        executions: dict[str, int] = {}

        def started() -> None:
            if board is not None:
                board.started(bool(asked.get("lists")))
            if repetition is not None:
                repetition.start()
            now_s = time.monotonic()
            first.append(now_s)
            self.send({"mark": "step", "clock_s": now_s})

        def ended() -> None:
            nonlocal last
            last = time.monotonic()
            if repetition is not None:
                executions.update(repetition.stop())
            if board is not None:
                board.ended()

        for _ in range(int(asked["repeats"])):
            with _repeated(repetition):
                found = train_once(self._config, self._data_dir, started, ended)
            if summary is not None and found["weights_sha256"] != summary["weights_sha256"]:
                raise ValueError("two runs of one configuration gave different weights")
            summary = found
        answer = {"start_s": first[0], "end_s": last, **(summary or {})}
        if repetition is not None:
            from joulebit_host.campaign.mixes import multiplied

            answer["counters"] = multiplied(answer["counters"], executions)
            answer["executions"] = executions
        return answer if board is None else {**answer, "accelerator": board.outcome()}


def _repeated(repetition: Repetition | None) -> contextlib.AbstractContextManager[Any]:
    """Within it engines repeat their operations."""
    if repetition is None:
        return contextlib.nullcontext()
    from joulebit.engine.sessions import wrapped_engines

    return wrapped_engines(repetition.wrap)


def main() -> None:
    """Serves stdin and stdout; what libraries print goes to stderr."""
    back = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin:
            lines.put(line)
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    worker = Worker(back)
    worker.send({"hello": HELLO})
    while True:
        worker.serve(lines.get())


if __name__ == "__main__":
    main()
