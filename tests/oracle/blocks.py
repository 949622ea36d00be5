"""What ggml's Python package makes of quantised blocks: python blocks.py DATA

Writes DATA/blocks_golden.csv (blocks of random bits, and the floats they stand for) and
DATA/quantised_golden.csv (floats, and the blocks that they become) with numbers as hexadecimal bytes.
"""

import pathlib
import sys

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

# type: where a block's f16 numbers are
SCALES = {Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2], Type.Q8_0: [0],
          Type.Q4_K: [0, 2], Type.Q5_K: [0, 2], Type.Q6_K: [208]}
QUANTISED = [Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0]


def random_blocks(rng, kind, n):
    """The first has scales of 0, the second subnormal ones."""
    blocks = rng.integers(0, 256, (n, gguf.GGML_QUANT_SIZES[kind][1]), dtype=np.uint8)
    for at in SCALES[kind]:
        scale = (rng.standard_normal(n) * 2.0 ** rng.integers(-14, 6, n)).astype(np.float16)
        scale[:2] = 0, 1e-6
        blocks[:, at:at + 2] = scale.view(np.uint8).reshape(n, 2)
    return blocks


def random_values(rng, n):
    """Blocks of several magnitudes; all zero, of one sign, with ties of the largest magnitude."""
    x = rng.standard_normal((n, 32)).astype(np.float32)
    x *= (2.0 ** rng.integers(-12, 12, (n, 1))).astype(np.float32)
    x[0] = 0
    x[1] = np.abs(x[1])
    x[2] = -np.abs(x[2])
    x[3] = np.where(np.arange(32) % 2, 1, -1)
    x[4] = np.arange(32) - 15.5
    return x


def write(path, columns, rows):
    with open(path, "w") as f:
        print(*columns, sep=",", file=f)
        for row in rows:
            print(*row, sep=",", file=f)


def main():
    data = pathlib.Path(sys.argv[1])
    rng = np.random.default_rng(1)
    blocks, quantised = [], []
    for kind in SCALES:
        n = 6 if gguf.GGML_QUANT_SIZES[kind][0] == 256 else 16
        for block in random_blocks(rng, kind, n):
            values = gguf.dequantize(block[None], kind).astype("<f4")
            blocks.append((kind.name.lower(), block.tobytes().hex(), values.tobytes().hex()))
    for kind in QUANTISED:
        for x in random_values(rng, 16):
            block = gguf.quantize(x[None], kind)
            quantised.append((kind.name.lower(), x.astype("<f4").tobytes().hex(),
                              block.tobytes().hex()))
    write(data / "blocks_golden.csv", ["type", "block_hex", "values_hex"], blocks)
    write(data / "quantised_golden.csv", ["type", "values_hex", "block_hex"], quantised)


if __name__ == "__main__":
    main()
