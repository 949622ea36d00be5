#!/bin/sh
# What scripts/report says of a device with a row of each kind: goals, peers, plain reads, what failed.
set -eu
cd "$(dirname "$0")/.."
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
mkdir "$results/test-gpu"

cat >"$results/goals.csv" <<'CSV'
device,what,dtype,shape,state,unit,pass,goal,record,peer,peer_value,peer_source
Test GPU,gemv,bf16,8x32,cold,us,,2.4,,cublas,9,"someone, 2020"
Test GPU,gemv,q8_0,8x64,cold,read %,,88,,,,
Test GPU,rms_norm,bf16,64,hot,us,1.3,1.3,,torch-compile,1.25,"someone, 2021"
Other GPU,rms_norm,bf16,64,hot,us,,0.1,,nobody,0.1,elsewhere
Test GPU,tiny,bf16,1024,decode,tok/s,100,300,400,llama,50,"someone, 2022"
CSV

# device kernel case shape state launch us percent peer peer_us status reason choice read_us read_percent peer_version peer_ratio
# empty_us, "-" for an empty cell
columns='device kernel case shape state launch us percent peer peer_us status reason choice read_us read_percent peer_version peer_ratio empty_us'
{
	echo "$columns,us_lo,us_hi,ceiling,ceiling_gbps,sm_mhz,watt,driver,toolkit,source_hash,date,throttle" | tr ' ' ','
	sed 's/ /,/g; s/@@/%/g; s/@/ /g; s/%/@/g; s/,-/,/g; s/$/,1,2,read,4000,1980,200,580,CUDA 13.0,abc,2026-01-02,/' <<'ROWS'
Test@GPU gemv w=bf16@x=bf16@epilogue=none 8x32 cold graph 9 50 - - ok - tuned 1.5 17 - - -
Test@GPU gemv w=bf16@x=bf16@epilogue=none 8x32 cold graph 2.5 50 cublaslt 3.2 ok - tuned 2 80 13.1.0@way@3 0.784 1
Test@GPU gemv w=bf16@x=bf16@epilogue=none 8x32 cold graph 2.1 50 - - ok - default - - - - -
Test@GPU gemv w=q8_0@x=f32@epilogue=none 8x64 cold graph 2.3 50 - - ok - default 2 87 - - 1
Test@GPU gemv w=q8_0@x=f32@epilogue=none 8x64 cold single 8 50 - - ok - default - - - - -
Test@GPU gqa_attention head_dim=64@kv=bf16 14/2/64@@1024 cold graph 4 50 - - ok - tuned - - - - -
Test@GPU gqa_attention head_dim=64@kv=bf16 14/2/64@@127 cold graph 3.5 50 - - ok - tuned - - - - -
Test@GPU gqa_attention head_dim=64@kv=bf16 14/2/64@@256 cold graph 3.8 50 - - ok - tuned - - - - -
Test@GPU gqa_attention head_dim=64@kv=q8_0 14/2/64@@127 cold graph 2.5 50 - - ok - tuned - - - - -
ROWS
	sed 's/ /,/g; s/@/ /g; s/,-/,/g; s/$/,1,2,copy,3000,1980,200,580,CUDA 13.0,abc,2026-01-03,slow_clock/' <<'ROWS'
Test@GPU rms_norm x=f32@residual=0 64 hot graph 1.29 50 - - ok - default - - - - 1.01
Test@GPU rms_norm x=f32@residual=0 64 chain graph 1.1 50 - - ok - default - - - - 0.8
Test@GPU rms_norm x=f32@residual=0 128 hot graph - - - - wrong y[3]@is@off default - - - - -
ROWS
} >"$results/test-gpu/bench.csv"
cat >"$results/test-gpu/peers.csv" <<'CSV'
kernel,case,shape,state,launch,status,peer,peer_version,us,date
gemv,w=bf16 x=bf16,8x32,cold,graph,ok,torch-mv,torch 2,1.5,2026-01-01
gemv,w=bf16 x=bf16,8x32,cold,graph,ok,torch-mv,torch 3,3.0,2026-01-02
gqa_attention,head_dim=64 kv=bf16,14/2/64@127,cold,graph,ok,sdpa,torch 2,3.2,2026-01-02
gqa_attention,head_dim=64 kv=bf16,14/2/64@127,cold,graph,ok,flashinfer,0.7,5,2026-01-02
gqa_attention,head_dim=64 kv=bf16,14/2/64@1024,cold,graph,ok,sdpa,torch 2,6,2026-01-02
gqa_attention,head_dim=64 kv=bf16,14/2/64@1024,cold,graph,ok,flashinfer,0.7,5,2026-01-02
gqa_attention,head_dim=64 kv=bf16,14/2/64@1024,cold,single,ok,flashinfer,0.7,1,2026-01-02
gqa_attention,head_dim=64 kv=q8_0,14/2/64@127,cold,graph,ok,flashinfer,0.7,2,2026-01-02
CSV
cat >"$results/test-gpu/decode.csv" <<'CSV'
device,model,dtype,kv,context,plan,tok_s,tok_s_lo,tok_s_hi,percent,joule,sm_mhz,throttle
Test GPU,tiny,bf16,bf16,1024,tuned,200,199,201,25,0.5,1755,power_cap
CSV
cat >"$results/test-gpu/peers_decode.csv" <<'CSV'
model,dtype,kv,context,peer,tok_s,peer_version,date
tiny,bf16,bf16,1024,fast,160,v2,2026-01-01
tiny,bf16,bf16,1024,slow,90,v1,2026-01-01
CSV
cat >"$results/test-gpu/prefill.csv" <<'CSV'
device,model,dtype,kv,prompt,chunk,product,tok_s,tok_s_lo,tok_s_hi,flops,tflops,joule,source_hash
Test GPU,tiny,bf16,bf16,4096,1024,cublas 12.0.0 bf16,900,890,910,4e12,0.9,0.1,abc
Test GPU,tiny,bf16,bf16,4096,1024,cublas 13.0.2 bf16,43210,43100,43300,4e12,41.23,0.0151,abc
Test GPU,tiny,bf16,bf16,4096,1,steps,210,209,211,4e12,0.2,,abc
CSV
# Two profiles of one model: the second counts. One from before stamps had a cost.
cat >"$results/test-gpu/profile.csv" <<'CSV'
model,dtype,kv,context,rows,plain_us,launch,operation,us,early_us,ready_us,bytes,ceiling_gbps,raw_us,stamp_us,stamp_lo_us,stamp_hi_us
tiny,bf16,bf16,20,tuned,9,0,qkv,9,0,0,1000,4000,,,,
tiny,bf16,bf16,20,tuned,10,0,qkv,2,0.1,0.5,2000000,4000,2.2,0.2,0.19,0.21
tiny,bf16,bf16,20,tuned,10,1,down,5,0,0.1,4000000,4000,5,0.1,-0.1,0.3
tiny,bf16,bf16,20,tuned,10,2,qkv,4,0.3,-0.1,4000000,4000,4.2,0.2,0.19,0.21
tiny,bf16,bf16,40,tuned,9,0,qkv,9,0,0,1000000,4000,,,,
CSV

cat >"$results/test-gpu/gains.csv" <<'CSV'
model,context,kernel,case,shape,launches,verdict,percent,percent_lo,percent_hi,alone_percent,winner_percent,launch_us,config,tok_s
tiny,1024,gemv,w=bf16,8x32,24,win,1,1,1,,,9.9,rows=1,
tiny,1024,gemv,w=bf16,8x32,24,win,7.12,6.98,7.51,25,-3.35,1.9,rows=4,
tiny,1024,advance,history=1,1,1,default,,,,,,1.2,warps=1,
tiny,1024,gqa_attention,kv=bf16,7/1/64@1024,24,win,2,1,3,,,3.5,splits=2,
small,1024,gqa_attention,kv=bf16,7/1/64@1024,24,win,4,3,5,,,4.5,splits=4,
tiny,1024,gqa_attention,kv=bf16,7/1/64@1024 beside q4_k,12,win,6,5,7,,,5.5,splits=8,
tiny,1024,gqa_attention,kv=bf16,7/1/64@1024 beside q5_k,12,win,8,7,9,,,6.5,splits=1,
tiny,1024,step,,,,,,,,,,,defaults,1500
tiny,1024,step,,,,,16.16,15.8,16.4,,,,confirmed,1742.4
CSV

scripts/report "$results/test-gpu" >"$results/report"
while IFS= read -r line; do
	grep -qF -- "$line" "$results/report" || {
		cat "$results/report" >&2
		echo "the report lacks: $line" >&2
		exit 1
	}
done <<'LINES'
Kernels measured 2026-01-02 to 2026-01-03, driver 580, CUDA 13.0. Ceilings of the last run: read 4000 GB/s, copy 3000 GB/s. Sources abc.
| 8x32 | w=bf16 x=bf16 epilogue=none | tuned | 2.500 | 2.4 missed | torch-mv | 3.000 | 0.833 | 1.500 | 60.0 % | 50.0 % | 1980, 200 W |
| 8x64 | w=q8_0 x=f32 epilogue=none | default | 2.300 | – | – | – | – | 2.000 | 87.0 %, goal 88 | 50.0 % | 1980, 200 W |
Faster than the best peer: 1 of the 1 rows that have one; ours / peer is at most 0.833, at 8x32.
| 14/2/64@127 | head_dim=64 kv=bf16 | tuned | 3.500 | – | sdpa | 3.200 | 1.094 | – | – | 50.0 % | 1980, 200 W |
| 14/2/64@256 | head_dim=64 kv=bf16 | tuned | 3.800 | – | – | – | – | – | – | 50.0 % | 1980, 200 W |
| 14/2/64@1024 | head_dim=64 kv=bf16 | tuned | 4.000 | – | flashinfer | 5.000 | 0.800 | – | – | 50.0 % | 1980, 200 W |
| 14/2/64@127 | head_dim=64 kv=q8_0 | tuned | 2.500 | – | flashinfer | 2.000 | 1.250 | – | – | 50.0 % | 1980, 200 W |
Faster than the best peer: 1 of the 3 rows that have one; ours / peer is at most 1.250, at 14/2/64@127.
| 64 | x=f32 residual=0 | default | 1.290 | 1.3 met | torch-compile† | 1.250 | 1.032 | 1.01 | – | 1.100 | – |
| tiny | bf16, bf16 | 1024 | tuned | 200.0 (199.0–201.0) | 100 met | 300 missed | 400 missed | fast | 160.0 | 1.25 | 25.0 % | 0.500 | 1755, power_cap |
| tiny | bf16, bf16 | 4096 | 1024 | cublas 13.0.2 bf16 | 43210 (43100–43300) | 41.23 | 15.1 |
| tiny | bf16, bf16 | 4096 | 1 | steps | 210.0 (209.0–211.0) | 0.2000 | – |
tiny bf16, bf16 cache, context 20, tuned rows: a step takes 10.00 µs, its launches add up to 11.00 µs (+10.0 %).
| qkv | 2 | 6.000 | 54.5 % | 0.20 | 0.25 | 6.000 | 25.0 % | 6.400 | 0.200 (0.190 0.210) |
| down | 1 | 5.000 | 45.5 % | 0.00 | 0.10 | 4.000 | 20.0 % | 5.000 | 0.100 (-0.100 0.300) unsure |
| qkv | 1 | 9.000 | 100.0 % | 0.00 | 0.00 | 1.000 | 2.8 % | – | – |
| tiny at 1024 | gemv 8x32 | w=bf16 | 24 × 1.90 | +25.00 | -3.35 | +7.12 (+6.98 +7.51) | win |
| tiny at 1024 | advance 1 | history=1 | 1 × 1.20 | – | – | – | default |
| small at 1024 | gqa_attention 7/1/64@1024 | kv=bf16 | 24 × 4.50 | – | – | +4.00 (+3.00 +5.00) | win |
| tiny at 1024 | gqa_attention 7/1/64@1024 beside q4_k | kv=bf16 | 12 × 5.50 | – | – | +6.00 (+5.00 +7.00) | win |
| tiny at 1024 | gqa_attention 7/1/64@1024 beside q5_k | kv=bf16 | 12 × 6.50 | – | – | +8.00 (+7.00 +9.00) | win |
| tiny at 1024 | defaults | 1500 | – |
| tiny at 1024 | confirmed | 1742 | +16.16 (+15.80 +16.40) |
- rms_norm x=f32 residual=0 128 hot graph default: wrong: y[3] is off
Peers, measured on this device: cublaslt: 13.1.0; fast: v2; flashinfer: 0.7; sdpa: torch 2; slow: v1; torch-mv: torch 3.
† not measured beside ours, but cited: torch-compile: someone, 2021.
LINES
[ "$(grep -c '^| ' "$results/report")" = 29 ] || {
	cat "$results/report" >&2
	echo "a row too many or too few" >&2
	exit 1
}

# Lengths in their order, whichever was measured first.
grep -o '^| 14/2/64@[0-9]* | [^|]*kv=bf16' "$results/report" | grep -o '@[0-9]*' | tr -d '\n' | grep -qx '@127@256@1024' || {
	cat "$results/report" >&2
	echo "lengths of attention are not in order" >&2
	exit 1
}

# What was not measured has no heading; a folder may have prompts alone.
mkdir "$results/no-prompts" "$results/prompts-alone"
cut -d, -f1-11 "$results/test-gpu/decode.csv" >"$results/no-prompts/decode.csv" # from before it said at what clock
cp "$results/test-gpu/prefill.csv" "$results/prompts-alone"
if scripts/report "$results/no-prompts" | grep -q '^## Prompts'; then
	echo "a table of prompts that were not measured" >&2
	exit 1
fi
[ "$(scripts/report "$results/prompts-alone" | grep -c '^# Test GPU$\|^## Prompts$')" = 2 ] || {
	echo "no report of prompts alone" >&2
	exit 1
}
