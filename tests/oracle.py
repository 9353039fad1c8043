"""Every operation of an engine in plain Python integers, written from the specification alone.

The oracle shares no code with the engines. Tensors are nested lists, [n][row][column][channel], and weights
[kernel row][kernel column][input channel of the group][output channel]; geometries, constants and rules are
any objects with the attributes that `joulebit.engine.base` gives them. Rounding is stated through quotient
and remainder and convolution through the list of its products, not through the formulas that engines use.
Slow, for small shapes only.
"""

from functools import cache
from itertools import product

WORD = 2**64


# --- scalars (specification, section 1) ------------------------------------------------------------------


def mix64(key, index):
    """splitmix64's finaliser of key + index * golden ratio."""
    z = (key + index * 0x9E3779B97F4A7C15) % WORD
    z = (z ^ (z // 2**30)) * 0xBF58476D1CE4E5B9 % WORD
    z = (z ^ (z // 2**27)) * 0x94D049BB133111EB % WORD
    return z ^ (z // 2**31)


def round_shift(value, shift, mode="half_up", key=0, index=0):
    """value / 2^shift, rounded to an integer; RND of the specification, RND* with a mode."""
    if shift <= 0:
        return value * 2**-shift
    unit = 2**shift
    below, rest = divmod(value, unit)
    if mode == "half_up":
        up = 2 * rest >= unit
    elif mode == "half_even":
        up = 2 * rest > unit or (2 * rest == unit and below % 2 == 1)
    elif mode == "half_away":
        up = 2 * rest > unit or (2 * rest == unit and value > 0)
    elif mode == "toward_zero":
        up = rest > 0 and value < 0
    elif mode == "floor":
        up = False
    elif mode == "stochastic":
        up = rest + mix64(key, index) % unit >= unit
    else:
        raise ValueError(f"unknown rounding mode {mode!r}")
    return below + up


def clamp(value, low, high):
    return min(max(value, low), high)


def saturate(value, bits):
    """SAT of the specification: clamped to the symmetric range."""
    limit = 2 ** (bits - 1) - 1
    return clamp(value, -limit, limit)


def sign(value):
    return (value > 0) - (value < 0)


# --- nested lists ----------------------------------------------------------------------------------------


def shape_of(tensor):
    """Lengths of a nested list, outermost first."""
    return (len(tensor), *shape_of(tensor[0])) if isinstance(tensor, list) else ()


def flat(tensor):
    """The elements in row-major (NHWC) order."""
    return [value for part in tensor for value in flat(part)] if isinstance(tensor, list) else [tensor]


def shaped(values, shape):
    """The reverse of `flat`."""
    if not shape:
        return values[0]
    size = len(values) // shape[0]
    return [shaped(values[part * size : (part + 1) * size], shape[1:]) for part in range(shape[0])]


def zeros(shape):
    return [zeros(shape[1:]) for _ in range(shape[0])] if shape else 0


def at(tensor, index):
    for position in index:
        tensor = tensor[position]
    return tensor


def positions(shape):
    """All indices in row-major order."""
    return list(product(*(range(length) for length in shape)))


def apply(function, *tensors):
    """function of the elements at each position."""
    return shaped([function(*values) for values in zip(*map(flat, tensors))], shape_of(tensors[0]))


def peak(tensor):
    return max(abs(value) for value in flat(tensor))


def passes(activation, below):
    """Whether a gradient passes the activation function's mask (section 5)."""
    return activation > 0 and (below == 0 or activation < below)


# --- operations ------------------------------------------------------------------------------------------


def output_size(length, kernel, padding, stride):
    return (length + 2 * padding - kernel) // stride + 1


@cache
def connections(geometry, height, width, c_in, c_out):
    """The products of a convolution of one sample: (input index, weight index, output index) of each.

    Output (r, s, c) meets input (r * stride + k - padding, ...) through weight k; an input outside is zero
    and has no product. Channels are cut into equal groups, in order.
    """
    in_group, out_group = c_in // geometry.groups, c_out // geometry.groups
    outputs = (
        range(output_size(height, geometry.kernel_h, geometry.padding_h, geometry.stride)),
        range(output_size(width, geometry.kernel_w, geometry.padding_w, geometry.stride)),
        range(c_out),
    )
    found = []
    for out_row, out_column, out in product(*outputs):
        for kernel_row, kernel_column in product(range(geometry.kernel_h), range(geometry.kernel_w)):
            row = out_row * geometry.stride + kernel_row - geometry.padding_h
            column = out_column * geometry.stride + kernel_column - geometry.padding_w
            if not (0 <= row < height and 0 <= column < width):
                continue
            for channel in range(in_group):
                source = (row, column, out // out_group * in_group + channel)
                found.append((source, (kernel_row, kernel_column, channel, out), (out_row, out_column, out)))
    return found


class Oracle:
    """The operations of `joulebit.engine.base.Engine` on nested lists, results as tuples and lists.

    Data types do not exist here: `relu` says what an engine sees from an unsigned dtype.
    """

    def __init__(self, arithmetic):
        self.arithmetic = arithmetic

    # Section 4: acc, z and the sums of batch norm.
    def conv_forward(self, x, w, geometry, shift, key=0):
        """(z, peak of acc, saturated, sums of z, sums of z^2)."""
        n, height, width, c_in = shape_of(x)
        c_out = shape_of(w)[3]
        out_h = output_size(height, geometry.kernel_h, geometry.padding_h, geometry.stride)
        out_w = output_size(width, geometry.kernel_w, geometry.padding_w, geometry.stride)
        acc = zeros((n, out_h, out_w, c_out))
        wired = connections(geometry, height, width, c_in, c_out)
        for sample, (source, weight, (row, column, out)) in product(range(n), wired):
            acc[sample][row][column][out] += at(x[sample], source) * at(w, weight)
        acc, clamped = self._accumulated(acc)
        z, saturated = self._requantised(acc, shift, 16, key)
        total = [sum(pixel[c] for sample in z for row in sample for pixel in row) for c in range(c_out)]
        squares = [sum(pixel[c] ** 2 for sample in z for row in sample for pixel in row) for c in range(c_out)]
        return z, peak(acc), clamped + saturated, total, squares

    # Section 5: gradient of the input.
    def conv_input_gradient(
        self,
        dz,
        w,
        geometry,
        input_hw,
        shift,
        align=0,
        add=None,
        add_stride=1,
        add_align=0,
        mask=None,
        mask_below=0,
        key=0,
    ):
        """(g, peak of v, saturated)."""
        n, c_out = shape_of(dz)[0], shape_of(w)[3]
        c_in = shape_of(w)[2] * geometry.groups
        acc = zeros((n, *input_hw, c_in))
        wired = connections(geometry, *input_hw, c_in, c_out)
        for sample, ((row, column, channel), weight, target) in product(range(n), wired):
            acc[sample][row][column][channel] += at(dz[sample], target) * at(w, weight)
        acc, clamped = self._accumulated(acc)
        value = apply(lambda v: round_shift(v, -align), acc)
        if add is not None:
            value = apply(lambda v, more: v + more, value, self._spaced(add, shape_of(acc), add_stride, add_align))
        g, largest, saturated = self._gradient(value, shift, mask, mask_below, key)
        return g, largest, clamped + saturated

    def shortcut_gradient(self, g, input_shape, stride, shift, align=0, mask=None, mask_below=0, key=0):
        value = self._spaced(g, (len(g), *input_shape), stride, align)
        return self._gradient(value, shift, mask, mask_below, key)

    def _spaced(self, g, shape, stride, align):
        """ALIGN(g, align) on every stride-th row and column of a tensor of zeros, as many channels as fit."""
        value = zeros(shape)
        for n, row, column, channel in positions(shape_of(g)):
            if channel < shape[3]:
                value[n][row * stride][column * stride][channel] = round_shift(g[n][row][column][channel], -align)
        return value

    def _gradient(self, value, shift, mask, mask_below, key):
        if mask is not None:
            value = apply(lambda v, a: v if passes(a, mask_below) else 0, value, mask)
        g, saturated = self._requantised(value, shift, self.arithmetic.g_bits, key)
        return g, peak(value), saturated

    def conv_weight_gradient(self, x, dz, geometry):
        """(dw, saturated)."""
        return self._accumulated(self._correlation(x, dz, geometry))

    # Section 6: the predictor's product.
    def conv_weight_gradient_msb(self, x, dz, geometry, relu):
        fmt = self.arithmetic
        signed_limit = max(1, 2 ** (fmt.x_msb_bits - 1) - 1)
        high = 2**fmt.x_msb_bits - 1 if relu and not fmt.x_signed else signed_limit
        low = 0 if relu else -high
        g_limit = max(1, 2 ** (fmt.g_msb_bits - 1) - 1)

        def msb(value, dropped, low, high):
            return clamp(round_shift(value, dropped, fmt.msb_rounding), low, high)

        x_msb = apply(lambda v: msb(v, fmt.x_bits - fmt.x_msb_bits, low, high), x)
        g_msb = apply(lambda v: msb(v, fmt.g_bits - fmt.g_msb_bits, -g_limit, g_limit), dz)
        return self._correlation(x_msb, g_msb, geometry)

    def _correlation(self, x, dz, geometry):
        n, height, width, c_in = shape_of(x)
        c_out = shape_of(dz)[3]
        dw = zeros((geometry.kernel_h, geometry.kernel_w, c_in // geometry.groups, c_out))
        wired = connections(geometry, height, width, c_in, c_out)
        for sample, (source, (row, column, channel, out), target) in product(range(n), wired):
            dw[row][column][channel][out] += at(x[sample], source) * at(dz[sample], target)
        return dw

    def _accumulated(self, total):
        """(total clamped to the accumulator, elements clamped)."""
        clamped = apply(lambda v: saturate(v, self.arithmetic.accumulator_bits), total)
        return clamped, sum(before != after for before, after in zip(flat(total), flat(clamped)))

    def _rounded(self, value, shift, key):
        """RND* of a tensor; shift is one integer, or a list with one per channel."""
        channels = shape_of(value)[-1]
        shifts = shift if isinstance(shift, list) else [shift] * channels
        rounded = [
            round_shift(v, shifts[index % channels], self.arithmetic.rounding, key, index)
            for index, v in enumerate(flat(value))
        ]
        return shaped(rounded, shape_of(value))

    def _requantised(self, value, shift, bits, key):
        """(SAT(RND*(value, shift)), elements that were clamped)."""
        rounded = self._rounded(value, shift, key)
        kept = apply(lambda v: saturate(v, bits), rounded)
        return kept, sum(before != after for before, after in zip(flat(rounded), flat(kept)))

    # Section 4: normalisation and activation.
    def _normalised(self, z, norm):
        """x-hat, Q.11."""
        channels = shape_of(z)[3]
        values = []
        for index, v in enumerate(flat(z)):
            c = index % channels
            centred = (v * 2**8 - int(norm.mean[c])) * int(norm.rsqrt[c])
            values.append(saturate(round_shift(centred, 35 - int(norm.scale[c])), 16))
        return shaped(values, shape_of(z))

    def norm_forward(self, z, norm, shift, bounds, shortcut=None, shortcut_stride=1, shortcut_shift=0, key=0):
        """(a, elements outside the bounds)."""
        xhat = self._normalised(z, norm)
        y = zeros(shape_of(z))
        for n, row, column, c in positions(shape_of(z)):
            y[n][row][column][c] = int(norm.gamma[c]) * xhat[n][row][column][c] + int(norm.beta[c]) * 2**11
            if shortcut is not None and c < shape_of(shortcut)[3]:
                more = shortcut[n][row * shortcut_stride][column * shortcut_stride][c]
                y[n][row][column][c] += more * 2**shortcut_shift
        return self._activated(y, shift, bounds, key)

    def shortcut_forward(self, x, stride, channels, shift, bounds, key=0):
        n, height, width, c_in = shape_of(x)
        y = zeros((n, (height + stride - 1) // stride, (width + stride - 1) // stride, channels))
        for sample, row, column, c in positions(shape_of(y)):
            if c < c_in:
                y[sample][row][column][c] = x[sample][row * stride][column * stride][c] * 2**23
        return self._activated(y, shift + 23, bounds, key)

    def _activated(self, y, shift, bounds, key):
        low, high = bounds
        rounded = self._rounded(y, shift, key)
        outside = sum(v > high or (low < 0 and v < low) for v in flat(rounded))
        return apply(lambda v: clamp(v, low, high), rounded), outside

    # Section 5: batch norm.
    def norm_sums(self, g, z, norm):
        """(sum of g, sum of g * x-hat) per channel."""
        channels = shape_of(z)[3]
        sums, products = [0] * channels, [0] * channels
        for index, (gradient, xhat) in enumerate(zip(flat(g), flat(self._normalised(z, norm)))):
            sums[index % channels] += gradient
            products[index % channels] += gradient * xhat
        return sums, products

    def norm_backward(self, g, z, norm, gradient, key=0):
        """(dz, peak, saturated)."""
        channels = shape_of(z)[3]
        values = []
        for index, (value, xhat) in enumerate(zip(flat(g), flat(self._normalised(z, norm)))):
            c = index % channels
            t = value * 2**8 - int(gradient.mean_g[c]) - round_shift(xhat * int(gradient.mean_gx[c]), 19)
            values.append(t * int(gradient.multiplier[c]))
        shifts = [int(shift) for shift in gradient.shift]
        u = self._rounded(shaped(values, shape_of(z)), shifts, key)
        dz = apply(lambda v: saturate(v, self.arithmetic.g_bits), u)
        clamped = sum(before != after for before, after in zip(flat(u), flat(dz)))
        return dz, max(min(abs(v), 2**30) for v in flat(u)), clamped

    # Section 6: signs.
    def predict_signs(self, exact, predicted, threshold_q12):
        """(signs, counts)."""
        threshold = max(1, threshold_q12 * peak(predicted) // 2**12)
        counts = {"total": 0, "decided": 0, "wrong": 0, "threshold": threshold}
        direction = []
        for known, guess in zip(flat(exact), flat(predicted)):
            decided = abs(guess) >= threshold
            direction.append(sign(guess) if decided else sign(known))
            counts["total"] += 1
            counts["decided"] += decided
            counts["wrong"] += decided and sign(guess) != sign(known)
        return shaped(direction, shape_of(exact)), counts

    def sign(self, exact):
        return apply(sign, exact)

    # Sections 4 and 5: pooling, masks and dot products.
    def _windows(self, x, size):
        """(index of a window's output, indices of its elements in row-major order), remainders dropped."""
        n, height, width, channels = shape_of(x)
        for sample, row, column, c in positions((n, height // size, width // size, channels)):
            inside = [
                (sample, row * size + down, column * size + right, c)
                for down in range(size)
                for right in range(size)
            ]
            yield (sample, row, column, c), inside

    def max_pool(self, x, size):
        n, height, width, channels = shape_of(x)
        out = zeros((n, height // size, width // size, channels))
        for (sample, row, column, c), inside in self._windows(x, size):
            out[sample][row][column][c] = max(at(x, index) for index in inside)
        return out

    def max_pool_gradient(self, g, x, size):
        out = zeros(shape_of(x))
        for target, inside in self._windows(x, size):
            values = [at(x, index) for index in inside]
            sample, row, column, c = inside[values.index(max(values))]
            out[sample][row][column][c] = at(g, target)
        return out

    def spatial_sum(self, x):
        n, height, width, channels = shape_of(x)
        out = zeros((n, channels))
        for sample, row, column, c in positions((n, height, width, channels)):
            out[sample][c] += x[sample][row][column][c]
        return out

    def matmul(self, a, b):
        return [[sum(a[i][k] * b[k][j] for k in range(len(b))) for j in range(len(b[0]))] for i in range(len(a))]

    def spread(self, value, like, shift, masked, mask_below=0, key=0):
        """(g, peak, saturated)."""
        spatial = [[[value[n] for _ in row] for row in sample] for n, sample in enumerate(like)]
        return self._gradient(spatial, shift, like if masked else None, mask_below, key)

    def mask_gradient(self, g, a, mask_below=0):
        return apply(lambda value, activation: value if passes(activation, mask_below) else 0, g, a)

    def narrow_gradient(self, dz, shift, bits):
        return apply(lambda v: saturate(round_shift(v, shift), bits), dz)

    def sample_dot(self, g, a, base):
        return [
            sum(flat(apply(lambda gradient, here, there: gradient * (here - there), *parts)))
            for parts in zip(g, a, base)
        ]

    def take(self, x, index):
        return [x[position] for position in index]

    def put(self, target, index, value):
        out = list(target)
        for position, sample in zip(index, value):
            out[position] = sample
        return out

    def copy(self, x):
        return x

    def zeros_like_gradient(self, x):
        return zeros(shape_of(x))

    # Sections 2 and 7: parameters.
    def zeros_like_momentum(self, master):
        return zeros(shape_of(master))

    def quantise_weights(self, master):
        """(w, exponent)."""
        bits = self.arithmetic.w_bits
        shift = max(0, peak(master).bit_length() - (bits - 1))
        return apply(lambda m: saturate(round_shift(m, shift), bits), master), shift - 28

    def update(self, master, momentum, gradient, exponent, samples, rule):
        """(master, momentum) after the step."""
        k = next(k for k in range(64) if 2**k >= samples)
        inverse = (2 ** (16 + k) + samples // 2) // samples
        left = exponent - k + 28

        def moved(m, v, d):
            if left > 0:
                limit = (2**43 - 1) // 2 ** min(left, 40)
                a = clamp(d, -limit, limit) * 2 ** min(left, 40)
            else:
                a = saturate(round_shift(d, -left), 44)
            step = saturate(round_shift(a * inverse, 16), 38)
            step += round_shift(m * rule.decay_q24, 24)
            velocity = saturate(round_shift(v * rule.momentum_q15, 15) + step, 42)
            place = m - round_shift(velocity * rule.learning_rate_q20, 20)
            return clamp(place, -(2**31 - 1), 2**31 - 1), velocity

        results = [moved(*values) for values in zip(flat(master), flat(momentum), flat(gradient))]
        places, velocities = [m for m, _ in results], [v for _, v in results]
        return shaped(places, shape_of(master)), shaped(velocities, shape_of(master))
