"""A plain read of memory."""

import triton
import triton.language as tl


@triton.jit
def read(x, out, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    words = tl.load(x + i, mask=i < n, other=0)
    tl.store(out + tl.program_id(0), tl.xor_sum(words, axis=0))
