"""Names in a figure: none lies on another, on a point, on a line or outside."""

from __future__ import annotations

import random

from joulebit.experiments.label_places import places


def box(point, text, size, place):
    width, height = 0.56 * size * len(text), 1.1 * size
    x, y = point[0] + place.x, point[1] + place.y
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def overlap(a, b):
    return min(a[2], b[2]) - max(a[0], b[0]) > 1e-6 and min(a[3], b[3]) - max(a[1], b[1]) > 1e-6


def test_thirty_names_find_places_of_their_own():
    numbers = random.Random(3)
    points = [(numbers.uniform(60, 600), numbers.uniform(40, 400)) for _ in range(30)]
    texts = [f"technique-{i}" for i in range(30)]
    sizes = [9.0] * 5 + [7.0] * 25
    line = [(0.0, 199.0, 660.0, 201.0)]
    area = (0.0, 0.0, 660.0, 440.0)
    found = places(points, texts, sizes, area, 8.0, line)
    boxes = [box(*one) for one in zip(points, texts, sizes, found)]
    squares = [(x - 4, y - 4, x + 4, y + 4) for x, y in points]
    for i, own in enumerate(boxes):
        assert not any(overlap(own, other) for other in boxes[i + 1 :])
        assert not any(overlap(own, square) for square in squares)
        assert not overlap(own, line[0])
        assert own[0] >= -1e-6 and own[1] >= -1e-6 and own[2] <= 660 and own[3] <= 440


def test_a_name_at_the_edge_goes_inwards_and_the_first_choice_is_the_right():
    right, left = (places([(x, 50)], ["name"], [8.0], (0, 0, 100, 100))[0] for x in (10, 95))
    assert right.x > 0 and right.y == 0 and not right.far
    assert left.x < 0


def test_where_there_is_no_room_names_are_placed_all_the_same():
    found = places([(5, 5)] * 8, ["crowded"] * 8, [8.0] * 8, (0, 0, 40, 20))
    assert len(found) == 8
