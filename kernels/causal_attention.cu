// math:   out = softmax(q k^T / sqrt(D)) v over the keys up to the query's own, online, in f32.
// layout: a block has warps * rows queries of one key/value head, the heads of a group and tokens
//         after each other; it visits the keys in tiles. Lanes share keys, then elements.
// bound:  arithmetic: a tile is read once for all queries of the block.
#include "core/variants.h"
#include "kernels/causal_attention.h"
#include "kernels/vec.h"

namespace
{

template <causal_attention_case K, causal_attention_config C>
struct causal {
	static constexpr int threads = C.warps * simt::kWarp;
	static constexpr int block_rows = C.warps * C.rows;
	static constexpr int lane_keys = C.keys / simt::kWarp;
	static constexpr int max_dim = K.head_dim ? K.head_dim : CAUSAL_ATTENTION_MAX_HEAD_DIM;
	static constexpr int lane_dims = (max_dim + simt::kWarp - 1) / simt::kWarp;
};

/* Where things are in shared memory. */
struct causal_smem {
	float *q, *k, *v, *weight; /* (rows, dim), (keys, key stride), (keys, dim), (rows, keys) */
	int dim, key_stride;
};

/* What the rows of a warp have seen so far. */
template <causal_attention_case K, causal_attention_config C>
struct causal_state {
	float top[C.rows], sum[C.rows];             /* in base 2; the sum of this lane's keys */
	float out[C.rows][causal<K, C>::lane_dims]; /* elements lane, lane + kWarp, ... */
};

/* Row r of a key/value head: head r % group of the group, token r / group. */
SIMT_FN int causal_token(const causal_attention_args &a, int row)
{
	const int token = row / (a.n_heads / a.n_kv_heads);
	return token < a.n ? token : a.n - 1;
}
SIMT_FN int causal_head(const causal_attention_args &a, int row)
{
	const int group = a.n_heads / a.n_kv_heads;
	return blockIdx.y * group + row % group;
}

/* The block's queries, scaled so that weights are powers of two. */
template <causal_attention_case K, causal_attention_config C>
SIMT_FN void load_queries(const causal_attention_args &a, const causal_smem &s, int first)
{
	const float scale = a.scale * 1.44269504f;
	for (int i = threadIdx.x * 4; i < causal<K, C>::block_rows * s.dim;
	     i += causal<K, C>::threads * 4) {
		const int row = first + i / s.dim;
		const size_t at = (size_t)causal_token(a, row) * a.n_heads + causal_head(a, row);
		float q[4];
		vec::load<DTYPE_F32>(a.q, at * s.dim + i % s.dim, q);
		vec::scale(q, scale);
		vec::store<DTYPE_F32>(s.q, i, q);
	}
}

/* Keys and values `start` .. of the block's head; zeros from `end` on. */
template <causal_attention_case K, causal_attention_config C>
SIMT_FN void load_tile(const causal_attention_args &a, const causal_smem &s, int start, int end)
{
	constexpr int chunk = vec::kChunk<K.kv>;
	for (int i = threadIdx.x * chunk; i < C.keys * s.dim; i += causal<K, C>::threads * chunk) {
		const int key = i / s.dim, e = i % s.dim;
		float k[chunk], v[chunk];
		vec::fill(k, 0.0f);
		vec::fill(v, 0.0f);
		if (start + key < end) {
			const size_t row = (size_t)blockIdx.y * a.capacity + start + key;
			vec::load<K.kv>(a.k, row * s.dim + e, k);
			vec::load<K.kv>(a.v, row * s.dim + e, v);
		}
		vec::store<DTYPE_F32>(s.k, key * s.key_stride + e, k);
		vec::store<DTYPE_F32>(s.v, i, v);
	}
}

/* Scores of the warp's rows against keys lane, lane + kWarp, ... of the tile. */
template <causal_attention_case K, causal_attention_config C>
SIMT_FN void tile_scores(const causal_smem &s, const float *q,
                         float (&score)[causal<K, C>::lane_keys][C.rows])
{
#pragma unroll
	for (int j = 0; j < causal<K, C>::lane_keys; j++) {
		const float *k = s.k + (simt::lane_id() + j * simt::kWarp) * s.key_stride;
		simt::partial sum[C.rows];
#pragma unroll 2
		for (int e = 0; e < s.dim; e += 8) {
			float key[8], query[8];
			vec::load<DTYPE_F32>(k, e, key);
#pragma unroll
			for (int r = 0; r < C.rows; r++) {
				vec::load<DTYPE_F32>(q, r * s.dim + e, query);
				simt::dot(sum[r], query, key);
			}
		}
#pragma unroll
		for (int r = 0; r < C.rows; r++)
			score[j][r] = simt::total(sum[r]);
	}
}

/* Weights of the tile into shared memory; what is kept so far is scaled to the new maximum. A row
 * sees keys before its end[r]. */
template <causal_attention_case K, causal_attention_config C>
SIMT_FN void tile_weights(const float (&score)[causal<K, C>::lane_keys][C.rows],
                          const int (&end)[C.rows], int start, float *weight,
                          causal_state<K, C> &state)
{
	constexpr int lane_keys = causal<K, C>::lane_keys;
	float top[C.rows];
#pragma unroll
	for (int r = 0; r < C.rows; r++) {
		top[r] = state.top[r];
#pragma unroll
		for (int j = 0; j < lane_keys; j++)
			if (start + simt::lane_id() + j * simt::kWarp < end[r])
				top[r] = simt::max(top[r], score[j][r]);
	}
	simt::group_max_n<simt::kWarp>(top);
#pragma unroll
	for (int r = 0; r < C.rows; r++) {
		const float kept = simt::exp2_fast(state.top[r] - top[r]);
		state.top[r] = top[r];
		state.sum[r] *= kept;
		vec::scale(state.out[r], kept);
#pragma unroll
		for (int j = 0; j < lane_keys; j++) {
			const int key = simt::lane_id() + j * simt::kWarp;
			const bool seen = start + key < end[r];
			const float w = seen ? simt::exp2_fast(score[j][r] - top[r]) : 0.0f;
			state.sum[r] += w;
			weight[r * C.keys + key] = w;
		}
	}
}

/* out += weights times values of the tile. */
template <causal_attention_case K, causal_attention_config C>
SIMT_FN void tile_values(const causal_smem &s, const float *weight, causal_state<K, C> &state)
{
	constexpr int lane_dims = causal<K, C>::lane_dims;
#pragma unroll 1
	for (int key = 0; key < C.keys; key += 4) {
		float w[C.rows][4];
#pragma unroll
		for (int r = 0; r < C.rows; r++)
			vec::load<DTYPE_F32>(weight, r * C.keys + key, w[r]);
#pragma unroll
		for (int j = 0; j < 4; j++) {
			float v[lane_dims];
#pragma unroll
			for (int e = 0; e < lane_dims; e++) {
				const int at = simt::lane_id() + e * simt::kWarp;
				v[e] = at < s.dim ? s.v[(key + j) * s.dim + at] : 0.0f;
			}
#pragma unroll
			for (int r = 0; r < C.rows; r++)
				vec::axpy(state.out[r], w[r][j], v);
		}
	}
}

} // namespace

template <causal_attention_case K, causal_attention_config C>
__global__ void __launch_bounds__(C.warps *simt::kWarp, 1)
        causal_attention(const causal_attention_args a)
{
	SIMT_DYN_SMEM(float, smem);
	using shape = causal<K, C>;
	causal_smem s;
	s.dim = K.head_dim ? K.head_dim : a.head_dim;
	s.key_stride = causal_attention_key_stride(s.dim);
	s.q = smem;
	s.k = s.q + shape::block_rows * s.dim;
	s.v = s.k + C.keys * s.key_stride;
	s.weight = s.v + C.keys * s.dim;
	/* blocks with most keys first */
	const int first = (gridDim.x - 1 - blockIdx.x) * shape::block_rows;
	const int mine = simt::warp_id() * C.rows;
	const int last = causal_token(a, first + shape::block_rows - 1);
	float *weight = s.weight + mine * C.keys;
	causal_state<K, C> state;
	int end[C.rows];
#pragma unroll
	for (int r = 0; r < C.rows; r++) {
		end[r] = a.position + causal_token(a, first + mine + r) + 1;
		state.top[r] = -1e30f;
		state.sum[r] = 0.0f;
		vec::fill(state.out[r], 0.0f);
	}
	simt::grid_launch_dependents();
	simt::grid_wait();

	load_queries<K, C>(a, s, first);
	for (int start = 0; start <= a.position + last; start += C.keys) {
		float score[shape::lane_keys][C.rows];
		simt::sync_block();
		load_tile<K, C>(a, s, start, a.position + last + 1);
		simt::sync_block();
		tile_scores<K, C>(s, s.q + mine * s.dim, score);
		tile_weights<K, C>(score, end, start, weight, state);
		simt::sync_warp();
		tile_values<K, C>(s, weight, state);
	}

	simt::group_sum_n<simt::kWarp>(state.sum);
#pragma unroll
	for (int r = 0; r < C.rows; r++) {
		const int row = first + mine + r;
		if (row >= a.n * (a.n_heads / a.n_kv_heads))
			break;
		const size_t at = (size_t)causal_token(a, row) * a.out_stride +
		                  (size_t)causal_head(a, row) * s.dim;
#pragma unroll
		for (int e = 0; e < shape::lane_dims; e++) {
			const int i = simt::lane_id() + e * simt::kWarp;
			if (i < s.dim)
				vec::put<K.y>(a.out, at + i, state.out[r][e] / state.sum[r]);
		}
	}
}

DEFINE_DEFAULTS(causal_attention, CAUSAL_ATTENTION)
