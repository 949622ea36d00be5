"""Peers of single kernels. Each function yields what it measured or why it could not:
(kernel, case, shape, state, bytes, peer, version, Timing or reason)."""

import signal

import torch
import torch.nn.functional as F

import timing

BF16 = torch.bfloat16
SIZES = [(896, 14, 2, 64), (3584, 28, 4, 128)]
MATRICES = [(1152, 896), (896, 896), (9728, 896), (896, 4864), (151936, 896),
            (4608, 3584), (3584, 3584), (37888, 3584), (3584, 18944), (152064, 3584)]
TOLERANCE = 2e-2  # relative error of the whole result: right or wrong, not how right
TORCH = "torch " + torch.__version__


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


class Wrong(Exception):
    """A result that differs from the reference."""


def check(call, want):
    got = call(0).double().flatten()
    error = float((got - want).norm() / want.norm())
    if not error < TOLERANCE:
        raise Wrong(f"relative error {error:.1e}")


def attempt(work, guard_s=60):
    """What work() returns; the reason when that is not to be had."""
    try:
        with TimeGuard(guard_s):
            return work()
    except Exception as error:
        return reason_of(error)


def timed(call, copies, want):
    """A Timing of call(i), checked first; the reason when that is not to be had."""
    def work():
        check(call, want)
        return timing.time_calls(call, copies)

    return attempt(work)


def norm():
    """Hot: a few kilobytes that stay where they are."""
    for n, *_ in SIZES:
        x, w = torch.randn(1, n, device="cuda").to(BF16), torch.randn(n, device="cuda").to(BF16)
        want = (x.double() * torch.rsqrt(x.double().pow(2).mean(-1, keepdim=True) + 1e-6) * w.double()).flatten()

        def eager(_=None, x=x, w=w, n=n):
            return F.rms_norm(x, (n,), w, 1e-6)

        compiled = torch.compile(lambda x, w, n=n: F.rms_norm(x, (n,), w, 1e-6))
        for name, call in (("torch-eager", eager), ("torch-compile", lambda i, x=x, w=w: compiled(x, w))):
            yield "rms_norm", "x=bf16 residual=0", str(n), "hot", 6 * n, name, TORCH, timed(call, 1, want)


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
            yield "rope", "kv=bf16 append=0", str(n), "hot", n_bytes, name, TORCH, timed(call, 1, want)


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
                   timed(call, copies, want))
        del w
        torch.cuda.empty_cache()
