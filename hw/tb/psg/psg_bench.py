"""Builds and calls the Verilated `jb_predictor` (see psg_bench.cpp) and says in integers what it must answer."""

import ctypes
import subprocess
from pathlib import Path

import numpy as np

from joulebit.accelerator.build import verilator_environment
from joulebit.spec import accelerator as spec
from joulebit.spec.descriptor import blank, flag

HERE = Path(__file__).parent
RTL = HERE.parents[1] / "rtl"
CONFIGS = list(spec.CONFIGS)


def build(config, folder):
    """A shared library with the design in the named configuration."""
    environment = verilator_environment()
    number = CONFIGS.index(config)
    multipliers = spec.CONFIGS[config].multipliers
    folder.mkdir(parents=True, exist_ok=True)
    command = ["verilator", "--cc", "--build", "-j", "1", "-Wall", "--top", "jb_predictor", f"-GConfig={number}"]
    command += [
        "-O3",
        "--x-initial",
        "unique",
        "--x-assign",
        "unique",
        "-y",
        str(RTL),
        "--Mdir",
        str(folder),
    ]
    command += [
        str(HERE / "public.vlt"),
        "-CFLAGS",
        "-fPIC -O1",
        str(RTL / "jb_pkg.sv"),
        str(RTL / "jb_predictor.sv"),
    ]
    subprocess.run(command, check=True, env=environment, capture_output=True)
    include = Path(environment["VERILATOR_ROOT"]) / "include"
    library = folder / "psg.so"
    compiler = ["g++", "-std=c++20", "-O1", "-fPIC", "-shared", f"-DMULTIPLIERS={multipliers}", f"-I{folder}"]
    compiler += [f"-I{include}"]
    compiler += [f"-I{include / 'vltstd'}", str(HERE / "psg_bench.cpp"), "-o", str(library)]
    compiler += [str(folder / "libVjb_predictor.a"), str(folder / "libverilated.a"), "-lpthread"]
    subprocess.run(compiler, check=True)
    return library


class Device:
    """One instance of the design out of reset."""

    def __init__(self, library, config, seed=1):
        self.config = spec.CONFIGS[config]
        self.lib = ctypes.CDLL(str(library))
        self.lib.psg_new.restype = ctypes.c_void_p
        for name in ("psg_predict", "psg_lists", "psg_sum"):
            getattr(self.lib, name).restype = ctypes.c_int64
        for name in ("psg_peak", "psg_errors", "psg_requests"):
            getattr(self.lib, name).restype = ctypes.c_uint64
        for name in ("psg_decided", "psg_undecided"):
            getattr(self.lib, name).restype = ctypes.c_uint32
        self.handle = ctypes.c_void_p(self.lib.psg_new(ctypes.c_uint32(seed)))
        self.half = 0

    def close(self):
        self.lib.psg_delete(self.handle)

    def __getattr__(self, name):
        if name in ("peak", "decided", "undecided", "errors", "requests"):
            return getattr(self.lib, f"psg_{name}")(self.handle)
        raise AttributeError(name)

    def predict(self, shape, x, dz, first=True, last=True, gaps=20, operation=spec.Operation.PREDICT):
        """Runs one tile; cycles. x: (images, rows, columns, channels) uint8 or int8, dz: int16."""
        flags = [spec.Flag.PREDICT] if operation != spec.Operation.PREDICT else []
        flags += [spec.Flag.PREDICT_FIRST] * first + [spec.Flag.PREDICT_LAST] * last
        flags += [spec.Flag.X_UNSIGNED] * (x.dtype == np.uint8)
        tile = shape.tile(x, dz, operation, flags)
        words = np.ascontiguousarray(dz.astype("<i2")).view("<u8")
        images, rows, columns, count = words.shape
        self.half ^= 1
        self.lib.psg_load(
            self.handle, self.half, images, rows, columns, count, ctypes.c_void_p(words.ctypes.data), gaps
        )
        self.lib.psg_tile(self.handle, tile.ctypes.data_as(ctypes.c_char_p), self.half)
        xw = np.ascontiguousarray(x).view("<u8")
        images, rows, columns, count = xw.shape
        cycles = self.lib.psg_predict(
            self.handle, ctypes.c_void_p(xw.ctypes.data), images, rows, columns, count, ctypes.c_int64(2_000_000)
        )
        assert cycles >= 0, "the predictor does not finish"
        return cycles

    def lists(self, shape, x, dz, windows, selective=True, work=-40, wait=30):
        """Rows of (pass, multiplier, tap, lane) as psg_lists says, passes per window, cycles without a pass."""
        flags = [spec.Flag.SELECTIVE if selective else spec.Flag.RAW]
        tile = shape.tile(x, dz, spec.Operation.WEIGHT_GRADIENT, flags)
        self.lib.psg_tile(self.handle, tile.ctypes.data_as(ctypes.c_char_p), self.half)
        request = np.array(windows, np.int32).reshape(-1, 4)
        room = len(request) * 72 * self.config.out_lanes + 1
        rows = np.zeros((room, 4), np.int32)
        counts = np.zeros(len(request), np.uint32)
        stall = ctypes.c_int64()
        used = self.lib.psg_lists(
            self.handle,
            len(request),
            ctypes.c_void_p(request.ctypes.data),
            ctypes.c_void_p(rows.ctypes.data),
            ctypes.c_int64(room),
            ctypes.c_void_p(counts.ctypes.data),
            work,
            wait,
            ctypes.byref(stall),
        )
        assert used >= 0, f"lists do not end as they should ({used})"
        return rows[:used], counts, stall.value

    def sums(self, shape, inputs, outputs):
        """The predictor's memory as dw_msb[kernel row][kernel column][channel of x][channel of dz]."""
        lanes = self.config.out_lanes
        half = min(8, lanes)
        result = np.zeros((shape.kernel_h, shape.kernel_w, inputs, outputs), object)
        for kr, kc, a, b in np.ndindex(result.shape):
            tap = shape.tap(b // lanes, a // 8, kr, kc, inputs // 8)
            if lanes == 16:
                word, lane = 8 * tap + b % 16 // 8 * 4 + a % 8 // 2, a % 2 * 8 + b % 8
            else:
                word, lane = 8 * tap + a % 8, b % half
            result[kr, kc, a, b] = int(self.lib.psg_sum(self.handle, lane, word))
        return result

    def signs(self, addresses):
        request = np.array(addresses, np.int32)
        decided, value = np.zeros(len(request), np.uint32), np.zeros(len(request), np.uint32)
        self.lib.psg_signs(
            self.handle,
            len(request),
            ctypes.c_void_p(request.ctypes.data),
            ctypes.c_void_p(decided.ctypes.data),
            ctypes.c_void_p(value.ctypes.data),
        )
        return decided, value


class Shape:
    """Geometry that a tile shares among its operands."""

    def __init__(self, kernel, stride=1, padding=(0, 0), beta_q12=200):
        self.kernel_h, self.kernel_w = kernel
        self.stride = stride
        self.padding = padding
        self.beta_q12 = beta_q12

    def tile(self, x, dz, operation, flags):
        tile = blank(1)
        values = {
            "operation": operation, "flags": flag(*flags), "images": x.shape[0], "x_rows": x.shape[1],
            "x_columns": x.shape[2], "x_words": x.shape[3] // 8, "g_rows": dz.shape[1], "g_columns": dz.shape[2],
            "g_words": dz.shape[3] // 4, "kernel_h": self.kernel_h, "kernel_w": self.kernel_w,
            "stride": self.stride, "pad_top": self.padding[0], "pad_left": self.padding[1],
            "threshold_q12": self.beta_q12, "out_blocks": 1,
        }  # fmt: skip
        for name, value in values.items():
            tile[name] = value
        return tile

    def tap(self, block, word, kernel_row, kernel_column, x_words):
        return ((block * x_words + word) * self.kernel_h + kernel_row) * self.kernel_w + kernel_column

    def sums(self, x, dz):
        """numerics.md section 6 in Python integers: dw_msb[kernel row, kernel column, channel of x, of dz]."""
        unsigned = x.dtype == np.uint8
        low, high = (0, 15) if unsigned else (-7, 7)
        images, rows, columns, inputs = x.shape
        xm = [[[[min(max((v + 8) >> 4, low), high) for v in c] for c in r] for r in i] for i in x.tolist()]
        gm = [[[[min(max((v + 32) >> 6, -511), 511) for v in c] for c in r] for r in i] for i in dz.tolist()]
        outputs = dz.shape[3]
        result = np.zeros((self.kernel_h, self.kernel_w, inputs, outputs), object)
        for kr in range(self.kernel_h):
            for kc in range(self.kernel_w):
                total = [[0] * outputs for _ in range(inputs)]
                for i in range(images):
                    for r in range(dz.shape[1]):
                        for c in range(dz.shape[2]):
                            xr = r * self.stride + kr - self.padding[0]
                            xc = c * self.stride + kc - self.padding[1]
                            if 0 <= xr < rows and 0 <= xc < columns:
                                for a, v in enumerate(xm[i][xr][xc]):
                                    if v:
                                        row = total[a]
                                        for b, g in enumerate(gm[i][r][c]):
                                            row[b] += v * g
                result[kr, kc] = np.array(total, object)
        return result

    def sums_array(self, x, dz):
        """The same with numpy (64 bits, exact), for sizes at which the loops above take too long."""
        unsigned = x.dtype == np.uint8
        xm = np.clip((x.astype(np.int64) + 8) >> 4, *((0, 15) if unsigned else (-7, 7)))
        gm = np.clip((dz.astype(np.int64) + 32) >> 6, -511, 511)
        rows, columns = dz.shape[1:3]
        top, left = self.padding
        need = [(n - 1) * self.stride + k for n, k in ((rows, self.kernel_h), (columns, self.kernel_w))]
        field = np.zeros(
            (x.shape[0], max(need[0], x.shape[1] + top), max(need[1], x.shape[2] + left), x.shape[3]), np.int64
        )
        field[:, top : top + x.shape[1], left : left + x.shape[2]] = xm
        result = np.zeros((self.kernel_h, self.kernel_w, x.shape[3], dz.shape[3]), object)
        for kr in range(self.kernel_h):
            for kc in range(self.kernel_w):
                part = field[:, kr : kr + need[0] - self.kernel_h + 1 : self.stride,
                             kc : kc + need[1] - self.kernel_w + 1 : self.stride]  # fmt: skip
                result[kr, kc] = part.reshape(-1, x.shape[3]).T @ gm.reshape(-1, dz.shape[3])
        return result
