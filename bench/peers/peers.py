#!/usr/bin/env python3
"""What others reach on this GPU, measured by the rules of warpsmith-bench, for those who want to compare; nothing else
needs this.

  python3 bench/peers/peers.py --csv results                     all peers, into results/<device>/peers.csv
  python3 bench/peers/peers.py --csv results --only llama        llama.cpp, for which random weights become files
  python3 bench/peers/peers.py --csv results --only norm,rope    some of them
  python3 bench/peers/peers.py --csv results --only attention,flashinfer --lengths 1024,8192
  python3 bench/peers/peers.py --selftest                        the form of the files; needs no GPU and no torch

peers.csv, peers_decode.csv and peers_prefill.csv have the columns of bench.csv, decode.csv and prefill.csv. Attention is
measured at the lengths that results/<device>/bench.csv has of ours, or as --lengths says. Of torch's ways of it, and of
FlashInfer's, those far behind the fastest in a few launches get no row. What has no row, as a peer that is not installed, is
named in one line on stderr; so is what takes longer than a minute, as FlashInfer may where it compiles: begun again, it goes
on."""

import argparse
import contextlib
import csv
import io
import pathlib
import sys
import tempfile
import time

import form
import llama

TORCH_FAMILIES = ("attention", "norm", "rope", "gemv", "flashinfer", "decode")
FAMILIES = (*TORCH_FAMILIES, "llama")


def say(text):
    print(f"peers: {text}", file=sys.stderr, flush=True)


def bench_row(log, ceiling, measured):
    """One row, or a line on stderr for what has none."""
    kernel, case, shape, state, n_bytes, peer, version, got = measured
    if isinstance(got, str):
        say(f"{' '.join(filter(None, (peer, kernel, shape)))}: {got}")
        return False
    gbps = n_bytes / got.us / 1e3
    log.row(kernel=kernel, case=case, shape=shape, state=state, launch="graph", bytes=n_bytes, gbps=gbps,
            ceiling="read" if ceiling else None, ceiling_gbps=ceiling,
            percent=100 * gbps / ceiling if ceiling else None, peer=peer, peer_version=version, status="ok",
            choice="peer", **got.columns())
    print(f"{kernel} {shape} {state} {peer}: {got.us:.4g} us [{got.us_lo:.4g}, {got.us_hi:.4g}]", flush=True)
    return True


def decode_row(log, ceiling, measured):
    model, dtype, kv, context, n_bytes, peer, version, got = measured
    if isinstance(got, str):
        say(f"{' '.join(filter(None, (peer, model, str(context or ''))))}: {got}")
        return False
    seconds, lo, hi = got
    log.row(model=model, dtype=dtype, kv=kv, context=context, plan="peer", tok_s=1 / seconds, tok_s_lo=1 / hi,
            tok_s_hi=1 / lo, bytes=n_bytes, ceiling_gbps=ceiling,
            percent=100 * n_bytes / seconds / 1e9 / ceiling if ceiling else None, peer=peer, peer_version=version)
    print(f"{model} at {context} {peer}: {1 / seconds:.4g} tok/s", flush=True)
    return True


def llama_row(folder, ceilings, measured):
    """Where the device is that llama.cpp names."""
    spec, got = measured
    if isinstance(got, str):
        say(f"{' '.join(filter(None, (llama.PEER, spec)))}: {got}")
        return False
    device, columns = got
    if "context" in columns:
        log = form.Log(folder, device, "peers_decode.csv", form.decode_columns())
        ceiling = ceilings.get(device)
        if ceiling:
            columns.update(ceiling_gbps=ceiling, percent=100 * columns["bytes"] * columns["tok_s"] / 1e9 / ceiling)
        where = f"at {columns['context']}"
    else:
        log = form.Log(folder, device, "peers_prefill.csv", form.prefill_columns())
        where = f"prompt of {columns['prompt']} by {columns['chunk']}"
    log.row(**columns)
    print(f"{spec} {where} {llama.PEER}: {columns['tok_s']:.4g} tok/s", flush=True)
    return True


def take(family, rows, write, deadline):
    """Writes rows until they end, time is up or the GPU fails."""
    n = 0
    try:
        for row in rows:
            n += write(row)
            if time.monotonic() > deadline:
                say("time is up: the rest is left out (--seconds)")
                break
    except RuntimeError as error:
        say(f"{family}: given up: {' '.join(str(error).split())}")
    return n


def lengths(text):
    numbers = [int(n) for n in text.split(",")]
    if min(numbers) < 1:
        raise ValueError(text)
    return numbers


def torch_rows(options, ceilings):
    """(family, rows, what writes them) of those that need torch; notes the device's read ceiling."""
    try:
        import torch
    except ImportError as error:
        say(f"torch is absent ({error})")
        return
    if not torch.cuda.is_available():
        say("torch finds no GPU")
        return
    import attention
    import decode
    import kernels
    import timing

    device = torch.cuda.get_device_name()
    ceiling = ceilings[device] = timing.read_ceiling()
    say(f"{device}, {attention.cudnn_version()}, read ceiling "
        + (f"{ceiling:.0f} GB/s" if ceiling else "unknown (no triton)"))
    bench = form.Log(options.csv, device, "peers.csv", form.bench_columns())
    steps = form.Log(options.csv, device, "peers_decode.csv", form.decode_columns())
    shapes = form.attention_shapes(bench.path.parent / "bench.csv", options.lengths)
    makers = {"attention": lambda: attention.torch_rows(shapes), "norm": kernels.norm, "rope": kernels.rope,
              "gemv": kernels.gemv, "flashinfer": lambda: attention.flashinfer_rows(shapes), "decode": decode.decode}
    for family in TORCH_FAMILIES:
        if family in options.only:
            log, write = (steps, decode_row) if family == "decode" else (bench, bench_row)
            yield family, makers[family](), lambda row: write(log, ceiling, row)


def all_rows(options):
    ceilings = {}
    yield from torch_rows(options, ceilings)
    if "llama" in options.only:
        rows = llama.measure(options.llama_bench, options.runner, options.models.split(","))
        yield "llama", rows, lambda row: llama_row(options.csv, ceilings, row)


def measure(options):
    deadline, n = time.monotonic() + options.seconds, 0
    for family, rows, write in all_rows(options):
        start = time.monotonic()
        if start > deadline:
            say(f"{family}: left out, time is up (--seconds)")
            continue
        n += take(family, rows, write, deadline)
        say(f"{family}: {time.monotonic() - start:.0f} s")
    if not n:
        say("nothing was measured")
    return 0 if n else 1


class FakeTiming:
    us, us_lo, us_hi = 4.0, 3.9, 4.1

    def columns(self):
        return dict(us=4.0, us_lo=3.9, us_hi=4.1, samples=15, launches=20, stop="precision")


def selftest_choices():
    """What is measured, and what is said of the rest."""
    header = "kernel,case,shape,state,launch"
    ours = ["gqa_attention,head_dim=64 group=7 kv=bf16,14/2/64@127,cold,graph",
            "gqa_attention,head_dim=8 group=2 kv=bf16,2/1/8@64,cold,graph",
            "gqa_attention,head_dim=64 group=7 kv=bf16,14/2/64@64,cold,graph",
            "gqa_attention,head_dim=64 group=7 kv=bf16,14/2/64@64,cold,graph",
            "gqa_attention,head_dim=64 group=7 kv=q8_0,14/2/64@1,cold,graph",
            "gqa_attention,head_dim=64 group=7 kv=bf16,14/2/64@2,hot,graph",
            "gqa_attention,head_dim=64 group=7 kv=bf16,14/2/64@3,cold,single",
            "rope,kv=bf16 append=0,14/2/64@4,cold,graph"]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "bench.csv"
        bench = form.attention_shapes(path)
        assert (14, 2, 64, 131072) in bench and (28, 4, 128, 64) in bench and len(bench) == 2 * len(form.grid_lengths()), bench
        path.write_text("\n".join([header, *ours, ""]))
        assert form.attention_shapes(path) == [(2, 1, 8, 64), (14, 2, 64, 64), (14, 2, 64, 127)], form.attention_shapes(path)
        assert form.attention_shapes(path, [5]) == [(14, 2, 64, 5), (28, 4, 128, 5)], form.attention_shapes(path, [5])
    assert form.left_out([]) == []
    kept, near, far = form.left_out([4.0, 6.0, 6.1])
    assert (kept, near) == (None, None) and far == "left out: 6.1 us in short, more than 1.5 times the fastest's 4", far

    def failing():
        yield 1
        raise RuntimeError("CUDA error: the GPU\nis lost")

    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        assert take("some", failing(), lambda row: row, time.monotonic() + 60) == 1
    assert said.getvalue() == "peers: some: given up: CUDA error: the GPU is lost\n", said.getvalue()


def selftest():
    """The files have the columns that are read elsewhere, and rows say what was measured."""
    documented = ("device,kernel,case,shape,config,state,launch,us,us_lo,us_hi,samples,stop,bytes,gbps,ceiling,"
                  "ceiling_gbps,percent,peer,peer_us,sm_mhz,watt,celsius,throttle,status,reason").split(",")
    columns = form.bench_columns()
    assert columns[:25] == documented, columns
    assert "peer_version" in columns and "launches" in columns
    steps = "device,model,dtype,kv,context,plan,tok_s,tok_s_lo,tok_s_hi,bytes,ceiling_gbps,percent,joule,source_hash"
    assert form.decode_columns()[:14] == steps.split(","), form.decode_columns()
    for path in pathlib.Path(__file__).parent.glob("*.py"):  # those that need torch, too
        compile(path.read_text(), str(path), "exec")
    assert form.slug("NVIDIA H200") == "nvidia-h200"
    assert [form.rank(n) for n in (5, 6, 15, 301)] == [0, 1, 4, 134], [form.rank(n) for n in (5, 6, 15, 301)]
    assert form.interval([5, 1, 3, 2, 4, 6]) == (3.5, 1, 6)
    selftest_choices()
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):  # appended to, with one header
            log = form.Log(folder, "NVIDIA H200", "peers.csv", columns)
            assert bench_row(log, 1000.0, ("gemv", "c", "8x32", "cold", 512, "torch, mv", "torch 2", FakeTiming()))
            assert not bench_row(log, 1000.0, ("gemv", "c", "8x32", "cold", 512, "x", "", "absent: not installed"))
            log = form.Log(folder, "NVIDIA H200", "peers_decode.csv", form.decode_columns())
            assert decode_row(log, 1000.0, ("m", "bf16", "bf16", 1024, 10**9, "torch-compile", "torch 2", (0.002, 0.001, 0.004)))
        with open(pathlib.Path(folder) / "nvidia-h200/peers.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == 2 and rows[0]["peer"] == "torch, mv" and rows[0]["us"] == "4"
        assert rows[0]["gbps"] == "0.128" and rows[0]["percent"] == "0.0128" and rows[0]["reason"] == ""
        with open(pathlib.Path(folder) / "nvidia-h200/peers_decode.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == 2 and rows[1]["tok_s"] == "500" and rows[1]["percent"] == "50"
        assert (rows[1]["tok_s_lo"], rows[1]["tok_s_hi"]) == ("250", "1000")
        try:
            form.Log(folder, "NVIDIA H200", "peers.csv", columns[:-1])
        except SystemExit as error:
            assert "header is not" in str(error)
        else:
            raise AssertionError("another header was accepted")
    print("peers: selftest passed")
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", metavar="DIR", help="append to DIR/<device>/peers.csv, peers_decode.csv, peers_prefill.csv")
    parser.add_argument("--only", metavar="NAME,...", default=",".join(FAMILIES), help="of " + ", ".join(FAMILIES))
    parser.add_argument("--seconds", type=float, default=240, metavar="N", help="leave out what is not begun by then (240)")
    parser.add_argument("--lengths", type=lengths, metavar="N,...", help="cache lengths of attention")
    parser.add_argument("--models", metavar="SIZE:TYPE,...", default=",".join(llama.MODELS),
                        help="of llama: as warpsmith-run --random takes them (%(default)s)")
    parser.add_argument("--llama-bench", metavar="PROGRAM", default="llama-bench", help="(from the PATH)")
    parser.add_argument("--runner", metavar="PROGRAM", help="warpsmith-run, which writes their files (the newest build's)")
    parser.add_argument("--selftest", action="store_true", help="check the form of the files")
    options = parser.parse_args()
    options.only = options.only.split(",")
    unknown = [name for name in options.only if name not in FAMILIES]
    if options.selftest:
        return selftest()
    if unknown or not options.csv:
        parser.error(f"--only: no family '{unknown[0]}'" if unknown else "--csv is needed")
    return measure(options)


if __name__ == "__main__":
    sys.exit(main())
