"""Peers of attention of one token: torch's backends and FlashInfer. What they yield is as in kernels.py."""

import collections
import math

import torch
import torch.nn.functional as F

import form
import timing
from kernels import BF16, TORCH, attempt, check, reason_of

PAGE = 16  # tokens, in caches that have pages
WORKSPACE = 128 << 20
LIMIT_S = 0.5  # of one way's samples, of which there are many

# call(i) attends to copy i of the cache; prepare() makes it, with all that is planned or compiled beforehand.
Way = collections.namedtuple("Way", "name version prepare want")


class Caches:
    """A query and as many random caches as make them cold, each of whole pages."""

    def __init__(self, heads, kv_heads, d, length):
        torch.manual_seed(length)
        self.heads, self.kv_heads, self.d, self.length = heads, kv_heads, d, length
        self.pages = -(-length // PAGE)
        self.n_bytes = 2 * length * kv_heads * d * 2
        self.copies = timing.cold_copies(self.n_bytes)
        self.buffer = torch.empty(self.copies, 2, self.pages * PAGE * kv_heads * d, dtype=BF16, device="cuda").normal_()
        self.q = torch.randn(heads, d, device="cuda").to(BF16)

    def views(self, which, *shape):
        """Keys (0) or values (1) of each copy."""
        return [x[which, :math.prod(shape)].view(shape) for x in self.buffer]

    def reference(self, k, v):
        """k, v (kv heads, length, d)."""
        group = self.heads // self.kv_heads
        out = torch.empty(self.q.shape, dtype=torch.float64, device=self.q.device)
        for h in range(self.kv_heads):
            own = slice(h * group, (h + 1) * group)
            score = self.q[own].float() @ k[h].float().T / math.sqrt(self.d)
            out[own] = (torch.softmax(score, -1) @ v[h].float()).double()
        return out.flatten()


def cudnn_version():
    version = torch.backends.cudnn.version()
    return f"{TORCH} cuDNN {version}" if version else TORCH


def sdpa_ways(c):
    """Each backend: heads grouped by torch, or as rows of one query each."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    k, v = (c.views(which, 1, c.kv_heads, c.length, c.d) for which in (0, 1))
    want = c.reference(k[0][0], v[0][0])
    backends = [("cudnn", SDPBackend.CUDNN_ATTENTION, cudnn_version()), ("flash", SDPBackend.FLASH_ATTENTION, TORCH),
                ("efficient", SDPBackend.EFFICIENT_ATTENTION, TORCH), ("math", SDPBackend.MATH, TORCH)]
    forms = [("gqa", c.q.view(1, c.heads, 1, c.d), True), ("packed", c.q.view(1, c.kv_heads, -1, c.d), False)]
    for name, backend, version in backends:
        for layout, q, grouped in forms:
            def call(i, backend=backend, q=q, grouped=grouped):
                with sdpa_kernel(backend):
                    return F.scaled_dot_product_attention(q, k[i], v[i], enable_gqa=grouped)
            yield Way(f"sdpa-{name}-{layout}", version, lambda call=call: call, want)


def by_token(c):
    """Keys, values (length, kv heads, d), and the reference of the first copy."""
    k, v = (c.views(which, c.length, c.kv_heads, c.d) for which in (0, 1))
    return k, v, c.reference(k[0].transpose(0, 1), v[0].transpose(0, 1))


def paged(c):
    """Keys, values (pages, tokens of a page, kv heads, d)."""
    return (c.views(which, c.pages, PAGE, c.kv_heads, c.d) for which in (0, 1))


def planned(c, graph):
    """The paged decode of serving engines; graph: planned for any length, as they do in graphs, else for this one."""
    import flashinfer

    def ints(*values):
        return torch.tensor(values, dtype=torch.int32, device="cuda")

    k, v = paged(c)
    table = [ints(0, c.pages), ints(*range(c.pages)), ints((c.length - 1) % PAGE + 1)]
    names = ("paged_kv_indptr_buffer", "paged_kv_indices_buffer", "paged_kv_last_page_len_buffer")
    buffers = {name: x.clone() for name, x in zip(names, table)} if graph else {}
    workspace = torch.zeros(WORKSPACE, dtype=torch.uint8, device="cuda")
    wrapper = flashinfer.BatchDecodeWithPagedKVCacheWrapper(workspace, use_cuda_graph=graph, use_tensor_cores=True, **buffers)
    wrapper.plan(*table, c.heads, c.kv_heads, c.d, PAGE, q_data_type=BF16, kv_data_type=BF16)
    q = c.q.view(1, c.heads, c.d)
    return lambda i: wrapper.run(q, (k[i], v[i]), enable_pdl=False)


def flashinfer_ways(c):
    """The tensor-core decode, of one sequence and paged; the CUDA-core one has no group of 7."""
    import flashinfer

    version = f"flashinfer {flashinfer.__version__}"
    k, v, want = by_token(c)

    def single(i):
        return flashinfer.single_decode_with_kv_cache(c.q, k[i], v[i], use_tensor_cores=True)

    yield Way("flashinfer-single", version, lambda: single, want)
    yield Way("flashinfer-paged", version, lambda: planned(c, False), want)
    yield Way("flashinfer-paged-graph", version, lambda: planned(c, True), want)


def xqa_ways(c):
    """TensorRT-LLM's decode kernel, which FlashInfer ships."""
    import flashinfer
    from flashinfer.decode import xqa_batch_decode_with_kv_cache

    def prepare():
        k, v = paged(c)
        table = torch.arange(c.pages, dtype=torch.int32, device="cuda").view(1, -1)
        length = torch.tensor([c.length], dtype=torch.uint32, device="cuda")
        workspace = torch.zeros(WORKSPACE, dtype=torch.uint8, device="cuda")
        q = c.q.view(1, c.heads, c.d)
        return lambda i: xqa_batch_decode_with_kv_cache(q, (k[i], v[i]), workspace, table, length, c.length,
                                                        bmm1_scale=c.d**-0.5, enable_pdl=False)

    yield Way("flashinfer-xqa", f"flashinfer {flashinfer.__version__}", prepare, by_token(c)[2])


def prepared(way, copies):
    """The way's call, checked, and its time in short."""
    call = way.prepare()
    check(call, way.want)
    return call, timing.time_short(call, copies)


def race(ways, copies, dead):
    """Yields (way, Timing or reason). All are timed in short, those near the fastest in full; which took too long once is
    not tried again."""
    ready = []
    for way in ways:
        got = "given up: it took too long before" if way.name in dead else attempt(lambda: prepared(way, copies))
        if not isinstance(got, str):
            ready.append((way, *got))
            continue
        if got.startswith("TimeoutError"):
            dead.add(way.name)
        yield way, got
    for (way, call, _), reason in zip(ready, form.left_out([us for *_, us in ready])):
        yield way, reason or attempt(lambda: timing.time_calls(call, copies, LIMIT_S))


def rows(shapes, ways_of):
    dead = collections.defaultdict(set)
    for heads, kv_heads, d, length in shapes:
        c = Caches(heads, kv_heads, d, length)
        for way, got in race(ways_of(c), c.copies, dead[heads, kv_heads, d]):
            yield ("gqa_attention", f"head_dim={d} group={heads // kv_heads} kv=bf16", f"{heads}/{kv_heads}/{d}@{length}",
                   "cold", c.n_bytes + 4 * heads * d, way.name, way.version, got)
        torch.cuda.empty_cache()


def torch_rows(shapes):
    return rows(shapes, sdpa_ways)


def flashinfer_rows(shapes):
    try:
        import flashinfer  # noqa: F401
    except Exception as error:
        yield "gqa_attention", "", "", "", 0, "flashinfer", "", f"absent: {reason_of(error)}"
        return
    yield from rows(shapes, flashinfer_ways)
    yield from rows(shapes, xqa_ways)
