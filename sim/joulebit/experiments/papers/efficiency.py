"""The efficiency framework's printed figures beside what follows from its other numbers.

The efficiencies of single models are lost in the copies at hand. What can be checked are the ratios of Tables
12, 14 and 16 against each other, the spans that section 5.2 states, and Table 13: its differences, columns A and
B, and the verdict on each of its 20 models. These computed numbers are of kind "from printed": they follow from
other numbers that the paper prints, by this package's formulas.

Two rows are of kind "simulated": the ratio that follows from the accuracies of Table 13 (50 epochs) and from what
one step of either twin costs here (float32, batch 256; the twin draws its weights once per step). They are far
below the printed ones: drawing weights explains a tenth of the energy at most. The paper's code samples
activations instead, which forms every product twice, and its joules are a machine's.

In each table of ratios, (LeNet/BCNN on MNIST) / (LeNet/BCNN on CIFAR) must be (MNIST/CIFAR of LeNet) /
(MNIST/CIFAR of BCNN); all three tables hold within their rounding. Table 16 (a second machine) has LeNet 0.46
times as efficient on MNIST as on CIFAR, the reverse of Table 12, where the text says that the trends are the
same.

Source: E. Cueto-Mendoza, J. Kelleher, "A framework for measuring the training efficiency of a neural
architecture", Artificial Intelligence Review 2024, Tables 11 to 14 and 16, sections 5.2 to 5.4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from joulebit.energy.accounting import Accountant
from joulebit.energy.model import simulate_energy
from joulebit.energy.steps import training_step
from joulebit.energy.table import load_table
from joulebit.errors import JoulebitError
from joulebit.experiments.efficiency.formulas import over_sizes, ratios
from joulebit.experiments.efficiency.overtraining import Overtraining
from joulebit.experiments.papers.rows import Row, paper_row
from joulebit.nn.graph import Shape, plan
from joulebit.nn.models import model
from joulebit.train.weight_samples import count_samples

#: Table -> MNIST/CIFAR of LeNet and of BCNN, LeNet/BCNN on MNIST and on CIFAR (digits as in the text).
RATIOS = {
    "12": (1.822, 2.116, 4.466, 5.185),
    "14": (1.042, 0.367, 3.108, 1.095),
    "16": (0.46, 2.25, 3.35, 16.41),
}

#: Section 5.2, MNIST: architecture, best criterion and its efficiency, the worst and its, printed ratio.
SPANS = (
    ("LeNet", "accuracy", 0.00002610, "50 epochs", 0.00000809, 3.22),
    ("BCNN", "energy", 0.00000618, "early stopping", 0.00000100, 6.18),
)

#: Table 13: data, model, train, test, their difference after 50 epochs, the same after 100, columns A and B.
TABLE_13 = (
    ("MNIST", "LeNet-1", 0.99071102, 0.98506103, 0.00564999, 0.99524102, 0.98694648, 0.00829454, 0.00, 0.00),
    ("MNIST", "LeNet-2", 0.99438373, 0.98787305, 0.00651068, 0.99708797, 0.98906119, 0.00802678, 0.00, 0.00),
    ("MNIST", "LeNet-3", 0.99525017, 0.99059342, 0.00465675, 0.99761469, 0.99154647, 0.00606822, 0.00, 0.00),
    ("MNIST", "LeNet-4", 0.99565284, 0.99153448, 0.00411836, 0.99782642, 0.99276667, 0.00505975, 0.00, 0.00),
    ("MNIST", "LeNet-5", 0.99629737, 0.99057988, 0.00571749, 0.99814869, 0.99128859, 0.00686010, 0.00, 0.00),
    ("MNIST", "BCNN-1", 0.95748047, 0.96715924, -0.00967877, 0.97338431, 0.97560624, -0.00222193, 0.01, 0.01),
    ("MNIST", "BCNN-2", 0.96626704, 0.97242924, -0.0061622, 0.97819731, 0.97928500, -0.00108769, 0.01, 0.01),
    ("MNIST", "BCNN-3", 0.96513256, 0.97038611, -0.00525355, 0.97763173, 0.97727584, 0.00035589, 0.01, 0.01),
    ("MNIST", "BCNN-4", 0.96491689, 0.96950655, -0.00458966, 0.97758249, 0.97698637, 0.00059612, 0.01, 0.01),
    ("MNIST", "BCNN-5", 0.96142537, 0.96888013, -0.00745476, 0.97537774, 0.97666603, -0.00128829, 0.01, 0.01),
    ("CIFAR", "LeNet-1", 0.59485669, 0.57332227, 0.02153442, 0.65716212, 0.61330469, 0.04385743, 0.04, 0.02),
    ("CIFAR", "LeNet-2", 0.70195860, 0.64035352, 0.06160508, 0.76755101, 0.66876953, 0.09878148, 0.03, 0.04),
    ("CIFAR", "LeNet-3", 0.76978155, 0.68373047, 0.08605108, 0.83391819, 0.70827051, 0.12564768, 0.02, 0.04),
    ("CIFAR", "LeNet-4", 0.80343700, 0.69496875, 0.10846825, 0.86194093, 0.71430078, 0.14764015, 0.02, 0.04),
    ("CIFAR", "LeNet-5", 0.82096686, 0.69295508, 0.12801178, 0.88013734, 0.71263281, 0.16750453, 0.02, 0.04),
    ("CIFAR", "BCNN-1", 0.33502488, 0.33920898, -0.0041841, 0.43809589, 0.43243262, 0.00566327, 0.09, 0.01),
    ("CIFAR", "BCNN-2", 0.44060957, 0.43411328, 0.00649629, 0.50035355, 0.48572559, 0.01462796, 0.05, 0.01),
    ("CIFAR", "BCNN-3", 0.45429289, 0.44414062, 0.01015227, 0.52243183, 0.50286328, 0.01956855, 0.06, 0.01),
    ("CIFAR", "BCNN-4", 0.45937550, 0.45482617, 0.00454933, 0.53284086, 0.51709375, 0.01574711, 0.06, 0.01),
    ("CIFAR", "BCNN-5", 0.46070014, 0.45722070, 0.00347944, 0.53233031, 0.51748633, 0.01484398, 0.06, 0.01),
)


def printed_verdict(data: str, model: str) -> bool:
    """Section 5.4: all are overtrained but the BCNN models on CIFAR."""
    return not (data == "CIFAR" and model.startswith("BCNN"))


def rows(runs: Sequence[Mapping[str, Any]] = ()) -> list[Row]:
    """The ratios and their consistency, the spans, and Table 13.

    Raises:
        JoulebitError: runs were given, which have no place here.
    """
    if runs:
        raise JoulebitError(
            "this paper's figures are means over many runs, and have no row for one: compare runs by "
            "`joulebit efficiency RUN...`"
        )
    return [*ratio_rows(), *simulated_rows(), *span_rows(), *overtraining_rows()]


def _row(table: str, label: str, quantity: str, printed: float | str | None, computed: float | str | None) -> Row:
    return paper_row("Efficiency", table, label, quantity, printed, computed, "from printed")


def simulated_rows() -> list[Row]:
    """LeNet/BCNN from printed accuracies over counted energies: equation (3), criterion 50 epochs."""
    found = []
    for data, shape, printed in (("MNIST", (28, 28, 1), RATIOS["12"][2]), ("CIFAR", (32, 32, 3), RATIOS["12"][3])):
        tests = {model: test for of, model, _, test, *_ in TABLE_13 if of == data}
        mean = {}
        for name in ("LeNet", "BCNN"):
            cells = [(tests[f"{name}-{width}"], step_j(width, shape, name == "BCNN")) for width in range(1, 6)]
            mean[name] = over_sizes(cells)
        quantity, computed = "LeNet/BCNN, energy by counting (ratio)", mean["LeNet"] / mean["BCNN"]
        found.append(paper_row("Efficiency", "12 and 13", data, quantity, printed, computed, "simulated"))
    return found


def step_j(width: int, shape: Shape, bayesian: bool) -> float:
    """Simulated joules of one training step of LeNet-5 of a width, or of its Bayesian twin: float32, batch 256."""
    name = "lenet5" if width == 1 else f"lenet5x{width}"
    network = plan(model(name, 10), shape)
    counters = training_step(network, 256, None)
    if bayesian:
        weights = sum(prod(conv.weight_shape) for conv in network.convs()) + network.head.macs
        accountant = Accountant(counters, None)
        count_samples(accountant, weights, training=True)
        accountant.update(weights)
    return simulate_energy(counters, load_table("45nm")).total_j


def ratio_rows() -> list[Row]:
    """Each ratio from the other three of its table; and LeNet's efficiency in units of BCNN's on CIFAR."""
    found = []
    for table, (lenet, bcnn, mnist, cifar) in RATIOS.items():
        label = "ratio of efficiencies"
        found += [
            _row(table, "LeNet", "MNIST/CIFAR (ratio)", lenet, bcnn * mnist / cifar),
            _row(table, "BCNN", "MNIST/CIFAR (ratio)", bcnn, lenet * cifar / mnist),
            _row(table, "MNIST", "LeNet/BCNN (ratio)", mnist, cifar * lenet / bcnn),
            _row(table, "CIFAR", "LeNet/BCNN (ratio)", cifar, mnist * bcnn / lenet),
        ]
        # All four efficiencies from three ratios, BCNN on CIFAR as unit: the fourth must come out again.
        units = {
            ("LeNet", "MNIST"): cifar * lenet,
            ("LeNet", "CIFAR"): cifar,
            ("BCNN", "MNIST"): bcnn,
            ("BCNN", "CIFAR"): 1.0,
        }
        again = ratios(units, "LeNet", "BCNN", "MNIST", "CIFAR")["LeNet/BCNN on MNIST"]
        verdict = (
            "consistent" if abs(again / mnist - 1) <= _rounding(lenet, bcnn, mnist, cifar) else "inconsistent"
        )
        found.append(_row(table, label, "the four ratios", None, verdict))
        harder = "larger on CIFAR" if cifar > mnist else "smaller on CIFAR"
        found.append(_row(table, label, "LeNet's advantage", None, harder))
    return found


def _rounding(*values: float) -> float:
    """The relative error that the last printed digits allow a product and quotient of these numbers."""
    return sum(0.5 * 10.0 ** -len(repr(value).partition(".")[2]) / value for value in values)


def span_rows() -> list[Row]:
    """How much the criterion changes an architecture's efficiency (Table 11, in the text of section 5.2)."""
    return [
        _row("11", f"{name}, MNIST: {best} / {worst}", "best / worst efficiency (ratio)", printed, high / low)
        for name, best, high, worst, low, printed in SPANS
    ]


def overtraining_rows() -> list[Row]:
    """Table 13: differences, columns A and B, verdicts."""
    found = []
    for data, name, train_short, test_short, gap_short, train_long, test_long, gap_long, a, b in TABLE_13:
        models = Overtraining(train_short, test_short, train_long, test_long)
        label = f"{data}, {name}"
        verdict = "overtrained" if printed_verdict(data, name) else "not overtrained"
        found += [
            _row("13", label, "train - test, 50 epochs (share)", gap_short, train_short - test_short),
            _row("13", label, "train - test, 100 epochs (share)", gap_long, train_long - test_long),
            _row("13", label, "A: gain on the test set (share)", a, float(models.gain)),
            _row("13", label, "B: growth of the gap (share)", b, float(models.divergence)),
            _row("13", label, "verdict", verdict, "overtrained" if models.overtrained else "not overtrained"),
        ]
    return found
