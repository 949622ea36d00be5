/* The host engine: kernels that must work under every schedule, bugs that must be named, the device
 * API. */
#include "kernels/rotate.h"
#include "tests/test_engine.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#include "tests/planted/engine.h"

namespace
{

using simt::kWarp;

/* Runs `body` under the schedules that a correct kernel cannot tell apart. */
template <typename Body>
void each_schedule(Body body)
{
	const struct host_check before = host_check_get();
	for (int schedule = SCHEDULE_FORWARD; schedule <= SCHEDULE_RANDOM; schedule++)
		for (unsigned long seed = 1; seed <= (schedule == SCHEDULE_RANDOM ? 5 : 1);
		     seed++) {
			struct host_check check = before;
			check.schedule = (enum schedule)schedule;
			check.seed = seed;
			host_check_set(check);
			body();
		}
	host_check_set(before);
}

// ---------------------------------------------------------------- shared memory and barriers

struct out_args {
	float *y;
};

__global__ void reverse_dynamic(const out_args a)
{
	SIMT_DYN_SMEM(float, part);
	part[threadIdx.x] = (float)threadIdx.x;
	simt::sync_block();
	a.y[blockIdx.x * blockDim.x + threadIdx.x] = part[blockDim.x - 1 - threadIdx.x];
}

__global__ void reverse_static(const out_args a)
{
	SIMT_SHARED(float[128], part);
	SIMT_SHARED(float[128], other);
	part[threadIdx.x] = (float)threadIdx.x;
	other[threadIdx.x] = 1000.0f;
	__syncthreads();
	a.y[blockIdx.x * blockDim.x + threadIdx.x] = part[blockDim.x - 1 - threadIdx.x] + other[0];
}

void test_shared_memory(void **)
{
	each_schedule([] {
		std::vector<float> y(8 * 128);
		RUN(SIMT_ENTRY(reverse_dynamic), 8, 128, out_args{y.data()}, 512);
		for (int i = 0; i < 8 * 128; i++)
			assert_true(y[i] == (float)(127 - i % 128));
		RUN(SIMT_ENTRY(reverse_static), 8, 128, out_args{y.data()});
		for (int i = 0; i < 8 * 128; i++)
			assert_true(y[i] == (float)(1127 - i % 128));
	});
}

__global__ void count_threads(const out_args a)
{
	const int even = simt::sync_block_count(threadIdx.x % 2 == 0);
	const int third = simt::sync_block_count(threadIdx.x % 3 == 0);
	a.y[threadIdx.x] = (float)(1000 * even + third);
}

/* Threads that return early no longer count at a barrier. */
__global__ void early_exit(const out_args a)
{
	if (threadIdx.x % 3 == 0)
		return;
	a.y[threadIdx.x] += 1.0f;
	simt::sync_block();
	a.y[threadIdx.x] += 1.0f;
}

void test_barriers(void **)
{
	each_schedule([] {
		for (unsigned threads : {1, 7, 100, 1024}) {
			std::vector<float> y(threads);
			RUN(SIMT_ENTRY(count_threads), 1, threads, out_args{y.data()});
			for (float v : y)
				assert_true(v == (float)(1000 * ((threads + 1) / 2) +
				                         (threads + 2) / 3));
			std::fill(y.begin(), y.end(), 0.0f);
			RUN(SIMT_ENTRY(early_exit), 1, threads, out_args{y.data()});
			for (unsigned i = 0; i < threads; i++)
				assert_true(y[i] == (i % 3 ? 2.0f : 0.0f));
		}
	});
}

// ---------------------------------------------------------------- several blocks

struct sum_args {
	const float *x;
	float *part, *sum;
	unsigned *counter;
};

/* Twice in one launch, so that the counter must come back to 0. */
__global__ void sum_by_last_block(const sum_args a)
{
	for (int round = 0; round < 2; round++) {
		const float mine = simt::warp_sum(a.x[blockIdx.x * blockDim.x + threadIdx.x]);
		float *part = a.part + round * gridDim.x * blockDim.x;
		part[blockIdx.x * blockDim.x + threadIdx.x] = mine / kWarp;
		if (!simt::arrive_last(a.counter + round, gridDim.x))
			continue;
		float sum = 0.0f;
		for (unsigned i = threadIdx.x; i < gridDim.x * blockDim.x; i += blockDim.x)
			sum += simt::load_fresh(part + i);
		simt::atomic_add(a.sum, sum);
	}
}

void test_last_block(void **)
{
	each_schedule([] {
		constexpr int n = 100 * 64;
		std::vector<float> x(n, 1.0f), part(2 * n);
		unsigned counter[2] = {};
		for (int repeat = 1; repeat <= 3; repeat++) {
			float sum = 0.0f;
			RUN(SIMT_ENTRY(sum_by_last_block), 100, 64,
			    sum_args{x.data(), part.data(), &sum, counter});
			assert_true(sum == 2.0f * n);
			assert_int_equal(counter[0], 0);
		}
	});
}

struct chain_args {
	unsigned *flag;
	int *out;
};

__global__ void chain_of_blocks(const chain_args a)
{
	if (threadIdx.x > 0)
		return;
	const unsigned b = blockIdx.x;
	while (b > 0 && !simt::load_acquire(a.flag + b - 1))
		simt::spin_pause();
	a.out[b] = b > 0 ? a.out[b - 1] + 1 : 1;
	simt::fence_device();
	simt::atomic_add(a.flag + b, 1u);
}

__global__ void spin_in_block(const chain_args a)
{
	if (threadIdx.x == 31) {
		while (!simt::load_acquire(a.flag))
			simt::spin_pause();
		*a.out = 7;
	}
	if (threadIdx.x == 63)
		simt::atomic_add(a.flag, 1u);
}

void test_spinning(void **)
{
	each_schedule([] {
		unsigned flags[50] = {};
		int out[50] = {};
		RUN(SIMT_ENTRY(chain_of_blocks), 50, 32, chain_args{flags, out});
		assert_int_equal(out[49], 50);
		flags[0] = 0;
		RUN(SIMT_ENTRY(spin_in_block), 1, 64, chain_args{flags, out});
		assert_int_equal(out[0], 7);
	});
}

struct atomic_args {
	float *sum;
	int *count;
	unsigned *wrapped;
	unsigned long long *best;
};

__global__ void atomics(const atomic_args a)
{
	const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
	simt::atomic_add(a.sum, 0.5f);
	simt::atomic_add(a.count, -1);
	simt::atomic_inc(a.wrapped, 6);
	simt::atomic_max(a.best, (unsigned long long)(i * 7919u % 1000) << 32 | i);
}

void test_atomics(void **)
{
	each_schedule([] {
		float sum = 0.0f;
		int count = 0;
		unsigned wrapped = 0;
		unsigned long long best = 0, expected = 0;
		RUN(SIMT_ENTRY(atomics), 10, 64, atomic_args{&sum, &count, &wrapped, &best});
		for (unsigned i = 0; i < 640; i++)
			expected = std::max(expected,
			                    (unsigned long long)(i * 7919u % 1000) << 32 | i);
		assert_true(sum == 320.0f);
		assert_int_equal(count, -640);
		assert_int_equal(wrapped, 640 % 7);
		assert_true(best == expected);
	});
}

// ---------------------------------------------------------------- collectives

struct collective_args {
	const float *x;
	float *sum, *max, *sum_n, *max_n, *broadcast;
	unsigned long long *best;
};

template <int W>
__global__ void collectives(const collective_args a)
{
	const unsigned i = threadIdx.x;
	const float v = a.x[i];
	float sums[3] = {v, 2.0f * v, -v}, maxima[3] = {v, 2.0f * v, -v};
	a.sum[i] = simt::group_sum<W>(v);
	a.max[i] = simt::group_max<W>(v);
	simt::group_sum_n<W>(sums);
	simt::group_max_n<W>(maxima);
	for (int n = 0; n < 3; n++) {
		a.sum_n[3 * i + n] = sums[n];
		a.max_n[3 * i + n] = maxima[n];
	}
	a.broadcast[i] = simt::broadcast<W>(v, W - 1);
	a.best[i] = simt::group_max_u64<W>((unsigned long long)(v + 100.0f) << 32 | i);
}

template <int W>
void check_collectives()
{
	constexpr unsigned width = W < kWarp ? W : kWarp, threads = 96;
	std::vector<float> x(threads), sum(threads), max(threads), sum_n(3 * threads),
	        max_n(3 * threads), first(threads);
	std::vector<unsigned long long> best(threads);
	for (unsigned i = 0; i < threads; i++)
		x[i] = (float)(i * 37 % 64) - 20.0f; /* sums are exact */
	RUN(SIMT_ENTRY(collectives<W>), 1, threads,
	    collective_args{x.data(), sum.data(), max.data(), sum_n.data(), max_n.data(),
	                    first.data(), best.data()});
	for (unsigned i = 0; i < threads; i++) {
		const unsigned begin = i / width * width;
		float total = 0.0f, largest = -1e9f, smallest = 1e9f;
		unsigned long long key = 0;
		for (unsigned j = begin; j < begin + width; j++) {
			total += x[j];
			largest = std::max(largest, x[j]);
			smallest = std::min(smallest, x[j]);
			key = std::max(key, (unsigned long long)(x[j] + 100.0f) << 32 | j);
		}
		assert_true(sum[i] == total && max[i] == largest);
		assert_true(sum_n[3 * i] == total && sum_n[3 * i + 1] == 2.0f * total &&
		            sum_n[3 * i + 2] == -total);
		assert_true(max_n[3 * i] == largest && max_n[3 * i + 1] == 2.0f * largest &&
		            max_n[3 * i + 2] == -smallest);
		assert_true(first[i] == x[begin + width - 1] && best[i] == key);
	}
}

void test_collectives(void **)
{
	each_schedule([] {
		check_collectives<1>();
		check_collectives<2>();
		check_collectives<8>();
		check_collectives<16>();
		check_collectives<32>();
		check_collectives<64>();
	});
}

__global__ void elections(const out_args a)
{
	for (int i = 0; i < 3; i++)
		a.y[threadIdx.x] += simt::elect_lane();
}

void test_elections(void **)
{
	each_schedule([] {
		std::vector<float> y(4 * kWarp);
		RUN(SIMT_ENTRY(elections), 1, 4 * kWarp, out_args{y.data()});
		for (int w = 0; w < 4; w++) {
			std::sort(&y[w * kWarp], &y[w * kWarp] + kWarp);
			assert_true(y[(w + 1) * kWarp - 1] == 3.0f);
			assert_true(kWarp == 1 || y[(w + 1) * kWarp - 2] == 0.0f);
		}
	});
}

__global__ void shuffles(const out_args a)
{
	double wide = simt::shuffle_xor((double)threadIdx.x + 0.5, 5);
	float v = (float)threadIdx.x;
	const unsigned half = threadIdx.x % 32 < 16 ? 0xffffu : 0xffff0000u;
	for (int lanes = 8; lanes > 0; lanes /= 2)
		v += simt::shuffle_xor(v, lanes, half);
	if (threadIdx.x < 8) {
		v += (float)simt::ballot(threadIdx.x & 1, 0xffu);
		simt::sync_warp(0xffu);
	}
	a.y[threadIdx.x] = v + 1000.0f * (float)wide;
}

void test_shuffles(void **)
{
	if (kWarp == 1)
		skip();
	each_schedule([] {
		float y[32];
		RUN(SIMT_ENTRY(shuffles), 1, 32, out_args{y});
		for (int i = 0; i < 32; i++)
			assert_true(y[i] == (i < 16 ? 120.0f : 376.0f) + (i < 8 ? 170.0f : 0.0f) +
			                            1000.0f * ((float)(i ^ 5) + 0.5f));
	});
}

struct copy_args {
	const float *x;
	float *y;
	int n; /* tiles */
};

/* y = sums over tiles, double-buffered: a lane reads what its neighbour copied. */
__global__ void pipelined_sum(const copy_args a)
{
	SIMT_SHARED(float[2][4 * kWarp], tile);
	const int lane = simt::lane_id();
	float sum[4] = {};
	auto copy = [&](int i) {
		simt::cp_async16(&tile[i % 2][4 * lane], a.x + (i * kWarp + lane) * 4);
		simt::cp_async_commit();
	};
	copy(0);
	for (int i = 0; i < a.n; i++) {
		if (i + 1 < a.n) {
			copy(i + 1);
			simt::cp_async_wait<1>();
		} else {
			simt::cp_async_wait<0>();
		}
		simt::sync_warp();
		for (int k = 0; k < 4; k++)
			sum[k] += tile[i % 2][4 * ((lane + 1) % kWarp) + k];
		simt::sync_warp();
	}
	for (int k = 0; k < 4; k++)
		a.y[4 * lane + k] = sum[k];
}

/* The same sums, by bulk copies of one lane, in phases of two barriers. */
__global__ void pipelined_bulk_sum(const copy_args a)
{
	SIMT_SHARED(float[2][4 * kWarp], tile);
	SIMT_SHARED(simt::copy_barrier[2], barriers);
	const int lane = simt::lane_id();
	float sum[4] = {};
	auto copy = [&](int i) {
		constexpr unsigned half = sizeof tile[0] / 2;
		if (lane > 0 || i >= a.n)
			return;
		simt::bulk_expect(&barriers[i % 2], 2 * half);
		simt::bulk_copy(&tile[i % 2][0], a.x + i * kWarp * 4, half, &barriers[i % 2]);
		simt::bulk_copy(&tile[i % 2][2 * kWarp], a.x + i * kWarp * 4 + 2 * kWarp, half,
		                &barriers[i % 2]);
	};
	for (int i = 0; i < 2 && lane == 0; i++)
		simt::copy_barrier_init(&barriers[i]);
	simt::sync_warp();
	copy(0);
	copy(1);
	for (int i = 0; i < a.n; i++) {
		simt::bulk_wait(&barriers[i % 2], i / 2 % 2);
		for (int k = 0; k < 4; k++)
			sum[k] += tile[i % 2][4 * ((lane + 1) % kWarp) + k];
		simt::sync_warp();
		copy(i + 2);
	}
	for (int k = 0; k < 4; k++)
		a.y[4 * lane + k] = sum[k];
}

void test_async_copies(void **)
{
	each_schedule([] {
		constexpr int n = 9, tile = 4 * kWarp;
		alignas(16) float x[n * tile], y[tile];
		for (int i = 0; i < n * tile; i++)
			x[i] = (float)(i % 101);
		for (const void *entry :
		     {SIMT_ENTRY(pipelined_sum), SIMT_ENTRY(pipelined_bulk_sum)}) {
			RUN(entry, 1, (unsigned)kWarp, copy_args{x, y, n});
			for (int i = 0; i < tile; i++) {
				float sum = 0.0f;
				for (int t = 0; t < n; t++)
					sum += x[t * tile + (i + 4) % tile];
				assert_true(y[i] == sum);
			}
		}
	});
}

/* Every third 16 bytes are zeros from nowhere; the others come when they are waited for. */
__global__ void copy_or_zero(const copy_args a)
{
	SIMT_SHARED(float[4 * kWarp], tile);
	const int lane = simt::lane_id();
	const bool there = lane % 3 > 0;
	for (int k = 0; k < 4; k++)
		tile[4 * lane + k] = 7.0f;
	simt::cp_async16_or_zero(tile + 4 * lane, there ? a.x + 4 * lane : nullptr, there);
	simt::cp_async_commit();
	simt::cp_async_wait<0>();
	for (int k = 0; k < 4; k++)
		a.y[4 * lane + k] = tile[4 * lane + k];
}

void test_copies_of_nothing(void **)
{
	each_schedule([] {
		alignas(16) float x[4 * kWarp], y[4 * kWarp];
		for (int i = 0; i < 4 * kWarp; i++)
			x[i] = (float)(i + 1);
		RUN(SIMT_ENTRY(copy_or_zero), 1, (unsigned)kWarp, copy_args{x, y, 0});
		for (int i = 0; i < 4 * kWarp; i++)
			assert_true(y[i] == (i / 4 % 3 ? x[i] : 0.0f));
	});
}

struct mma_args {
	const unsigned short *a, *b; /* bf16: a 16x16 row-major, b 8 columns of 16 */
	float *d;                    /* 16x8 row-major */
};

/* Fragments as in the PTX manual. */
__global__ void multiply_tile(const mma_args p)
{
	const int g = simt::lane_id() / 4, t = simt::lane_id() % 4 * 2;
	auto pair = [](const unsigned short *at) { return at[0] | (unsigned)at[1] << 16; };
	const unsigned a[4] = {pair(p.a + g * 16 + t), pair(p.a + (g + 8) * 16 + t),
	                       pair(p.a + g * 16 + t + 8), pair(p.a + (g + 8) * 16 + t + 8)};
	const unsigned b[2] = {pair(p.b + g * 16 + t), pair(p.b + g * 16 + t + 8)};
	const float c[4] = {1.0f, 2.0f, 3.0f, 4.0f};
	float d[4];
	simt::mma_bf16_16816(d, a, b, c);
	for (int i = 0; i < 4; i++)
		p.d[(g + 8 * (i / 2)) * 8 + t + i % 2] = d[i];
}

void test_mma(void **)
{
	if (kWarp == 1)
		skip();
	each_schedule([] {
		unsigned short a[256], b[128];
		float d[128];
		for (int i = 0; i < 256; i++)
			a[i] = simt::float_to_bf16((float)(i * 7 % 13) - 6.0f);
		for (int i = 0; i < 128; i++)
			b[i] = simt::float_to_bf16((float)(i * 5 % 11) - 5.0f);
		RUN(SIMT_ENTRY(multiply_tile), 1, 32, mma_args{a, b, d});
		for (int row = 0; row < 16; row++)
			for (int column = 0; column < 8; column++) {
				float sum = 1.0f + (float)(row / 8 * 2 + column % 2);
				for (int k = 0; k < 16; k++)
					sum += simt::bf16_to_float(a[row * 16 + k]) *
					       simt::bf16_to_float(b[column * 16 + k]);
				assert_true(d[row * 8 + column] == sum);
			}
	});
}

// ---------------------------------------------------------------- arithmetic

/* Value of a 16-bit float with the given exponent bits, by its definition. */
double value_of(unsigned bits, int exponent_bits)
{
	const int mantissa_bits = 15 - exponent_bits, bias = (1 << (exponent_bits - 1)) - 1;
	const int exponent = bits >> mantissa_bits & ((1 << exponent_bits) - 1);
	const int mantissa = bits & ((1 << mantissa_bits) - 1);
	double v = exponent
	                   ? ldexp((1 << mantissa_bits) + mantissa, exponent - bias - mantissa_bits)
	                   : ldexp(mantissa, 1 - bias - mantissa_bits);
	if (exponent == (1 << exponent_bits) - 1)
		v = mantissa ? (double)NAN : (double)INFINITY;
	return bits & 0x8000 ? -v : v;
}

void test_conversions(void **)
{
	for (unsigned bits = 0; bits < 0x10000; bits++) {
		const unsigned short b = (unsigned short)bits;
		const double half = value_of(bits, 5), bf16 = value_of(bits, 8);
		if (std::isnan(half)) {
			assert_true(std::isnan(simt::half_to_float(b)));
		} else {
			assert_true(simt::half_to_float(b) == half);
			assert_int_equal(simt::float_to_half((float)half), bits);
			assert_true(simt::half_lo(0x3c000000u | bits) == half);
			assert_true(simt::half_hi(bits << 16 | 0x3c00u) == half);
		}
		if (std::isnan(bf16)) {
			assert_true(std::isnan(simt::bf16_to_float(b)));
			assert_true(std::isnan(
			        simt::bf16_to_float(simt::float_to_bf16(simt::bf16_to_float(b)))));
		} else {
			assert_true(simt::bf16_to_float(b) == bf16);
			assert_int_equal(simt::float_to_bf16((float)bf16), bits);
			assert_true(simt::bf16_lo(0x3f800000u | bits) == bf16);
			assert_true(simt::bf16_hi(bits << 16 | 0x3f80u) == bf16);
		}
	}
	/* Ties go to even. */
	assert_int_equal(simt::float_to_bf16(simt::bits_to_float(0x3f808000)), 0x3f80);
	assert_int_equal(simt::float_to_bf16(simt::bits_to_float(0x3f818000)), 0x3f82);
	assert_int_equal(simt::pack_bf16(1.0f, -2.0f), 0xc0003f80);
	assert_int_equal(simt::low_halves(0x11112222, 0x33334444), 0x44442222);
	assert_int_equal(simt::high_halves(0x11112222, 0x33334444), 0x33331111);
	assert_int_equal(simt::float_to_half(1.0f + 0x1p-11f), 0x3c00);
	assert_int_equal(simt::float_to_half(1.0f + 0x3p-11f), 0x3c02);
}

void test_unpacking(void **)
{
	unsigned short words[8];
	signed char bytes[16];
	uint4 v;
	float wide[8], halves[8], quants[16];
	for (int i = 0; i < 8; i++)
		words[i] = (unsigned short)(0x3c00 + 97 * i + (i % 2 ? 0x8000 : 0));
	memcpy(&v, words, sizeof v);
	simt::unpack_bf16(v, wide);
	simt::unpack_half(v, halves);
	for (int i = 0; i < 8; i++) {
		assert_true(wide[i] == value_of(words[i], 8));
		assert_true(halves[i] == value_of(words[i], 5));
	}
	for (int i = 0; i < 16; i++)
		bytes[i] = (signed char)(i * 17 - 128);
	memcpy(&v, bytes, sizeof v);
	simt::unpack_int8(v, quants);
	simt::partial sum;
	simt::dot(sum, quants, quants);
	float expected = 0.0f;
	for (int i = 0; i < 16; i++) {
		assert_true(quants[i] == (float)bytes[i]);
		expected += quants[i] * quants[i];
	}
	assert_true(simt::total(sum) == expected);
}

void test_functions(void **)
{
	for (int i = -1270000; i < 1275000; i += 37) {
		const float v = (float)i * 1e-4f;
		const double exact = exp2((double)v);
		if (v >= -126.0f)
			assert_true(fabs(simt::exp2_fast(v) - exact) <= 1.5e-7 * exact);
		else
			assert_true(simt::exp2_fast(v) <= 0x1p-126f);
	}
	assert_true(simt::exp2_fast(-INFINITY) == 0.0f);
	assert_true(std::isinf(simt::exp2_fast(129.0f)));
	assert_true(std::isnan(simt::exp2_fast(NAN)));
}

void test_phases(void **)
{
	const unsigned long long step = 0xa3d70a3d70a3ull; /* 2^64 / 102400 */
	for (unsigned long long phase = 0, n = 0; n < 102400; n++, phase += step) {
		const double angle = 2 * M_PI * 0x1p-64 * (double)phase;
		float sine, cosine;
		sincos_phase(phase, &sine, &cosine);
		assert_true(fabs(sine - sin(angle)) <= 2 * 0x1p-24);
		assert_true(fabs(cosine - cos(angle)) <= 2 * 0x1p-24);
	}
}

// ---------------------------------------------------------------- planted bugs

struct planted_bug {
	const void *entry;
	unsigned threads;
	enum status status;
	const char *says;
	int lines[2]; /* of planted/engine.h that the message names; 0: none */
};

const planted_bug bugs[] = {
        {SIMT_ENTRY(planted::divergent_barrier),
         128,
         STATUS_VIOLATION,
         "divergent barrier",
         {planted::DIVERGENT_BARRIER_IF, planted::DIVERGENT_BARRIER_ELSE}},
        {SIMT_ENTRY(planted::misaligned_load),
         32,
         STATUS_VIOLATION,
         "16-byte load from a misaligned address",
         {planted::MISALIGNED_LOAD, 0}},
        {SIMT_ENTRY(planted::half_barrier),
         64,
         STATUS_VIOLATION,
         "deadlock",
         {planted::HALF_BARRIER, planted::HALF_WARP}},
        {SIMT_ENTRY(planted::exit_before_shuffle),
         64,
         STATUS_VIOLATION,
         "lanes fffc0000 of warp 1 exited before",
         {planted::EXIT_SHUFFLE, 0}},
        {SIMT_ENTRY(planted::divergent_shuffle),
         32,
         STATUS_VIOLATION,
         "divergent collective",
         {planted::DIVERGENT_SHUFFLE_IF, planted::DIVERGENT_SHUFFLE_ELSE}},
        {SIMT_ENTRY(planted::mask_mismatch),
         32,
         STATUS_VIOLATION,
         "mask mismatch",
         {planted::MASK_MISMATCH, 0}},
        {SIMT_ENTRY(planted::read_bulk<planted::BULK_UNAWAITED>),
         32,
         STATUS_VIOLATION,
         "ends before 1 of its bulk copies have arrived",
         {}},
        {SIMT_ENTRY(planted::read_bulk<planted::BULK_TOO_MUCH>),
         32,
         STATUS_VIOLATION,
         "512 bytes arrive by bulk copies where 256 are expected",
         {}},
        {SIMT_ENTRY(planted::read_bulk<planted::BULK_TOO_LITTLE>),
         32,
         STATUS_VIOLATION,
         "waits for ever for bulk copies: fewer bytes",
         {}},
        {SIMT_ENTRY(planted::read_bulk<planted::BULK_ODD>),
         32,
         STATUS_VIOLATION,
         "a bulk copy is not aligned to 16 bytes",
         {}},
        {SIMT_ENTRY(planted::read_bulk<planted::BULK_TWICE>),
         32,
         STATUS_VIOLATION,
         "asks for more before a phase of bulk copies is over",
         {}},
        {SIMT_ENTRY(planted::read_bulk<planted::BULK_NEXT_PHASE>),
         32,
         STATUS_VIOLATION,
         "waits for ever for bulk copies: nobody asks for them",
         {}},
        {SIMT_ENTRY(planted::shuffle_outside_mask),
         32,
         STATUS_VIOLATION,
         "not in the mask",
         {planted::SHUFFLE_OUTSIDE_MASK, 0}},
};

void test_planted_bugs(void **)
{
	if (kWarp == 1)
		skip();
	alignas(16) float x[256] = {}, y[256];
	each_schedule([&] {
		for (const planted_bug &bug : bugs) {
			assert_int_equal(
			        launch(bug.entry, 3, bug.threads, planted::args{x, y, nullptr}),
			        bug.status);
			expect_text(fail_message(), bug.says);
			expect_text(fail_message(), "block (");
			for (int line : bug.lines)
				if (line)
					expect_text(fail_message(), at("engine.h", line));
			RUN(SIMT_ENTRY(reverse_static), 2, 128,
			    out_args{y}); /* the engine goes on */
		}
	});
}

// ---------------------------------------------------------------- clusters

/* The schedules, with one worker and several, checked and not. */
template <typename Body>
void each_way(Body body)
{
	const struct host_check before = host_check_get();
	for (int workers : {1, 3})
		for (bool checked : {false, true}) {
			struct host_check check = before;
			check.workers = workers;
			check.checked = checked;
			host_check_set(check);
			each_schedule(body);
		}
	host_check_set(before);
}

/* Three clusters of N in each of two rows. */
template <planted::cluster_bug Bug, int N>
enum status launch_clusters(const planted::args &args, unsigned threads = 64)
{
	return launch_grid(SIMT_ENTRY(planted::sum_cluster<Bug, N>),
	                   grid{3 * N, 2, threads, N, threads * sizeof(float)}, args);
}

template <int N>
void check_cluster_sums(unsigned threads)
{
	std::vector<float> x(3 * N * threads), y(x.size());
	for (size_t i = 0; i < x.size(); i++)
		x[i] = (float)(i * 37 % 64) - 20.0f; /* sums are exact */
	if (launch_clusters<planted::CLUSTER_RIGHT, N>({x.data(), y.data(), nullptr}, threads) !=
	    STATUS_OK)
		fail_msg("%s", fail_message());
	for (size_t i = 0; i < x.size(); i++) {
		const size_t n = N * threads, first = i / n * n, last = first + n - threads;
		float sum = x[last + i % threads];
		for (size_t k = 0; k < n; k++)
			sum += x[first + k];
		assert_true(y[i] == sum);
	}
}

void test_cluster_sums(void **)
{
	each_way([] {
		check_cluster_sums<1>(64);
		check_cluster_sums<2>(64);
		check_cluster_sums<4>(100);
		check_cluster_sums<8>(32);
	});
	check_cluster_sums<8>(512);
}

float &variable(int which)
{
	if (which) {
		SIMT_SHARED(float, odd);
		return odd;
	}
	SIMT_SHARED(float, even);
	return even;
}

/* Each block meets the variables in another order, the first never before it is read. */
__global__ void swap_variables(const out_args a)
{
	const int rank = (int)blockIdx.x % 2;
	if (threadIdx.x == 0)
		variable(rank) = 10.0f + (float)rank;
	simt::sync_cluster();
	const float theirs = *simt::cluster_shared(&variable(1 - rank), 1 - rank);
	simt::sync_cluster();
	a.y[blockIdx.x * blockDim.x + threadIdx.x] = theirs;
}

/* Blocks of a cluster wait for each other in other ways too. */
__global__ void spin_in_cluster(const chain_args a)
{
	if (blockIdx.x % 4 == 0 && threadIdx.x == 0) {
		while (simt::load_acquire(a.flag) < 3)
			simt::spin_pause();
		*a.out = 7;
	}
	simt::sync_block();
	if (blockIdx.x % 4 > 0 && threadIdx.x == 32)
		simt::atomic_add(a.flag, 1u);
	if (threadIdx.x % 2)
		return; /* no longer counts */
	simt::sync_cluster();
}

void test_cluster_variables(void **)
{
	each_way([] {
		float y[4 * 64];
		unsigned flag = 0;
		int out = 0;
		assert_int_equal(
		        launch_grid(SIMT_ENTRY(swap_variables), grid{4, 1, 64, 2, 0}, out_args{y}),
		        STATUS_OK);
		for (int i = 0; i < 4 * 64; i++)
			assert_true(y[i] == (i / 64 % 2 ? 10.0f : 11.0f));
		assert_int_equal(launch_grid(SIMT_ENTRY(spin_in_cluster), grid{4, 1, 64, 4, 0},
		                             chain_args{&flag, &out}),
		                 STATUS_OK);
		assert_int_equal(out, 7);
	});
}

/* Whatever the order of the blocks is, and the engine goes on. */
template <planted::cluster_bug Bug, int N = 4>
void expect_violation(const char *says, int line)
{
	std::vector<float> x(24 * 64, 1.0f), y(x.size());
	const planted::args args = {x.data(), y.data(), nullptr};
	assert_int_equal((launch_clusters<Bug, N>(args)), STATUS_VIOLATION);
	expect_text(fail_message(), "block (");
	expect_text(fail_message(), says);
	expect_text(fail_message(), at("engine.h", line));
	check_cluster_sums<8>(32);
	RUN(SIMT_ENTRY(reverse_static), 2, 128, out_args{y.data()});
}

void test_cluster_bugs(void **)
{
	each_way([] {
		const char *gone = "ends without a sync_cluster() behind the cluster_shared() at ";
		expect_violation<planted::CLUSTER_FIRST, 2>(gone, planted::CLUSTER_POINTER);
		expect_violation<planted::CLUSTER_LAST, 2>(gone, planted::CLUSTER_POINTER);
		if (host_check_get().checked)
			expect_violation<planted::CLUSTER_SPLIT>("divergent barrier",
			                                         planted::CLUSTER_FIRST_BLOCK);
		expect_violation<planted::CLUSTER_EXIT>("ended before the sync_cluster() at ",
		                                        planted::CLUSTER_FIRST_SYNC);
		expect_violation<planted::CLUSTER_MORE>("ended before the sync_cluster() at ",
		                                        planted::CLUSTER_MORE_SYNC);
		expect_violation<planted::CLUSTER_RANK>("rank 4 of a cluster of 4",
		                                        planted::CLUSTER_RANK_READ);
		expect_violation<planted::CLUSTER_PRIVATE>("not shared memory of the block",
		                                           planted::CLUSTER_PRIVATE_READ);
	});
}

/* What was read too early or too late is NaN: blocks run one after the other here. */
void test_cluster_poison(void **)
{
	const struct host_check before = host_check_get();
	for (enum schedule schedule : {SCHEDULE_FORWARD, SCHEDULE_REVERSE}) {
		struct host_check check = before;
		check.schedule = schedule;
		check.checked = true;
		host_check_set(check);
		std::vector<float> x(24 * 64, 1.0f), y(x.size());
		const planted::args args = {x.data(), y.data(), nullptr};
		auto n_bad = [&] {
			return std::count_if(y.begin(), y.end(),
			                     [](float v) { return std::isnan(v); });
		};
		assert_int_equal((launch_clusters<planted::CLUSTER_EARLY, 4>(args)), STATUS_OK);
		assert_true(n_bad() > 0);
#ifndef __SANITIZE_ADDRESS__
		assert_int_equal((launch_clusters<planted::CLUSTER_HOISTED, 4>(args)), STATUS_OK);
		assert_true(n_bad() > 0);
#endif
		assert_int_equal((launch_clusters<planted::CLUSTER_RIGHT, 4>(args)), STATUS_OK);
		assert_true(n_bad() == 0);
	}
	host_check_set(before);
}

template <typename Entry>
void expect_nan(Entry bug, Entry fixed, bool (*is_bad)(const float *y))
{
	alignas(16) float x[256], y[256];
	for (int i = 0; i < 256; i++)
		x[i] = 1.0f;
	RUN(bug, 1, 32, planted::args{x, y, nullptr}, 256);
	assert_true(is_bad(y));
	RUN(fixed, 1, 32, planted::args{x, y, nullptr}, 256);
	for (int i = 0; i < 32; i++)
		assert_true(y[i] == 1.0f);
}

/* Shared memory that nobody wrote is NaN, in every block. */
void test_poison(void **)
{
	if (kWarp == 1)
		skip();
	each_schedule([] {
		auto all_nan = [](const float *y) { return std::isnan(y[0]) && std::isnan(y[31]); };
		expect_nan(SIMT_ENTRY(planted::read_copy<-1>), SIMT_ENTRY(planted::read_copy<0>),
		           all_nan);
		expect_nan(SIMT_ENTRY(planted::read_copy<1>), SIMT_ENTRY(planted::read_copy<0>),
		           all_nan);
		expect_nan(SIMT_ENTRY(planted::read_bulk<planted::BULK_TOO_EARLY>),
		           SIMT_ENTRY(planted::read_bulk<planted::BULK_RIGHT>), all_nan);
		expect_nan(SIMT_ENTRY(planted::uninitialised_shared<true>),
		           SIMT_ENTRY(planted::uninitialised_shared<false>),
		           [](const float *y) { return std::isnan(y[0]) && y[1] == 1.0f; });
		expect_nan(SIMT_ENTRY(planted::uninitialised_dynamic<true>),
		           SIMT_ENTRY(planted::uninitialised_dynamic<false>),
		           [](const float *y) { return std::isnan(y[0]) && y[1] == 1.0f; });
	});
}

/* A dependent launch that never waits, with nothing but checked mode to tell. */
void test_missing_wait(void **)
{
	struct host_check check = host_check_get();
	const struct host_check before = check;
	check.checked = true;
	host_check_set(check);
	float x[64] = {}, y[64], z[64];
	RUN(SIMT_ENTRY(planted::producer), 2, 32, planted::args{x, y, nullptr});
	assert_int_equal(launch(SIMT_ENTRY(planted::wait_missing<true>), 2, 32,
	                        planted::args{y, z, nullptr}, 0, true),
	                 STATUS_VIOLATION);
	expect_text(fail_message(), "never waited");
	RUN(SIMT_ENTRY(planted::wait_missing<false>), 2, 32, planted::args{y, z, nullptr}, 0, true);
	host_check_set(before);
	assert_true(z[63] == 2.0f);
}

#ifdef __SANITIZE_ADDRESS__

/* Standard error of a child that runs the kernel; the child must not get to its end. */
std::string death_of(const void *entry, unsigned cluster = 1)
{
	int channel[2];
	assert_int_equal(pipe(channel), 0);
	const pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		dup2(channel[1], STDERR_FILENO);
		void *memory;
		if (device_alloc(host, cluster * 8 * sizeof(float), &memory) != STATUS_OK)
			_exit(0);
		float *y = static_cast<float *>(memory);
		(void)!launch_grid(entry, grid{cluster, 1, 8, cluster, 8 * sizeof(float)},
		                   planted::args{y, y, nullptr});
		_exit(0);
	}
	close(channel[1]);
	std::string text;
	char part[4096];
	for (ssize_t n; (n = read(channel[0], part, sizeof part)) > 0;)
		text.append(part, (size_t)n);
	close(channel[0]);
	int status;
	waitpid(child, &status, 0);
	assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	return text;
}

void test_out_of_bounds(void **)
{
	expect_text(death_of(SIMT_ENTRY(planted::past_global)).c_str(), "heap-buffer-overflow");
	expect_text(death_of(SIMT_ENTRY(planted::past_shared)).c_str(), "planted/engine.h");
	expect_text(death_of(SIMT_ENTRY(planted::past_dynamic)).c_str(), "planted/engine.h");
	const void *late = SIMT_ENTRY(planted::sum_cluster<planted::CLUSTER_HOISTED, 2>);
	expect_text(death_of(late, 2).c_str(), at("engine.h", planted::CLUSTER_READ));
}

#else

void test_faults(void **)
{
	float x[8] = {}, y[8];
	device_close(&host); /* cmocka has put its handlers before the engine's */
	assert_int_equal(open_host(nullptr), 0);
	each_schedule([&] {
		assert_int_equal(
		        launch(SIMT_ENTRY(planted::wild_write), 2, 8, planted::args{x, y, nullptr}),
		        STATUS_FAILED);
		expect_text(fail_message(), "thread 5: memory fault at ");
		assert_int_equal(launch(SIMT_ENTRY(planted::stack_overflow), 2, 8,
		                        planted::args{x, y, nullptr}),
		                 STATUS_FAILED);
		expect_text(fail_message(), "stack overflow");
		assert_int_equal(launch_grid(SIMT_ENTRY(planted::wild_write), grid{8, 1, 8, 4, 0},
		                             planted::args{x, y, nullptr}),
		                 STATUS_FAILED);
		expect_text(fail_message(), "thread 5: memory fault at ");
		check_cluster_sums<4>(32);
		RUN(SIMT_ENTRY(reverse_static), 2, 128, out_args{std::vector<float>(256).data()});
	});
}

#endif

// ---------------------------------------------------------------- device API

void test_open(void **)
{
	struct device *device = nullptr;
	const char *other = kWarp == 1 ? "host32" : "host";
	assert_int_equal(device_open(other, true, &device), STATUS_NO_DEVICE);
	assert_null(device);
	expect_text(fail_message(), "check build");
	assert_int_equal(device_open("tpu", true, &device), STATUS_USAGE);
	expect_text(fail_message(), "tpu");

	const struct device_info *info = device_info(host);
	assert_string_equal(info->name, kWarp == 1 ? "host" : "host32");
	assert_int_equal(info->target.sm, 0);
	assert_int_equal(info->target.lanes, kWarp);
	assert_true(info->sm_count >= 1 && info->memory_bytes > 0 && info->toolkit[0] &&
	            info->driver[0]);
}

void test_workers(void **)
{
	struct device *device = nullptr;
	device_close(&host);
	assert_null(host);
	setenv("WARPSMITH_THREADS", "3", 1);
	assert_int_equal(device_open("auto", true, &device), STATUS_OK);
	assert_int_equal(device_info(device)->sm_count, 3);
	device_close(&device);
	device_close(&device);
	setenv("WARPSMITH_THREADS", "many", 1);
	assert_int_equal(device_open("auto", true, &device), STATUS_USAGE);
	expect_text(fail_message(), "WARPSMITH_THREADS=many");
	unsetenv("WARPSMITH_THREADS");
	assert_int_equal(open_host(nullptr), 0);
}

void test_geometry(void **)
{
	float y[1];
	assert_int_equal(launch(SIMT_ENTRY(reverse_static), 1, 1025, out_args{y}), STATUS_USAGE);
	expect_text(fail_message(), "1025 threads");
	assert_int_equal(launch(SIMT_ENTRY(reverse_static), 0, 32, out_args{y}), STATUS_USAGE);
	assert_int_equal(launch(SIMT_ENTRY(reverse_static), 1, 32, out_args{y}, 300 << 10),
	                 STATUS_USAGE);
	for (const struct grid &odd : {grid{16, 1, 32, 16, 0}, grid{6, 2, 32, 4, 0}}) {
		assert_int_equal(launch_grid(SIMT_ENTRY(reverse_static), odd, out_args{y}),
		                 STATUS_USAGE);
		expect_text(fail_message(), "in clusters of " + std::to_string(odd.cluster));
	}
}

void test_memory(void **)
{
	float x[4] = {1, 2, 3, 4}, y[4];
	void *memory, *nothing;
	assert_int_equal(device_alloc(host, sizeof x, &memory), STATUS_OK);
	assert_int_equal((uintptr_t)memory % 256, 0);
	assert_int_equal(device_write(host, memory, x, sizeof x), STATUS_OK);
	assert_int_equal(device_fill(host, (float *)memory + 1, 0, 4), STATUS_OK);
	assert_int_equal(device_read(host, y, memory, sizeof y), STATUS_OK);
	assert_true(y[0] == 1 && y[1] == 0 && y[2] == 3 && y[3] == 4);
	assert_int_equal(device_alloc(host, (size_t)1 << 62, &nothing), STATUS_NO_MEMORY);
	assert_null(nothing);
	device_free(host, nothing);
	device_free(host, memory);
}

void test_graph(void **)
{
	struct graph *graph = nullptr;
	float a[64] = {}, b[64] = {};
	assert_int_equal(device_capture_end(host, &graph), STATUS_USAGE);
	assert_int_equal(device_capture_begin(host), STATUS_OK);
	assert_int_equal(device_capture_begin(host), STATUS_USAGE);
	{
		const planted::args there = {a, b, nullptr}, back = {b, a, nullptr};
		RUN(SIMT_ENTRY(planted::producer), 2, 32, there);
		RUN(SIMT_ENTRY(planted::producer), 2, 32, back, 0, true);
	}
	assert_true(a[0] == 0 && b[0] == 0);
	assert_int_equal(device_capture_end(host, &graph), STATUS_OK);
	assert_int_equal(graph_launch(graph), STATUS_OK);
	assert_int_equal(graph_launch(graph), STATUS_OK);
	assert_true(a[0] == 4 && b[63] == 3);
	graph_close(&graph);
	graph_close(&graph);
	assert_null(graph);
}

void test_events(void **)
{
	struct event *from, *to;
	double us = -1;
	assert_int_equal(event_open(host, &from), STATUS_OK);
	assert_int_equal(event_open(host, &to), STATUS_OK);
	assert_int_equal(event_elapsed_us(from, to, &us), STATUS_USAGE);
	assert_int_equal(event_record(from), STATUS_OK);
	usleep(2000);
	assert_int_equal(event_record(to), STATUS_OK);
	assert_int_equal(event_elapsed_us(from, to, &us), STATUS_OK);
	assert_true(us >= 2000 && us < 60e6);
	event_close(&from);
	event_close(&to);
	event_close(&to);
}

} // namespace

int main()
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_shared_memory), cmocka_unit_test(test_barriers),
	        cmocka_unit_test(test_last_block),    cmocka_unit_test(test_spinning),
	        cmocka_unit_test(test_atomics),       cmocka_unit_test(test_collectives),
	        cmocka_unit_test(test_elections),     cmocka_unit_test(test_shuffles),
	        cmocka_unit_test(test_async_copies),  cmocka_unit_test(test_copies_of_nothing),
	        cmocka_unit_test(test_mma),           cmocka_unit_test(test_conversions),
	        cmocka_unit_test(test_unpacking),     cmocka_unit_test(test_functions),
	        cmocka_unit_test(test_phases),        cmocka_unit_test(test_planted_bugs),
	        cmocka_unit_test(test_cluster_sums),  cmocka_unit_test(test_cluster_variables),
	        cmocka_unit_test(test_cluster_bugs),  cmocka_unit_test(test_cluster_poison),
	        cmocka_unit_test(test_poison),        cmocka_unit_test(test_missing_wait),
#ifdef __SANITIZE_ADDRESS__
	        cmocka_unit_test(test_out_of_bounds),
#else
	        cmocka_unit_test(test_faults),
#endif
	        cmocka_unit_test(test_open),          cmocka_unit_test(test_workers),
	        cmocka_unit_test(test_geometry),      cmocka_unit_test(test_memory),
	        cmocka_unit_test(test_graph),         cmocka_unit_test(test_events),
	};
	return cmocka_run_group_tests_name("engine", tests, open_host, close_host);
}
