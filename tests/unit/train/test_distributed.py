"""How workers find each other, and what they refuse; whole runs of several processes are in tests/e2e."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from joulebit.errors import JoulebitError
from joulebit.experiments.assembly import build_network
from joulebit.experiments.config import ConfigError, load_config
from joulebit.experiments.run import Trainer
from joulebit.nn.graph import plan
from joulebit.nn.models import model
from joulebit.train.distributed import joined


def small(*more):
    return load_config("digits-lenet-fixed", ["engine=numpy", "data.train_limit=20", "data.test_limit=10", *more])


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("size", ["", "1"])
def test_without_a_launcher_there_is_one_worker(monkeypatch, size):
    monkeypatch.setenv("WORLD_SIZE", size)
    with joined() as workers:
        assert (workers.rank, workers.size, workers.threads) == (0, 1, None)
        assert workers.gather(np.array([3, 4])).tolist() == [[3, 4]]
        assert workers.sum(np.array([3, 4])).tolist() == [3, 4]
        assert workers.broadcast("x") == "x"


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE must be an integer, got 'two'"),
        ({"WORLD_SIZE": "2"}, "RANK must be an integer, got ''"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "MASTER_ADDR is not set"),
        ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "localhost"}, "MASTER_PORT is not set"),
    ],
)
def test_half_a_launcher_is_an_error(monkeypatch, variables, words):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(JoulebitError, match=words), joined():
        pass


def test_workers_that_do_not_come_are_an_error(monkeypatch):
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with (
        pytest.raises(JoulebitError, match=r"the 2 workers did not meet at 127.0.0.1:1 within 0.5 s"),
        joined(0.5),
    ):
        pass


def group(size=2, gather=None):
    return SimpleNamespace(rank=0, size=size, threads=1, gather=gather, broadcast=lambda value: value)


def test_float32_is_refused():
    config = small("engine=float32")
    with pytest.raises(ConfigError, match="engine float32 cannot be trained by 2 workers"):
        build_network(config, plan(model("lenet5", 10), (28, 28, 1)), group())


@pytest.mark.parametrize(
    ("column", "name"), [(0, "versions of joulebit"), (1, "configurations"), (2, "data"), (3, "weights")]
)
def test_workers_that_do_not_agree_do_not_train(column, name):
    def gather(values):
        every = np.stack([values, values, values])
        every[2, column] ^= 1
        return every

    trainer = Trainer(small(), None, workers=group(3, gather))
    with pytest.raises(JoulebitError, match=f"workers 0 and 2 have different {name} after step 7"):
        trainer.check_agreement("after step 7")


def test_workers_that_agree_go_on():
    Trainer(small(), None, workers=group(3, lambda values: np.stack([values] * 3))).check_agreement("now")


def test_a_signal_to_any_worker_stops_all():
    trainer = Trainer(small(), None, workers=group(2, lambda values: np.array([values, [15]])))
    assert trainer._any_requested(0) == 15
