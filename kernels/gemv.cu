// math:   y = epilogue(s W (norm . x)), f32 accumulation; s = 1 / rms(x) with the norm, else 1.
// layout: a block has a run of rows, or a cluster of blocks has, each with its part of the columns;
//         `slices` warps share the columns of a tile; x is in shared memory, or each warp holds
//         that of its slice in registers.
// bound:  memory: W is read once, into registers or, in bulk, into a ring of each warp in shared
//         memory. Its first loads are issued before the wait for x.
#include "core/variants.h"
#include "kernels/argmax_key.h"
#include "kernels/gemv.h"
#include "kernels/rotate.h"
#include "kernels/vec.h"

/* What the compiler knows. A function that takes K or C whole may be called here alone: NVRTC would
 * read them from memory at run time. */
template <gemv_case K, gemv_config C>
struct gemv_plan {
	static constexpr bool mma = C.math == GEMV_MMA, integer = C.math == GEMV_INT;
	static constexpr int lanes = gemv_lanes(C, simt::kWarp);
	static constexpr int tile_rows = gemv_tile_rows(C, simt::kWarp);
	static constexpr int fixed_rows = gemv_fixed_rows(C, simt::kWarp);
	static constexpr int segments = mma ? 16 / C.rows : 1;
	static constexpr int step = gemv_step(K, C, simt::kWarp); /* columns */
	static constexpr int chunk = mma ? 8 : dtype_chunk(K.w);  /* elements of a load */
	static constexpr int loads = mma ? 2 : C.rows;            /* of a lane and step */
	static constexpr int warps = C.slices * C.tiles;
	static constexpr int threads = warps * simt::kWarp;
	static constexpr bool scaled = vec::kQuantised<K.w>;
	static constexpr bool pairs = K.epilogue == EPILOGUE_SWIGLU || K.epilogue == EPILOGUE_QKV;
	static constexpr int sums = mma ? 4 : C.rows;
	static constexpr bool bulk = C.copy > 0;
	static constexpr int span = C.unroll * step; /* columns of a stage */
	static constexpr int stage_bytes = gemv_stage_bytes(K, C, simt::kWarp);
	static constexpr int ring_floats = gemv_ring_floats(K, C, simt::kWarp);
};

/* What one warp of a block does. */
struct gemv_task {
	int row0, rows;           /* of the block */
	int slice;                /* of the warp */
	int first_tile, end_tile; /* of the warp, among the block's */
	int base, steps;          /* of the block, of those of a row */
};

/* Of the block among those that share its rows. */
template <gemv_config C>
SIMT_FN unsigned cluster_rank()
{
	return blockIdx.x % C.cluster;
}

/* A warp's way through its work: the next step of a tile, and behind the last that it has there. */
struct gemv_cursor {
	int tile, step, end;
};

/* Where a slice begins a tile. Steps that do not come out even go to other slices in the next tile,
 * round and round, but for a slice whose x is held. */
template <gemv_config C>
SIMT_FN gemv_cursor tile_begin(const gemv_task &t, int tile)
{
	const unsigned steps = t.steps, turned = C.held ? 0 : tile * steps % C.slices;
	const unsigned begin = (steps * t.slice + turned) / C.slices;
	const unsigned end = (steps * (t.slice + 1) + turned) / C.slices;
	return {tile, t.base + (int)begin, t.base + (int)end};
}

/* A row may have fewer steps than slices: those without one pass over the tile. */
template <gemv_config C>
SIMT_FN void advance(const gemv_task &t, gemv_cursor &at, int steps = 1)
{
	at.step += steps;
	while (at.step >= at.end && at.tile < t.end_tile)
		at = tile_begin<C>(t, at.tile + 1);
}
template <gemv_config C>
SIMT_FN gemv_cursor warp_begin(const gemv_task &t)
{
	gemv_cursor at = tile_begin<C>(t, t.first_tile);
	advance<C>(t, at, 0);
	return at;
}

/* Divisions are long, signed ones longer, and no load can be issued before. */
template <gemv_case K, gemv_config C>
SIMT_FN gemv_task block_task(const gemv_args &a)
{
	using P = gemv_plan<K, C>;
	const unsigned m = a.m, pairs = (m + 1) / 2;
	const unsigned cluster = blockIdx.x / C.cluster, clusters = gridDim.x / C.cluster;
	const unsigned share = C.blocks ? pairs / clusters : P::fixed_rows / 2;
	unsigned first = cluster * share, n = share;
	if (C.blocks) {
		const unsigned more = pairs - share * clusters;
		first += cluster < more ? cluster : more;
		n += cluster < more;
	}
	const unsigned row0 = 2 * first, end = row0 + 2 * n;
	const unsigned rows = (end < m ? end : m) - row0;
	const unsigned warp = simt::warp_id(), slice = warp % C.slices, team = warp / C.slices;
	const unsigned steps = ((unsigned)a.k + P::step - 1) / P::step;
	const unsigned tiles = (rows + P::tile_rows - 1) / P::tile_rows;
	const unsigned rank = cluster_rank<C>(), base = steps * rank / C.cluster;
	return {(int)row0,
	        (int)rows,
	        (int)slice,
	        (int)(tiles * team / C.tiles),
	        (int)(tiles * (team + 1) / C.tiles),
	        (int)base,
	        (int)(steps * (rank + 1) / C.cluster - base)};
}

/* The columns of a block: from `first` on, n. */
struct gemv_columns {
	int first, n;
};
template <gemv_case K, gemv_config C>
SIMT_FN gemv_columns block_columns(const gemv_args &a, const gemv_task &t)
{
	constexpr int step = gemv_plan<K, C>::step;
	const int first = t.base * step, n = t.steps * step;
	return {first, first + n < a.k ? n : a.k - first};
}

/* The weights that a lane holds of one step. */
template <gemv_case K, gemv_config C>
struct gemv_weights {
	uint4 raw[gemv_plan<K, C>::loads];
	vec::trim trim[gemv_plan<K, C>::scaled ? C.rows : 1];
};

/* Row of the tile and first column of a lane's load l. On tensor cores the lane's first load is row
 * lane / 4 of the matrix of 16, the second row 8 + lane / 4; four lanes share 32 columns. */
template <gemv_case K, gemv_config C>
SIMT_FN int2 lane_place(int l, int step)
{
	using P = gemv_plan<K, C>;
	const int lane = simt::lane_id();
	if constexpr (P::mma) {
		const int row = lane / 4 + 8 * l;
		return {row % C.rows, (step * P::segments + row / C.rows) * 32 + lane % 4 * 8};
	} else {
		return {lane / P::lanes * C.rows + l, step * P::step + lane % P::lanes * P::chunk};
	}
}

/* Rows and columns beyond the last repeat it: their sums are not used, x is zero there. */
template <gemv_case K, gemv_config C>
SIMT_FN void load_step(const gemv_args &a, const vec::planes &p, const gemv_task &t, gemv_cursor at,
                       gemv_weights<K, C> &w)
{
	using P = gemv_plan<K, C>;
	if (at.tile >= t.end_tile)
		return;
#pragma unroll
	for (int l = 0; l < P::loads; l++) {
		const int2 place = lane_place<K, C>(l, at.step);
		const int wanted = at.tile * P::tile_rows + place.x;
		const int row = t.row0 + (wanted < t.rows ? wanted : t.rows - 1);
		const int column = 32 % P::step == 0 || place.y < a.k ? place.y : a.k - P::chunk;
		const unsigned i = (unsigned)row * (unsigned)a.k + (unsigned)column;
		w.raw[l] = simt::load128_stream(vec::at<K.w>(a.w, i));
		if constexpr (P::scaled)
			w.trim[l] = vec::load_trim<K.w>(p, i);
	}
}

/* The first loads of a warp. */
template <gemv_case K, gemv_config C>
SIMT_FN void fill_pipeline(const gemv_args &a, const vec::planes &p, const gemv_task &t,
                           gemv_weights<K, C> (&w)[C.unroll], gemv_cursor &load)
{
#pragma unroll
	for (int u = 0; u < C.unroll; u++) {
		load_step<K, C>(a, p, t, load, w[u]);
		advance<C>(t, load);
	}
}

/* Where x is in shared memory. With tensor cores: for each 32 elements their high halves, then the
 * low ones, both bf16. Else floats, in an order in which the lanes of a warp read without bank
 * conflicts: quarter q of all chunks, then q + 1; one lane reads whole chunks. */
template <gemv_case K, gemv_config C>
SIMT_FN int quad_place(int element, int padded_k)
{
	using P = gemv_plan<K, C>;
	constexpr unsigned planes = P::chunk / 4;
	const unsigned quad = element / 4u;
	if constexpr (simt::kWarp == 1)
		return element;
	return (quad % planes * (padded_k / 4u / planes) + quad / planes) * 4;
}

template <gemv_case K, gemv_config C>
SIMT_FN void put_x(float *x, int i, int padded_k, const float (&v)[8])
{
	using P = gemv_plan<K, C>;
	if constexpr (P::mma) {
		uint4 high, low;
		simt::split_bf16(v, high, low);
		uint4 *place = reinterpret_cast<uint4 *>(x) + i / 32 * 8 + i % 32 / 8;
		place[0] = high;
		place[4] = low;
	} else {
		vec::put4(x + quad_place<K, C>(i, padded_k), {v[0], v[1], v[2], v[3]});
		vec::put4(x + quad_place<K, C>(i + 4, padded_k), {v[4], v[5], v[6], v[7]});
	}
}

/* Puts the block's x, times the norm's weights, into shared memory; returns this thread's sum of
 * squares. The loads of a turn are issued together; `norm` has those of the thread's first
 * elements. */
template <gemv_case K, gemv_config C>
SIMT_FN float stage_x(const gemv_args &a, const gemv_columns &c, const float (&norm)[8], float *xs,
                      int padded_k)
{
	constexpr int turn = simt::kWarp == 1 ? 1
	                     : K.norm         ? 2
	                                      : 4,
	              threads = gemv_plan<K, C>::threads;
	simt::partial squares;
	for (int first = threadIdx.x * 8; first < c.n; first += turn * threads * 8) {
		float x[turn][8], weight[turn][8];
#pragma unroll
		for (int u = 0; u < turn; u++) {
			const int i = first + u * threads * 8;
			if (i >= c.n)
				break;
			vec::load<K.x>(a.x, c.first + i, x[u]);
			if (K.norm && i >= threads * 8)
				vec::load<DTYPE_F32>(a.norm, c.first + i, weight[u]);
		}
#pragma unroll
		for (int u = 0; u < turn; u++) {
			const int i = first + u * threads * 8;
			if (i >= c.n)
				break;
			if constexpr (K.norm) {
				simt::dot(squares, x[u], x[u]);
				if (i < threads * 8)
					vec::multiply(x[u], norm);
				else
					vec::multiply(x[u], weight[u]);
			}
			put_x<K, C>(xs, i, padded_k, x[u]);
		}
	}
	return simt::total(squares);
}

/* x as 16-bit integers, in blocks of 32: value = scale (256 high + low). Part p of all blocks lies
 * together, 16 bytes each: high bytes of elements 0-15, of 16-31, low bytes of both; then scale and
 * the sums of x over all, over the first and the second half, in units of kSumUnit. */
struct integer_x {
	uint4 *base;
	int stride; /* from one part of a block to the next */
	float4 *trim;
};
SIMT_FN integer_x integer_x_of(float *xs, int padded_k)
{
	const int n = gemv_x_blocks(padded_k);
	uint4 *base = reinterpret_cast<uint4 *>(xs);
	return {base, n, reinterpret_cast<float4 *>(base + 4 * n)};
}

/* What turns a block of x into integers, by its largest magnitude; 0 where its inverse would be
 * infinite. */
struct integer_scale {
	float scale, inverse;
};
SIMT_FN integer_scale integer_scale_of(float largest)
{
	const bool tiny = largest < 1e-30f;
	return {tiny ? 0.0f : largest * (1.0f / GEMV_INT_LARGEST),
	        tiny ? 0.0f : GEMV_INT_LARGEST * simt::reciprocal_fast(largest)};
}

/* The high and the low bytes of eight elements from v on; the high byte is rounded, for the low one
 * is signed. */
SIMT_FN void to_integers(const float *v, float inverse, uint2 &high, uint2 &low)
{
	unsigned q[8], rounded[8];
#pragma unroll
	for (int e = 0; e < 8; e++) {
		q[e] = vec::rounded_bits(v[e], inverse);
		rounded[e] = q[e] + 128;
	}
	high = make_uint2(simt::gather_bytes<1>(rounded[0], rounded[1], rounded[2], rounded[3]),
	                  simt::gather_bytes<1>(rounded[4], rounded[5], rounded[6], rounded[7]));
	low = make_uint2(simt::gather_bytes<0>(q[0], q[1], q[2], q[3]),
	                 simt::gather_bytes<0>(q[4], q[5], q[6], q[7]));
}

/* What a sum of x is multiplied by when a product with quants is corrected: the quant that stands
 * for 0, or, where there is a minimum, by that alone. */
template <int Dtype>
constexpr float kSumUnit = vec::kZero<Dtype> ? -vec::kZero<Dtype> : 1;

/* Eight elements of x from i on, a quarter of a block; four neighbouring lanes have the block.
 * Stored when they are `there`. */
template <int Dtype>
SIMT_FN void put_integers(const integer_x &to, int i, bool there, const float (&v)[8])
{
	float sum = 0;
#pragma unroll
	for (int e = 0; e < 8; e++)
		sum += v[e] * kSumUnit<Dtype>;
	const float half = simt::group_sum<2>(sum), other = simt::shuffle_xor(half, 2);
	const integer_scale s = integer_scale_of(simt::group_max<4>(vec::largest_magnitude(v)));
	uint2 high, low;
	to_integers(v, s.inverse, high, low);
	if (!there)
		return;
	const int block = i / 32, part = i % 32 / 16, word = i % 16 / 8;
	uint2 *place = reinterpret_cast<uint2 *>(to.base + part * to.stride + block) + word;
	place[0] = high;
	place[4 * to.stride] = low;
	if (i % 32 == 0) /* what is no number stays none */
		to.trim[block] = {s.scale + 0.0f * (half + other), half + other, half, other};
}

/* As stage_x(), zeros up to whole steps included. All lanes of a warp take part in each turn. */
template <gemv_case K, gemv_config C>
SIMT_FN float stage_integers(const gemv_args &a, const gemv_columns &c, const float (&norm)[8],
                             float *xs, int padded_k)
{
	constexpr int turn = K.norm ? 2 : 4, threads = gemv_plan<K, C>::threads;
	const integer_x to = integer_x_of(xs, padded_k);
	simt::partial squares;
	for (int first = threadIdx.x * 8; first - simt::lane_id() * 8 < padded_k;
	     first += turn * threads * 8) {
		float x[turn][8] = {}, weight[turn][8] = {};
#pragma unroll
		for (int u = 0; u < turn; u++) {
			const int i = first + u * threads * 8;
			if (i < c.n)
				vec::load<K.x>(a.x, c.first + i, x[u]);
			if (K.norm && i >= threads * 8 && i < c.n)
				vec::load<DTYPE_F32>(a.norm, c.first + i, weight[u]);
		}
#pragma unroll
		for (int u = 0; u < turn; u++) {
			const int i = first + u * threads * 8;
			if (i - simt::lane_id() * 8 >= padded_k)
				break;
			if constexpr (K.norm) {
				simt::dot(squares, x[u], x[u]);
				if (i < threads * 8)
					vec::multiply(x[u], norm);
				else
					vec::multiply(x[u], weight[u]);
			}
			put_integers<K.w>(to, i, i < padded_k, x[u]);
		}
	}
	return simt::total(squares);
}

/* Zeros behind x, up to whole steps. */
template <gemv_case K, gemv_config C>
SIMT_FN void pad_x(const gemv_columns &c, float *xs, int padded_k)
{
	const float zero[8] = {};
	for (int i = c.n + (int)threadIdx.x * 8; i < padded_k; i += gemv_plan<K, C>::threads * 8)
		put_x<K, C>(xs, i, padded_k, zero);
}

/* What a lane multiplies one step of weights with: its chunk of x as floats, or as integers with
 * their scale and the sums of x, in units of kSumUnit, over what shares a scale of weights. */
template <gemv_case K, gemv_config C>
struct float_chunk {
	float v[gemv_plan<K, C>::chunk];
};
template <gemv_case K, gemv_config C>
struct integer_chunk {
	static constexpr int halves = (gemv_plan<K, C>::chunk + 15) / 16;
	static constexpr int sums = vec::kTwoScales<K.w> ? 2 : 1;
	uint4 high[halves], low[halves];
	float scale, sum[sums];
};
template <bool Integer, gemv_case K, gemv_config C>
struct chunk_of {
	using type = float_chunk<K, C>;
};
template <gemv_case K, gemv_config C>
struct chunk_of<true, K, C> {
	using type = integer_chunk<K, C>;
};
template <gemv_case K, gemv_config C>
using x_chunk = typename chunk_of<gemv_plan<K, C>::integer, K, C>::type;

/* The parts of a sum of products: of tensor cores two accumulators by turns. */
template <gemv_case K, gemv_config C>
struct gemv_sums {
	simt::partial row[gemv_plan<K, C>::mma ? 1 : C.rows];
	float whole[gemv_plan<K, C>::integer ? C.rows : 1] = {};
	float matrix[gemv_plan<K, C>::mma ? 2 : 1][4] = {};
};

/* Column n of the matrix of activations is half n % 2 of segment n / 2. */
template <gemv_case K, gemv_config C>
SIMT_FN void multiply_matrix(const gemv_weights<K, C> &w, const float *xs, int step,
                             gemv_sums<K, C> &sums)
{
	using P = gemv_plan<K, C>;
	const int column = simt::lane_id() / 4, quarter = simt::lane_id() % 4;
	uint4 x = make_uint4(0, 0, 0, 0);
	if (column / 2 < P::segments)
		x = reinterpret_cast<const uint4 *>(
		        xs)[(step * P::segments + column / 2) * 8 + column % 2 * 4 + quarter];
	const uint4 &u = w.raw[0], &v = w.raw[1];
	simt::mma_bf16_16816(sums.matrix[0], {u.x, v.x, u.y, v.y}, {x.x, x.y}, sums.matrix[0]);
	simt::mma_bf16_16816(sums.matrix[1], {u.z, v.z, u.w, v.w}, {x.z, x.w}, sums.matrix[1]);
}

/* A lane's chunk of x, number `n` + `more` of the row, as floats. Places of chunks that are a
 * constant `more` apart are a constant apart, if it is even. */
template <gemv_case K, gemv_config C>
SIMT_FN void read_x(const float *xs, int padded_k, unsigned n, unsigned more, float_chunk<K, C> &to)
{
	constexpr unsigned chunk = gemv_plan<K, C>::chunk;
#pragma unroll
	for (unsigned q = 0; q < chunk; q += 4) {
		const float *from = xs + (simt::kWarp == 1 ? (n + more) * chunk + q
		                                           : padded_k / chunk * q + 4 * (n + more));
		vec::unpack<DTYPE_F32>(*reinterpret_cast<const uint4 *>(from),
		                       reinterpret_cast<float(&)[4]>(to.v[q]));
	}
}

/* Or as integers: a block, or with q8_0 half of one. */
template <gemv_case K, gemv_config C>
SIMT_FN void read_x(float *xs, int padded_k, unsigned n, unsigned more, integer_chunk<K, C> &to)
{
	using chunk = integer_chunk<K, C>;
	constexpr unsigned of_block = 2 / chunk::halves;
	const integer_x x = integer_x_of(xs, padded_k);
	const unsigned block = n / of_block + more / of_block, first = n % of_block;
	const float4 trim = x.trim[block];
	to.scale = trim.x;
	to.sum[0] = chunk::sums == 2 ? trim.z : trim.y;
	if constexpr (chunk::sums == 2)
		to.sum[1] = trim.w;
#pragma unroll
	for (int h = 0; h < chunk::halves; h++) {
		to.high[h] = x.base[(first + h) * x.stride + block];
		to.low[h] = x.base[(2 + first + h) * x.stride + block];
	}
}

template <gemv_case K, gemv_config C>
SIMT_FN void multiply_rows(const gemv_weights<K, C> &w, const float_chunk<K, C> &x, unsigned column,
                           gemv_sums<K, C> &sums)
{
	using P = gemv_plan<K, C>;
	if constexpr (P::scaled) {
		const float ones[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
		vec::affine scales[C.rows];
#pragma unroll
		for (int r = 0; r < C.rows; r++)
			scales[r] = vec::scales<K.w>(w.trim[r], column);
#pragma unroll
		for (int half = 0; half < P::chunk / 16; half++) {
			const float(&part)[16] =
			        reinterpret_cast<const float(&)[16]>(x.v[16 * half]);
			simt::partial x_sum;
			simt::dot(x_sum, part, ones);
#pragma unroll
			for (int r = 0; r < C.rows; r++)
				vec::dot_half<K.w>(sums.row[r], w.raw[r], w.trim[r], scales[r],
				                   half, part, x_sum);
		}
	} else {
#pragma unroll
		for (int r = 0; r < C.rows; r++) {
			float weights[P::chunk];
			vec::unpack<K.w>(w.raw[r], weights);
			simt::dot(sums.row[r], weights, x.v);
		}
	}
}

/* sum += the product of weights `scale` q + `offset` and x, of which there are the product of their
 * integers and the sum of x in units of kSumUnit. */
template <int Dtype>
SIMT_FN void add_scaled(float &sum, float scale, float offset, float product, float x_scale,
                        float x_sum)
{
	if constexpr (vec::kZero < Dtype >> 0) {
		sum = simt::fma(scale, simt::fma(product, x_scale, x_sum), sum);
	} else {
		if constexpr (Dtype != DTYPE_Q8_0)
			sum = simt::fma(offset, x_sum, sum);
		sum = simt::fma(scale * x_scale, product, sum);
	}
}

/* sum + 16 products of signed bytes. */
SIMT_FN int dot16(uint4 a, uint4 b, int sum)
{
	return simt::dot4(a.x, b.x,
	                  simt::dot4(a.y, b.y, simt::dot4(a.z, b.z, simt::dot4(a.w, b.w, sum))));
}

template <gemv_case K, gemv_config C>
SIMT_FN void multiply_rows(const gemv_weights<K, C> &w, const integer_chunk<K, C> &x,
                           unsigned column, gemv_sums<K, C> &sums)
{
	using chunk = integer_chunk<K, C>;
	constexpr int of_scale = chunk::halves / chunk::sums; /* halves of a chunk */
#pragma unroll
	for (int r = 0; r < C.rows; r++) {
		const vec::affine scales = vec::scales<K.w>(w.trim[r], column);
#pragma unroll
		for (int s = 0; s < chunk::sums; s++) {
			int upper = 0, lower = 0;
#pragma unroll
			for (int h = s; h < s + of_scale; h++) {
				const uint4 q = K.w == DTYPE_Q8_0
				                        ? w.raw[r]
				                        : vec::half_of<K.w>(w.raw[r], w.trim[r], h);
				upper = dot16(q, x.high[h], upper);
				lower = dot16(q, x.low[h], lower);
			}
			add_scaled<K.w>(sums.whole[r], scales.scale[s], scales.offset[s],
			                (float)(upper * 256 + lower), x.scale, x.sum[s]);
		}
	}
}

/* Number of a lane's chunk in the row. */
template <gemv_case K, gemv_config C>
SIMT_FN unsigned lane_chunk(int step)
{
	return (unsigned)step * gemv_plan<K, C>::lanes + simt::lane_id() % gemv_plan<K, C>::lanes;
}

/* A column that finds among the scales of 256 elements those of the lane's chunk: any step will do
 * if it has all of them. */
template <gemv_case K, gemv_config C>
SIMT_FN unsigned scale_place(int step)
{
	using P = gemv_plan<K, C>;
	return lane_chunk<K, C>(P::step % 256 ? step : 0) * P::chunk;
}

/* One step of weights with x from shared memory, which begins with the block's first step. */
template <gemv_case K, gemv_config C>
SIMT_FN void multiply_step(const gemv_task &t, const gemv_weights<K, C> &w, float *xs, int padded_k,
                           int step, gemv_sums<K, C> &sums)
{
	if constexpr (gemv_plan<K, C>::mma) {
		multiply_matrix<K, C>(w, xs, step - t.base, sums);
	} else {
		x_chunk<K, C> x;
		read_x<K, C>(xs, padded_k, lane_chunk<K, C>(step - t.base), 0, x);
		multiply_rows<K, C>(w, x, scale_place<K, C>(step), sums);
	}
}

/* The tile's sums over this warp's columns, to `part` by row of the block. On tensor cores the
 * halves of segment s are in the lanes with lane % 4 == s. */
template <gemv_case K, gemv_config C>
SIMT_FN void finish_tile(const gemv_task &t, int tile, const gemv_sums<K, C> &sums, float *part)
{
	using P = gemv_plan<K, C>;
	const int lane = simt::lane_id(), row0 = tile * P::tile_rows;
	if constexpr (P::mma) {
		float both[2]; /* rows lane / 4 and 8 + lane / 4 of the matrix */
#pragma unroll
		for (int h = 0; h < 2; h++) {
			const int segment = (lane / 4 + 8 * h) / C.rows;
			both[h] = sums.matrix[0][2 * h] + sums.matrix[1][2 * h] +
			          (sums.matrix[0][2 * h + 1] + sums.matrix[1][2 * h + 1]);
			both[h] = lane % 4 == segment ? both[h] : 0.0f;
		}
		if constexpr (C.rows < 16) {
			both[0] = simt::group_sum<4>(both[0] + both[1]);
			if constexpr (C.rows == 4)
				both[0] += simt::shuffle_xor(both[0], 16);
		}
#pragma unroll
		for (int h = 0; h < (C.rows == 16 ? 2 : 1); h++) {
			const int row = row0 + lane / 4 + 8 * h;
			if (lane % 4 == 0 && lane / 4 < C.rows && row < t.rows)
				part[row] = both[h];
		}
	} else {
		float sum[C.rows];
#pragma unroll
		for (int r = 0; r < C.rows; r++)
			sum[r] = P::integer ? sums.whole[P::integer ? r : 0]
			                    : simt::total(sums.row[r]);
		simt::group_sum_n<P::lanes>(sum);
#pragma unroll
		for (int r = 0; r < C.rows; r++) {
			const int row = row0 + lane / P::lanes * C.rows + r;
			if (lane % P::lanes == r % P::lanes && row < t.rows)
				part[row] = sum[r];
		}
	}
}

/* The same for a CPU, which looks ahead by itself. */
template <gemv_case K, gemv_config C>
SIMT_FN void stream_plainly(const gemv_args &a, const vec::planes &p, const gemv_task &t, float *xs,
                            int padded_k, float *part)
{
	for (int tile = t.first_tile; tile < t.end_tile; tile++) {
		gemv_sums<K, C> sums;
		for (gemv_cursor at = tile_begin<C>(t, tile); at.step < at.end; at.step++) {
			gemv_weights<K, C> w;
			load_step<K, C>(a, p, t, at, w);
			multiply_step<K, C>(t, w, xs, padded_k, at.step, sums);
		}
		finish_tile<K, C>(t, tile, sums, part);
	}
}

/* All tiles of the warp. A step's registers are loaded anew as soon as they are used. */
template <gemv_case K, gemv_config C>
SIMT_FN void stream_weights(const gemv_args &a, const vec::planes &p, const gemv_task &t,
                            gemv_weights<K, C> (&w)[C.unroll], gemv_cursor load, float *xs,
                            int padded_k, float *part)
{
	gemv_sums<K, C> sums;
	gemv_cursor use = warp_begin<C>(t);
	while (use.tile < t.end_tile) {
#pragma unroll
		for (int u = 0; u < C.unroll; u++) {
			if (use.tile >= t.end_tile)
				break;
			multiply_step<K, C>(t, w[u], xs, padded_k, use.step, sums);
			load_step<K, C>(a, p, t, load, w[u]);
			advance<C>(t, load);
			const int tile = use.tile;
			advance<C>(t, use);
			if (use.tile != tile) {
				finish_tile<K, C>(t, tile, sums, part);
				sums = {};
			}
		}
	}
}

// ---------------------------------------------------------------- x in registers

/* Floats of x, or of the norm's weights, that a thread has before they are put where they are used:
 * chunk u is that of step u of its slice, or its first eight of the row. */
template <gemv_case K, gemv_config C>
struct gemv_floats {
	static constexpr int n = C.held ? C.unroll : 1, chunk = C.held ? gemv_plan<K, C>::chunk : 8;
	float v[n][chunk] = {};
};

/* What a lane holds of x, by step of its slice. */
template <gemv_case K, gemv_config C>
struct gemv_held_x {
	x_chunk<K, C> of_step[C.unroll];
};

/* Zeros behind the slice and behind the row. All loads are issued before the first is unpacked. */
template <int Dtype, gemv_case K, gemv_config C>
SIMT_FN void load_slice(const gemv_args &a, const gemv_task &t, const void *from,
                        gemv_floats<K, C> &to)
{
	constexpr int n = gemv_plan<K, C>::chunk / vec::kChunk<Dtype>;
	const gemv_cursor slice = tile_begin<C>(t, 0);
	uint4 raw[C.unroll][n] = {};
#pragma unroll
	for (int u = 0; u < C.unroll; u++) {
		const int column = lane_place<K, C>(0, slice.step + u).y;
		if (slice.step + u < slice.end && column < a.k)
			vec::load_raw<Dtype>(from, column, raw[u]);
	}
#pragma unroll
	for (int u = 0; u < C.unroll; u++)
		vec::unpack_all<Dtype>(raw[u], to.v[u]);
}

/* x times the norm's weights; returns the lane's sum of squares. */
template <gemv_case K, gemv_config C>
SIMT_FN float apply_norm(gemv_floats<K, C> &x, const gemv_floats<K, C> &norm)
{
	simt::partial squares;
#pragma unroll
	for (int u = 0; u < C.unroll; u++) {
		simt::dot(squares, x.v[u], x.v[u]);
		vec::multiply(x.v[u], norm.v[u]);
	}
	return simt::total(squares);
}

template <gemv_case K, gemv_config C>
SIMT_FN void hold_chunk(const float (&x)[gemv_plan<K, C>::chunk], float_chunk<K, C> &to)
{
#pragma unroll
	for (int e = 0; e < gemv_plan<K, C>::chunk; e++)
		to.v[e] = x[e];
}

/* Of a chunk of 16, half a block, the neighbouring lane has the other half. */
template <gemv_case K, gemv_config C>
SIMT_FN void hold_chunk(const float (&x)[gemv_plan<K, C>::chunk], integer_chunk<K, C> &to)
{
	constexpr int halves = integer_chunk<K, C>::halves;
	const integer_scale s =
	        integer_scale_of(simt::group_max<2 / halves>(vec::largest_magnitude(x)));
	to.scale = s.scale;
#pragma unroll
	for (float &sum : to.sum)
		sum = 0;
#pragma unroll
	for (int h = 0; h < halves; h++) {
		uint2 high[2], low[2];
		to_integers(x + 16 * h, s.inverse, high[0], low[0]);
		to_integers(x + 16 * h + 8, s.inverse, high[1], low[1]);
		to.high[h] = make_uint4(high[0].x, high[0].y, high[1].x, high[1].y);
		to.low[h] = make_uint4(low[0].x, low[0].y, low[1].x, low[1].y);
		float sum = 0;
#pragma unroll
		for (int e = 0; e < 16; e++)
			sum += x[16 * h + e] * kSumUnit<K.w>;
		to.scale += 0.0f * sum; /* what is no number stays none */
		to.sum[h % integer_chunk<K, C>::sums] += sum;
	}
}

/* Weights of a tile: the slice is at most C.unroll steps. */
template <gemv_case K, gemv_config C>
SIMT_FN void load_tile(const gemv_args &a, const vec::planes &p, const gemv_task &t,
                       gemv_weights<K, C> (&w)[C.unroll])
{
	gemv_cursor at = tile_begin<C>(t, t.first_tile);
#pragma unroll
	for (int u = 0; u < C.unroll; u++, at.step++)
		if (at.step < at.end)
			load_step<K, C>(a, p, t, at, w[u]);
}

/* All tiles of the warp, tile after tile with the same x. */
template <gemv_case K, gemv_config C>
SIMT_FN void stream_held(const gemv_args &a, const vec::planes &p, const gemv_task &t,
                         gemv_weights<K, C> (&w)[C.unroll], const gemv_held_x<K, C> &x, float *part)
{
	const gemv_cursor slice = tile_begin<C>(t, 0);
	for (int tile = t.first_tile; tile < t.end_tile; tile++) {
		gemv_sums<K, C> sums;
#pragma unroll
		for (int u = 0; u < C.unroll; u++)
			if (slice.step + u < slice.end) {
				const int step = slice.step + u;
				multiply_rows<K, C>(w[u], x.of_step[u], scale_place<K, C>(step),
				                    sums);
				load_step<K, C>(a, p, t, {tile + 1, step, slice.end}, w[u]);
			}
		finish_tile<K, C>(t, tile, sums, part);
	}
}

// ---------------------------------------------------------------- weights in bulk

/* A warp's share of shared memory: C.copy stages, and what the copies into each arrive at. A stage
 * has C.unroll steps of a tile: of each plane all rows. */
struct gemv_ring {
	unsigned char *stages;
	simt::copy_barrier *barriers;
};

template <gemv_case K, gemv_config C>
SIMT_FN gemv_ring ring_of(float *smem)
{
	using P = gemv_plan<K, C>;
	if constexpr (P::bulk) {
		SIMT_SHARED(simt::copy_barrier[P::warps * C.copy], barriers);
		return {reinterpret_cast<unsigned char *>(smem) +
		                simt::warp_id() * (C.copy * P::stage_bytes),
		        barriers + simt::warp_id() * C.copy};
	}
	return {};
}

/* The work of a stage: so many columns of some rows, from element i on. Rows that are in it from
 * end to end are neighbours in every plane, and one copy. */
struct gemv_stage {
	unsigned i;
	int rows, steps, columns;
	bool whole;
};

template <gemv_case K, gemv_config C>
SIMT_FN gemv_stage stage_at(const gemv_args &a, const gemv_task &t, gemv_cursor at)
{
	using P = gemv_plan<K, C>;
	const int first = at.tile * P::tile_rows, column = at.step * P::step;
	const int rows = t.rows - first < P::tile_rows ? t.rows - first : P::tile_rows;
	const int left = at.end - at.step, steps = left < C.unroll ? left : C.unroll;
	const int columns = a.k - column < steps * P::step ? a.k - column : steps * P::step;
	return {(unsigned)(t.row0 + first) * (unsigned)a.k + (unsigned)column, rows, steps, columns,
	        C.slices * C.cluster == 1 && t.steps <= C.unroll};
}

/* Where a plane has element i, and how many bytes behind a multiple of 16 that is. */
template <int Dtype, int Plane>
SIMT_FN const unsigned char *plane_at(const vec::planes &p, unsigned i)
{
	constexpr dtype_layout l = dtype_layout_of(Dtype);
	const unsigned char *const bases[] = {p.quants, p.high, p.scales, p.d};
	return bases[Plane] + (size_t)(i / l.block) * l.plane[Plane];
}
template <int Dtype, int Plane>
SIMT_FN unsigned plane_skip(const vec::planes &p, unsigned i)
{
	return gemv_is_aligned(Dtype, Plane)
	               ? 0
	               : (unsigned)reinterpret_cast<size_t>(plane_at<Dtype, Plane>(p, i)) % 16;
}

/* Where a stage has the first copy of a plane, and the bytes from one row's copy to the next. */
template <gemv_case K, gemv_config C, int Plane>
struct gemv_piece {
	static constexpr int columns = gemv_plan<K, C>::span;
	static constexpr int row = gemv_piece_bytes(K.w, Plane, columns);
	static constexpr int first =
	        gemv_plan<K, C>::tile_rows * ((Plane > 0 ? gemv_piece_bytes(K.w, 0, columns) : 0) +
	                                      (Plane > 1 ? gemv_piece_bytes(K.w, 1, columns) : 0) +
	                                      (Plane > 2 ? gemv_piece_bytes(K.w, 2, columns) : 0));
};

/* Elements i .. i + n - 1 of a plane as copy r of a stage. Returns the bytes that will arrive. */
template <gemv_case K, gemv_config C, int Plane>
SIMT_FN unsigned copy_plane(const vec::planes &p, unsigned i, unsigned n, unsigned char *stage,
                            int r, simt::copy_barrier *barrier)
{
	using piece = gemv_piece<K, C, Plane>;
	constexpr dtype_layout l = dtype_layout_of(K.w);
	if constexpr (l.plane[Plane] == 0)
		return 0;
	const unsigned skip = plane_skip<K.w, Plane>(p, i);
	const unsigned bytes = (skip + n / l.block * l.plane[Plane] + 15) / 16 * 16;
	simt::bulk_copy(stage + piece::first + r * piece::row, plane_at<K.w, Plane>(p, i) - skip,
	                bytes, barrier);
	return bytes;
}

/* Asks for the weights of a stage; by one lane. */
template <gemv_case K, gemv_config C>
SIMT_FN void copy_stage(const gemv_args &a, const vec::planes &p, const gemv_stage &s,
                        unsigned char *stage, simt::copy_barrier *barrier)
{
	const unsigned n = s.whole ? (unsigned)s.rows * (unsigned)a.k : (unsigned)s.columns;
	unsigned bytes = 0;
#pragma unroll 1
	for (int r = 0; r < (s.whole ? 1 : s.rows); r++) {
		const unsigned i = s.i + (unsigned)r * (unsigned)a.k;
		bytes += copy_plane<K, C, 0>(p, i, n, stage, r, barrier);
		bytes += copy_plane<K, C, 1>(p, i, n, stage, r, barrier);
		bytes += copy_plane<K, C, 2>(p, i, n, stage, r, barrier);
		bytes += copy_plane<K, C, 3>(p, i, n, stage, r, barrier);
	}
	simt::bulk_expect(barrier, bytes);
}

/* Stage number `slot` of the ring gets the work at `load`, where there is any left. */
template <gemv_case K, gemv_config C>
SIMT_FN void refill(const gemv_args &a, const vec::planes &p, const gemv_task &t,
                    const gemv_ring &ring, int slot, gemv_cursor &load)
{
	if (load.tile < t.end_tile && simt::elect_lane())
		copy_stage<K, C>(a, p, stage_at<K, C>(a, t, load),
		                 ring.stages + slot * gemv_plan<K, C>::stage_bytes,
		                 ring.barriers + slot);
	advance<C>(t, load, C.unroll);
}

/* The first copies of a warp. */
template <gemv_case K, gemv_config C>
SIMT_FN void fill_ring(const gemv_args &a, const vec::planes &p, const gemv_task &t,
                       const gemv_ring &ring, gemv_cursor &load)
{
	if (simt::elect_lane())
		for (int slot = 0; slot < C.copy; slot++)
			simt::copy_barrier_init(ring.barriers + slot);
	simt::sync_warp();
#pragma unroll
	for (int slot = 0; slot < C.copy; slot++)
		refill<K, C>(a, p, t, ring, slot, load);
}

/* Where a stage has the planes of a row of the tile. */
template <gemv_case K, gemv_config C, int Plane>
SIMT_FN const unsigned char *stage_plane(const gemv_args &a, const vec::planes &p,
                                         const gemv_stage &s, const unsigned char *stage, int row)
{
	using piece = gemv_piece<K, C, Plane>;
	constexpr dtype_layout l = dtype_layout_of(K.w);
	const unsigned of_row = (unsigned)a.k / l.block * l.plane[Plane];
	const unsigned i = s.whole ? s.i : s.i + (unsigned)row * (unsigned)a.k;
	return stage + piece::first + (unsigned)row * (s.whole ? of_row : piece::row) +
	       plane_skip<K.w, Plane>(p, i);
}
template <gemv_case K, gemv_config C>
SIMT_FN vec::planes stage_row(const gemv_args &a, const vec::planes &p, const gemv_stage &s,
                              const unsigned char *stage, int row)
{
	constexpr int scales = vec::kHigh<K.w> ? 2 : 1;
	return {stage_plane<K, C, 0>(a, p, s, stage, row),
	        stage_plane<K, C, 1>(a, p, s, stage, row),
	        stage_plane<K, C, scales>(a, p, s, stage, row),
	        stage_plane<K, C, 3>(a, p, s, stage, row)};
}

/* x of step u of a stage, in which the lane begins with chunk n of the row: from shared memory, or
 * from registers. */
struct gemv_shared_x {
	float *xs;
	int padded_k;
};
template <gemv_case K, gemv_config C>
SIMT_FN x_chunk<K, C> step_x(const gemv_shared_x &x, int u, unsigned n)
{
	x_chunk<K, C> chunk;
	read_x<K, C>(x.xs, x.padded_k, n, u * gemv_plan<K, C>::lanes, chunk);
	return chunk;
}
template <gemv_case K, gemv_config C>
SIMT_FN const x_chunk<K, C> &step_x(const gemv_held_x<K, C> &x, int u, unsigned)
{
	return x.of_step[u];
}

/* So many steps of a stage, or, without questions that keep loads from moving up, all. The lane
 * begins with chunk n of its rows. */
template <gemv_case K, gemv_config C, bool All, typename X>
SIMT_FN void multiply_steps(const vec::planes (&rows)[C.rows], int steps, unsigned n, const X &x,
                            gemv_sums<K, C> &sums)
{
	using P = gemv_plan<K, C>;
	const unsigned within = lane_chunk<K, C>(0) * P::chunk;
#pragma unroll
	for (int u = 0; u < C.unroll; u++) {
		if (!All && u >= steps)
			break;
		gemv_weights<K, C> w;
#pragma unroll
		for (int r = 0; r < C.rows; r++) {
			const unsigned i = u * P::step + within;
			w.raw[r] = simt::load128(vec::at<K.w>(rows[r].quants, i));
			if constexpr (P::scaled)
				w.trim[r] = vec::load_trim<K.w>(rows[r], i);
		}
		multiply_rows<K, C>(w, step_x<K, C>(x, u, n), within, sums);
	}
}

/* Rows beyond the last give sums that nobody uses; lanes behind the end of a row have no work. */
template <gemv_case K, gemv_config C, typename X>
SIMT_FN void multiply_stage(const gemv_args &a, const vec::planes &p, const gemv_stage &s,
                            int first_step, const unsigned char *stage, const X &x,
                            gemv_sums<K, C> &sums)
{
	using P = gemv_plan<K, C>;
	vec::planes rows[C.rows];
#pragma unroll
	for (int r = 0; r < C.rows; r++)
		rows[r] = stage_row<K, C>(a, p, s, stage, lane_place<K, C>(r, 0).x);
	const unsigned n = lane_chunk<K, C>(first_step);
	const int last = lane_place<K, C>(0, s.steps - 1).y;
	if (s.columns == P::span)
		multiply_steps<K, C, true>(rows, C.unroll, n, x, sums);
	else
		multiply_steps<K, C, false>(rows, last < s.columns ? s.steps : s.steps - 1, n, x,
		                            sums);
}

/* All tiles of the warp, stage by stage, each asked for anew as soon as it is used. */
template <gemv_case K, gemv_config C, typename X>
SIMT_FN void stream_ring(const gemv_args &a, const vec::planes &p, const gemv_task &t,
                         const gemv_ring &ring, gemv_cursor load, const X &x, float *part)
{
	int slot = 0, phase = 0;
	for (gemv_cursor use = warp_begin<C>(t); use.tile < t.end_tile;) {
		const int tile = use.tile;
		gemv_sums<K, C> sums;
		while (use.tile == tile) {
			simt::bulk_wait(ring.barriers + slot, phase);
			multiply_stage<K, C>(a, p, stage_at<K, C>(a, t, use), use.step - t.base,
			                     ring.stages + slot * gemv_plan<K, C>::stage_bytes, x,
			                     sums);
			simt::sync_warp();
			refill<K, C>(a, p, t, ring, slot, load);
			phase ^= slot == C.copy - 1;
			slot = slot == C.copy - 1 ? 0 : slot + 1;
			advance<C>(t, use, C.unroll);
		}
		finish_tile<K, C>(t, tile, sums, part);
	}
}

// ---------------------------------------------------------------- the launch

/* Slices that pass over a tile have sums of it too. */
template <gemv_case K, gemv_config C>
SIMT_FN void clear_sums(const gemv_task &t, float *part)
{
	if (t.steps >= C.slices)
		return;
	const int first = t.first_tile * gemv_plan<K, C>::tile_rows;
	const int end = t.end_tile * gemv_plan<K, C>::tile_rows;
	for (int row = first + simt::lane_id(); row < end && row < t.rows; row += simt::kWarp)
		part[row] = 0;
	simt::sync_warp();
}

/* What the epilogue adds to a row, or to a pair, and the pair's rotation. */
struct gemv_addend {
	float v[2];
	float sine, cosine;
	int position;
};

/* Of row `item`, or pair `item`, of the block. Those that no launch of this step writes may be read
 * before the wait; the position is written at the end of a step, and a step begins with a launch
 * that is not dependent. */
template <gemv_case K, gemv_config C>
SIMT_FN gemv_addend load_addend(const gemv_args &a, const gemv_task &t, int item)
{
	gemv_addend d = {};
	if constexpr (K.epilogue == EPILOGUE_BIAS)
		d.v[0] = a.bias[t.row0 + item];
	if constexpr (K.epilogue == EPILOGUE_RESIDUAL)
		d.v[0] = vec::get<K.x>(a.residual, t.row0 + item);
	if constexpr (K.epilogue == EPILOGUE_QKV) {
		const int row = a.first_row + t.row0 + 2 * item, head = row / a.head_dim;
		if (a.bias) {
			d.v[0] = a.bias[row];
			d.v[1] = a.bias[row + 1];
		}
		d.position = *a.position;
		if (head < a.n_heads + a.n_kv_heads)
			rotation_angle(a.turns[row % a.head_dim / 2], d.position, &d.sine,
			               &d.cosine);
	}
	return d;
}

SIMT_FN void put_cache(const gemv_args &a, void *cache, size_t i, float v)
{
	if (a.kv == DTYPE_F32)
		vec::put<DTYPE_F32>(cache, i, v);
	else if (a.kv == DTYPE_F16)
		vec::put<DTYPE_F16>(cache, i, v);
	else
		vec::put<DTYPE_BF16>(cache, i, v);
}

/* A pair of neighbouring rows of a query, key or value head. */
template <gemv_case K>
SIMT_FN void store_qkv(const gemv_args &a, int row, float first, float second, const gemv_addend &d)
{
	const int dim = a.head_dim, head = row / dim, within = row % dim, i = within / 2;
	first += d.v[0];
	second += d.v[1];
	const float2 turned = rotate_pair(first, second, d.sine, d.cosine);
	if (head < a.n_heads) {
		vec::put<K.x>(a.y, head * dim + i, turned.x);
		vec::put<K.x>(a.y, head * dim + i + dim / 2, turned.y);
	} else if (d.position >= 0 && d.position < a.capacity) {
		const int kv_head = (head - a.n_heads) % a.n_kv_heads;
		const size_t row =
		        a.newest_only ? kv_head : (size_t)kv_head * a.capacity + d.position;
		const size_t at = row * dim;
		if (head < a.n_heads + a.n_kv_heads) {
			put_cache(a, a.k_cache, at + i, turned.x);
			put_cache(a, a.k_cache, at + i + dim / 2, turned.y);
		} else {
			put_cache(a, a.v_cache, at + within, first);
			put_cache(a, a.v_cache, at + within + 1, second);
		}
	}
}

/* What p is in the block of that rank. */
template <gemv_config C>
SIMT_FN const float *of_rank(const float *p, int rank)
{
	if constexpr (C.cluster == 1)
		return p;
	return simt::cluster_shared(p, rank);
}

/* Sum of a row over the slices of all blocks that share it. */
template <gemv_config C>
SIMT_FN float row_sum(const float *part, int stride, int row)
{
	float sum = 0;
#pragma unroll
	for (int rank = 0; rank < C.cluster; rank++)
#pragma unroll
		for (int s = 0; s < C.slices; s++)
			sum += of_rank<C>(part, rank)[s * stride + row];
	return sum;
}

/* All threads that work on the same rows. */
template <gemv_config C>
SIMT_FN void sync_rows()
{
	if constexpr (C.cluster > 1)
		simt::sync_cluster();
	else
		simt::sync_block();
}

/* Rows, or pairs of rows, of a cluster are dealt out to the threads of its blocks by turns. */
template <gemv_config C>
SIMT_FN int first_item()
{
	return threadIdx.x * C.cluster + cluster_rank<C>();
}
template <gemv_case K, gemv_config C>
SIMT_FN int n_items(const gemv_task &t)
{
	return gemv_plan<K, C>::pairs ? t.rows / 2 : t.rows;
}

/* `mine` is the addend of a thread's first item. */
template <gemv_case K, gemv_config C>
SIMT_FN void finish_rows(const gemv_args &a, const gemv_task &t, const float *part, int stride,
                         float scale, const gemv_addend &mine)
{
	using P = gemv_plan<K, C>;
	SIMT_SHARED(unsigned long long[P::warps], keys);
	constexpr int turn = P::threads * C.cluster;
	unsigned long long best = 0;
#pragma unroll 1
	for (int i = first_item<C>(); i < n_items<K, C>(t); i += turn) {
		const gemv_addend d = i < turn ? mine : load_addend<K, C>(a, t, i);
		const float first = scale * row_sum<C>(part, stride, P::pairs ? 2 * i : i);
		if constexpr (P::pairs) {
			const float second = scale * row_sum<C>(part, stride, 2 * i + 1);
			if constexpr (K.epilogue == EPILOGUE_QKV)
				store_qkv<K>(a, a.first_row + t.row0 + 2 * i, first, second, d);
			else
				vec::put<K.x>(a.y, t.row0 / 2 + i, vec::silu(first) * second);
		} else {
			vec::put<K.x>(a.y, t.row0 + i, first + d.v[0]);
		}
		if constexpr (K.epilogue == EPILOGUE_ARGMAX)
			best = larger_key(best, argmax_key(first, t.row0 + i));
	}
	if constexpr (K.epilogue == EPILOGUE_ARGMAX) {
		best = block_largest_key<P::warps>(best, keys);
		if (threadIdx.x == 0)
			simt::atomic_max(a.best, best);
	}
}

/* This block's share of what a later launch reads, and the weights of its own that do not fit into
 * registers. */
template <gemv_case K, gemv_config C>
SIMT_FN void prefetch(const gemv_args &a, const gemv_task &t)
{
	constexpr int threads = gemv_plan<K, C>::threads;
	if constexpr (C.early > 1) { /* of quantised weights the quants, which are most of them */
		const size_t row_bytes = (size_t)a.k / dtype_chunk(K.w) * 16;
		const size_t all = t.rows * row_bytes, most = (size_t)C.early * 1024;
		simt::prefetch_l2_range<threads>(static_cast<const char *>(a.w) +
		                                         t.row0 * row_bytes,
		                                 all < most ? all : most);
	}
	if (C.ahead && a.ahead_bytes) {
		const size_t share = (a.ahead_bytes / gridDim.x + 127) / 128 * 128;
		const size_t first = share * blockIdx.x;
		if (first < a.ahead_bytes)
			simt::prefetch_l2_range<threads>(
			        static_cast<const char *>(a.ahead) + first,
			        first + share < a.ahead_bytes ? share : a.ahead_bytes - first);
	}
}

/* 1 / rms(x) from the squares of each warp, or of each slice. */
template <gemv_case K, gemv_config C>
SIMT_FN float norm_scale(const gemv_args &a, const float *squares)
{
	float sum = 0;
#pragma unroll
	for (int rank = 0; rank < C.cluster; rank++)
#pragma unroll
		for (int i = 0; i < (C.held ? C.slices : gemv_plan<K, C>::warps); i++)
			sum += of_rank<C>(squares, rank)[i];
	return simt::rsqrt(sum * simt::reciprocal_fast((float)a.n_norm) + a.eps);
}

/* The warp's first loads. */
template <gemv_case K, gemv_config C>
SIMT_FN void load_first(const gemv_args &a, const vec::planes &p, const gemv_task &t,
                        const gemv_ring &ring, gemv_weights<K, C> (&w)[C.unroll], gemv_cursor &load)
{
	if constexpr (gemv_plan<K, C>::bulk)
		fill_ring<K, C>(a, p, t, ring, load);
	else if constexpr (C.held)
		load_tile<K, C>(a, p, t, w);
	else
		fill_pipeline<K, C>(a, p, t, w, load);
}

/* x from registers: sums of the warp's rows to `part`, squares of the slice to `squares`. */
template <gemv_case K, gemv_config C>
SIMT_FN void multiply_held(const gemv_args &a, const vec::planes &p, const gemv_task &t,
                           const gemv_ring &ring, gemv_weights<K, C> (&w)[C.unroll],
                           gemv_cursor load, const gemv_floats<K, C> &norm, float *part,
                           float *squares)
{
	gemv_floats<K, C> x;
	load_slice<K.x, K, C>(a, t, a.x, x);
	if constexpr (K.norm) {
		const float sum = simt::group_sum<gemv_plan<K, C>::lanes>(apply_norm(x, norm));
		if (simt::warp_id() == t.slice && simt::lane_id() == 0)
			squares[t.slice] = sum;
	}
	gemv_held_x<K, C> held;
#pragma unroll
	for (int u = 0; u < C.unroll; u++)
		hold_chunk<K, C>(x.v[u], held.of_step[u]);
	if constexpr (gemv_plan<K, C>::bulk) {
		clear_sums<K, C>(t, part);
		stream_ring<K, C>(a, p, t, ring, load, held, part);
	} else {
		stream_held<K, C>(a, p, t, w, held, part);
	}
}

/* x by way of shared memory; squares are those of a warp's part of x. */
template <gemv_case K, gemv_config C>
SIMT_FN void multiply_shared(const gemv_args &a, const vec::planes &p, const gemv_task &t,
                             const gemv_ring &ring, gemv_weights<K, C> (&w)[C.unroll],
                             gemv_cursor load, const gemv_floats<K, C> &norm, float *xs,
                             float *part, float *squares)
{
	const int padded_k = gemv_padded(gemv_plan<K, C>::step, C.cluster, a.k);
	const gemv_columns columns = block_columns<K, C>(a, t);
	float sum;
	if constexpr (gemv_plan<K, C>::integer)
		sum = stage_integers<K, C>(a, columns, norm.v[0], xs, padded_k);
	else
		sum = stage_x<K, C>(a, columns, norm.v[0], xs, padded_k);
	if constexpr (K.norm) {
		const float of_warp = simt::warp_sum(sum);
		if (simt::lane_id() == 0)
			squares[simt::warp_id()] = of_warp;
	}
	simt::sync_block();
	clear_sums<K, C>(t, part);
	if constexpr (gemv_plan<K, C>::bulk)
		stream_ring<K, C>(a, p, t, ring, load, gemv_shared_x{xs, padded_k}, part);
	else if constexpr (simt::kWarp == 1)
		stream_plainly<K, C>(a, p, t, xs, padded_k, part);
	else
		stream_weights<K, C>(a, p, t, w, load, xs, padded_k, part);
}

template <gemv_case K, gemv_config C>
__global__ void __launch_bounds__(gemv_plan<K, C>::threads, C.min_blocks) gemv(const gemv_args a)
{
	using P = gemv_plan<K, C>;
	SIMT_DYN_SMEM(float, smem); /* gemv_smem_floats() */
	float *xs = smem + P::ring_floats;
	const int padded_k = gemv_padded(P::step, C.cluster, a.k);
	const int stride =
	        C.blocks ? gemv_largest_share(a.m, gridDim.x / C.cluster) : P::fixed_rows;
	float *part = xs + gemv_x_floats(C.held, P::integer, padded_k),
	      *squares = part + C.slices * stride;
	const gemv_task t = block_task<K, C>(a);
	const vec::planes p = vec::planes_of<K.w>(a.w, a.scale, (size_t)a.m * a.k);
	if constexpr (C.trigger == 0)
		simt::grid_launch_dependents();

	const gemv_ring ring = ring_of<K, C>(smem);
	gemv_weights<K, C> w[C.unroll] = {};
	gemv_cursor load = warp_begin<C>(t);
	if constexpr (C.early > 0 && simt::kWarp > 1)
		load_first<K, C>(a, p, t, ring, w, load);
	prefetch<K, C>(a, t);
	if constexpr (C.trigger == 1)
		simt::grid_launch_dependents();
	const gemv_columns columns = block_columns<K, C>(a, t);
	gemv_floats<K, C> norm;
	if constexpr (K.norm && C.held)
		load_slice<DTYPE_F32, K, C>(a, t, a.norm, norm);
	else if (K.norm && (int)threadIdx.x * 8 < columns.n)
		vec::load<DTYPE_F32>(a.norm, columns.first + threadIdx.x * 8, norm.v[0]);
	if constexpr (!P::integer && !C.held)
		pad_x<K, C>(columns, xs, padded_k);
	const bool has_item = first_item<C>() < n_items<K, C>(t);
	gemv_addend mine = {};
	if (K.epilogue != EPILOGUE_RESIDUAL && has_item)
		mine = load_addend<K, C>(a, t, first_item<C>());

	simt::grid_wait();
	if constexpr (C.early == 0)
		load_first<K, C>(a, p, t, ring, w, load);
	if (K.epilogue == EPILOGUE_RESIDUAL && has_item)
		mine = load_addend<K, C>(a, t, first_item<C>());
	if constexpr (C.held)
		multiply_held<K, C>(a, p, t, ring, w, load, norm, part + t.slice * stride, squares);
	else
		multiply_shared<K, C>(a, p, t, ring, w, load, norm, xs, part + t.slice * stride,
		                      squares);
	sync_rows<C>();
	if constexpr (C.trigger == 2)
		simt::grid_launch_dependents();
	finish_rows<K, C>(a, t, part, stride, K.norm ? norm_scale<K, C>(a, squares) : 1.0f, mine);
	if constexpr (C.cluster > 1)
		simt::sync_cluster(); /* the others may still read this block's sums */
}

DEFINE_VARIANTS(gemv, GEMV)
