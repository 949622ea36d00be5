// math:   out = softmax(q k^T scale) v over keys 0 .. *position, base 2, with a running maximum.
// layout: grid (kv heads, splits); splits take runs of keys in turn, so that all read neighbouring
//         memory and the first keys of each are known before the position is; in a run warps take
//         keys in turn, by fma `lanes` to a key, by mma 16 keys at a time; records of what some
//         keys contribute merge over warps, then splits.
// bound:  memory: keys and values are read once; at short lengths, the latency of three dependent
//         trips: keys, records, the last block's sum of records.
#include "core/variants.h"
#include "kernels/gqa_attention.h"
#include "kernels/vec.h"

/* Below any score, yet differences of it are finite. */
constexpr float kNoScore = -1e30f;
constexpr float kLog2e = 1.44269504f, kLn2 = 0.693147181f;

/* Elements of a key or value that a lane has at a time: 16 bytes, of q8_0 8. */
template <int Dtype>
constexpr int kv_chunk = Dtype == DTYPE_Q8_0 ? 8 : vec::kChunk<Dtype>;

/* They as loaded. */
template <int Dtype>
struct kv_raw {
	uint4 bits;
};
template <>
struct kv_raw<DTYPE_Q8_0> {
	uint2 quants;
	unsigned scale;
};

template <gqa_attention_case K, gqa_attention_config C>
struct attention {
	static constexpr bool mma = gqa_attention_uses_mma(K, C, simt::kTarget);
	static constexpr bool bulk = C.copy == COPY_BULK && gqa_attention_has_bulk(simt::kTarget);
	static constexpr bool early = bulk && C.early;
	static constexpr int group = K.group ? K.group : 1;
	static constexpr int max_lanes =
	        K.head_dim && K.head_dim / 8 < simt::kWarp ? K.head_dim / 8 : simt::kWarp;
	static constexpr int lanes = C.lanes < max_lanes ? C.lanes : max_lanes;
	static constexpr int chunk = kv_chunk<K.kv>;
	static constexpr int max_dim = K.head_dim ? K.head_dim : GQA_ATTENTION_MAX_HEAD_DIM;
	static constexpr int chunks =
	        (max_dim + lanes * chunk - 1) / (lanes * chunk); /* per lane */
	static constexpr int threads = C.warps * simt::kWarp;
	static constexpr int slots = threads / lanes; /* keys of a block at a time, times unroll */
	static constexpr bool query_in_registers = simt::kWarp > 1 && group *chunks *chunk <= 64;
	static constexpr int gather_rows = gqa_attention_gather_rows(K, C, simt::kTarget);

	/* Keys of a block in one step of all its warps: a run. */
	static constexpr int run = (mma ? C.warps * ATTENTION_TILE : slots) * C.unroll;
};

/* The work of one block. */
struct attention_task {
	int head0, kv_head;   /* first query head */
	int head_dim, record; /* floats */
	int split, live;      /* of the splits that have keys */
	int run;              /* neighbouring keys of a split */
	int len;              /* keys of all splits */
};

template <gqa_attention_case K, gqa_attention_config C>
SIMT_FN attention_task attention_split(const gqa_attention_args &a, int position)
{
	using A = attention<K, C>;
	const int n_splits = gridDim.y, head0 = blockIdx.x * A::group;
	const int head_dim = K.head_dim ? K.head_dim : a.head_dim;
	const int len = position < a.capacity ? position + 1 : a.capacity;
	const int runs = (len + A::run - 1) / A::run;
	return {head0,           K.group ? (int)blockIdx.x : head0 / (a.n_heads / a.n_kv_heads),
	        head_dim,        head_dim + ATTENTION_RECORD_TAIL,
	        (int)blockIdx.y, runs < n_splits ? runs : n_splits,
	        A::run,          len};
}

template <gqa_attention_config C, int Point>
SIMT_FN void launch_dependents()
{
	if (C.trigger == Point)
		simt::grid_launch_dependents();
}

// ---------------------------------------------------------------- fma

/* What one lane has gathered: its elements of the outputs of `group` query heads. */
template <int Group, int Chunks, int Chunk>
struct attention_state {
	float max[Group], sum[Group], ones[Group];
	float out[Group][Chunks][Chunk];
	int keys;
};

template <gqa_attention_case K, gqa_attention_config C>
using attention_state_of =
        attention_state<attention<K, C>::group, attention<K, C>::chunks, attention<K, C>::chunk>;

/* Whether chunk c of a lane is part of the head; always, but for the generic instance. */
template <gqa_attention_case K, gqa_attention_config C>
SIMT_FN bool has_chunk(const attention_task &t, int lane, int c)
{
	using A = attention<K, C>;
	return A::max_dim % (A::lanes * A::chunk) == 0 && K.head_dim
	               ? true
	               : (c * A::lanes + lane) * A::chunk < t.head_dim;
}

/* From element i on, of a cache of `count`. */
template <int Dtype>
SIMT_FN kv_raw<Dtype> load_kv(const void *cache, size_t count, size_t i)
{
	if constexpr (Dtype == DTYPE_Q8_0) {
		const char *quants = static_cast<const char *>(cache);
		return {*reinterpret_cast<const uint2 *>(quants + i),
		        reinterpret_cast<const unsigned short *>(quants + count)[i / 32]};
	} else {
		return {simt::load128(vec::at<Dtype>(cache, i))};
	}
}

template <int Dtype>
SIMT_FN void unpack_kv(const kv_raw<Dtype> &raw, float (&out)[kv_chunk<Dtype>])
{
	if constexpr (Dtype == DTYPE_Q8_0) {
		const float scale = simt::half_to_float(raw.scale);
		float quants[16];
		simt::unpack_int8(make_uint4(raw.quants.x, raw.quants.y, 0, 0), quants);
#pragma unroll
		for (int i = 0; i < 8; i++)
			out[i] = scale * quants[i];
	} else {
		vec::unpack<Dtype>(raw.bits, out);
	}
}

template <gqa_attention_case K, gqa_attention_config C>
SIMT_FN void load_query(const attention_task &t, int lane, const float *queries, int g, int c,
                        float (&q)[attention<K, C>::chunk])
{
	using A = attention<K, C>;
	vec::load<DTYPE_F32>(queries, g * t.head_dim + (c * A::lanes + lane) * A::chunk, q);
}

/* Scores of C.unroll keys against all queries, in units of log 2. Where q is too large for
 * registers, its first element is the buffer of the one in use. */
template <gqa_attention_case K, gqa_attention_config C>
SIMT_FN void score_keys(
        const attention_task &t, int lane, const float *queries,
        float (&q)[attention<K, C>::group][attention<K, C>::chunks][attention<K, C>::chunk],
        const kv_raw<K.kv> (&raw)[C.unroll][attention<K, C>::chunks],
        float (&score)[C.unroll * attention<K, C>::group])
{
	using A = attention<K, C>;
	simt::partial sum[C.unroll * A::group];
#pragma unroll
	for (int c = 0; c < A::chunks; c++) {
		if (!has_chunk<K, C>(t, lane, c))
			break;
		float k[C.unroll][A::chunk];
#pragma unroll
		for (int u = 0; u < C.unroll; u++)
			unpack_kv(raw[u][c], k[u]);
#pragma unroll
		for (int g = 0; g < A::group; g++) {
			const float(&query)[A::chunk] =
			        q[A::query_in_registers ? g : 0][A::query_in_registers ? c : 0];
			if constexpr (!A::query_in_registers)
				load_query<K, C>(t, lane, queries, g, c, q[0][0]);
#pragma unroll
			for (int u = 0; u < C.unroll; u++)
				simt::dot(sum[u * A::group + g], k[u], query);
		}
	}
#pragma unroll
	for (int i = 0; i < C.unroll * A::group; i++)
		score[i] = simt::total(sum[i]);
	simt::group_sum_n<A::lanes>(score);
}

/* Takes in C.unroll scored keys: score becomes the weight of each. */
template <gqa_attention_case K, gqa_attention_config C, bool Traced>
SIMT_FN void weigh_keys(int first, int end, attention_state_of<K, C> &s,
                        float (&score)[C.unroll * attention<K, C>::group],
                        float (&keep)[attention<K, C>::group])
{
	using A = attention<K, C>;
#pragma unroll
	for (int g = 0; g < A::group; g++) {
		float top = s.max[g];
#pragma unroll
		for (int u = 0; u < C.unroll; u++)
			if (first + u * A::slots < end)
				top = simt::max(top, score[u * A::group + g]);
		keep[g] = simt::exp2_fast(s.max[g] - top);
		s.max[g] = top;
		s.sum[g] *= keep[g];
		if (Traced)
			s.ones[g] *= keep[g];
#pragma unroll
		for (int u = 0; u < C.unroll; u++) {
			float &weight = score[u * A::group + g];
			weight = first + u * A::slots < end ? simt::exp2_fast(weight - top) : 0.0f;
			s.sum[g] += weight;
			if (Traced)
				s.ones[g] += weight * 1.0f;
		}
	}
	if (Traced)
#pragma unroll
		for (int u = 0; u < C.unroll; u++)
			s.keys += first + u * A::slots < end;
}

template <gqa_attention_case K, gqa_attention_config C>
SIMT_FN void add_values(const attention_task &t, int lane,
                        const kv_raw<K.kv> (&raw)[C.unroll][attention<K, C>::chunks],
                        const float (&weight)[C.unroll * attention<K, C>::group],
                        const float (&keep)[attention<K, C>::group], attention_state_of<K, C> &s)
{
	using A = attention<K, C>;
#pragma unroll
	for (int c = 0; c < A::chunks; c++) {
		if (!has_chunk<K, C>(t, lane, c))
			break;
		float v[C.unroll][A::chunk];
#pragma unroll
		for (int u = 0; u < C.unroll; u++)
			unpack_kv(raw[u][c], v[u]);
#pragma unroll
		for (int g = 0; g < A::group; g++) {
			vec::scale(s.out[g][c], keep[g]);
#pragma unroll
			for (int u = 0; u < C.unroll; u++)
				vec::axpy(s.out[g][c], weight[u * A::group + g], v[u]);
		}
	}
}

/* Score of the split's key number i, in natural units. */
SIMT_FN void trace_score(attention_split_trace &trace, int i, int key, float score)
{
	if (i == 0)
		trace.first_key = key;
	trace.score[i] = score * kLn2;
}

/* The first scores of a split; key `first` is number `seen` of the split's. */
template <gqa_attention_case K, gqa_attention_config C>
SIMT_FN void trace_scores(const gqa_attention_args &a, const attention_task &t, int first, int seen,
                          const float (&score)[C.unroll * attention<K, C>::group])
{
	using A = attention<K, C>;
#pragma unroll
	for (int u = 0; u < C.unroll; u++) {
		const int i = seen + u * A::slots;
		if (i >= ATTENTION_TRACE_KEYS || first + u * A::slots >= t.len)
			continue;
#pragma unroll
		for (int g = 0; g < A::group; g++)
			trace_score(a.split_trace[(t.head0 + g) * gridDim.y + t.split], i,
			            first + u * A::slots, score[u * A::group + g]);
	}
}

/* The block's keys, each group of lanes every slots-th of them. */
template <gqa_attention_case K, gqa_attention_config C, bool Traced>
SIMT_FN void attend_keys(const gqa_attention_args &a, const attention_task &t, const float *queries,
                         attention_state_of<K, C> &s)
{
	using A = attention<K, C>;
	const int lane = threadIdx.x % A::lanes, slot = threadIdx.x / A::lanes;
	const size_t head = (size_t)t.kv_head * a.capacity;
	const size_t count = (size_t)a.n_kv_heads * a.capacity * t.head_dim;

	float q[A::group][A::chunks][A::chunk];
	if constexpr (A::query_in_registers)
#pragma unroll
		for (int g = 0; g < A::group; g++)
#pragma unroll
			for (int c = 0; c < A::chunks; c++)
				if (has_chunk<K, C>(t, lane, c))
					load_query<K, C>(t, lane, queries, g, c, q[g][c]);

	for (int base = t.split * A::run, seen = slot; base < t.len;
	     base += gridDim.y * A::run, seen += A::run) {
		const int first = base + slot;
		kv_raw<K.kv> k[C.unroll][A::chunks], v[C.unroll][A::chunks];
#pragma unroll
		for (int u = 0; u < C.unroll; u++) {
			const int key =
			        first + u * A::slots < t.len ? first + u * A::slots : t.len - 1;
			const size_t row = (head + key) * t.head_dim + lane * A::chunk;
#pragma unroll
			for (int c = 0; c < A::chunks; c++) {
				if (!has_chunk<K, C>(t, lane, c))
					break;
				const size_t i = row + c * A::lanes * A::chunk;
				k[u][c] = load_kv<K.kv>(a.k, count, i);
				v[u][c] = load_kv<K.kv>(a.v, count, i);
			}
		}
		float score[C.unroll * A::group], keep[A::group];
		score_keys<K, C>(t, lane, queries, q, k, score);
		if (Traced && lane == 0)
			trace_scores<K, C>(a, t, first, seen, score);
		weigh_keys<K, C, Traced>(first, t.len, s, score, keep);
		add_values<K, C>(t, lane, v, score, keep, s);
	}
}

/* Sums the states of the warp's groups of lanes, in all of them. */
template <gqa_attention_case K, gqa_attention_config C, bool Traced>
SIMT_FN void merge_groups(attention_state_of<K, C> &s)
{
	using A = attention<K, C>;
#pragma unroll
	for (int g = 0; g < A::group; g++) {
		float top = s.max[g];
#pragma unroll
		for (int lanes = A::lanes; lanes < simt::kWarp; lanes *= 2)
			top = simt::max(top, simt::shuffle_xor(top, lanes));
		const float keep = simt::exp2_fast(s.max[g] - top);
		s.max[g] = top;
		s.sum[g] *= keep;
		s.ones[g] *= keep;
		for (int c = 0; c < A::chunks; c++)
			vec::scale(s.out[g][c], keep);
	}
#pragma unroll
	for (int lanes = A::lanes; lanes < simt::kWarp; lanes *= 2) {
#pragma unroll
		for (int g = 0; g < A::group; g++) {
			s.sum[g] += simt::shuffle_xor(s.sum[g], lanes);
			if (Traced)
				s.ones[g] += simt::shuffle_xor(s.ones[g], lanes);
#pragma unroll
			for (int c = 0; c < A::chunks; c++)
#pragma unroll
				for (int j = 0; j < A::chunk; j++)
					s.out[g][c][j] += simt::shuffle_xor(s.out[g][c][j], lanes);
		}
		if (Traced)
			s.keys += simt::shuffle_xor(s.keys, lanes);
	}
}

template <gqa_attention_case K, gqa_attention_config C>
SIMT_FN void store_records(const attention_task &t, const attention_state_of<K, C> &s,
                           float *records)
{
	using A = attention<K, C>;
	const int lane = simt::lane_id();
	if (lane >= A::lanes)
		return;
#pragma unroll
	for (int g = 0; g < A::group; g++) {
		float *record = records + (simt::warp_id() * A::group + g) * t.record;
#pragma unroll
		for (int c = 0; c < A::chunks; c++) {
			if (!has_chunk<K, C>(t, lane, c))
				break;
#pragma unroll
			for (int j = 0; j < A::chunk; j++)
				record[(c * A::lanes + lane) * A::chunk + j] = s.out[g][c][j];
		}
		if (lane == 0)
			vec::put4(record + t.head_dim,
			          {s.max[g], s.sum[g], s.ones[g], (float)s.keys});
	}
}

/* The fma path up to the records of warps; false where there is no key. */
template <gqa_attention_case K, gqa_attention_config C, bool Traced>
SIMT_FN bool gather_by_fma(const gqa_attention_args &a, attention_task &t, float *smem,
                           float *records)
{
	using A = attention<K, C>;
	simt::grid_wait();
	t = attention_split<K, C>(a, *a.position);
	if (t.split >= t.live)
		return false;
	for (int i = threadIdx.x; i < A::group * t.head_dim; i += A::threads)
		smem[i] = a.q[t.head0 * t.head_dim + i] * (a.scale * kLog2e);
	simt::sync_block();
	launch_dependents<C, 1>();

	attention_state_of<K, C> state = {};
#pragma unroll
	for (int g = 0; g < A::group; g++)
		state.max[g] = kNoScore;
	attend_keys<K, C, Traced>(a, t, smem, state);
	merge_groups<K, C, Traced>(state);
	store_records<K, C>(t, state, records);
	return true;
}

// ---------------------------------------------------------------- mma

/* A warp copies tiles of 16 keys and their values, which are contiguous, and its lanes read from
 * shared memory what they feed to tensor cores: no barrier of the block, no transposition. What an
 * instruction calls index k or column n may be any element as long as all its operands agree. Of a
 * lane, row is lane / 4 and column lane % 4.
 *	scores   queries (8 heads, high halves, then low) times 8 keys: of key `row`, in chunks of 8
 *	         elements, every fourth from `column`; a chunk is operands of two instructions
 *	outputs  weights (8 heads, high halves, then low) times values of 16 keys: of keys
 *	         2 column, + 1, + 8 and + 9, in chunks of 8 elements, every eighth from `row`; the
 *	         same element of two keys is a register
 * The score of (head row, key 2 column + i) comes out in the lane that needs it as a weight. */
template <gqa_attention_case K, gqa_attention_config C>
struct attention_tile {
	static constexpr unsigned row = K.head_dim / 8;          /* chunks */
	static constexpr int key_chunks = K.head_dim / 32;       /* of each of 2 keys */
	static constexpr int value_chunks = K.head_dim / 64;     /* of each of 4 keys */
	static constexpr int keys = ATTENTION_TILE * C.unroll;   /* of a warp's step */
	static constexpr int slot = 2 * keys * row;              /* chunks of a warp's step */
	static constexpr int copies = ATTENTION_TILE * row / 32; /* of a tile's keys, or values */
	static constexpr unsigned keys_per_copy = 32 / row;

	/* Where a slot has a chunk of tile u. Bulk copies leave the order of the cache, of which
	 * two lanes read keys, and four values, from one bank. Other copies put the 32 that an
	 * instruction reads together, in such an order that neither reading nor copying lanes meet
	 * in a bank. */
	SIMT_FN unsigned key_place(int u, unsigned key, unsigned chunk)
	{
		if (attention<K, C>::bulk)
			return (u * ATTENTION_TILE + key) * row + chunk;
		const unsigned group = key / 8 * key_chunks + chunk / 4;
		return (u * row + group) * 32 + ((key % 8 * 4 + chunk % 4) ^ chunk / 4 % 2 * 4);
	}
	SIMT_FN unsigned value_place(int u, unsigned key, unsigned chunk)
	{
		if (attention<K, C>::bulk)
			return (keys + u * ATTENTION_TILE + key) * row + chunk;
		const unsigned column = key % 8 / 2;
		const unsigned group = (key / 8 * 2 + key % 2) * value_chunks + chunk / 8;
		return (u * row + row / 2 + group) * 32 + column * 8 + (chunk + 2 * column) % 8;
	}
	/* What the lane reads: chunk c of key `half`, or of value i. */
	SIMT_FN unsigned key(int u, int half, int c)
	{
		return key_place(u, 8 * half + lane() / 4, 4 * c + lane() % 4);
	}
	SIMT_FN unsigned value(int u, int i, int c)
	{
		return value_place(u, value_row(i), 8 * c + lane() / 4);
	}
	SIMT_FN int value_row(int i) { return i / 2 * 8 + simt::lane_id() % 4 * 2 + i % 2; }
	SIMT_FN unsigned lane() { return simt::lane_id(); }
};

/* The warp's share of shared memory: C.stages slots, each for one step, and what bulk copies into
 * them arrive at. */
struct attention_ring {
	uint4 *slots;
	simt::copy_barrier *barriers;
};

/* The first chunk of a row of k, or v. */
template <gqa_attention_case K>
SIMT_FN const uint4 *cache_row(const gqa_attention_args &a, const void *cache, int key)
{
	return static_cast<const uint4 *>(cache) +
	       ((size_t)blockIdx.x * a.capacity + key) * (K.head_dim / 8);
}

template <gqa_attention_case K, gqa_attention_config C>
SIMT_FN int step_start(int step)
{
	return ((step * gridDim.y + blockIdx.y) * C.warps + simt::warp_id()) *
	       attention_tile<K, C>::keys;
}

/* Keys first .. end - 1, 16 bytes per lane, and zeros behind them. */
template <gqa_attention_case K, gqa_attention_config C>
SIMT_FN void copy_by_lanes(const gqa_attention_args &a, int first, int end, uint4 *slot)
{
	using T = attention_tile<K, C>;
	const unsigned key = T::lane() / T::row, chunk = T::lane() % T::row;
	const uint4 *keys = cache_row<K>(a, a.k, first) + T::lane();
	const uint4 *values = cache_row<K>(a, a.v, first) + T::lane();
#pragma unroll
	for (int u = 0; u < C.unroll; u++) {
#pragma unroll
		for (int i = 0; i < T::copies; i++) {
			const unsigned n = u * ATTENTION_TILE + i * T::keys_per_copy;
			simt::cp_async16_or_zero(
			        slot + T::key_place(u, i * T::keys_per_copy + key, chunk),
			        keys + n * T::row, first + (int)(n + key) < end);
		}
#pragma unroll
		for (int i = 0; i < T::copies; i++) {
			const unsigned n = u * ATTENTION_TILE + i * T::keys_per_copy;
			simt::cp_async16_or_zero(
			        slot + T::value_place(u, i * T::keys_per_copy + key, chunk),
			        values + n * T::row, first + (int)(n + key) < end);
		}
	}
}

/* Keys first .. end - 1. */
template <gqa_attention_case K, gqa_attention_config C, bool Early>
SIMT_FN void copy_in_bulk(const gqa_attention_args &a, int first, int end, uint4 *slot,
                          simt::copy_barrier *barrier)
{
	using T = attention_tile<K, C>;
	constexpr auto copy = Early ? simt::bulk_copy_early : simt::bulk_copy;
	const int rows = end - first < T::keys ? end - first : T::keys;
	const unsigned bytes = rows * T::row * sizeof(uint4);
	if (!simt::elect_lane())
		return;
	simt::bulk_expect(barrier, 2 * bytes);
	if (bytes > 0) {
		copy(slot, cache_row<K>(a, a.k, first), bytes, barrier);
		copy(slot + T::keys * T::row, cache_row<K>(a, a.v, first), bytes, barrier);
	}
}

/* Asks for the keys of a step, which there are up to `limit`, but not for those from `end` on.
 * Lanes' copies are one group for each step, be it empty. */
template <gqa_attention_case K, gqa_attention_config C, bool Early = false>
SIMT_FN void copy_step(const gqa_attention_args &a, int step, int limit, int end,
                       const attention_ring &ring)
{
	const int first = step_start<K, C>(step), stage = step % C.stages;
	uint4 *slot = ring.slots + stage * attention_tile<K, C>::slot;
	if constexpr (attention<K, C>::bulk) {
		if (first < limit)
			copy_in_bulk<K, C, Early>(a, first, end, slot, ring.barriers + stage);
	} else {
		if (first < limit)
			copy_by_lanes<K, C>(a, first, end, slot);
		simt::cp_async_commit();
	}
}

template <gqa_attention_case K, gqa_attention_config C, bool Early = false>
SIMT_FN void copy_first_steps(const gqa_attention_args &a, int limit, int end,
                              const attention_ring &ring)
{
#pragma unroll
	for (int step = 0; step < C.stages; step++)
		copy_step<K, C, Early>(a, step, limit, end, ring);
}

/* Early copies of what turned out to be no keys: none may be on its way to shared memory that is
 * another block's by then. */
template <gqa_attention_case K, gqa_attention_config C>
SIMT_FN void await_unused(const gqa_attention_args &a, int len, const attention_ring &ring)
{
#pragma unroll
	for (int step = 0; step < C.stages; step++) {
		const int first = step_start<K, C>(step);
		if (first >= len && first < a.capacity)
			simt::bulk_wait(ring.barriers + step, 0);
	}
}

/* The newest key, which the first copies left out or found half written. */
template <gqa_attention_case K, gqa_attention_config C>
SIMT_FN void fetch_newest(const gqa_attention_args &a, const attention_task &t,
                          const attention_ring &ring)
{
	using T = attention_tile<K, C>;
	const unsigned newest = t.len - 1, run = newest / attention<K, C>::run;
	const unsigned step = run / gridDim.y, key = newest % T::keys;
	const unsigned u = key / ATTENTION_TILE, chunk = T::lane() % T::row;
	if (run - step * gridDim.y != blockIdx.y || step >= C.stages ||
	    newest / T::keys % C.warps != (unsigned)simt::warp_id())
		return;
	uint4 *slot = ring.slots + step * T::slot;
	const bool of_key = T::lane() < T::row, has_chunk = T::lane() < 2 * T::row;
	uint4 newest_chunk;
	if (has_chunk)
		newest_chunk =
		        simt::load_fresh(cache_row<K>(a, of_key ? a.k : a.v, newest) + chunk);
	if constexpr (attention<K, C>::bulk) {
		simt::bulk_wait(ring.barriers + step, 0);
	} else {
		simt::cp_async_wait<0>();
		simt::sync_warp();
	}
	if (has_chunk)
		slot[of_key ? T::key_place(u, key % ATTENTION_TILE, chunk)
		            : T::value_place(u, key % ATTENTION_TILE, chunk)] = newest_chunk;
}

/* Values behind the last key, whose weights are 0: zeros, since they could be NaN. Bulk copies
 * leave them as they are, or bring what the cache has there. */
template <gqa_attention_case K, gqa_attention_config C>
SIMT_FN void clear_behind(int left, uint4 *slot)
{
	using T = attention_tile<K, C>;
	if constexpr (attention<K, C>::bulk) {
		if (left >= T::keys)
			return;
		for (int i = left * T::row + T::lane(); i < (int)(T::keys * T::row); i += 32)
			slot[T::keys * T::row + i] = {0, 0, 0, 0};
		simt::sync_warp();
	}
}

/* high + low = (x, y) to 2^-17 of each. */
SIMT_FN void split_bf16(float x, float y, unsigned &high, unsigned &low)
{
	high = simt::pack_bf16(x, y);
	low = simt::pack_bf16(x - simt::bf16_lo(high), y - simt::bf16_hi(high));
}

/* The chunks of the query of head `row` that meet the lane's chunks of keys. Rows behind the group
 * repeat its last head. */
template <gqa_attention_case K, gqa_attention_config C>
SIMT_FN void load_queries(const gqa_attention_args &a,
                          float (&q)[attention_tile<K, C>::key_chunks][8])
{
	const int row = simt::lane_id() / 4 < K.group ? simt::lane_id() / 4 : K.group - 1;
	const int first = (blockIdx.x * K.group + row) * K.head_dim + simt::lane_id() % 4 * 8;
#pragma unroll
	for (int c = 0; c < attention_tile<K, C>::key_chunks; c++)
		vec::load<DTYPE_F32>(a.q, first + 32 * c, q[c]);
}

/* As operands of two instructions per chunk, in units of log 2. */
template <int Chunks>
SIMT_FN void split_queries(float scale, const float (&q)[Chunks][8], unsigned (&to)[2 * Chunks][4])
{
#pragma unroll
	for (int c = 0; c < Chunks; c++)
#pragma unroll
		for (int i = 0; i < 4; i++) {
			unsigned *operand = to[2 * c + i / 2] + i % 2 * 2;
			split_bf16(q[c][2 * i] * scale, q[c][2 * i + 1] * scale, operand[0],
			           operand[1]);
		}
}

/* What a lane has gathered for head `row`. */
template <gqa_attention_case K>
struct attention_sums {
	float max, sum;               /* sum: over the lane's keys */
	float out[K.head_dim / 8][4]; /* element, element + 8, then their low halves */
	float ones[4];
	int keys;
};

/* Scores of the lane's keys: 2 column, + 1, + 8, + 9 of each tile. Even and odd operands are summed
 * apart, because each instruction waits for the one whose sum it adds to. */
template <gqa_attention_case K, gqa_attention_config C>
SIMT_FN void score_tiles(const uint4 *slot,
                         const unsigned (&q)[2 * attention_tile<K, C>::key_chunks][4],
                         float (&score)[C.unroll][4])
{
	using T = attention_tile<K, C>;
	float sum[C.unroll][2][2][4] = {};
#pragma unroll
	for (int c = 0; c < T::key_chunks; c++)
#pragma unroll
		for (int u = 0; u < C.unroll; u++)
#pragma unroll
			for (int half = 0; half < 2; half++) {
				const uint4 k = slot[T::key(u, half, c)];
				const unsigned even[2] = {k.x, k.y}, odd[2] = {k.z, k.w};
				float(&s)[2][4] = sum[u][half];
				simt::mma_bf16_16816(s[0], q[2 * c], even, s[0]);
				simt::mma_bf16_16816(s[1], q[2 * c + 1], odd, s[1]);
			}
#pragma unroll
	for (int u = 0; u < C.unroll; u++)
#pragma unroll
		for (int i = 0; i < 4; i++) {
			const float(&s)[2][4] = sum[u][i / 2];
			score[u][i] =
			        (s[0][i % 2] + s[1][i % 2]) + (s[0][i % 2 + 2] + s[1][i % 2 + 2]);
		}
}

/* Score becomes weight; what has been gathered is brought to the new maximum. */
template <gqa_attention_case K, gqa_attention_config C, bool Traced>
SIMT_FN void weigh_tiles(int left, float (&score)[C.unroll][4], attention_sums<K> &s)
{
	using T = attention_tile<K, C>;
	float top = s.max;
#pragma unroll
	for (int u = 0; u < C.unroll; u++)
#pragma unroll
		for (int i = 0; i < 4; i++) {
			const bool is_key = u * ATTENTION_TILE + T::value_row(i) < left;
			score[u][i] = is_key ? score[u][i] : kNoScore;
			top = simt::max(top, score[u][i]);
			s.keys += Traced && is_key;
		}
	top = simt::group_max<4>(top);
	if (simt::ballot(top > s.max)) { /* seldom, after the first steps */
		const float keep = simt::exp2_fast(s.max - top);
		s.max = top;
		s.sum *= keep;
#pragma unroll
		for (int i = 0; i < K.head_dim / 8; i++)
			vec::scale(s.out[i], keep);
		if (Traced)
			vec::scale(s.ones, keep);
	}
#pragma unroll
	for (int u = 0; u < C.unroll; u++)
#pragma unroll
		for (int i = 0; i < 4; i++) {
			score[u][i] = simt::exp2_fast(score[u][i] - top);
			s.sum += score[u][i];
		}
}

/* Element j of two chunks in one register. */
SIMT_FN unsigned pair_of(const uint4 &a, const uint4 &b, int j)
{
	const unsigned first[4] = {a.x, a.y, a.z, a.w}, second[4] = {b.x, b.y, b.z, b.w};
	return j % 2 ? simt::high_halves(first[j / 2], second[j / 2])
	             : simt::low_halves(first[j / 2], second[j / 2]);
}

template <gqa_attention_case K, gqa_attention_config C, bool Traced>
SIMT_FN void add_tiles(const uint4 *slot, const float (&weight)[C.unroll][4], attention_sums<K> &s)
{
	using T = attention_tile<K, C>;
#pragma unroll
	for (int u = 0; u < C.unroll; u++) {
		unsigned w[4];
		split_bf16(weight[u][0], weight[u][1], w[0], w[1]);
		split_bf16(weight[u][2], weight[u][3], w[2], w[3]);
#pragma unroll
		for (int c = 0; c < T::value_chunks; c++) {
			uint4 v[4];
#pragma unroll
			for (int i = 0; i < 4; i++)
				v[i] = slot[T::value(u, i, c)];
#pragma unroll
			for (int j = 0; j < 8; j++) {
				const unsigned pairs[2] = {pair_of(v[0], v[1], j),
				                           pair_of(v[2], v[3], j)};
				float(&out)[4] = s.out[8 * c + j];
				simt::mma_bf16_16816(out, w, pairs, out);
			}
		}
		if (Traced) {
			const unsigned ones[2] = {0x3f803f80, 0x3f803f80};
			simt::mma_bf16_16816(s.ones, w, ones, s.ones);
		}
	}
}

/* The first scores of a split. */
template <gqa_attention_case K, gqa_attention_config C>
SIMT_FN void trace_tile(const gqa_attention_args &a, const attention_task &t, int left,
                        const float (&score)[C.unroll][4])
{
	const int row = simt::lane_id() / 4, key = simt::lane_id() % 4 * 2;
	if (row >= K.group)
		return;
#pragma unroll
	for (int i = 0; i < 2; i++)
		if (key + i < ATTENTION_TRACE_KEYS && key + i < left)
			trace_score(a.split_trace[(t.head0 + row) * gridDim.y + t.split], key + i,
			            t.len - left + key + i, score[0][i]);
}

/* Elements 16 column .. + 15 of each 64 of head `row`, and the tail. */
template <gqa_attention_case K>
SIMT_FN void store_sums(const attention_task &t, const attention_sums<K> &s, float *record)
{
	const int column = simt::lane_id() % 4;
#pragma unroll
	for (int i = 0; i < K.head_dim / 4; i += 4) {
		const int c = i / 16, j = i % 8, part = i / 8 % 2;
		const float(*out)[4] = s.out + 8 * c + j;
		vec::put4(record + 64 * c + 16 * column + i % 16,
		          {out[0][part] + out[0][part + 2], out[1][part] + out[1][part + 2],
		           out[2][part] + out[2][part + 2], out[3][part] + out[3][part + 2]});
	}
	if (column == 0)
		vec::put4(record + t.head_dim,
		          {s.max, s.sum, s.ones[0] + s.ones[2], (float)s.keys});
}

/* The warp's steps, C.stages of them in flight. */
template <gqa_attention_case K, gqa_attention_config C, bool Traced>
SIMT_FN void attend_tiles(const gqa_attention_args &a, const attention_task &t,
                          const unsigned (&q)[2 * attention_tile<K, C>::key_chunks][4],
                          const attention_ring &ring, attention_sums<K> &s)
{
	using T = attention_tile<K, C>;
	for (int step = 0;; step++) {
		const int first = step_start<K, C>(step), left = t.len - first;
		uint4 *slot = ring.slots + step % C.stages * T::slot;
		if (left <= 0)
			break;
		if constexpr (attention<K, C>::bulk) {
			simt::bulk_wait(ring.barriers + step % C.stages, step / C.stages % 2);
		} else {
			simt::cp_async_wait<C.stages - 1>();
			simt::sync_warp(); /* each lane reads what others have copied */
		}
		clear_behind<K, C>(left, slot);
		float score[C.unroll][4];
		score_tiles<K, C>(slot, q, score);
		if (Traced && step == 0 && simt::warp_id() == 0)
			trace_tile<K, C>(a, t, left, score);
		weigh_tiles<K, C, Traced>(left, score, s);
		add_tiles<K, C, Traced>(slot, score, s);
		simt::sync_warp();
		copy_step<K, C>(a, step + C.stages, t.len, t.len, ring);
	}
	s.sum = simt::group_sum<4>(s.sum);
	if (Traced) {
		float keys[1] = {(float)s.keys};
		simt::group_sum_n<4>(keys);
		s.keys = (int)keys[0];
	}
}

/* The mma path up to the records of warps; false where there is no key. Keys before the newest are
 * as old as the last launch that was not dependent, or older: they are there before the wait. */
template <gqa_attention_case K, gqa_attention_config C, bool Traced>
SIMT_FN bool gather_by_mma(const gqa_attention_args &a, attention_task &t, float *smem,
                           float *records)
{
	using T = attention_tile<K, C>;
	constexpr int n_barriers = attention<K, C>::bulk ? C.stages : 1;
	SIMT_SHARED(simt::copy_barrier[C.warps * n_barriers], barriers);
	const attention_ring ring = {reinterpret_cast<uint4 *>(smem) +
	                                     simt::warp_id() * C.stages * T::slot,
	                             barriers + simt::warp_id() * n_barriers};
	float queries[T::key_chunks][8];
	if constexpr (attention<K, C>::bulk) {
		if (simt::elect_lane())
			for (int i = 0; i < n_barriers; i++)
				simt::copy_barrier_init(ring.barriers + i);
		simt::sync_warp();
	}
	if (!C.prefetch) {
		simt::grid_wait();
		load_queries<K, C>(a, queries);
	}
	const int position = *a.position;
	if constexpr (attention<K, C>::early)
		copy_first_steps<K, C, true>(a, a.capacity, a.capacity, ring);
	t = attention_split<K, C>(a, position);
	const bool has_keys = t.split < t.live;
	if (!attention<K, C>::early && has_keys)
		copy_first_steps<K, C>(a, t.len, C.prefetch ? t.len - 1 : t.len, ring);
	launch_dependents<C, 1>();
	if (C.prefetch) {
		simt::grid_wait();
		if (has_keys) {
			load_queries<K, C>(a, queries);
			fetch_newest<K, C>(a, t, ring);
		}
	}
	if (!has_keys) {
		if constexpr (attention<K, C>::early)
			await_unused<K, C>(a, t.len, ring);
		return false;
	}

	unsigned q[2 * T::key_chunks][4];
	split_queries(a.scale * kLog2e, queries, q);
	attention_sums<K> s = {};
	s.max = kNoScore;
	attend_tiles<K, C, Traced>(a, t, q, ring, s);
	if constexpr (attention<K, C>::early)
		await_unused<K, C>(a, t.len, ring);
	if (simt::lane_id() / 4 < K.group)
		store_sums<K>(t, s,
		              records +
		                      (simt::warp_id() * K.group + simt::lane_id() / 4) * t.record);
	return true;
}

// ---------------------------------------------------------------- records

/* Where records are: those of a block's warps in its shared memory, those of all splits in global
 * memory. */
enum records_in { IN_BLOCK, IN_MEMORY };

/* n records of each query head. */
template <records_in In>
struct attention_records {
	const float *base;
	int head_stride, stride, n; /* floats, floats, records */
};

/* What `first` is in the first record, of record i. */
template <typename T, records_in In>
SIMT_FN T load_record(const attention_records<In> &r, const float *first, unsigned i)
{
	const T *from = reinterpret_cast<const T *>(first + (size_t)i * (unsigned)r.stride);
	if constexpr (In == IN_BLOCK)
		return *from;
	else
		return simt::load_fresh(from);
}

/* How threads share the sums of a block's heads: each has `run` neighbouring elements of one head
 * from every parts-th record, `batch` of them in flight. Parts are merged by lanes of one warp. */
template <gqa_attention_case K, gqa_attention_config C, records_in In>
struct attention_share {
	using A = attention<K, C>;
	static constexpr int run = simt::kWarp > 1 ? 4 : K.head_dim ? K.head_dim : 8;
	static constexpr int blocks = In == IN_MEMORY ? C.combiners : 1;
	static constexpr int items = A::group * A::max_dim / run / blocks; /* of a block, at most */
	static constexpr int wanted = A::threads >= 8 * items   ? 8
	                              : A::threads >= 4 * items ? 4
	                              : A::threads >= 2 * items ? 2
	                                                        : 1;
	static constexpr int parts = wanted < simt::kWarp ? wanted : simt::kWarp;
	static constexpr int most = In == IN_BLOCK ? (C.warps + parts - 1) / parts : 16;
	static constexpr int batch = simt::kWarp > 1 ? most : 1;
};

/* A sum of records: `Run` of its outputs and the tail. */
template <int Run>
struct attention_total {
	float out[Run];
	float max, sum, ones, keys;
};

template <int Run>
SIMT_FN void bring_to(float top, attention_total<Run> &s)
{
	const float keep = simt::exp2_fast(s.max - top);
	s.max = top;
	s.sum *= keep;
	s.ones *= keep;
	vec::scale(s.out, keep);
}

/* Adds every parts-th record, from number `part` on; `at` and `tail` are where the thread's outputs
 * and the tail lie in the first. */
template <int Run, int Batch, bool Traced, records_in In>
SIMT_FN void add_records(const attention_records<In> &r, const float *at, const float *tail,
                         int part, int parts, attention_total<Run> &s)
{
	for (int first = part; first < r.n; first += Batch * parts) {
		float2 sums[Batch], more[Batch];
		float4 out[Batch][Run / 4];
		float top = s.max;
#pragma unroll
		for (int b = 0; b < Batch; b++) {
			const unsigned i = first + b * parts;
			const bool is_record = i < (unsigned)r.n;
			sums[b] = {kNoScore, 0};
			more[b] = {0, 0};
			if (is_record)
				sums[b] = load_record<float2>(r, tail, i);
			if (Traced && is_record)
				more[b] = load_record<float2>(r, tail + 2, i);
#pragma unroll
			for (int e = 0; e < Run / 4; e++) {
				out[b][e] = {0, 0, 0, 0};
				if (is_record)
					out[b][e] = load_record<float4>(r, at + 4 * e, i);
			}
		}
#pragma unroll
		for (int b = 0; b < Batch; b++)
			top = simt::max(top, sums[b].x);
		bring_to(top, s);
#pragma unroll
		for (int b = 0; b < Batch; b++) {
			const float f = simt::exp2_fast(sums[b].x - top);
			s.sum = simt::fma(f, sums[b].y, s.sum);
			if (Traced) {
				s.ones += f * more[b].x;
				s.keys += more[b].y;
			}
			vec::axpy(s.out, f, reinterpret_cast<const float(&)[Run]>(out[b]));
		}
	}
}

/* The sum of what neighbouring threads have, in all of them. */
template <int Parts, int Run>
SIMT_FN void merge_parts(attention_total<Run> &s)
{
	if (Parts == 1)
		return;
	bring_to(simt::group_max<Parts>(s.max), s);
	float tail[3] = {s.sum, s.ones, s.keys};
	simt::group_sum_n<Parts>(s.out);
	simt::group_sum_n<Parts>(tail);
	s.sum = tail[0];
	s.ones = tail[1];
	s.keys = tail[2];
}

/* To out, normalised, or to a record. */
template <int Run>
SIMT_FN void store_total(const attention_task &t, float *to, int element,
                         const attention_total<Run> &s, bool is_record)
{
	const float scale = is_record ? 1.0f : 1.0f / s.sum;
#pragma unroll
	for (int e = 0; e < Run; e += 4)
		vec::put4(to + element + e, {s.out[e] * scale, s.out[e + 1] * scale,
		                             s.out[e + 2] * scale, s.out[e + 3] * scale});
	if (is_record && element == 0)
		vec::put4(to + t.head_dim, {s.max, s.sum, s.ones, s.keys});
}

template <int Run>
SIMT_FN void trace_split(const gqa_attention_args &a, const attention_task &t, int head,
                         const attention_total<Run> &s)
{
	attention_split_trace &trace = a.split_trace[head * gridDim.y + t.split];
	trace.keys = (int)s.keys;
	trace.max = s.max * kLn2;
	trace.sum = s.sum;
}

template <int Run>
SIMT_FN void trace_head(const gqa_attention_args &a, const attention_task &t, int head,
                        const attention_total<Run> &s)
{
	a.head_trace[head] = {*a.position,  (int)s.keys, t.live,        t.run,
	                      s.max * kLn2, s.sum,       s.ones / s.sum};
}

/* The sums of the block's heads, or its share of them, one of n_blocks, by put(head of the group,
 * first element, sum). */
template <gqa_attention_case K, gqa_attention_config C, bool Traced, records_in In, typename Put>
SIMT_FN void sum_records(const attention_task &t, const attention_records<In> &r, int block,
                         int n_blocks, Put put)
{
	using S = attention_share<K, C, In>;
	const int per_head = t.head_dim / S::run, items = S::A::group * per_head;
	for (int base = block * S::A::threads; base < items * S::parts;
	     base += n_blocks * S::A::threads) {
		const int i = (base + (int)threadIdx.x) / S::parts, part = threadIdx.x % S::parts;
		const int item = i < items ? i : items - 1;
		const int g = item / per_head, element = item % per_head * S::run;
		const float *head = r.base + g * r.head_stride;
		attention_total<S::run> s = {};
		s.max = kNoScore;
		add_records<S::run, S::batch, Traced>(r, head + element, head + t.head_dim, part,
		                                      S::parts, s);
		merge_parts<S::parts>(s);
		if (i < items && part == 0)
			put(g, element, s);
	}
}

/* Where split `split` posts elements `element` .. + 3 of a head. */
template <gqa_attention_case K>
SIMT_FN float *posted_at(const gqa_attention_args &a, int head, int split, int element)
{
	return a.posted + ((size_t)(head * gridDim.y + split) * (K.head_dim / 4) + element / 4) *
	                          ATTENTION_POSTED;
}

/* Words as they are posted. */
struct attention_word {
	SIMT_FN float of(float v) { return is_there(v) ? v : -0.0f; }
	SIMT_FN bool is_there(float v) { return simt::float_to_bits(v) != 0; }
	SIMT_FN bool are_there(float4 out, float2 sums)
	{
		return is_there(out.x) && is_there(out.y) && is_there(out.z) && is_there(out.w) &&
		       is_there(sums.x) && is_there(sums.y);
	}
};

/* Four outputs of the block's sums to the block that sums those of all splits. */
template <gqa_attention_case K>
SIMT_FN void post_total(const gqa_attention_args &a, int head, int split, int element,
                        const attention_total<4> &s)
{
	using word = attention_word;
	float *to = posted_at<K>(a, head, split, element);
	simt::post(to, float4{word::of(s.out[0]), word::of(s.out[1]), word::of(s.out[2]),
	                      word::of(s.out[3])});
	simt::post(to + 4, float2{word::of(s.max), word::of(s.sum)});
}

/* Adds what every parts-th split posts, from number `part` on, `stride` floats apart from `at` on,
 * and leaves 0 there. */
template <int Batch>
SIMT_FN void add_posted(float *at, size_t stride, int n, int part, int parts, attention_total<4> &s)
{
	for (int first = part; first < n; first += Batch * parts) {
		float4 out[Batch];
		float2 sums[Batch];
		float top = s.max;
#pragma unroll
		for (int b = 0; b < Batch; b++) {
			const int i = first + b * parts;
			out[b] = {0, 0, 0, 0};
			sums[b] = {kNoScore, 0};
			if (i < n) {
				out[b] = simt::peek4(at + i * stride);
				sums[b] = simt::peek2(at + i * stride + 4);
			}
		}
#pragma unroll
		for (int b = 0; b < Batch; b++) {
			float *from = at + (first + b * parts) * stride;
			if (first + b * parts >= n)
				break;
			while (!attention_word::are_there(out[b], sums[b])) {
				out[b] = simt::peek4(from);
				sums[b] = simt::peek2(from + 4);
			}
			simt::post(from, float4{0, 0, 0, 0});
			simt::post(from + 4, float2{0, 0});
			top = simt::max(top, sums[b].x);
		}
		bring_to(top, s);
#pragma unroll
		for (int b = 0; b < Batch; b++) {
			const float f = simt::exp2_fast(sums[b].x - top);
			s.sum = simt::fma(f, sums[b].y, s.sum);
			vec::axpy(s.out, f, reinterpret_cast<const float(&)[4]>(out[b]));
		}
	}
}

/* The same over what the splits post; each run of outputs has one reader. */
template <gqa_attention_case K, gqa_attention_config C, typename Put>
SIMT_FN void sum_posted(const gqa_attention_args &a, const attention_task &t, int block,
                        int n_blocks, Put put)
{
	using S = attention_share<K, C, IN_MEMORY>;
	constexpr int per_head = K.head_dim / 4, items = S::A::group * per_head;
	for (int base = block * S::A::threads; base < items * S::parts;
	     base += n_blocks * S::A::threads) {
		const int i = (base + (int)threadIdx.x) / S::parts, part = threadIdx.x % S::parts;
		const int g = i / per_head, element = i % per_head * 4;
		attention_total<4> s = {};
		s.max = kNoScore;
		if (i < items)
			add_posted<S::batch>(posted_at<K>(a, t.head0 + g, 0, element),
			                     per_head * ATTENTION_POSTED, t.live, part, S::parts,
			                     s);
		merge_parts<S::parts>(s);
		if (i < items && part == 0)
			put(g, element, s);
	}
}

template <gqa_attention_case K, gqa_attention_config C, bool Traced>
__device__ void attend(const gqa_attention_args &a)
{
	using A = attention<K, C>;
	constexpr bool polled = C.poll && !Traced; /* a trace is of what is counted in */
	SIMT_DYN_SMEM(float, smem);                /* gqa_attention_smem_floats() */
	const int head_dim = K.head_dim ? K.head_dim : a.head_dim;
	float *records = smem + A::gather_rows * head_dim;
	attention_task t;
	bool has_keys;

	launch_dependents<C, 0>();
	if constexpr (A::mma)
		has_keys = gather_by_mma<K, C, Traced>(a, t, smem, records);
	else
		has_keys = gather_by_fma<K, C, Traced>(a, t, smem, records);
	if (!has_keys)
		return;
	launch_dependents<C, 2>();
	const bool all = t.live == 1;
	const int stride = (int)gridDim.y * t.record;
	const int combiners = t.live < C.combiners ? t.live : C.combiners;
	float *partial = a.partial + (size_t)t.head0 * stride;
	const attention_records<IN_BLOCK> warps = {records, t.record, A::group * t.record, C.warps};
	const attention_records<IN_MEMORY> splits = {partial, stride, t.record, t.live};
	const auto finish = [&](int g, int element, const auto &s) {
		store_total(t, a.out + (size_t)(t.head0 + g) * t.head_dim, element, s, false);
		if (Traced && element == 0)
			trace_head(a, t, t.head0 + g, s);
	};
	const auto hand_on = [&](int g, int element, const auto &s) {
		if (Traced && element == 0)
			trace_split(a, t, t.head0 + g, s);
		if (all)
			finish(g, element, s);
		else if constexpr (polled)
			post_total<K>(a, t.head0 + g, t.split, element, s);
		else
			store_total(t, partial + g * stride + t.split * t.record, element, s, true);
	};
	simt::sync_block();
	sum_records<K, C, Traced>(t, warps, 0, 1, hand_on);
	if (all)
		return;
	if constexpr (polled) {
		if (t.split >= t.live - combiners)
			sum_posted<K, C>(a, t, t.live - 1 - t.split, combiners, finish);
	} else {
		const int combiner =
		        simt::arrive_among_last(&a.arrived[blockIdx.x], t.live, combiners);
		if (combiner >= 0)
			sum_records<K, C, Traced>(t, splits, combiner, combiners, finish);
	}
}

/* The number of splits is the grid's; instances that differ in nothing else share a body. */
__host__ __device__ constexpr gqa_attention_config without_splits(gqa_attention_config c)
{
	c.splits = 0;
	return c;
}

template <gqa_attention_case K, gqa_attention_config C>
__global__ void __launch_bounds__(C.warps *simt::kWarp, C.min_blocks)
        gqa_attention(const gqa_attention_args a)
{
	attend<K, without_splits(C), false>(a);
}

template <gqa_attention_case K, gqa_attention_config C>
__global__ void __launch_bounds__(C.warps *simt::kWarp, C.min_blocks)
        gqa_attention_traced(const gqa_attention_args a)
{
	attend<K, without_splits(C), true>(a);
}

#define GQA_ATTENTION_TRACED(K, C) KERNEL_ENTRY(gqa_attention_traced<K, C>)
DEFINE_VARIANTS_TRACED(gqa_attention, GQA_ATTENTION, GQA_ATTENTION_TRACED)
