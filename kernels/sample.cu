// math:   draws a token from logits by temperature, top-k and top-p, see sample.h.
// layout: all blocks weigh the tokens, by bins; the last to arrive list some and find the one.
// bound:  latency.
#include "core/variants.h"
#include "kernels/argmax_key.h"
#include "kernels/sample.h"

namespace sample_detail
{

typedef unsigned long long u64;

enum { BINS = SAMPLE_BINS, GROUP = 16, GROUPS = BINS / GROUP };
/* Counters: tokens by bin, and these. */
enum { ARRIVED = BINS, FINISHED, LISTED };

/* Number and weight of tokens. */
struct mass {
	unsigned count;
	u64 weight;
};
enum measure { BY_COUNT, BY_WEIGHT };

/* Shared memory: the mass in each bin, and in each GROUP of bins. */
struct bins {
	unsigned *count, *group_count;
	u64 *weight, *group_weight;
};

/* A bin and the mass before it. */
struct place {
	int bin;
	mass before;
};

/* Rounded once: as a product it might be fused with the addition that follows. */
SIMT_FN float exponent_of(float x, float largest, float scale)
{
	return simt::fma(x - largest, scale, 0.0f);
}

SIMT_FN int bin_of(float exponent)
{
	return exponent > -42.5f ? (int)(exponent * -6.0f) : BINS - 1;
}

/* 2^e = 2^i 2^f, i the nearest integer, by the Taylor series of exp(f ln 2): operations that give
 * the same bits everywhere. */
SIMT_FN u64 weight_of(float exponent)
{
	if (!(exponent > -(float)(SAMPLE_UNIT + 1)))
		return 0;
	const int i = (int)(exponent - 0.5f);
	const float f = exponent - (float)i;
	float p = 1.52527338e-5f;
	p = simt::fma(p, f, 1.54035304e-4f);
	p = simt::fma(p, f, 1.33335581e-3f);
	p = simt::fma(p, f, 9.61812911e-3f);
	p = simt::fma(p, f, 5.55041087e-2f);
	p = simt::fma(p, f, 2.40226507e-1f);
	p = simt::fma(p, f, 6.93147181e-1f);
	p = simt::fma(p, f, 1.0f);
	return (u64)(p * simt::bits_to_float((unsigned)(i + SAMPLE_UNIT + 127) << 23));
}

SIMT_FN u64 high_product(u64 a, u64 b)
{
	const u64 a0 = (unsigned)a, a1 = a >> 32, b0 = (unsigned)b, b1 = b >> 32;
	const u64 middle = a1 * b0 + (a0 * b0 >> 32), other = a0 * b1 + (unsigned)middle;
	return a1 * b1 + (middle >> 32) + (other >> 32);
}

/* The last unit of the first `share` of a total: the token that holds it is the last to stay. */
SIMT_FN u64 last_of_share(u64 share, u64 total)
{
	const u64 whole = high_product(share, total);
	return share * total != 0 || whole == 0 ? whole : whole - 1;
}

/* The logit in a key, see argmax_key(). */
SIMT_FN float logit_of(u64 key)
{
	const unsigned order = (unsigned)(key >> 32);
	return simt::bits_to_float(order & 0x80000000u ? order ^ 0x80000000u : ~order);
}

/* Elements i, i + stride, ..., so that N loads are in flight; behind the last come some that weigh
 * nothing. */
template <int N>
SIMT_FN void load_logits(const sample_args &a, int i, int stride, float (&x)[N])
{
#pragma unroll
	for (int j = 0; j < N; j++)
		x[j] = i + j * stride < a.n ? a.x[i + j * stride]
		                            : simt::bits_to_float(0xff800000u);
}

template <int Threads>
SIMT_FN void clear(const bins &s)
{
	for (int b = threadIdx.x; b < BINS; b += Threads)
		s.count[b] = s.weight[b] = 0;
	simt::sync_block();
}

SIMT_FN void put(const bins &s, int bin, float exponent)
{
	const u64 weight = weight_of(exponent);
	simt::atomic_add(&s.count[bin], 1u);
	if (weight)
		simt::atomic_add(&s.weight[bin], weight);
}

/* After all threads have put, or read what others did. */
template <int Threads>
SIMT_FN void sum_groups(const bins &s)
{
	simt::sync_block();
	for (int g = threadIdx.x; g < GROUPS; g += Threads) {
		mass sum = {0, 0};
		for (int b = g * GROUP; b < (g + 1) * GROUP; b++) {
			sum.count += s.count[b];
			sum.weight += s.weight[b];
		}
		s.group_count[g] = sum.count;
		s.group_weight[g] = sum.weight;
	}
	simt::sync_block();
}

SIMT_FN mass total_of(const bins &s)
{
	mass sum = {0, 0};
	for (int g = 0; g < GROUPS; g++) {
		sum.count += s.group_count[g];
		sum.weight += s.group_weight[g];
	}
	return sum;
}

/* Passes over n - 1 entries at most, as long as the target is behind them; returns how many. */
template <measure M>
SIMT_FN int pass(const unsigned *count, const u64 *weight, int n, u64 target, mass &before)
{
	int i = 0;
#pragma unroll 4
	for (; i < n - 1; i++) {
		const mass next = {before.count + count[i], before.weight + weight[i]};
		if (target < (M == BY_COUNT ? next.count : next.weight))
			break;
		before = next;
	}
	return i;
}

/* The bin with the target, counted from what is before all bins. */
template <measure M>
SIMT_FN place find(const bins &s, u64 target, mass before)
{
	const int g = pass<M>(s.group_count, s.group_weight, GROUPS, target, before) * GROUP;
	const int b = pass<M>(s.count + g, s.weight + g, GROUP, target, before);
	return {g + b, before};
}

/* Keys below the largest, by their distance from it; the mass before them. */
struct candidates {
	const u64 *distance;
	unsigned n;
	u64 largest, farthest;
	mass before;
};

/* One candidate: it is at [distance, distance + 2^shift). */
struct found {
	u64 distance;
	int shift;
	u64 end; /* weight up to and with it */
};

/* The candidate with the target. Bins are ever smaller ranges of distances, until one has a single
 * candidate. */
template <measure M, int Threads>
SIMT_FN found select(const sample_args &a, const bins &s, const candidates &c, u64 target)
{
	const float largest = logit_of(c.largest);
	mass before = c.before;
	u64 base = 0;
	int shift = 0;
	while (c.farthest >> shift >= BINS)
		shift++;
	for (;;) {
		clear<Threads>(s);
		for (unsigned i = threadIdx.x; i < c.n; i += Threads) {
			const u64 d = simt::load_fresh(&c.distance[i]);
			if (d >= base && (d - base) >> shift < BINS)
				put(s, (int)((d - base) >> shift),
				    exponent_of(logit_of(c.largest - d), largest, a.scale));
		}
		sum_groups<Threads>(s);
		const place p = find<M>(s, target, before);
		const mass here = {s.count[p.bin], s.weight[p.bin]};
		simt::sync_block();
		base += (u64)p.bin << shift;
		before = p.before;
		if (here.count <= 1)
			return {base, shift, before.weight + here.weight};
		shift = shift > 8 ? shift - 8 : 0;
	}
}

/* What the bins tell of the cuts; those in the last bin weigh nothing and are not counted. */
struct draft {
	bool top_k;         /* leaves tokens out */
	int first, last;    /* bins whose tokens are candidates */
	mass total, before; /* of all, of what is before the first */
};

/* The bins that hold the first cut, or the token where there is none. */
template <sample_case K>
SIMT_FN draft draft_of(const sample_args &a, const bins &s, u64 bits)
{
	draft d = {false, 0, 0, total_of(s), {0, 0}};
	d.top_k = K.cut && a.top_k && a.top_k < d.total.count;
	if (d.top_k) {
		d.last = find<BY_COUNT>(s, a.top_k - 1, d.before).bin;
	} else if (K.cut && a.top_p) {
		d.last = find<BY_WEIGHT>(s, last_of_share(a.top_p, d.total.weight), d.before).bin;
	} else {
		const place p = find<BY_WEIGHT>(s, high_product(bits, d.total.weight), d.before);
		d.first = d.last = p.bin;
		d.before = p.before;
	}
	return d;
}

/* Appends the candidates among this finisher's elements. */
template <int Threads>
SIMT_FN void list_candidates(const sample_args &a, const draft &d, u64 largest, int finisher,
                             int finishers)
{
	const float top = logit_of(largest);
	const int stride = finishers * Threads;
	for (int i = finisher * Threads + threadIdx.x; i < a.n; i += 8 * stride) {
		float x[8];
		load_logits(a, i, stride, x);
#pragma unroll
		for (int j = 0; j < 8; j++) {
			const int bin = bin_of(exponent_of(x[j], top, a.scale));
			if (bin >= d.first && bin <= d.last)
				a.list[simt::atomic_add(&a.counters[LISTED], 1u)] =
				        largest - argmax_key(x[j], i + j * stride);
		}
	}
}

template <int Threads, int Warps>
SIMT_FN u64 farthest_of(const candidates &c, u64 *part)
{
	u64 farthest = 0;
	for (unsigned i = threadIdx.x; i < c.n; i += Threads)
		farthest = larger_key(farthest, simt::load_fresh(&c.distance[i]));
	farthest = block_largest_key<Warps>(farthest, part);
	if (threadIdx.x == 0)
		part[0] = farthest;
	simt::sync_block();
	return part[0];
}

/* Leaves tokens out, draws one and stores its key. */
template <sample_case K, int Threads>
SIMT_FN void draw(const sample_args &a, const bins &s, const candidates &c, const draft &d,
                  u64 bits)
{
	u64 total = d.total.weight;
	if (d.top_k)
		total = select<BY_COUNT, Threads>(a, s, c, a.top_k - 1).end;
	if (K.cut && a.top_p)
		total = select<BY_WEIGHT, Threads>(a, s, c, last_of_share(a.top_p, total)).end;
	const found token = select<BY_WEIGHT, Threads>(a, s, c, high_product(bits, total));
	for (unsigned i = threadIdx.x; i < c.n; i += Threads) {
		const u64 distance = simt::load_fresh(&c.distance[i]);
		if (distance >= token.distance && (distance - token.distance) >> token.shift == 0)
			*a.best = c.largest - distance;
	}
}

/* Adds this block's elements to the bins of all. */
template <int Threads>
SIMT_FN void weigh(const sample_args &a, const bins &s, u64 largest)
{
	const float top = logit_of(largest);
	const int stride = (int)gridDim.x * Threads;
	clear<Threads>(s);
	for (int i = blockIdx.x * Threads + threadIdx.x; i < a.n; i += 4 * stride) {
		float x[4];
		load_logits(a, i, stride, x);
#pragma unroll
		for (int j = 0; j < 4; j++) {
			const float exponent = exponent_of(x[j], top, a.scale);
			const int bin = bin_of(exponent);
			if (bin < BINS - 1)
				put(s, bin, exponent);
		}
	}
	simt::sync_block();
	for (int b = threadIdx.x; b < BINS; b += Threads)
		if (s.count[b]) {
			simt::atomic_add(&a.counters[b], s.count[b]);
			simt::atomic_add(&a.weight[b], s.weight[b]);
		}
}

template <int Threads>
SIMT_FN void read_mass(const sample_args &a, const bins &s)
{
	for (int b = threadIdx.x; b < BINS; b += Threads) {
		s.count[b] = simt::load_fresh(&a.counters[b]);
		s.weight[b] = simt::load_fresh(&a.weight[b]);
	}
	sum_groups<Threads>(s);
}

template <int Threads>
SIMT_FN void leave_zeros(const sample_args &a)
{
	for (int b = threadIdx.x; b < BINS; b += Threads)
		a.counters[b] = a.weight[b] = 0;
	if (threadIdx.x == 0)
		a.counters[LISTED] = 0;
}

} // namespace sample_detail

template <sample_case K, sample_config C>
__global__ void __launch_bounds__(C.warps *simt::kWarp, 1) sample(const sample_args a)
{
	using namespace sample_detail;
	constexpr int threads = C.warps * simt::kWarp;
	SIMT_SHARED(unsigned[BINS + GROUPS], count);
	SIMT_SHARED(unsigned long long[BINS + GROUPS], weight);
	SIMT_SHARED(unsigned long long[C.warps], part);
	const bins s = {count, count + BINS, weight, weight + BINS};
	simt::grid_launch_dependents();
	simt::grid_wait();

	const u64 largest = *a.largest;
	const float top = logit_of(largest);
	if (!(top - top == 0.0f)) {
		if (blockIdx.x + threadIdx.x == 0 && a.best != a.largest)
			*a.best = largest;
		return;
	}
	weigh<threads>(a, s, largest);
	const int blocks = (int)gridDim.x, most = simt::kTarget.sm ? C.finishers : 1;
	const int finishers = blocks < most ? blocks : most;
	const int finisher = simt::arrive_among_last(&a.counters[ARRIVED], blocks, finishers);
	if (finisher < 0)
		return;
	read_mass<threads>(a, s);
	const u64 bits = sample_bits(a.seed, *a.position);
	const draft d = draft_of<K>(a, s, bits);
	list_candidates<threads>(a, d, largest, finisher, finishers);
	if (!simt::arrive_last(&a.counters[FINISHED], finishers))
		return;
	candidates c = {a.list, simt::load_fresh(&a.counters[LISTED]), largest, 0, d.before};
	c.farthest = farthest_of<threads, C.warps>(c, part);
	draw<K, threads>(a, s, c, d, bits);
	leave_zeros<threads>(a);
}

DEFINE_VARIANTS(sample, SAMPLE)
