"""Quantising to ggml's Q4_K, Q5_K and Q6_K by the range of each 32 or 16 elements, which ggml's
Python package does not offer; and the types that llama.cpp's quantiser mixes."""

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

FALLBACK = {Type.Q4_K: Type.Q5_0, Type.Q5_K: Type.Q5_1, Type.Q6_K: Type.Q8_0}


def divide(a, b):
    return np.divide(a, b, out=np.zeros_like(a), where=b != 0)


def half(x):
    """f16 as bytes, and as what they stand for."""
    stored = x.astype(np.float16)
    return stored.view(np.uint8).reshape(-1, 2), stored.astype(np.float32)


def six_bits(s, t):
    """(n, 8) each: the 12 bytes that hold them."""
    out = np.zeros((len(s), 12), np.uint8)
    out[:, 0:4] = s[:, :4] | s[:, 4:] >> 4 << 6
    out[:, 4:8] = t[:, :4] | t[:, 4:] >> 4 << 6
    out[:, 8:12] = s[:, 4:] & 15 | (t[:, 4:] & 15) << 4
    return out


def with_minima(x, bits):
    """Q4_K and Q5_K: x (n, 256)."""
    x = x.reshape(-1, 8, 32)
    least = np.minimum(x.min(-1), 0)
    scale, top = (x.max(-1) - least) / (2 ** bits - 1), 2 ** bits - 1
    d_bytes, d = half(scale.max(-1, keepdims=True) / 63)
    m_bytes, m = half(-least.min(-1, keepdims=True) / 63)
    s = divide(scale, d).round().clip(0, 63)
    t = divide(-least, m).round().clip(0, 63)
    q = divide(x + (m * t)[..., None], np.broadcast_to((d * s)[..., None], x.shape).copy())
    q = q.round().clip(0, top).astype(np.uint8)
    pairs = q.reshape(-1, 4, 2, 32)
    low = (pairs[:, :, 0] & 15 | (pairs[:, :, 1] & 15) << 4).reshape(-1, 128)
    parts = [d_bytes, m_bytes, six_bits(s.astype(np.uint8), t.astype(np.uint8))]
    if bits == 5:
        parts.append(np.bitwise_or.reduce([(q[:, j] >> 4) << j for j in range(8)]))
    return np.concatenate(parts + [low], axis=-1)


def q6_k(x):
    x = x.reshape(-1, 16, 16)
    at = np.abs(x).argmax(-1)[..., None]
    scale = np.take_along_axis(x, at, -1)[..., 0] / -32
    at = np.abs(scale).argmax(-1)[..., None]
    d_bytes, d = half(np.take_along_axis(scale, at, -1) / -128)
    s = divide(scale, d).round().clip(-128, 127)
    q = divide(x, np.broadcast_to((d * s)[..., None], x.shape).copy()).round().clip(-32, 31) + 32
    q = q.astype(np.uint8).reshape(-1, 2, 4, 32)
    low = np.concatenate([q[:, :, 0] & 15 | (q[:, :, 2] & 15) << 4,
                          q[:, :, 1] & 15 | (q[:, :, 3] & 15) << 4], axis=-1).reshape(-1, 128)
    high = np.bitwise_or.reduce([(q[:, :, j] >> 4) << (2 * j) for j in range(4)])
    return np.concatenate([low, high.reshape(-1, 64), s.astype(np.int8).view(np.uint8), d_bytes],
                          axis=-1)


QUANTISE = {Type.Q4_K: lambda x: with_minima(x, 4), Type.Q5_K: lambda x: with_minima(x, 5),
            Type.Q6_K: q6_k}


def quantize(data, kind):
    """(rows, cols) float32 as rows of bytes."""
    if kind not in QUANTISE:
        return gguf.quantize(data, kind)
    return QUANTISE[kind](data.astype(np.float32).reshape(-1, 256)).reshape(len(data), -1)


def fit(kind, cols):
    while cols % gguf.GGML_QUANT_SIZES[kind][0]:
        kind = FALLBACK[kind]
    return kind


def mixture(base, name, layers, cols, tied):
    """The type of a matrix in a file of the mixture Q4_K_M or Q5_K_M (base Q4_K or Q5_K)."""
    more = name == "output.weight" or tied and name == "token_embd.weight"
    if name.startswith("blk.") and (".attn_v." in name or ".ffn_down." in name):
        layer, eighth = int(name.split(".")[1]), layers // 8
        more = layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2
    return fit(Type.Q6_K if more else base, cols)
