"""Write training.json: the SHA-256 of the weights after each of verify's training runs, by the numpy engine.

Run `python tests/golden/make_training.py` after a change of the specification, and say in the change why the bits
moved. The tests hold every engine to this file.
"""

from __future__ import annotations

import json
from pathlib import Path

from joulebit.engine.factory import make_engine
from joulebit.experiments.verify import training_cases

GOLDEN = Path(__file__).with_name("training.json")


def hashes(engine: str) -> dict[str, str]:
    """weights_sha256 of each training case, by name."""
    return {
        case.name: str(case.compute(make_engine(engine, case.arithmetic))["weights_sha256"])
        for case in training_cases()
    }


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(hashes("numpy"), indent=2) + "\n")
