/* Every kernel, once: X(name, NAME). A new one adds its three files and a line here. */
#ifndef KERNELS_LIST_H
#define KERNELS_LIST_H

#define KERNELS(X)                      \
	X(gemv, GEMV)                   \
	X(gqa_attention, GQA_ATTENTION) \
	X(rms_norm, RMS_NORM)           \
	X(rope, ROPE)                   \
	X(kv_append, KV_APPEND)         \
	X(embed, EMBED)                 \
	X(argmax, ARGMAX)               \
	X(sample, SAMPLE)               \
	X(advance, ADVANCE)             \
	X(stream, STREAM)               \
	X(mark, MARK)                   \
	X(unpack, UNPACK)               \
	X(norm_rows, NORM_ROWS)         \
	X(gemm, GEMM)                   \
	X(rope_rows, ROPE_ROWS)         \
	X(swiglu_rows, SWIGLU_ROWS)     \
	X(causal_attention, CAUSAL_ATTENTION)

#endif
