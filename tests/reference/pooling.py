"""Maximum pooling, forward and backward."""

from __future__ import annotations

from oracle import saturate


def pool_windows(plan):
    """Per output of a maximum pooling, the positions of its window in row-major order; padding has none."""
    (height, width, channels), (out_h, out_w, _) = plan.in_shape, plan.out_shape
    reach = range(-plan.padding, plan.size - plan.padding)
    return [
        [
            (down * width + right) * channels + c
            for down in (row * plan.stride + i for i in reach)
            for right in (column * plan.stride + i for i in reach)
            if 0 <= down < height and 0 <= right < width
        ]
        for row in range(out_h)
        for column in range(out_w)
        for c in range(channels)
    ]


def pool_backward(node, g_bits, gradient, values):
    result = [0] * len(values)
    for window, g in zip(pool_windows(node), gradient):
        best = max(values[i] for i in window)
        result[next(i for i in window if values[i] == best)] += g
    return [saturate(value, g_bits) for value in result]
