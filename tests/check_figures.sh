#!/bin/sh
# What README.md says between its marks, and each results/<device>/REPORT.md, is what scripts/figures makes of results/. Plots may
# differ between gnuplot versions, but there is one for all that was measured.
set -eu
cd "$(dirname "$0")/.."
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -r README.md results plots scripts "$copy"
rm -f "$copy"/results/*/*.svg "$copy"/results/*/REPORT.md
"$copy/scripts/figures" 2>"$copy/log" || {
	cat "$copy/log" >&2
	exit 1
}
for file in README.md results/*/REPORT.md; do
	diff -u "$file" "$copy/$file" >&2 || {
		echo "$file differs from what scripts/figures makes of results/: make report" >&2
		exit 1
	}
done
for file in results/*/*.svg; do
	[ -s "$copy/$file" ] || {
		echo "$file: scripts/figures draws no such plot" >&2
		exit 1
	}
done

# A profile, of which there may be none yet.
header=device,model,dtype,kv,context,rows,plain_us,stamped_us,launch,layer,operation,kernel,case,shape,config,blocks,threads
echo "$header,at_us,begin_us,ready_us,us,early_us,bytes,flops,ceiling_gbps,percent,source_hash" >"$copy/results/host/profile.csv"
for row in 0,-1,embed,embed,,,,1,1,0,0.1,0.1,2,0,1000 1,0,qkv,gemv,,,,1,1,2,-1,0.5,3,1,4000 2,0,attention,gqa_attention,,,,1,1,5,-0.5,1,4,0.5,500; do
	echo "host,planted,bf16,bf16,20,tuned,9,9,$row,10,30,5,0" >>"$copy/results/host/profile.csv"
done
"$copy/scripts/figures" 2>"$copy/log" && grep -q 'planted.*one token' "$copy/results/host/profile.svg" || {
	cat "$copy/log" >&2
	echo "no plot of a profile" >&2
	exit 1
}

# Prompts, too.
header=device,model,dtype,kv,prompt,chunk,product,tok_s,tok_s_lo,tok_s_hi,flops,tflops,joule,source_hash
printf '%s\nhost,planted,bf16,bf16,512,64,gemm f32,100,99,101,1e9,0.2,,0\n' "$header" >"$copy/results/host/prefill.csv"
"$copy/scripts/figures" 2>"$copy/log" && grep -q '^| planted | bf16, bf16 | 512 | 64 | gemm f32 |' "$copy/results/host/REPORT.md" || {
	cat "$copy/log" >&2
	echo "no table of prompts" >&2
	exit 1
}

# Attention's peers, too.
printf '%s\n%s\n' kernel,case,shape,state,launch,status,peer,peer_version,us,date \
	"gqa_attention,head_dim=64 group=7 kv=bf16,14/2/64@1024,cold,graph,ok,planted,1,50,2026-01-01" >"$copy/results/host/peers.csv"
"$copy/scripts/figures" 2>"$copy/log" && grep -q '14/2/64 best peer' "$copy/results/host/attention.svg" || {
	cat "$copy/log" >&2
	echo "no peer in the plot of attention" >&2
	exit 1
}
