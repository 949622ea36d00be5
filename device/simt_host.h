// C++20.
/* simt.h for the host: every CUDA thread of a block is a fiber, a block (or the blocks of a
 * cluster) runs on one worker thread. Lanes of a warp take turns; a collective is done by its last
 * lane to arrive, for all. Included by simt.h and the engine only. */
#ifndef DEVICE_SIMT_HOST_H
#define DEVICE_SIMT_HOST_H

#include <math.h>
#include <stddef.h>
#include <source_location>
#include <time.h>
#ifdef __F16C__
#include <immintrin.h>
#endif

#include "core/target.h"
#include "device/device.h"
#include "device/switch.h"

#if defined(__clang__) && __clang_major__ < 16
#error "the host engine needs GCC 12 or Clang 16 (std::source_location)"
#endif
#ifndef SIMT_WARP
#define SIMT_WARP 1
#endif
static_assert(SIMT_WARP == 1 || SIMT_WARP == 32, "a host warp has 1 or 32 lanes");

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

struct alignas(8) uint2 {
	unsigned x, y;
};
struct uint3 {
	unsigned x, y, z;
};
struct __attribute__((aligned(16), may_alias)) uint4 {
	unsigned x, y, z, w;
};
struct alignas(8) int2 {
	int x, y;
};
struct alignas(16) int4 {
	int x, y, z, w;
};
struct alignas(8) float2 {
	float x, y;
};
struct __attribute__((aligned(16), may_alias)) float4 {
	float x, y, z, w;
};
inline uint2 make_uint2(unsigned x, unsigned y)
{
	return {x, y};
}
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w)
{
	return {x, y, z, w};
}
inline int2 make_int2(int x, int y)
{
	return {x, y};
}
inline int4 make_int4(int x, int y, int z, int w)
{
	return {x, y, z, w};
}
inline float2 make_float2(float x, float y)
{
	return {x, y};
}
inline float4 make_float4(float x, float y, float z, float w)
{
	return {x, y, z, w};
}

#define SIMT_FN static inline __attribute__((always_inline))

/* Where a kernel calls: a pointer to a std::source_location's contents, one per place in the
 * source. */
#define SIMT_HERE const void *at = __builtin_source_location()

#if defined(__SANITIZE_ADDRESS__) || defined(SIMT_SLOW_SWITCH)
#define SIMT_INLINE_SWITCH 0
#else
#define SIMT_INLINE_SWITCH 1
#endif

namespace simt
{

template <typename T>
using identity = T;

constexpr int kWarp = SIMT_WARP;
constexpr unsigned kFull = kWarp == 32 ? 0xffffffffu : 1u;
constexpr int kVector = 8;
constexpr target kTarget = {0, kWarp};

struct warp;
struct block;

struct alignas(64) lane {
	void *stack; /* saved while another lane runs */
	uint3 thread;
	unsigned index; /* in the warp */
	struct warp *warp;
	struct block *block;
	const void *barrier; /* place of the sync_block() that it waits in */
};

struct alignas(64) warp {
	unsigned id;
	/* Lanes that exist, have not exited, can run, are in a collective. */
	unsigned valid, live, ready, waiting;
	void *operand[kWarp];
	const void *site[kWarp]; /* of the collective */
	unsigned mask[kWarp];
	lane lanes[kWarp];
};

struct shared_slot {
	const void *key;
	void *memory;
	size_t bytes;
};

struct block {
	warp *warps;
	unsigned n_warps, n_threads, n_live, n_arrived; /* threads */
	int counted;                                    /* predicates of sync_block_count() */
	unsigned rank;                                  /* in its cluster */
	uint3 index;
	uint3 dim, grid;
	void *dynamic_smem;
	unsigned n_slots;
	shared_slot slots[16]; /* static shared memory of the running kernel */
};

/* What the running thread must look at on its way. */
struct engine_mode {
	bool in_order; /* lanes run in ascending order: the next one is known */
	bool checked;  /* collectives must agree, copies are late, shared memory starts as NaN */
	bool watched;  /* somebody wants to know of grid_wait(), releases and acquires */
};
extern engine_mode mode;

extern constinit thread_local lane *current __attribute__((tls_model("initial-exec")));

void yield_blocked();
void sync_block_slow(const void *at);
void sync_cluster_slow(const void *at);
const void *shared_of_rank(const void *p, int rank, const void *at);
void check_agreement(const warp *w, unsigned mask, const void *at);
void warp_synced(const warp *w, unsigned mask);
void *shared_new(const void *key, size_t bytes, size_t align);
void cp_async_issue(void *shared, const void *global);
void cp_async_close();
void cp_async_finish(unsigned groups_left);

/* Bytes of the phase that has been asked for, and how many phases are over. */
struct copy_barrier {
	unsigned expected, phase;
	bool is_asked;
};
void bulk_open(copy_barrier *b);
void bulk_ask(copy_barrier *b, unsigned bytes);
void bulk_issue(void *shared, const void *global, unsigned bytes, copy_barrier *b, bool early);
void bulk_finish(copy_barrier *b, unsigned phase);
void grid_wait_seen();
void note_release_seen(const unsigned *counter);
void note_acquire_seen(const unsigned *counter);
void spin_yield();
[[noreturn]] void kernel_error(const void *at, const char *what);

#define threadIdx       (::simt::current->thread)
#define blockIdx        (::simt::current->block->index)
#define blockDim        (::simt::current->block->dim)
#define gridDim         (::simt::current->block->grid)
#define __syncthreads() ::simt::sync_block()

SIMT_FN int lane_id()
{
	return kWarp == 1 ? 0 : (int)current->index;
}
SIMT_FN int warp_id()
{
	return (int)current->warp->id;
}

/* The lane after `me` if it can run and order says that it is next, else null. */
SIMT_FN lane *next_in_order(lane *me)
{
	const warp *w = me->warp;
	if (!SIMT_INLINE_SWITCH || !mode.in_order)
		return nullptr;
	if constexpr (kWarp > 1)
		return w->ready & (1u << me->index << 1) ? me + 1 : nullptr;
	else
		return w->id + 1 < me->block->n_warps && w[1].ready ? const_cast<lane *>(w[1].lanes)
		                                                    : nullptr;
}

SIMT_FN void sync_block(SIMT_HERE)
{
	lane *me = current, *next = next_in_order(me);
	if (!next) {
		sync_block_slow(at);
		return;
	}
	me->barrier = at;
	me->block->n_arrived++;
	me->warp->ready &= ~(1u << me->index);
	current = next;
	switch_stack(&me->stack, next->stack);
	me->barrier = nullptr;
}

SIMT_FN int sync_block_count(bool predicate, SIMT_HERE)
{
	block *b = current->block;
	if (b->n_arrived == 0)
		b->counted = 0;
	b->counted += predicate;
	sync_block(at);
	const int count = b->counted;
	sync_block(at);
	return count;
}

/* Arrives at a collective of the lanes in `mask`; returns when `complete` has been run by the
 * last of them. */
template <typename Complete>
SIMT_FN void meet(unsigned mask, const void *at, Complete complete)
{
	lane *me = current;
	warp *w = me->warp;
	const unsigned bit = 1u << me->index;
	w->site[me->index] = at;
	w->mask[me->index] = mask;
	w->waiting |= bit;
	if ((w->waiting & mask) == mask) {
		if (mode.checked)
			check_agreement(w, mask, at);
		complete(w);
		if (mode.watched)
			warp_synced(w, mask);
		w->waiting &= ~mask;
		w->ready |= mask;
		return;
	}
	lane *next = next_in_order(me);
	w->ready &= ~bit;
	if (!next) {
		yield_blocked();
		return;
	}
	current = next;
	switch_stack(&me->stack, next->stack);
}

/* The collective `permute` on what the lanes hold in `v`. */
template <typename T, typename Permute>
SIMT_FN void exchange(T &v, unsigned mask, const void *at, Permute permute)
{
	if constexpr (kWarp > 1) {
		const lane *me = current;
		me->warp->operand[me->index] = &v;
		meet(mask, at, [&](warp *w) {
			T all[kWarp] = {};
			for (int i = 0; i < kWarp; i++)
				if (mask >> i & 1)
					__builtin_memcpy(&all[i], w->operand[i], sizeof(T));
			permute(all);
			for (int i = 0; i < kWarp; i++)
				if (mask >> i & 1)
					__builtin_memcpy(w->operand[i], &all[i], sizeof(T));
		});
	}
}

SIMT_FN void sync_warp(unsigned mask = kFull, SIMT_HERE)
{
	if constexpr (kWarp > 1)
		meet(mask, at, [](warp *) {});
}

SIMT_FN unsigned ballot(bool predicate, unsigned mask = kFull, SIMT_HERE)
{
	unsigned v = predicate;
	exchange(v, mask, at, [](unsigned(&all)[kWarp]) {
		unsigned votes = 0;
		for (int i = 0; i < kWarp; i++)
			votes |= all[i] << i;
		for (int i = 0; i < kWarp; i++)
			all[i] = votes;
	});
	return v;
}

SIMT_FN bool elect_lane(SIMT_HERE)
{
	sync_warp(kFull, at);
	return lane_id() == 0;
}

template <typename T>
SIMT_FN T shuffle_xor(T v, int lanes, unsigned mask = kFull, SIMT_HERE)
{
	struct pair {
		T value;
		int from;
	} p = {v, (lane_id() ^ lanes) % kWarp};
	exchange(p, mask, at, [=](pair(&all)[kWarp]) {
		T values[kWarp];
		for (int i = 0; i < kWarp; i++) {
			if ((mask >> i & 1) && !(mask >> all[i].from & 1))
				kernel_error(at,
				             "a lane reads from a lane that is not in the mask");
			values[i] = all[all[i].from].value;
		}
		for (int i = 0; i < kWarp; i++)
			all[i].value = values[i];
	});
	return p.value;
}

template <int W, typename T>
SIMT_FN T broadcast(T v, int source, SIMT_HERE)
{
	constexpr int width = W < kWarp ? W : kWarp;
	struct pair {
		T value;
		int from;
	} p = {v, (lane_id() & ~(width - 1)) | (source & (width - 1))};
	exchange(p, kFull, at, [](pair(&all)[kWarp]) {
		T values[kWarp];
		for (int i = 0; i < kWarp; i++)
			values[i] = all[all[i].from].value;
		for (int i = 0; i < kWarp; i++)
			all[i].value = values[i];
	});
	return p.value;
}

struct plus {
	template <typename T>
	SIMT_FN T of(T a, T b)
	{
		return a + b;
	}
};
struct larger {
	template <typename T>
	SIMT_FN T of(T a, T b)
	{
		return a > b ? a : b;
	}
};

/* In the order of a butterfly of shuffles, so that sums have the bits a GPU gives them. */
template <typename Op, int W, int N, typename T>
SIMT_FN void group_reduce(T (&v)[N], const void *at)
{
	constexpr int width = W < kWarp ? W : kWarp;
	if constexpr (width > 1)
		exchange(v, kFull, at, [](T(&all)[kWarp][N]) {
			for (int n = 0; n < N; n++) {
				T a[kWarp], b[kWarp];
				for (int i = 0; i < kWarp; i++)
					a[i] = all[i][n];
				for (int lanes = width / 2; lanes > 0; lanes /= 2) {
					for (int i = 0; i < kWarp; i++)
						b[i] = Op::of(a[i], a[i ^ lanes]);
					for (int i = 0; i < kWarp; i++)
						a[i] = b[i];
				}
				for (int i = 0; i < kWarp; i++)
					all[i][n] = a[i];
			}
		});
}

template <int W>
SIMT_FN float group_sum(float v, SIMT_HERE)
{
	float one[1] = {v};
	group_reduce<plus, W>(one, at);
	return one[0];
}

template <int W>
SIMT_FN float group_max(float v, SIMT_HERE)
{
	float one[1] = {v};
	group_reduce<larger, W>(one, at);
	return one[0];
}

template <int W>
SIMT_FN unsigned long long group_max_u64(unsigned long long v, SIMT_HERE)
{
	unsigned long long one[1] = {v};
	group_reduce<larger, W>(one, at);
	return one[0];
}

template <int W, int N>
SIMT_FN void group_sum_n(float (&v)[N], SIMT_HERE)
{
	group_reduce<plus, W>(v, at);
}

template <int W, int N>
SIMT_FN void group_max_n(float (&v)[N], SIMT_HERE)
{
	group_reduce<larger, W>(v, at);
}

SIMT_FN float warp_sum(float v, SIMT_HERE)
{
	return group_sum<kWarp>(v, at);
}
SIMT_FN float warp_max(float v, SIMT_HERE)
{
	return group_max<kWarp>(v, at);
}

/* With one lane a load is as plain as it looks: alignment is checked where checking is the
 * purpose. */
SIMT_FN uint4 load128(const void *p, SIMT_HERE)
{
	if (kWarp > 1 && (size_t)p % 16)
		kernel_error(at, "16-byte load from a misaligned address");
	return *static_cast<const uint4 *>(p);
}

SIMT_FN uint4 load128_stream(const void *p, SIMT_HERE)
{
	return load128(p, at);
}

template <typename T>
SIMT_FN T load_fresh(const T *p)
{
	if constexpr (__is_class(T))
		return *p;
	else
		return *const_cast<const volatile T *>(p);
}

template <typename T>
SIMT_FN void post(float *p, T v)
{
	*reinterpret_cast<T *>(p) = v;
}
SIMT_FN float4 peek4(const float *p)
{
	return *reinterpret_cast<const float4 *>(p);
}
SIMT_FN float2 peek2(const float *p)
{
	return *reinterpret_cast<const float2 *>(p);
}

SIMT_FN unsigned load_acquire(const unsigned *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}
SIMT_FN void prefetch_l2(const void *p)
{
	__builtin_prefetch(p, 0, 2);
}

template <int Threads>
SIMT_FN void prefetch_l2_range(const void *, size_t)
{
}

SIMT_FN void cp_async16(void *shared, const void *global)
{
	if (mode.checked)
		cp_async_issue(shared, global);
	else
		*static_cast<uint4 *>(shared) = *static_cast<const uint4 *>(global);
}

SIMT_FN void cp_async16_or_zero(void *shared, const void *global, bool there)
{
	if (mode.checked)
		cp_async_issue(shared, there ? global : nullptr);
	else
		*static_cast<uint4 *>(shared) =
		        there ? *static_cast<const uint4 *>(global) : uint4{0, 0, 0, 0};
}

SIMT_FN void cp_async_commit()
{
	if (mode.checked)
		cp_async_close();
}

template <int N>
SIMT_FN void cp_async_wait()
{
	if (mode.checked)
		cp_async_finish(N);
}

SIMT_FN void copy_barrier_init(copy_barrier *b)
{
	if (mode.checked)
		bulk_open(b);
}

SIMT_FN void bulk_expect(copy_barrier *b, unsigned bytes)
{
	if (mode.checked)
		bulk_ask(b, bytes);
}

SIMT_FN void bulk_copy(void *shared, const void *global, unsigned bytes, copy_barrier *b)
{
	if (mode.checked)
		bulk_issue(shared, global, bytes, b, false);
	else
		__builtin_memcpy(shared, global, bytes);
}

SIMT_FN void bulk_copy_early(void *shared, const void *global, unsigned bytes, copy_barrier *b)
{
	if (mode.checked)
		bulk_issue(shared, global, bytes, b, true);
	else
		__builtin_memcpy(shared, global, bytes);
}

SIMT_FN void bulk_wait(copy_barrier *b, unsigned phase, SIMT_HERE)
{
	if (mode.checked)
		bulk_finish(b, phase);
	sync_warp(kFull, at);
}

/* *p = next(*p) in one step; returns what was there. */
template <typename T, typename Next>
SIMT_FN T atomic_update(T *p, Next next)
{
	T old, wanted;
	__atomic_load(p, &old, __ATOMIC_RELAXED);
	do {
		wanted = next(old);
	} while (!__atomic_compare_exchange(p, &old, &wanted, true, __ATOMIC_ACQ_REL,
	                                    __ATOMIC_RELAXED));
	return old;
}

template <typename T>
SIMT_FN T atomic_add(T *p, T v)
{
	return atomic_update(p, [=](T old) { return old + v; });
}

template <typename T>
SIMT_FN T atomic_max(T *p, T v)
{
	return atomic_update(p, [=](T old) { return old > v ? old : v; });
}

SIMT_FN unsigned atomic_inc(unsigned *p, unsigned limit)
{
	return atomic_update(p, [=](unsigned old) { return old >= limit ? 0 : old + 1; });
}

SIMT_FN unsigned atomic_inc_ordered(unsigned *p, unsigned limit)
{
	return atomic_inc(p, limit);
}

SIMT_FN void fence_block()
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}
SIMT_FN void fence_device()
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}
SIMT_FN void spin_pause()
{
	spin_yield();
}

SIMT_FN unsigned long long time_ns()
{
	timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return 1000000000ull * (unsigned long long)now.tv_sec + (unsigned long long)now.tv_nsec;
}
SIMT_FN unsigned long long clock_cycles()
{
	return time_ns();
}
SIMT_FN unsigned sm_id()
{
	return blockIdx.x;
}

SIMT_FN void sync_cluster(SIMT_HERE)
{
	sync_cluster_slow(at);
}

template <typename T>
SIMT_FN const T *cluster_shared(const T *p, int rank, SIMT_HERE)
{
	return static_cast<const T *>(shared_of_rank(p, rank, at));
}

SIMT_FN void grid_wait()
{
	if (mode.checked || mode.watched)
		grid_wait_seen();
}

SIMT_FN void grid_launch_dependents() {}

SIMT_FN void note_release(const unsigned *counter)
{
	if (mode.watched)
		note_release_seen(counter);
}

SIMT_FN void note_acquire(const unsigned *counter)
{
	if (mode.watched)
		note_acquire_seen(counter);
}

SIMT_FN float bits_to_float(unsigned bits)
{
	return __builtin_bit_cast(float, bits);
}
SIMT_FN unsigned float_to_bits(float v)
{
	return __builtin_bit_cast(unsigned, v);
}
SIMT_FN float half_to_float(unsigned short bits)
{
	return __builtin_bit_cast(_Float16, bits);
}
SIMT_FN unsigned short float_to_half(float v)
{
	return __builtin_bit_cast(unsigned short, static_cast<_Float16>(v));
}

SIMT_FN unsigned low_halves(unsigned a, unsigned b)
{
	return (a & 0xffffu) | b << 16;
}
SIMT_FN unsigned high_halves(unsigned a, unsigned b)
{
	return a >> 16 | (b & 0xffff0000u);
}

struct mma_operands {
	unsigned a[4], b[2];
	float c[4];
};
void mma_all(mma_operands *all); /* of a warp */

SIMT_FN void mma_bf16_16816(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                            const float (&c)[4], SIMT_HERE)
{
	if constexpr (kWarp == 32) {
		mma_operands o = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}, {c[0], c[1], c[2], c[3]}};
		exchange(o, kFull, at, [](mma_operands(&all)[kWarp]) { mma_all(all); });
		__builtin_memcpy(d, o.c, sizeof o.c);
	} else {
		kernel_error(at, "mma needs 32 lanes");
	}
}

SIMT_FN int dot4(unsigned a, unsigned b, int sum)
{
	for (int i = 0; i < 4; i++)
		sum += (signed char)(a >> 8 * i) * (signed char)(b >> 8 * i);
	return sum;
}

template <int Byte>
SIMT_FN unsigned gather_bytes(unsigned a, unsigned b, unsigned c, unsigned d)
{
	constexpr int shift = 8 * Byte;
	return (a >> shift & 255u) | (b >> shift & 255u) << 8 | (c >> shift & 255u) << 16 |
	       (d >> shift & 255u) << 24;
}

SIMT_FN float reciprocal_fast(float v)
{
	return 1.0f / v;
}

SIMT_FN float max(float a, float b)
{
	return a > b ? a : b;
}
SIMT_FN float rsqrt(float v)
{
	return 1.0f / sqrtf(v);
}

/* fmaf is a slow call where the CPU has no such instruction. */
SIMT_FN float fma(float a, float b, float c)
{
#ifdef __FP_FAST_FMAF
	return fmaf(a, b, c);
#else
	return a * b + c;
#endif
}

/* 2^v = 2^n 2^f with n the nearest integer: Taylor series of exp(f ln 2) to degree 7, within
 * 6e-9 before rounding. Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits. 0
 * below -126.5, infinite from 127.5. */
SIMT_FN float exp2_fast(float v)
{
	constexpr float kRound = 12582912.0f;
	v = v < -127.0f ? -127.0f : v;
	v = v > 128.0f ? 128.0f : v;
	const float rounded = v + kRound;
	const float f = v - (rounded - kRound);
	const unsigned scale = (float_to_bits(rounded) - float_to_bits(kRound) + 127) << 23;
	float p = 1.5252734e-5f;
	p = fma(p, f, 1.5403530e-4f);
	p = fma(p, f, 1.3333558e-3f);
	p = fma(p, f, 9.6181291e-3f);
	p = fma(p, f, 5.5504109e-2f);
	p = fma(p, f, 2.4022651e-1f);
	p = fma(p, f, 6.9314718e-1f);
	p = fma(p, f, 1.0f);
	return p * bits_to_float(scale);
}

typedef float float8 __attribute__((vector_size(32)));

SIMT_FN void unpack_bf16(uint4 v, float (&out)[8])
{
	typedef unsigned short ushort8 __attribute__((vector_size(16)));
	typedef unsigned uint8 __attribute__((vector_size(32)));
	const uint8 wide = __builtin_convertvector(__builtin_bit_cast(ushort8, v), uint8) << 16;
	__builtin_memcpy(out, &wide, sizeof out);
}

SIMT_FN void unpack_half(uint4 v, float (&out)[8])
{
#ifdef __F16C__
	const float8 wide = _mm256_cvtph_ps(__builtin_bit_cast(__m128i, v));
#else
	typedef _Float16 half8 __attribute__((vector_size(16)));
	const float8 wide = __builtin_convertvector(__builtin_bit_cast(half8, v), float8);
#endif
	__builtin_memcpy(out, &wide, sizeof out);
}

/* In steps over 16-byte vectors: GCC 12 takes smaller ones apart. */
SIMT_FN void unpack_int8(uint4 v, float (&out)[16])
{
	typedef signed char char16 __attribute__((vector_size(16)));
	typedef short short16 __attribute__((vector_size(32)));
	typedef short short8 __attribute__((vector_size(16)));
	typedef int int8 __attribute__((vector_size(32)));
	const short16 all = __builtin_convertvector(__builtin_bit_cast(char16, v), short16);
	const short8 halves[2] = {__builtin_shufflevector(all, all, 0, 1, 2, 3, 4, 5, 6, 7),
	                          __builtin_shufflevector(all, all, 8, 9, 10, 11, 12, 13, 14, 15)};
	for (int i = 0; i < 2; i++) {
		const int8 whole = __builtin_convertvector(halves[i], int8);
		const float8 wide = __builtin_convertvector(whole, float8);
		__builtin_memcpy(out + 8 * i, &wide, sizeof wide);
	}
}

SIMT_FN void unpack_float(uint4 v, float (&out)[4])
{
	__builtin_memcpy(out, &v, sizeof out);
}

struct partial {
	float8 v = {};
};

template <int N>
SIMT_FN void dot(partial &sum, const float (&a)[N], const float (&b)[N])
{
	static_assert(N == 4 || N % kVector == 0, "dot products go by the vector");
	if constexpr (N == 4) {
		typedef float float4v __attribute__((vector_size(16)));
		float4v left, right;
		__builtin_memcpy(&left, a, sizeof left);
		__builtin_memcpy(&right, b, sizeof right);
		sum.v += __builtin_shufflevector(left * right, float4v{}, 0, 1, 2, 3, 4, 5, 6, 7);
	} else {
		for (int i = 0; i < N; i += kVector) {
			float8 left, right;
			__builtin_memcpy(&left, a + i, sizeof left);
			__builtin_memcpy(&right, b + i, sizeof right);
			sum.v += left * right;
		}
	}
}

SIMT_FN float total(const partial &sum)
{
	const float8 v = sum.v;
	return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

/* The variable of one SIMT_SHARED, found by the address of its key. */
template <typename T, typename Tag>
SIMT_FN T &shared_variable()
{
	static char key;
	const block *b = current->block;
	for (unsigned i = 0; i < b->n_slots; i++)
		if (b->slots[i].key == &key)
			return *static_cast<T *>(b->slots[i].memory);
	return *static_cast<T *>(shared_new(&key, sizeof(T), alignof(T)));
}

template <auto kernel>
struct entry_maker;
template <typename Args, void (*kernel)(Args)>
struct entry_maker<kernel> {
	static void run(const void *args) { kernel(*static_cast<const Args *>(args)); }
};
template <auto kernel>
constexpr host_entry *host_entry_of = entry_maker<kernel>::run;

} // namespace simt

#define SIMT_SHARED(type, name)        \
	struct simt_tag_##name {       \
	};                             \
	::simt::identity<type> &name = \
	        ::simt::shared_variable<::simt::identity<type>, simt_tag_##name>()
#define SIMT_DYN_SMEM(type, name) \
	type *name = static_cast<type *>(::simt::current->block->dynamic_smem)
#define SIMT_ENTRY(...) (reinterpret_cast<const void *>(::simt::host_entry_of<__VA_ARGS__>))

#endif
