"""Several workers compute the bits of one: threads stand in for processes, all is compared with `==`."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
from reference.cases import CASES, Case, batches_of, random_case
from reference.side_by_side import engines, expected_of, state_of

from joulebit.engine.base import ConvGeometry
from joulebit.engine.factory import make_engine
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.nn.context import Update
from joulebit.nn.graph import plan
from joulebit.nn.weight_gradient import exact_sums
from joulebit.nn.workers import OneWorker, Share, Totals, part_of
from joulebit.train.integer import IntegerNetwork, TrainingMethod
from joulebit.train.network import Batch


class Board:
    """Where the threads of a group meet."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.slots: list[object] = [None] * size
        self.barrier = threading.Barrier(size)
        self.exchanges = 0


@dataclass
class ThreadWorker:
    """`Workers` of one process."""

    board: Board
    rank: int
    threads = 1

    @property
    def size(self) -> int:
        return self.board.size

    def exchange(self, value: object) -> list:
        board = self.board
        board.slots[self.rank] = value
        if board.barrier.wait(20) == 0:
            board.exchanges += 1
        found = list(board.slots)
        board.barrier.wait(20)
        return found

    def gather(self, values):
        found = self.exchange(("gather", values.copy()))
        assert {kind for kind, _ in found} == {"gather"}
        return np.stack([array for _, array in found])

    def sum(self, values):
        found = self.exchange(("sum", values.copy()))
        assert {kind for kind, _ in found} == {"sum"}
        return np.stack([array for _, array in found]).sum(0)

    def broadcast(self, value):
        return self.exchange(value)[0]


def together(size, function):
    """[function(worker) of every worker], and the number of exchanges."""
    board = Board(size)
    results, errors = [None] * size, []

    def run(rank):
        try:
            results[rank] = function(ThreadWorker(board, rank))
        except BaseException as error:
            errors.append(error)
            board.barrier.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise next((e for e in errors if not isinstance(e, threading.BrokenBarrierError)), errors[0])
    return results, board.exchanges


def trained(case, engine, workers):
    """All that a short run gives: states, results of steps, counters, logits."""
    arithmetic = case.arithmetic
    network = IntegerNetwork(
        plan(case.model, case.shape), make_engine(engine, arithmetic, 1), case.seed, case.method, workers,
        make_engine(engine, replace(arithmetic, accumulator_bits=48), 1),
    )  # fmt: skip
    weights = dict(network.weights())
    for name, value in case.weights.items():
        weights[name] = np.full(weights[name].shape, value, np.int32)
    network.load_weights(weights)
    steps, statistics, images = batches_of(case)
    states, results = [], []
    for pixels, labels, samples, step in steps:
        part = part_of(len(labels), workers)
        batch = Batch(pixels[part], labels[part], samples[part], step, len(labels))
        results.append(network.train_step(batch, case.rate, case.sign_rate))
        states.append({name: value.tolist() for name, value in network.state().items()})
    network.prepare_evaluation(statistics)
    logits = network.logits(images).tolist()
    return SimpleNamespace(states=states, results=results, logits=logits, counters=network.counters.as_dict())


def check(case, engine, size):
    one = trained(case, engine, OneWorker())
    found, _ = together(size, lambda worker: trained(case, engine, worker))
    for rank, several in enumerate(found):
        assert several.states == one.states, rank
        assert several.results == one.results, rank
        assert several.logits == one.logits, rank
        assert several.counters == one.counters, rank


@pytest.mark.parametrize("size", [3, *(pytest.param(size, marks=pytest.mark.slow) for size in (2, 4, 7))])
@pytest.mark.parametrize("name", CASES)
def test_workers_train_as_one_does(name, size):
    check(CASES[name], engines()[-1], size)


@pytest.mark.parametrize("name", ["selective layer update with stochastic rounding", "a narrow accumulator"])
@pytest.mark.parametrize("engine", ["numpy", "torch"])
def test_workers_train_as_one_does_on_every_engine(name, engine):
    check(CASES[name], engine, 3)


@pytest.mark.parametrize("seed", range(100, 120))
def test_workers_train_random_networks_as_one_does(seed):
    check(random_case(seed), engines()[-1], 2 + seed % 4)


def fits(seed):
    """Whether the random network of a seed has room for all its layers."""
    try:
        random_case(seed)
    except ValueError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize("seed", [seed for seed in range(1000, 1200) if fits(seed)])
def test_workers_train_more_random_networks_as_one_does(seed):
    for size in (2, 3, 4):
        check(random_case(seed), engines()[seed % len(engines())], size)


def test_workers_reach_the_states_of_the_specification():
    name = "selective layer update with stochastic rounding"
    found, _ = together(2, lambda worker: trained(CASES[name], "numpy", worker))
    reference = expected_of(name)
    flat = [{key: np.ravel(value).tolist() for key, value in state.items()} for state in found[1].states]
    assert flat == reference.states[1:-1]
    assert found[1].logits == reference.logits
    assert state_of(reference.network).keys() == flat[-1].keys()


def test_the_bound_on_wrong_signs_is_the_same():
    psg = TrainingMethod(Update.PSG, observe_every=1)
    case = Case(CASES["predicted signs"].model, method=psg, batches=(5, 4))
    check(case, "numpy", 3)
    details = trained(case, "numpy", OneWorker()).results[0].details
    assert details["conv1"]["bound_sum"] > 0


def test_a_block_may_be_open_on_one_worker_and_closed_on_another(monkeypatch):
    """The cases above meet it: blocks that a worker's samples enter, those of others alone, and none."""
    seen = set()
    share_of = Totals.share

    def spy(totals, samples):
        share = share_of(totals, samples)
        seen.add((samples > 0, share.total > 0))
        return share

    monkeypatch.setattr(Totals, "share", spy)
    for name in ("selective layer update", "selective layer update with all gates closed"):
        together(4, lambda worker, name=name: trained(CASES[name], "numpy", worker))
    assert seen == {(True, True), (False, True), (False, False)}


def test_a_step_exchanges_two_small_messages_per_layer_and_two_at_its_end():
    case = CASES["residual blocks of all shapes"]
    layers = len(list(plan(case.model, case.shape).convs()))

    def exchanges(steps):
        short = replace(case, batches=(4,) * steps)
        return together(2, lambda worker: trained(short, "numpy", worker))[1]

    assert exchanges(3) - exchanges(2) == 2 * layers + 2


# --- parts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", range(1, 9))
@pytest.mark.parametrize("samples", [0, 1, 3, 8, 100])
def test_parts_cover_a_batch_in_order(samples, size):
    parts = [part_of(samples, SimpleNamespace(rank=rank, size=size)) for rank in range(size)]
    assert [i for part in parts for i in range(samples)[part]] == list(range(samples))
    counts = [part.stop - part.start for part in parts]
    assert max(counts) - min(counts) <= 1


def test_totals_keep_shapes_and_order():
    def run(worker):
        totals, found = Totals(worker), []
        base = worker.rank + 1
        totals.later([np.full((2, 2), base), np.arange(3) * base], lambda *sums: found.extend(sums))
        totals.later_peak(base * 10, found.append)
        totals.later_count(base, found.append)
        assert not found
        totals.settle()
        sums = [part.tolist() for part in totals.sums(np.array([base]), np.array([1, 2]))]
        return [np.asarray(value).tolist() for value in found], sums, totals.largest(-base), totals.share(base)

    found, exchanges = together(3, run)
    for rank, (settled, sums, largest, share) in enumerate(found):
        assert settled == [[[6, 6], [6, 6]], [0, 6, 12], 6, 30]
        assert sums == [[6], [3, 6]]
        assert largest == -1
        assert share == Share(sum(range(1, rank + 1)), 6)
    assert exchanges == 5


@pytest.mark.parametrize("engine", ["numpy", "numba", "torch"])
def test_a_gradient_that_leaves_48_bits_is_summed_in_runs_of_samples(engine):
    wide = make_engine(engine, Arithmetic(16, 16, 16), 1)
    x = np.full((3, 256, 256, 1), 2**16 - 1, np.uint16)
    dz = np.full((3, 256, 256, 1), 2**15 - 1, np.int16)
    found = wide.to_numpy(exact_sums(wide.from_numpy(x), wide.from_numpy(dz), ConvGeometry(1, 1), wide))
    assert found.tolist() == [[[[3 * 256 * 256 * (2**16 - 1) * (2**15 - 1)]]]]
    assert found[0, 0, 0, 0] > 2**47


def test_a_sum_that_workers_cannot_know_is_refused():
    case = Case(CASES["sixteen bits"].model, Arithmetic(16, 16, 16), shape=(300, 300, 2))
    with pytest.raises(ValueError, match="may not fit 48 bits: several workers cannot train it"):
        IntegerNetwork(
            plan(case.model, case.shape), make_engine("numpy", case.arithmetic), 0, None, ThreadWorker(Board(2), 0)
        )


def test_a_narrow_accumulator_needs_a_wide_one_beside_it():
    case = CASES["a narrow accumulator"]
    with pytest.raises(ValueError, match="48-bit accumulators"):
        IntegerNetwork(
            plan(case.model, case.shape), make_engine("numpy", case.arithmetic), 0, None, ThreadWorker(Board(2), 0)
        )


def test_a_batch_that_is_not_this_worker_s_part_is_refused():
    case = CASES["residual blocks of all shapes"]
    network = IntegerNetwork(plan(case.model, case.shape), make_engine("numpy", case.arithmetic), 0)
    (images, labels, samples, step), *_ = batches_of(case)[0]
    with pytest.raises(ValueError, match="worker 0 of 1 takes 9 of 9 samples, got 4"):
        network.train_step(Batch(images, labels, samples, step, 9), 0.1, 0.1)
