"""Whole models under llama.cpp's llama-bench, with the weights that `warpsmith-run --random` has. Needs no torch."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile

import form

PEER = "llama.cpp"
MODELS = [f"qwen2.5-{size}:{dtype}" for dtype in ("q8_0", "q4_k_m", "q5_k_m", "bf16") for size in ("0.5b", "7b")]
REPETITIONS = 6  # the fewest whose extremes enclose the median with 95 % confidence
DECODE = ["-p", "0", "-n", "64", "-d", "1024,32768"]
PREFILL = ["-p", "4096", "-n", "0", "-ub", "512,2048"]
LIMIT_S = 600  # of one run of llama-bench


def run(command, **more):
    """(what it printed, why it failed or None)."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", **more)
    except subprocess.TimeoutExpired as error:
        return (error.stdout or b"").decode(errors="replace"), f"took more than {LIMIT_S} s"
    except OSError as error:
        return "", str(error)
    lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    return done.stdout, lines[-1][:200] if done.returncode else None


def write_model(runner, spec, path):
    """Why it failed, or None."""
    command = [runner, "--quiet", "--random", spec, "--write-gguf"] if runner else [form.ROOT / "scripts/random_gguf", spec]
    return run([*command, path])[1]


def token_bytes(size, dtype, test):
    """Of what a step reads: all weights but an embedding that is not the head, and the cache."""
    c = form.sizes()[size]
    embedding = 0 if c["tied"] else form.dtype_bytes(dtype.removesuffix("_m"), c["vocab"] * c["hidden"])
    return test["model_size"] - embedding + form.cache_bytes(c, test["n_depth"])


def row_of(spec, test):
    """(device, columns) of peers_decode.csv or, where there was a prompt, of peers_prefill.csv."""
    size, dtype = spec.split(":")
    n = test["n_prompt"] + test["n_gen"]
    seconds, lo, hi = form.interval([ns / 1e9 / n for ns in test["samples_ns"]])
    columns = dict(model=size, dtype=dtype, kv="/".join({test["type_k"]: 0, test["type_v"]: 0}), tok_s=1 / seconds,
                   tok_s_lo=1 / hi, tok_s_hi=1 / lo, peer=PEER,
                   peer_version=f"{PEER} {test['build_commit']} ({test['build_number']})")
    if test["n_prompt"]:
        columns.update(prompt=test["n_prompt"], chunk=test["n_ubatch"], product=test["backends"])
    else:
        columns.update(context=test["n_depth"], plan="peer", bytes=token_bytes(size, dtype, test))
    return test["gpu_info"] or "host", columns


def bench(program, path, spec, arguments):
    """Yields what llama-bench says of each of its tests, a line of JSON, on the first GPU alone."""
    environment = {"CUDA_VISIBLE_DEVICES": "0", **os.environ}
    command = [program, "-m", path, *arguments, "-fa", "1", "-r", str(REPETITIONS), "-o", "jsonl"]
    printed, reason = run(command, env=environment, timeout=LIMIT_S)
    for line in printed.splitlines():
        try:
            yield spec, row_of(spec, json.loads(line))
        except (LookupError, TypeError, ValueError) as error:
            reason = reason or f"its output has not the form that is known: {type(error).__name__} {error}"
    if reason:
        yield spec, reason


def measure(program, runner, specs):
    """Yields (spec, (device, columns) or reason)."""
    found = shutil.which(program)
    if not found:
        yield "", f"absent: no program {program}"
        return
    for spec in specs:
        spec = spec if ":" in spec else spec + ":bf16"
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "random.gguf"
            reason = write_model(runner, spec, path)
            if reason:
                yield spec, reason
                continue
            for arguments in (DECODE, PREFILL):
                yield from bench(found, path, spec, arguments)
