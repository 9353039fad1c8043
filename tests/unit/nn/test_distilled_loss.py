"""The loss against a teacher, in plain Python integers and beside the formula in floating point."""

from decimal import Decimal, localcontext

import numpy as np
import pytest

from joulebit.nn.loss import Lesson, distilled_gradient, loss_gradient, probabilities


def ref_table():
    with localcontext() as context:
        context.prec = 50
        return [int((Decimal(2) ** (Decimal(-k) / 256) * 65536).to_integral_value()) for k in range(257)]


TABLE = ref_table()


def ref_softmax(logits, exponent, t16):
    factor = (2 * 16 * 47274 + t16) // (2 * t16)
    weights = []
    for logit in logits:
        d = (max(logits) - logit) * factor
        t = d << (exponent + 1) if exponent >= -1 else d >> (-exponent - 1)
        i, f = t >> 16, t & 65535
        j = f >> 8
        mantissa = TABLE[j] - (((TABLE[j] - TABLE[j + 1]) * (f & 255) + 128) >> 8)
        weights.append(0 if i > 40 else mantissa >> i)
    return [((w << 16) // sum(weights) + 1) >> 1 for w in weights]


def ref_gradient(logits, label, exponent, lesson):
    teacher, t_exponent, a15, t16 = lesson
    p = ref_softmax(logits, exponent, 16)
    own, told = ref_softmax(logits, exponent, t16), ref_softmax(teacher, t_exponent, t16)
    found = []
    for k in range(len(logits)):
        u = (32768 - a15) * 16 * (p[k] - 32768 * (k == label)) + a15 * t16 * (own[k] - told[k])
        found.append((u + (1 << 18)) >> 19)
    return found


def cases(count):
    rng = np.random.default_rng(3)
    for _ in range(count):
        classes = int(rng.integers(2, 11))
        logits, teacher = rng.integers(-(1 << 20), 1 << 20, (2, 3, classes))
        exponents = [int(e) for e in rng.integers(-24, -10, 2)]
        a15, t16 = int(rng.integers(1, 32769)), int(rng.integers(16, 1025))
        yield logits, rng.integers(0, classes, 3), exponents[0], Lesson(teacher, exponents[1], a15, t16)


def test_gradients_are_those_of_the_specification():
    for logits, labels, exponent, lesson in cases(60):
        found, chosen, correct, head_room = distilled_gradient(logits, labels, exponent, lesson)
        for n in range(3):
            one = (lesson.logits[n].tolist(), *lesson[1:])
            assert found[n].tolist() == ref_gradient(logits[n].tolist(), int(labels[n]), exponent, one)
        assert np.abs(found).max() <= 32768 << head_room
        _, plain_chosen, plain_correct = loss_gradient(logits, labels, exponent)
        assert chosen.tolist() == plain_chosen.tolist() and correct == plain_correct


def test_the_gradient_is_that_of_the_published_loss():
    for logits, labels, exponent, lesson in cases(40):
        found = distilled_gradient(logits, labels, exponent, lesson)[0] / 32768
        z, t = logits * 2.0**exponent, lesson.logits * 2.0**lesson.exponent
        a, temperature = lesson.weight_q15 / 32768, lesson.temperature_q4 / 16

        def softmax(v):
            e = np.exp(v - v.max(1, keepdims=True))
            return e / e.sum(1, keepdims=True)

        hard = softmax(z) - np.eye(z.shape[1])[labels]
        soft = softmax(z / temperature) - softmax(t / temperature)
        np.testing.assert_allclose(
            found, (1 - a) * hard + a * temperature * soft, atol=2e-3 * max(1, a * temperature)
        )


@pytest.mark.parametrize(("a15", "t16", "bits"), [(1, 16, 0), (32768, 16, 0), (16384, 64, 2), (32768, 1024, 6)])
def test_head_room_holds_the_largest_gradient(a15, t16, bits):
    logits = np.array([[0, 1 << 30]])
    lesson = Lesson(logits[:, ::-1], -20, a15, t16)
    assert distilled_gradient(logits, np.array([0]), -20, lesson)[3] == bits


def test_a_temperature_of_one_is_the_plain_softmax():
    logits = np.random.default_rng(0).integers(-5000, 5000, (50, 10))
    assert (probabilities(logits, -9, 16) == probabilities(logits, -9)).all()


def test_a_pupil_that_knows_as_much_as_its_teacher_learns_nothing():
    logits = np.random.default_rng(0).integers(-5000, 5000, (50, 10))
    lesson = Lesson(logits << 3, -12, 32768, 77)
    assert not distilled_gradient(logits, np.zeros(50, np.int64), -9, lesson)[0].any()
