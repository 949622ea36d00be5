// math:   out = softmax(q k^T scale) v over keys 0 .. *position, base 2, with a running maximum.
// layout: grid (kv heads, splits); `lanes` share a key; records merge over lanes, warps, splits.
// bound:  memory: keys and values are read once; for large groups, arithmetic on them.
#include "core/variants.h"
#include "kernels/gqa_attention.h"
#include "kernels/vec.h"

/* Below any score, yet differences of it are finite. */
constexpr float kNoScore = -1e30f;
constexpr float kLog2e = 1.44269504f, kLn2 = 0.693147181f;

template <gqa_attention_case K, gqa_attention_config C>
struct attention {
	static constexpr int group = K.group ? K.group : 1;
	static constexpr int max_lanes =
	        K.head_dim && K.head_dim / 8 < simt::kWarp ? K.head_dim / 8 : simt::kWarp;
	static constexpr int lanes = C.lanes < max_lanes ? C.lanes : max_lanes;
	static constexpr int chunk = vec::kChunk<K.kv>;
	static constexpr int max_dim = K.head_dim ? K.head_dim : GQA_ATTENTION_MAX_HEAD_DIM;
	static constexpr int chunks =
	        (max_dim + lanes * chunk - 1) / (lanes * chunk); /* per lane */
	static constexpr int threads = C.warps * simt::kWarp;
	static constexpr int slots = threads / lanes; /* keys of a block at a time, times unroll */
	static constexpr bool query_in_registers = simt::kWarp > 1 && group *chunks *chunk <= 64;
};

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

/* The work of one block. */
struct attention_task {
	int head0, kv_head;   /* first query head */
	int head_dim, record; /* floats */
	int split, live;      /* of the splits that have keys */
	int begin, end;       /* keys */
};

template <gqa_attention_case K, gqa_attention_config C>
SIMT_FN attention_task attention_split(const gqa_attention_args &a, int position)
{
	constexpr int step = attention<K, C>::slots * C.unroll, group = attention<K, C>::group;
	const int n_splits = gridDim.y, split = blockIdx.y;
	const int head0 = blockIdx.x * group;
	const int head_dim = K.head_dim ? K.head_dim : a.head_dim;
	const int len = position < a.capacity ? position + 1 : a.capacity;
	const int share = (len + n_splits - 1) / n_splits;
	const int keys = share > step ? (share + step - 1) / step * step : step;
	const int live = len > keys ? (len + keys - 1) / keys : 1;
	const int begin = split * keys, end = begin + keys < len ? begin + keys : len;
	return {head0,    K.group ? (int)blockIdx.x : head0 / (a.n_heads / a.n_kv_heads),
	        head_dim, head_dim + ATTENTION_RECORD_TAIL,
	        split,    live,
	        begin,    end};
}

/* Whether chunk c of a lane is part of the head; always, but for the generic instance. */
template <gqa_attention_case K, gqa_attention_config C>
SIMT_FN bool has_chunk(const attention_task &t, int lane, int c)
{
	using A = attention<K, C>;
	return A::max_dim % (A::lanes * A::chunk) == 0 && K.head_dim
	               ? true
	               : (c * A::lanes + lane) * A::chunk < t.head_dim;
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
        const uint4 (&raw)[C.unroll][attention<K, C>::chunks],
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
			vec::unpack<K.kv>(raw[u][c], k[u]);
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
                        const uint4 (&raw)[C.unroll][attention<K, C>::chunks],
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
			vec::unpack<K.kv>(raw[u][c], v[u]);
#pragma unroll
		for (int g = 0; g < A::group; g++) {
			vec::scale(s.out[g][c], keep[g]);
#pragma unroll
			for (int u = 0; u < C.unroll; u++)
				vec::axpy(s.out[g][c], weight[u * A::group + g], v[u]);
		}
	}
}

/* The first scores of a split, in natural units. */
template <gqa_attention_case K, gqa_attention_config C>
SIMT_FN void trace_scores(const gqa_attention_args &a, const attention_task &t, int first,
                          const float (&score)[C.unroll * attention<K, C>::group])
{
	using A = attention<K, C>;
#pragma unroll
	for (int u = 0; u < C.unroll; u++) {
		const int i = first + u * A::slots - t.begin;
		if (i >= ATTENTION_TRACE_KEYS)
			continue;
#pragma unroll
		for (int g = 0; g < A::group; g++)
			a.split_trace[(t.head0 + g) * gridDim.y + t.split].score[i] =
			        t.begin + i < t.end ? score[u * A::group + g] * kLn2 : 0.0f;
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

	float q[A::group][A::chunks][A::chunk];
	if constexpr (A::query_in_registers)
#pragma unroll
		for (int g = 0; g < A::group; g++)
#pragma unroll
			for (int c = 0; c < A::chunks; c++)
				if (has_chunk<K, C>(t, lane, c))
					load_query<K, C>(t, lane, queries, g, c, q[g][c]);

	for (int base = t.begin; base < t.end; base += A::slots * C.unroll) {
		const int first = base + slot;
		uint4 k[C.unroll][A::chunks], v[C.unroll][A::chunks];
#pragma unroll
		for (int u = 0; u < C.unroll; u++) {
			const int key =
			        first + u * A::slots < t.end ? first + u * A::slots : t.end - 1;
			const size_t row = (head + key) * t.head_dim + lane * A::chunk;
#pragma unroll
			for (int c = 0; c < A::chunks; c++) {
				if (!has_chunk<K, C>(t, lane, c))
					break;
				const size_t i = row + c * A::lanes * A::chunk;
				k[u][c] = simt::load128(vec::at<K.kv>(a.k, i));
				v[u][c] = simt::load128(vec::at<K.kv>(a.v, i));
			}
		}
		float score[C.unroll * A::group], keep[A::group];
		score_keys<K, C>(t, lane, queries, q, k, score);
		if (Traced && lane == 0)
			trace_scores<K, C>(a, t, first, score);
		weigh_keys<K, C, Traced>(first, t.end, s, score, keep);
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

/* n records of each query head: of a block's warps in shared memory, or of the splits in global
 * memory. */
template <bool Shared>
struct attention_records {
	const float *base;
	int head_stride, stride, n; /* floats, floats, records */

	SIMT_FN float4 load(const float *p)
	{
		const float4 *from = reinterpret_cast<const float4 *>(p);
		if constexpr (Shared)
			return *from;
		else
			return simt::load_fresh(from);
	}
};

/* factor[head * n + i] brings record i to the maximum of its head; totals[head] is the tail of
 * their sum. `mass` is scratch like factor. */
template <int Group, int Warps, bool Traced, bool Shared>
SIMT_FN void weigh_records(attention_records<Shared> r, int head_dim, float *factor, float *mass,
                           float4 *totals)
{
	for (int g = simt::warp_id(); g < Group; g += Warps) {
		const float *tails = r.base + g * r.head_stride + head_dim;
		float4 total = {kNoScore, 0, 0, 0};
		for (int i = simt::lane_id(); i < r.n; i += simt::kWarp) {
			const float4 tail = r.load(tails + i * r.stride);
			factor[g * r.n + i] = tail.x;
			mass[g * r.n + i] = tail.y;
			total.x = simt::max(total.x, tail.x);
		}
		total.x = simt::warp_max(total.x);
		for (int i = simt::lane_id(); i < r.n; i += simt::kWarp) {
			const float f = simt::exp2_fast(factor[g * r.n + i] - total.x);
			factor[g * r.n + i] = f;
			total.y += f * mass[g * r.n + i];
			if (Traced) {
				const float4 tail = r.load(tails + i * r.stride);
				total.z += f * tail.z;
				total.w += tail.w;
			}
		}
		total.y = simt::warp_sum(total.y);
		if (Traced) {
			total.z = simt::warp_sum(total.z);
			total.w = simt::warp_sum(total.w);
		}
		if (simt::lane_id() == 0)
			totals[g] = total;
	}
	simt::sync_block();
}

/* The weighted sum of the records: to out, normalised, when these are all keys, else to this
 * split's record. */
template <int Group, int Threads, bool Shared>
SIMT_FN void sum_records(const gqa_attention_args &a, const attention_task &t,
                         attention_records<Shared> r, const float *factor, const float4 *totals,
                         bool all)
{
	const int quads = t.head_dim / 4;
	for (int i = threadIdx.x; i < Group * quads; i += Threads) {
		const int g = i / quads, d = i % quads * 4, head = t.head0 + g;
		const float *from = r.base + g * r.head_stride + d;
		float4 sum = {0, 0, 0, 0};
#pragma unroll 4
		for (int n = 0; n < r.n; n++) {
			const float f = factor[g * r.n + n];
			const float4 v = r.load(from + n * r.stride);
			sum = {simt::fma(f, v.x, sum.x), simt::fma(f, v.y, sum.y),
			       simt::fma(f, v.z, sum.z), simt::fma(f, v.w, sum.w)};
		}
		if (all) {
			const float scale = 1.0f / totals[g].y;
			vec::put4(a.out + (size_t)head * t.head_dim + d,
			          {sum.x * scale, sum.y * scale, sum.z * scale, sum.w * scale});
		} else {
			float *record = a.partial + ((size_t)head * gridDim.y + t.split) * t.record;
			vec::put4(record + d, sum);
			if (d == 0)
				vec::put4(record + t.head_dim, totals[g]);
		}
	}
}

template <int Group>
SIMT_FN void trace_split(const gqa_attention_args &a, const attention_task &t, const float4 *totals)
{
	for (int g = threadIdx.x; g < Group; g += blockDim.x) {
		attention_split_trace &trace = a.split_trace[(t.head0 + g) * gridDim.y + t.split];
		trace.first_key = t.begin;
		trace.keys = (int)totals[g].w;
		trace.max = totals[g].x * kLn2;
		trace.sum = totals[g].y;
	}
}

template <int Group>
SIMT_FN void trace_head(const gqa_attention_args &a, const attention_task &t, int position,
                        const float4 *totals)
{
	for (int g = threadIdx.x; g < Group; g += blockDim.x)
		a.head_trace[t.head0 + g] = {position,    (int)totals[g].w,
		                             t.live,      totals[g].x * kLn2,
		                             totals[g].y, totals[g].z / totals[g].y};
}

template <gqa_attention_case K, gqa_attention_config C, bool Traced>
__device__ void attend(const gqa_attention_args &a)
{
	using A = attention<K, C>;
	SIMT_DYN_SMEM(float, smem); /* gqa_attention_smem_floats() */
	SIMT_SHARED(float4[A::group], totals);

	simt::grid_launch_dependents();
	simt::grid_wait();
	const int position = *a.position;
	const attention_task t = attention_split<K, C>(a, position);
	if (t.split >= t.live)
		return;

	float *queries = smem, *records = queries + A::group * t.head_dim;
	float *factor = records + C.warps * A::group * t.record;
	for (int i = threadIdx.x; i < A::group * t.head_dim; i += A::threads)
		queries[i] = a.q[t.head0 * t.head_dim + i] * (a.scale * kLog2e);
	simt::sync_block();

	attention_state_of<K, C> state = {};
#pragma unroll
	for (int g = 0; g < A::group; g++)
		state.max[g] = kNoScore;
	attend_keys<K, C, Traced>(a, t, queries, state);
	merge_groups<K, C, Traced>(state);
	store_records<K, C>(t, state, records);
	simt::sync_block();

	const attention_records<true> warps = {records, t.record, A::group * t.record, C.warps};
	weigh_records<A::group, C.warps, Traced>(warps, t.head_dim, factor,
	                                         factor + A::group * C.warps, totals);
	sum_records<A::group, A::threads>(a, t, warps, factor, totals, t.live == 1);
	if (Traced)
		trace_split<A::group>(a, t, totals);

	if (t.live > 1) {
		if (!simt::arrive_last(&a.arrived[blockIdx.x], t.live))
			return;
		const attention_records<false> splits = {
		        a.partial + (size_t)t.head0 * gridDim.y * t.record,
		        (int)gridDim.y * t.record, t.record, t.live};
		weigh_records<A::group, C.warps, Traced>(splits, t.head_dim, factor,
		                                         factor + A::group * t.live, totals);
		sum_records<A::group, A::threads>(a, t, splits, factor, totals, true);
	}
	if (Traced)
		trace_head<A::group>(a, t, position, totals);
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
