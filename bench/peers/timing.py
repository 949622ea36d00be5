"""Times of GPU work by the rules of bench/timer.c: inside a captured graph, the GPU held up until all of it is queued,
cold by rotating buffers, the median of as many samples as it takes."""

import math
import time

import torch

from form import interval

MIN_SAMPLES, MAX_SAMPLES, HALF_WIDTH = 15, 301, 0.005
MIN_LAUNCHES, LEAST_US, MAX_LAUNCHES = 20, 1000, 512
SHORT_LAUNCHES, SHORT_SAMPLES = 8, 3
COLD_CACHES, MAX_COPIES = 3, 1024
DELAY_CYCLES = 100_000  # 50 us at 2 GHz


def l2_bytes():
    return torch.cuda.get_device_properties(0).L2_cache_size


def cold_copies(n_bytes):
    return max(2, min(MAX_COPIES, COLD_CACHES * l2_bytes() // max(n_bytes, 1) + 1))


class Timing:
    def __init__(self, samples, launches, stop):
        self.us, self.us_lo, self.us_hi = interval(samples)
        self.samples, self.launches, self.stop = len(samples), launches, stop

    def columns(self):
        return {name: getattr(self, name) for name in ("us", "us_lo", "us_hi", "samples", "launches", "stop")}


def elapsed_us(work):
    """Of what work() queues, without the time to queue it."""
    first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda._sleep(DELAY_CYCLES)
    first.record()
    work()
    last.record()
    last.synchronize()
    return first.elapsed_time(last) * 1e3


def capture(call, n):
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for i in range(n):
            call(i)
    return graph


def warm_up(call, copies):
    """Before a capture, aside from the stream that captures."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for i in range(3):
            call(i % copies)
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()


def time_short(call, copies):
    """Microseconds of one call(i), enough to tell which way is slow."""
    warm_up(call, copies)
    graph = capture(lambda i: call(i % copies), SHORT_LAUNCHES)
    graph.replay()
    us = min(elapsed_us(graph.replay) for _ in range(SHORT_SAMPLES)) / SHORT_LAUNCHES
    graph.reset()
    return us


def time_calls(call, copies, limit_s=1.0):
    """Microseconds of one call(i), i being the copy of the buffers that it uses, 0 .. copies - 1."""
    warm_up(call, copies)
    one = elapsed_us(lambda: call(0))
    wanted = max(MIN_LAUNCHES, min(MAX_LAUNCHES, LEAST_US / max(one, 0.1)))
    n = copies * max(1, math.ceil(wanted / copies))  # each copy as often as any other
    graph = capture(lambda i: call(i % copies), n)
    for _ in range(3):
        graph.replay()
    torch.cuda.synchronize()
    samples, stop, start = [], "samples", time.monotonic()
    while len(samples) < MAX_SAMPLES:
        samples.append(elapsed_us(graph.replay) / n)
        middle, lo, hi = interval(samples)
        if len(samples) >= MIN_SAMPLES and (hi - lo) / (2 * middle) <= HALF_WIDTH:
            stop = "precision"
            break
        if time.monotonic() - start > limit_s:
            stop = "time"
            break
    graph.reset()
    return Timing(samples, n, stop)


def read_ceiling():
    """GB/s of the best of some plain reads of 1 GiB; None without Triton."""
    try:
        import triton
        from kernels_triton import read
    except ImportError:
        return None
    words = 1 << 28
    x = torch.randint(-(2**31), 2**31 - 1, (words,), dtype=torch.int32, device="cuda")
    best = 0.0
    for block in (4096, 8192, 16384):
        grid = (triton.cdiv(words, block),)
        out = torch.zeros(grid[0], dtype=torch.int32, device="cuda")
        for warps in (4, 8, 16):
            times = [elapsed_us(lambda: read[grid](x, out, words, BLOCK=block, num_warps=warps)) for _ in range(8)]
            best = max(best, 4 * words / interval(times[2:])[0] / 1e3)
    return best
