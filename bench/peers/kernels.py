"""Peers of single kernels. Each function yields what it measured or why it could not:
(kernel, case, shape, state, bytes, peer, version, Timing or reason)."""

import math
import signal

import torch
import torch.nn.functional as F

import timing

BF16 = torch.bfloat16
HEADS = [(14, 2, 64), (28, 4, 128)]
LENGTHS = [1024, 4096, 8192, 32768, 131072]
SIZES = [(896, 14, 2, 64), (3584, 28, 4, 128)]
MATRICES = [(1152, 896), (896, 896), (9728, 896), (896, 4864), (151936, 896),
            (4608, 3584), (3584, 3584), (37888, 3584), (3584, 18944), (152064, 3584)]
TOLERANCE = 2e-2  # relative error of the whole result: right or wrong, not how right
TORCH = "torch " + torch.__version__


def cudnn_version():
    version = torch.backends.cudnn.version()
    return f"{TORCH} cuDNN {version}" if version else TORCH


class TimeGuard:
    """Whatever takes longer than so many seconds, such as compiling a kernel, is given up."""

    def __init__(self, seconds):
        self.seconds = seconds

    def __enter__(self):
        def give_up(*_):
            raise TimeoutError(f"took more than {self.seconds} s")

        self.old = signal.signal(signal.SIGALRM, give_up)
        signal.alarm(self.seconds)

    def __exit__(self, *_):
        signal.alarm(0)
        signal.signal(signal.SIGALRM, self.old)


def reason_of(error):
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def attempt(call, copies, want, guard_s=60):
    """A Timing of call(i), checked first; the reason when that is not to be had."""
    try:
        with TimeGuard(guard_s):
            got = call(0).double().flatten()
            torch.cuda.synchronize()
            error = float((got - want).norm() / want.norm())
            if not error < TOLERANCE:
                return f"wrong: relative error {error:.1e}"
            return timing.time_calls(call, copies)
    except Exception as error:
        torch.cuda.synchronize()
        return reason_of(error)


def attention_reference(q, k, v):
    """q (heads, d); k, v (kv heads, length, d)."""
    group = q.shape[0] // k.shape[0]
    out = torch.empty(q.shape, dtype=torch.float64, device="cuda")
    for h in range(k.shape[0]):
        score = q[h * group:(h + 1) * group].float() @ k[h].float().T / math.sqrt(q.shape[1])
        out[h * group:(h + 1) * group] = (torch.softmax(score, -1) @ v[h].float()).double()
    return out.flatten()


def sdpa_peers(heads, kv_heads, d, length, caches, q):
    """(name, version, call) of torch's backends: heads grouped by torch, or as rows of one query each."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    k = [c[0].view(1, kv_heads, length, d) for c in caches]
    v = [c[1].view(1, kv_heads, length, d) for c in caches]
    whole, rows = q.view(1, heads, 1, d), q.view(1, kv_heads, heads // kv_heads, d)
    backends = [("cudnn", SDPBackend.CUDNN_ATTENTION, cudnn_version()), ("flash", SDPBackend.FLASH_ATTENTION, TORCH),
                ("efficient", SDPBackend.EFFICIENT_ATTENTION, TORCH), ("math", SDPBackend.MATH, TORCH)]
    for name, backend, version in backends:
        if name == "math" and length > 8192:
            continue
        for form in ("gqa", "packed"):
            def call(i, backend=backend, form=form):
                with sdpa_kernel(backend):
                    if form == "gqa":
                        return F.scaled_dot_product_attention(whole, k[i], v[i], enable_gqa=True)
                    return F.scaled_dot_product_attention(rows, k[i], v[i])
            yield f"sdpa-{name}-{form}", version, call


def flashinfer_peers(heads, kv_heads, d, length, caches, q):
    """The tensor-core decode, one sequence and paged; the CUDA-core one has no group of 7. Layout (length, kv heads, d)."""
    import flashinfer

    version = f"flashinfer {flashinfer.__version__}"
    k = [c[0].view(length, kv_heads, d) for c in caches]
    v = [c[1].view(length, kv_heads, d) for c in caches]
    yield "flashinfer-single", version, lambda i: flashinfer.single_decode_with_kv_cache(q, k[i], v[i],
                                                                                        use_tensor_cores=True)


def attention(lengths=None):
    flashinfer_reason = None
    try:
        import flashinfer  # noqa: F401
    except Exception as error:
        flashinfer_reason = reason_of(error)
        yield "gqa_attention", "", "", "", 0, "flashinfer", "", f"absent: {flashinfer_reason}"
    dead = set()
    for heads, kv_heads, d in HEADS:
        for length in lengths or LENGTHS:
            torch.manual_seed(length)
            n_bytes = 2 * length * kv_heads * d * 2
            copies = timing.cold_copies(n_bytes)
            caches = torch.empty(copies, 2, length * kv_heads * d, dtype=BF16, device="cuda").normal_()
            q = torch.randn(heads, d, device="cuda").to(BF16)
            by_head = [x.view(kv_heads, length, d) for x in caches[0]]
            by_token = [x.view(length, kv_heads, d).transpose(0, 1) for x in caches[0]]
            want = attention_reference(q, *by_head)
            peers = [(p, want) for p in sdpa_peers(heads, kv_heads, d, length, caches, q)]
            if not flashinfer_reason:
                want = attention_reference(q, *by_token)
                peers += [(p, want) for p in flashinfer_peers(heads, kv_heads, d, length, caches, q)]
            for (name, version, call), want in peers:
                got = "given up: it took too long before" if (name, heads) in dead else attempt(call, copies, want)
                if isinstance(got, str) and got.startswith("TimeoutError"):
                    dead.add((name, heads))
                yield ("gqa_attention", f"head_dim={d} group={heads // kv_heads} kv=bf16",
                       f"{heads}/{kv_heads}/{d}@{length}", "cold", n_bytes + 4 * heads * d, name, version, got)
            del caches, by_head, by_token, peers
            torch.cuda.empty_cache()


def norm():
    """Hot: a few kilobytes that stay where they are."""
    for n, *_ in SIZES:
        x, w = torch.randn(1, n, device="cuda").to(BF16), torch.randn(n, device="cuda").to(BF16)
        want = (x.double() * torch.rsqrt(x.double().pow(2).mean(-1, keepdim=True) + 1e-6) * w.double()).flatten()

        def eager(_=None, x=x, w=w, n=n):
            return F.rms_norm(x, (n,), w, 1e-6)

        compiled = torch.compile(lambda x, w, n=n: F.rms_norm(x, (n,), w, 1e-6))
        for name, call in (("torch-eager", eager), ("torch-compile", lambda i, x=x, w=w: compiled(x, w))):
            yield "rms_norm", "x=bf16 residual=0", str(n), "hot", 6 * n, name, TORCH, attempt(call, 1, want)


def rotate(x, cos, sin):
    half = x.shape[-1] // 2
    return (x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin).to(x.dtype)


def rope():
    for n, heads, kv_heads, d in SIZES:
        x = torch.randn(1, heads + kv_heads, 1, d, device="cuda").to(BF16)
        angle = torch.randn(d, device="cuda")
        cos, sin = angle.cos(), angle.sin()
        want = rotate(x.double(), cos.double(), sin.double()).flatten()
        compiled = torch.compile(rotate)
        n_bytes = 4 * x.numel()
        for name, call in (("torch-eager", lambda i, a=(x, cos, sin): rotate(*a)),
                           ("torch-compile", lambda i, a=(x, cos, sin): compiled(*a))):
            yield "rope", "kv=bf16 append=0", str(n), "hot", n_bytes, name, TORCH, attempt(call, 1, want)


def gemv():
    for m, k in MATRICES:
        n_bytes = 2 * m * k
        copies = timing.cold_copies(n_bytes)
        w = [torch.empty(m, k, dtype=BF16, device="cuda").normal_(0, 0.05) for _ in range(copies)]
        x = torch.randn(k, device="cuda").to(BF16)
        want = w[0].double() @ x.double() if m * k < 1 << 27 else (w[0].float() @ x.float()).double()
        row, out = x.view(1, k), torch.empty(m, dtype=BF16, device="cuda")
        for name, call in (("torch-mv", lambda i: torch.mv(w[i], x, out=out)), ("torch-linear", lambda i: F.linear(row, w[i]))):
            yield ("gemv", "w=bf16 x=bf16 norm=0 epilogue=none", f"{m}x{k}", "cold", n_bytes + 2 * (m + k), name, TORCH,
                   attempt(call, copies, want))
        del w
        torch.cuda.empty_cache()
