#!/bin/sh
# check_peers.sh WARPSMITH-RUN: bench/peers with a llama-bench that prints in the form of llama.cpp 0c1e570: it is given a file of
# random weights, and its rows are those of decode.csv and prefill.csv.
set -eu
runner=$1
root=$(cd "$(dirname "$0")/.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/bin" "$folder/tmp"
TMPDIR=$folder/tmp
export TMPDIR

cat >"$folder/bin/llama-bench" <<'END'
#!/usr/bin/env python3
import json, sys
flags = dict(zip(sys.argv[1::2], sys.argv[2::2]))
with open(flags["-m"], "rb") as file:
    assert file.read(8) == b"GGUF\3\0\0\0"
assert (flags["-fa"], flags["-r"], flags["-o"]) == ("1", "6", "jsonl"), flags
recorded = {
    "build_commit": "0c1e570", "build_number": 1, "cpu_info": "AMD EPYC", "gpu_info": "NVIDIA GeForce RTX 4080", "backends": "CUDA",
    "model_filename": flags["-m"], "model_type": "qwen2 1B Q4_0", "model_size": 278139392, "model_n_params": 494032768,
    "n_batch": 2048, "n_ubatch": 512, "n_threads": 2, "cpu_mask": "0x0", "cpu_strict": False, "poll": 50, "type_k": "f16",
    "type_v": "f16", "n_gpu_layers": -1, "n_cpu_moe": 0, "split_mode": "layer", "main_gpu": 0, "no_kv_offload": False,
    "flash_attn": 1, "devices": "auto", "tensor_split": "0.00", "tensor_buft_overrides": "none", "load_mode": "auto",
    "lazy_mode": "auto", "embeddings": False, "no_op_offload": 0, "no_host": False, "repack": True, "fit_target": 0,
    "fit_min_ctx": 0, "n_prompt": 0, "n_gen": 0, "n_depth": 0, "test_time": "2026-11-30T09:25:16Z", "avg_ns": 0, "stddev_ns": 0,
    "avg_ts": 0.0, "stddev_ts": 0.0}
spread = [1.01, 0.98, 1.0, 1.02, 1.0, 0.99]

def tell(seconds, **changes):
    samples = [round(1e9 * seconds * s) for s in spread]
    print(json.dumps({**recorded, **changes, "samples_ns": samples, "samples_ts": [1e9 / s for s in samples]}))

if flags["-n"] != "0":
    assert flags["-p"] == "0"
    for depth in flags["-d"].split(","):
        tell(0.32 if depth == "1024" else 0.64, n_gen=int(flags["-n"]), n_depth=int(depth))
else:
    for size in flags["-ub"].split(","):
        tell(2.0, n_prompt=int(flags["-p"]), n_ubatch=int(size))
END
# A file is enough for what is not about weights.
cat >"$folder/bin/runner" <<'END'
#!/bin/sh
case "$*" in
*no-size*) echo "warpsmith-run: --random: unknown model 'no-size'" >&2 && exit 2 ;;
esac
for file; do :; done
printf 'GGUF\003\000\000\000' >"$file"
END
sed '/^else:/,$d; s/278139392/4677120000/; /tell(0.32/a\        print("error: out of memory", file=sys.stderr); sys.exit(1)' "$folder/bin/llama-bench" >"$folder/bin/broken"
printf '#!/bin/sh\necho "| model | t/s |"\n' >"$folder/bin/other"
printf '#!/bin/sh\necho "{}"\n' >"$folder/bin/empty"
chmod +x "$folder"/bin/*

peers() {
	python3 -B "$root/bench/peers/peers.py" --csv "$folder/results" --only llama "$@" >"$folder/out" 2>"$folder/err"
}

wrong() {
	echo "check_peers: $*" >&2
	cat "$folder/out" "$folder/err" >&2
	exit 1
}

# fails MESSAGE OPTION...: nothing is measured, and one line says why.
fails() {
	message=$1
	shift
	! peers "$@" || wrong "no failure: $*"
	grep -qF "$message" "$folder/err" || wrong "nothing says '$message'"
	[ ! -e "$folder/results" ] || wrong "a row of what failed: $*"
}

fails "llama.cpp: absent: no program llama-bench-of-nobody" --llama-bench llama-bench-of-nobody
fails "llama.cpp no-size:q8_0: warpsmith-run: --random: unknown model 'no-size'" --llama-bench "$folder/bin/llama-bench" \
	--runner "$folder/bin/runner" --models no-size:q8_0
for way in other empty; do
	fails "llama.cpp qwen2.5-7b:q8_0: its output has not the form that is known" --llama-bench "$folder/bin/$way" \
		--runner "$folder/bin/runner" --models qwen2.5-7b:q8_0
done

# same NAME EXPECTED: a CSV without its dates.
same() {
	sed 's/,[^,]*$//' "$folder/results/nvidia-geforce-rtx-4080/$1" | diff - "$folder/expected" >&2 || wrong "$1 differs"
}

PATH=$folder/bin:$PATH
peers --runner "$runner" --models qwen2.5-0.5b:q4_0 || wrong "the recorded peer failed"
gpu="NVIDIA GeForce RTX 4080"
peer="llama.cpp,llama.cpp 0c1e570 (1)"
cat >"$folder/expected" <<END
device,model,dtype,kv,context,plan,tok_s,tok_s_lo,tok_s_hi,bytes,ceiling_gbps,percent,joule,source_hash,sm_mhz,watt,throttle,peer,peer_version
$gpu,qwen2.5-0.5b,q4_0,f16,1024,peer,200,196.078,204.082,290722304,,,,,,,,$peer
$gpu,qwen2.5-0.5b,q4_0,f16,32768,peer,100,98.0392,102.041,680792576,,,,,,,,$peer
END
same peers_decode.csv
cat >"$folder/expected" <<END
device,model,dtype,kv,prompt,chunk,product,tok_s,tok_s_lo,tok_s_hi,flops,tflops,joule,source_hash,peer,peer_version
$gpu,qwen2.5-0.5b,q4_0,f16,4096,512,CUDA,2048,2007.84,2089.8,,,,,$peer
$gpu,qwen2.5-0.5b,q4_0,f16,4096,2048,CUDA,2048,2007.84,2089.8,,,,,$peer
END
same peers_prefill.csv

# What was measured before a failure stays; an embedding that is not the head is not read.
rm -r "$folder/results"
peers --llama-bench broken --runner "$folder/bin/runner" --models qwen2.5-7b || wrong "a row was lost"
grep -qF "llama.cpp qwen2.5-7b:bf16: error: out of memory" "$folder/err" || wrong "the failure is not named"
bytes=$((4677120000 - 152064 * 3584 * 2 + 28 * 4 * 128 * 2 * 2 * 1024))
grep -q "^$gpu,qwen2.5-7b,bf16,f16,1024,peer,.*,$bytes,,,,,,,,llama.cpp" "$folder/results/nvidia-geforce-rtx-4080/peers_decode.csv" ||
	wrong "bytes of a token differ from $bytes"
[ -z "$(ls "$folder/tmp")" ] || wrong "files are left"
