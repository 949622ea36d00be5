# With one lane.
include(${CMAKE_CURRENT_LIST_DIR}/fault.cmake)

set(fault_model ${PROJECT_SOURCE_DIR}/tests/data/golden/q8_0-g2-d64-long.gguf)
set(fault_prompt 130,183,271,14,238,127,26,80,57,190,240,126)
set(cases_gqa_attention "X(0, 0, DTYPE_BF16)")
set(cases_rope "X(DTYPE_BF16, 1)")
set(cases_advance "X(1)")
set(cases_sample "X(DTYPE_F32, 0) X(DTYPE_F32, 1)")
set(cases_gemv "GEMV_CASES_OF(X, DTYPE_Q8_0)")
set(config_gqa_attention "")

fault(interleaved_rope kernels/gemv.cu
	"vec::put<K.x>(a.y, head * dim + i, turned.x);" "vec::put<K.x>(a.y, head * dim + 2 * i, turned.x);"
	"vec::put<K.x>(a.y, head * dim + i + dim / 2, turned.y);" "vec::put<K.x>(a.y, head * dim + 2 * i + 1, turned.y);"
	"put_cache(a, a.k_cache, at + i, turned.x);" "put_cache(a, a.k_cache, at + 2 * i, turned.x);"
	"put_cache(a, a.k_cache, at + i + dim / 2, turned.y);" "put_cache(a, a.k_cache, at + 2 * i + 1, turned.y);"
	FINDS "position 0, layer 0, operation qkv" --check)
fault(interleaved_rope_unfused kernels/rope.cu
	"head * capacity + p : head) * dim + i;" "head * capacity + p : head) * dim + 2 * i;"
	"store_run<Dtype>(base, i + half, high);" "store_run<Dtype>(base, i + 1, high);"
	FINDS "position 0, layer 0, operation rope" --check --unfused)
fault(position_never_advanced kernels/advance.cu
	"*a.position = position;" "*a.position = position - 1;"
	FINDS "position 0, operation advance (advance): 1 of 1 elements of position differ" --check)
fault(position_not_in_the_draw kernels/sample.cu
	"sample_bits(a.seed, *a.position)" "sample_bits(a.seed, 0)"
	FINDS "operation sample (sample): 1 of 1 elements of key of the drawn token differ" --check --temp 1)
fault(bias_dropped model/qwen2.c
	"b->use_bias ? lw->qkv_bias : NULL" "b->use_bias && !lw->qkv_bias ? lw->qkv_bias : NULL"
	FINDS "position 0, layer 0, operation qkv" --check)
fault(wrong_head_mapping kernels/gqa_attention.cu
	"head0 / (a.n_heads / a.n_kv_heads)" "head0 % a.n_kv_heads"
	FINDS "position 0, layer 0, operation attention" --check)
fault(cache_one_short kernels/gqa_attention.cu
	"const int len = position < a.capacity ? position + 1 : a.capacity;"
	"const int len = position > 0 ? position : 1;"
	FINDS "position 1, layer 0, operation attention" --check)
fault(split_dropped kernels/gqa_attention.cu
	"stride, t.record, t.live};" "stride, t.record, t.live - 1};"
	FINDS "scores reached the output: a split was dropped" --trace 12)
fault(last_key_skipped kernels/gqa_attention.cu
	"weigh_keys<K, C, Traced>(first, t.len," "weigh_keys<K, C, Traced>(first, t.len > 1 ? t.len - 1 : 1,"
	FINDS "position 1, layer 0, head 0: split 0 has 1 keys from key 0 on, expected 2 from key 0 on" --trace 12)
