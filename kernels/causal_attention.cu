// math:   out = softmax(q k^T / sqrt(D)) v over the keys up to the query's own, online, in f32.
// layout: a block has queries of one key/value head, the heads of a group and tokens after each
//         other, `rows` to a warp, with tensor cores 16; it visits the keys in tiles.
// bound:  arithmetic: a tile is read once for all queries of the block.
#include "core/variants.h"
#include "kernels/causal_attention.h"
#include "kernels/vec.h"

template <causal_attention_case K, causal_attention_config C>
struct causal {
	static constexpr int threads = C.warps * simt::kWarp;
	static constexpr int block_rows = causal_attention_rows(K, C, simt::kTarget);
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

/* Of a cache of `count` elements. */
template <causal_attention_case K>
SIMT_FN vec::planes cache_planes(const void *cache, size_t count)
{
	constexpr int quants =
	        16 / vec::kChunk<K.kv>; /* bytes of an element, where they are whole */
	return vec::planes_of<K.kv>(cache, static_cast<const char *>(cache) + count * quants,
	                            count);
}

template <int Dtype>
SIMT_FN void load_chunk(const vec::planes &p, size_t i, float (&to)[vec::kChunk<Dtype>])
{
	vec::decode<Dtype>(simt::load128(vec::at<Dtype>(p.quants, i)),
	                   vec::load_trim<Dtype>(p, (unsigned)i), i, to);
}

/* Keys and values `start` .. of the block's head; zeros from `end` on. */
template <causal_attention_case K, causal_attention_config C>
SIMT_FN void load_tile(const causal_attention_args &a, const causal_smem &s, int start, int end)
{
	constexpr int chunk = vec::kChunk<K.kv>;
	const size_t count = (size_t)a.n_kv_heads * a.capacity * s.dim;
	const vec::planes keys = cache_planes<K>(a.k, count), values = cache_planes<K>(a.v, count);
	for (int i = threadIdx.x * chunk; i < C.keys * s.dim; i += causal<K, C>::threads * chunk) {
		const int key = i / s.dim, e = i % s.dim;
		float k[chunk], v[chunk];
		vec::fill(k, 0.0f);
		vec::fill(v, 0.0f);
		if (start + key < end) {
			const size_t row = (size_t)blockIdx.y * a.capacity + start + key;
			load_chunk<K.kv>(keys, row * s.dim + e, k);
			load_chunk<K.kv>(values, row * s.dim + e, v);
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

/* By fma. */
template <causal_attention_case K, causal_attention_config C>
SIMT_FN void attend_by_fma(const causal_attention_args &a, float *smem, int first, int limit)
{
	using shape = causal<K, C>;
	causal_smem s;
	s.dim = K.head_dim ? K.head_dim : a.head_dim;
	s.key_stride = causal_attention_key_stride(s.dim);
	s.q = smem;
	s.k = s.q + shape::block_rows * s.dim;
	s.v = s.k + C.keys * s.key_stride;
	s.weight = s.v + C.keys * s.dim;
	const int mine = simt::warp_id() * C.rows;
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
	load_queries<K, C>(a, s, first);
	for (int start = 0; start < limit; start += C.keys) {
		float score[shape::lane_keys][C.rows];
		simt::sync_block();
		load_tile<K, C>(a, s, start, limit);
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

// ---------------------------------------------------------------- tensor cores

/* A warp's 16 rows: a lane has elements of rows lane / 4 and lane / 4 + 8, called its two rows. */
template <causal_attention_case K, causal_attention_config C>
struct causal_mma {
	static constexpr int dim = K.head_dim, stride = causal_attention_mma_stride(dim);
	static constexpr int steps = dim / 16; /* of a score */
	static constexpr int key_tiles = C.keys / 8;
	static constexpr int pairs = dim / 16;  /* of output tiles, of 16 elements */
	unsigned high[steps][4], low[steps][4]; /* the queries */
	float out[pairs][2][4];                 /* even and odd elements */
	float top[2], sum[2];
	int end[2];
};

/* Two floats as the sum of two bf16 each. */
SIMT_FN void split_pair(float a, float b, unsigned &high, unsigned &low)
{
	high = simt::pack_bf16(a, b);
	low = simt::pack_bf16(a - simt::bf16_lo(high), b - simt::bf16_hi(high));
}

template <causal_attention_case K, causal_attention_config C>
SIMT_FN void mma_begin(const causal_attention_args &a, int first, causal_mma<K, C> &m)
{
	const float scale = a.scale * 1.44269504f;
	const int column = simt::lane_id() % 4 * 2;
#pragma unroll
	for (int half = 0; half < 2; half++) {
		const int row = first + simt::lane_id() / 4 + 8 * half;
		const size_t at = (size_t)causal_token(a, row) * a.n_heads + causal_head(a, row);
		const float *q = a.q + at * K.head_dim + column;
		m.end[half] = a.position + causal_token(a, row) + 1;
		m.top[half] = -1e30f;
		m.sum[half] = 0.0f;
#pragma unroll
		for (int s = 0; s < m.steps; s++)
#pragma unroll
			for (int part = 0; part < 2; part++) {
				const float *x = q + 16 * s + 8 * part;
				split_pair(scale * x[0], scale * x[1], m.high[s][half + 2 * part],
				           m.low[s][half + 2 * part]);
			}
	}
#pragma unroll
	for (int p = 0; p < m.pairs; p++)
#pragma unroll
		for (int odd = 0; odd < 2; odd++)
			vec::fill(m.out[p][odd], 0.0f);
}

/* Queues copies of keys and values `start` .. into a tile (2, keys, stride); zeros from `end` on.
 */
template <causal_attention_case K, causal_attention_config C>
SIMT_FN void mma_load(const causal_attention_args &a, unsigned short *tile, int start, int end)
{
	using m = causal_mma<K, C>;
	for (int i = threadIdx.x * 8; i < C.keys * m::dim; i += causal<K, C>::threads * 8) {
		const int key = i / m::dim, e = i % m::dim;
		const bool there = start + key < end;
		const size_t row = (size_t)blockIdx.y * a.capacity + (there ? start + key : 0);
		unsigned short *to = tile + key * m::stride + e;
		simt::cp_async16_or_zero(
		        to, static_cast<const unsigned short *>(a.k) + row * m::dim + e, there);
		simt::cp_async16_or_zero(
		        to + C.keys * m::stride,
		        static_cast<const unsigned short *>(a.v) + row * m::dim + e, there);
	}
	simt::cp_async_commit();
}

SIMT_FN unsigned load_pair(const unsigned short *p)
{
	return *reinterpret_cast<const unsigned *>(p);
}

/* Scores of the warp's rows against the tile's keys. */
template <causal_attention_case K, causal_attention_config C>
SIMT_FN void mma_scores(const causal_mma<K, C> &m, const unsigned short *keys,
                        float (&score)[C.keys / 8][4])
{
	const unsigned short *mine =
	        keys + simt::lane_id() / 4 * m.stride + simt::lane_id() % 4 * 2;
#pragma unroll
	for (int t = 0; t < m.key_tiles; t++) {
		vec::fill(score[t], 0.0f);
#pragma unroll
		for (int s = 0; s < m.steps; s++) {
			const unsigned short *k = mine + 8 * t * m.stride + 16 * s;
			const unsigned b[2] = {load_pair(k), load_pair(k + 8)};
			simt::mma_bf16_16816(score[t], m.low[s], b, score[t]);
			simt::mma_bf16_16816(score[t], m.high[s], b, score[t]);
		}
	}
}

/* Scores become weights; what is kept so far is scaled to the new maximum. */
template <causal_attention_case K, causal_attention_config C>
SIMT_FN void mma_weights(causal_mma<K, C> &m, int start, float (&score)[C.keys / 8][4])
{
	const int first = start + simt::lane_id() % 4 * 2;
	float top[2] = {m.top[0], m.top[1]};
#pragma unroll
	for (int t = 0; t < m.key_tiles; t++)
#pragma unroll
		for (int i = 0; i < 4; i++)
			if (first + 8 * t + i % 2 < m.end[i / 2])
				top[i / 2] = simt::max(top[i / 2], score[t][i]);
	simt::group_max_n<4>(top);
	const float kept[2] = {simt::exp2_fast(m.top[0] - top[0]),
	                       simt::exp2_fast(m.top[1] - top[1])};
#pragma unroll
	for (int half = 0; half < 2; half++) {
		m.top[half] = top[half];
		m.sum[half] *= kept[half];
	}
#pragma unroll
	for (int t = 0; t < m.key_tiles; t++)
#pragma unroll
		for (int i = 0; i < 4; i++) {
			const bool seen = first + 8 * t + i % 2 < m.end[i / 2];
			score[t][i] = seen ? simt::exp2_fast(score[t][i] - top[i / 2]) : 0.0f;
			m.sum[i / 2] += score[t][i];
		}
#pragma unroll
	for (int p = 0; p < m.pairs; p++)
#pragma unroll
		for (int odd = 0; odd < 2; odd++)
#pragma unroll
			for (int i = 0; i < 4; i++)
				m.out[p][odd][i] *= kept[i / 2];
}

/* out += weights times values. Two rows of values as 32-bit words have the factors of two output
 * tiles: one of the even elements and one of the odd. */
template <causal_attention_case K, causal_attention_config C>
SIMT_FN void mma_values(causal_mma<K, C> &m, const unsigned short *values,
                        const float (&weight)[C.keys / 8][4])
{
	const unsigned short *mine =
	        values + simt::lane_id() % 4 * 2 * m.stride + simt::lane_id() / 4 * 2;
#pragma unroll
	for (int t = 0; t < m.key_tiles; t += 2) {
		unsigned high[4], low[4];
#pragma unroll
		for (int i = 0; i < 4; i++)
			split_pair(weight[t + i / 2][i % 2 * 2], weight[t + i / 2][i % 2 * 2 + 1],
			           high[i], low[i]);
#pragma unroll
		for (int p = 0; p < m.pairs; p++) {
			const unsigned short *v = mine + 8 * t * m.stride + 16 * p;
			const unsigned word[4] = {load_pair(v), load_pair(v + m.stride),
			                          load_pair(v + 8 * m.stride),
			                          load_pair(v + 9 * m.stride)};
			const unsigned even[2] = {simt::low_halves(word[0], word[1]),
			                          simt::low_halves(word[2], word[3])};
			const unsigned odd[2] = {simt::high_halves(word[0], word[1]),
			                         simt::high_halves(word[2], word[3])};
			simt::mma_bf16_16816(m.out[p][0], low, even, m.out[p][0]);
			simt::mma_bf16_16816(m.out[p][1], low, odd, m.out[p][1]);
			simt::mma_bf16_16816(m.out[p][0], high, even, m.out[p][0]);
			simt::mma_bf16_16816(m.out[p][1], high, odd, m.out[p][1]);
		}
	}
}

/* A lane has four elements in a row of each pair of tiles. */
template <causal_attention_case K, causal_attention_config C>
SIMT_FN void mma_store(const causal_attention_args &a, int first, causal_mma<K, C> &m)
{
	simt::group_sum_n<4>(m.sum);
#pragma unroll
	for (int half = 0; half < 2; half++) {
		const int row = first + simt::lane_id() / 4 + 8 * half;
		const float scale = 1.0f / m.sum[half];
		if (row >= a.n * (a.n_heads / a.n_kv_heads))
			break;
		const size_t at = (size_t)causal_token(a, row) * a.out_stride +
		                  (size_t)causal_head(a, row) * K.head_dim +
		                  simt::lane_id() % 4 * 4;
#pragma unroll
		for (int p = 0; p < m.pairs; p++) {
			float v[4];
#pragma unroll
			for (int i = 0; i < 4; i++)
				v[i] = scale * m.out[p][i % 2][i / 2 + 2 * half];
			vec::store<K.y>(a.out, at + 16 * p, v);
		}
	}
}

/* While a tile is used the next one is copied. */
template <causal_attention_case K, causal_attention_config C>
SIMT_FN void attend_by_mma(const causal_attention_args &a, float *smem, int first, int end)
{
	constexpr int tile = 2 * C.keys * causal_mma<K, C>::stride;
	unsigned short *tiles = reinterpret_cast<unsigned short *>(smem);
	const int mine = first + simt::warp_id() * 16;
	causal_mma<K, C> m;
	mma_load<K, C>(a, tiles, 0, end);
	mma_begin<K, C>(a, mine, m);
	for (int start = 0, now = 0; start < end; start += C.keys, now ^= 1) {
		const unsigned short *keys = tiles + now * tile;
		float score[C.keys / 8][4];
		simt::cp_async_wait<0>();
		simt::sync_block();
		if (start + C.keys < end)
			mma_load<K, C>(a, tiles + (now ^ 1) * tile, start + C.keys, end);
		mma_scores<K, C>(m, keys, score);
		mma_weights<K, C>(m, start, score);
		mma_values<K, C>(m, keys + C.keys * m.stride, score);
	}
	mma_store<K, C>(a, mine, m);
}

template <causal_attention_case K, causal_attention_config C>
__global__ void __launch_bounds__(C.warps *simt::kWarp, 1)
        causal_attention(const causal_attention_args a)
{
	SIMT_DYN_SMEM(float, smem);
	/* blocks with most keys first */
	const int rows = causal<K, C>::block_rows, first = (gridDim.x - 1 - blockIdx.x) * rows;
	const int limit = a.position + causal_token(a, first + rows - 1) + 1;
	simt::grid_launch_dependents();
	simt::grid_wait();
	if constexpr (causal_attention_uses_mma(K, C, simt::kTarget))
		attend_by_mma<K, C>(a, smem, first, limit);
	else
		attend_by_fma<K, C>(a, smem, first, limit);
}

DEFINE_DEFAULTS(causal_attention, CAUSAL_ATTENTION)
