// CUDA C++, and C++20 on the host.
/* What a kernel may use beyond plain CUDA C++: the only header with intrinsics or PTX. Compiled by
 * nvcc and NVRTC (no standard header) it maps to CUDA, by any other C++ compiler to the host
 * engine.
 *
 * A kernel takes one argument struct by value, `__global__ void k(const struct k_args a)`, in
 * one-dimensional blocks. A collective is executed by all lanes of a warp (those in `mask`, where
 * there is one); reducing as one collective costs the host one lane switch per lane instead of
 * five. A width W is a power of two; larger than kWarp it means kWarp, so group_sum<8>(v) returns v
 * on a host with one lane.
 *
 *	kWarp kFull kVector kTarget       lanes, their mask, partial sums, what is compiled for
 *	lane_id() warp_id()               of this thread in its warp, of its warp in the block
 *	sync_block() sync_warp(mask)      sync_block() is __syncthreads()
 *	sync_block_count(predicate)       __syncthreads_count
 *	group_sum<W>(v) group_max<W>(v)   over aligned groups of W lanes, result in each
 *	group_sum_n<W>(v) group_max_n<W>(v) N at once, in place, float (&v)[N]
 *	group_max_u64<W>(key)             argmax by a key of value and index
 *	warp_sum(v) warp_max(v)           over the warp
 *	shuffle_xor(v, lanes, mask)       4- and 8-byte types
 *	broadcast<W>(v, source)           lane `source` of the group
 *	ballot(predicate, mask)
 *	elect_lane()                      true in one lane, the same each time; its code is uniform
 *	load128(p)                        16 bytes, any global data
 *	load128_stream(p)                 read once, written by no launch in flight: weights
 *	load_fresh(p)                     what other blocks wrote, after arrive_last()
 *	load_acquire(p)                   of an unsigned
 *	post(p, v) peek2(p) peek4(p)      float2 or float4 that other blocks write while this one
 *	                                  looks: each word is old or new
 *	prefetch_l2(p)                    the line at p
 *	prefetch_l2_range<N>(p, bytes)    by N threads of a block together, p aligned to 16 bytes
 *	cp_async16(shared, global) cp_async16_or_zero(shared, global, there) cp_async_commit()
 *	cp_async_wait<N>()
 *	copy_barrier                      in shared memory; what bulk copies of a warp arrive at
 *	copy_barrier_init(b)              by one lane; the warp syncs before another uses it
 *	bulk_expect(b, bytes)             by that thread: what the next phase of b consists of
 *	bulk_copy(shared, global, bytes, b) by it: part of that phase; addresses and bytes are
 *	                                  multiples of 16
 *	bulk_copy_early(...)              the same, of memory that launches in flight may write:
 *	                                  what they write arrives as anything
 *	bulk_wait(b, phase)               by the warp: phases are 0, 1, 0 ...; a block has to wait
 *	                                  for all its copies
 *	atomic_add atomic_inc atomic_max  relaxed
 *	atomic_inc_ordered(p, limit)      what the block wrote comes before, what it reads after
 *	fence_block() fence_device()
 *	spin_pause()                      in a loop that waits for another thread
 *	time_ns() clock_cycles() sm_id()  of the device, of this multiprocessor, its number; on the
 *	                                  host a clock is one of 1 GHz and a block its own processor
 *	arrive_last(counter, n_blocks)    true in the last block to call it; see below
 *	arrive_among_last(counter, n, k)  0 .. k - 1 in the last k blocks
 *	grid_wait() grid_launch_dependents() programmatic dependent launch
 *	sync_cluster()                    by all threads of the blocks that a launch made a cluster:
 *	                                  what they wrote comes before, what they read after; a block
 *	                                  may end when nobody will read its shared memory any more
 *	cluster_shared(p, rank)           what p is in the shared memory of the cluster's block
 *	                                  `rank`
 *	mma_bf16_16816(d, a, b, c)        tensor core, 32 lanes
 *	SIMT_SHARED(type, name)           static shared memory, SIMT_SHARED(float[32], part)
 *	SIMT_DYN_SMEM(type, name)         type *name: dynamic shared memory, 16-byte aligned
 *	SIMT_ENTRY(kernel)                `const void *entry` of device_launch()
 *
 * Arithmetic: max, fma, dot4 (of signed bytes), gather_bytes, reciprocal_fast, rsqrt, exp2_fast(v)
 * (a few ulp, 0 below the normal range).
 *
 * Conversions: bf16_lo/hi, half_lo/hi of a register's two halves, bf16_to_float, half_to_float,
 * float_to_bf16, float_to_half, pack_bf16(low, high), bits_to_float, float_to_bits; 16 bytes to
 * floats at once: unpack_bf16, unpack_half, unpack_int8, unpack_float; low_halves(a, b),
 * high_halves(a, b): 16 bits of each, a's in the low half.
 *
 * Host compilers vectorise the inner loop of a dot product written as
 *	simt::partial sum;                  kVector partial sums
 *	simt::dot(sum, a, b);               sum += a b, float (&a)[N], N 4 or a multiple of 8
 *	simt::total(sum)
 * and rarely one written as a loop of fma. */
#ifndef DEVICE_SIMT_H
#define DEVICE_SIMT_H

#include "core/target.h"

#ifndef __CUDACC__
#include "device/simt_host.h"
#else

#define SIMT_FN                 static __device__ __forceinline__
#define SIMT_SHARED(type, name) __shared__ simt::identity<type> name
#define SIMT_DYN_SMEM(type, name)                                      \
	extern __shared__ __align__(16) unsigned char simt_dyn_smem[]; \
	type *name = reinterpret_cast<type *>(simt_dyn_smem)
#define SIMT_ENTRY(...) ((const void *)(__VA_ARGS__))

namespace simt
{

template <typename T>
using identity = T;

constexpr int kWarp = 32;
constexpr unsigned kFull = 0xffffffffu;
constexpr int kVector = 1;
#ifdef __CUDA_ARCH__
constexpr target kTarget = {__CUDA_ARCH__ / 10, kWarp};
#else
constexpr target kTarget = {0, kWarp};
#endif

SIMT_FN int lane_id()
{
	return threadIdx.x % kWarp;
}
SIMT_FN int warp_id()
{
	return threadIdx.x / kWarp;
}

SIMT_FN void sync_block()
{
	__syncthreads();
}
SIMT_FN int sync_block_count(bool predicate)
{
	return __syncthreads_count(predicate);
}
SIMT_FN void sync_warp(unsigned mask = kFull)
{
	__syncwarp(mask);
}
SIMT_FN unsigned ballot(bool predicate, unsigned mask = kFull)
{
	return __ballot_sync(mask, predicate);
}

SIMT_FN bool elect_lane()
{
#if __CUDA_ARCH__ >= 900
	unsigned elected;
	asm volatile("{\n\t.reg .pred p;\n\t"
	             "elect.sync _|p, 0xffffffff;\n\t"
	             "selp.u32 %0, 1, 0, p;\n\t}"
	             : "=r"(elected));
	return elected;
#else
	return lane_id() == 0;
#endif
}

template <typename T>
SIMT_FN T shuffle_xor(T v, int lanes, unsigned mask = kFull)
{
	return __shfl_xor_sync(mask, v, lanes);
}

template <int W, typename T>
SIMT_FN T broadcast(T v, int source)
{
	return __shfl_sync(kFull, v, source, W < kWarp ? W : kWarp);
}

template <int W>
SIMT_FN float group_sum(float v)
{
#pragma unroll
	for (int lanes = (W < kWarp ? W : kWarp) / 2; lanes > 0; lanes /= 2)
		v += __shfl_xor_sync(kFull, v, lanes);
	return v;
}

template <int W>
SIMT_FN float group_max(float v)
{
#pragma unroll
	for (int lanes = (W < kWarp ? W : kWarp) / 2; lanes > 0; lanes /= 2)
		v = fmaxf(v, __shfl_xor_sync(kFull, v, lanes));
	return v;
}

template <int W>
SIMT_FN unsigned long long group_max_u64(unsigned long long v)
{
#pragma unroll
	for (int lanes = (W < kWarp ? W : kWarp) / 2; lanes > 0; lanes /= 2) {
		const unsigned long long other = __shfl_xor_sync(kFull, v, lanes);
		v = other > v ? other : v;
	}
	return v;
}

/* Step by step through all N, so that N shuffles are in flight. */
template <int W, int N>
SIMT_FN void group_sum_n(float (&v)[N])
{
#pragma unroll
	for (int lanes = (W < kWarp ? W : kWarp) / 2; lanes > 0; lanes /= 2)
#pragma unroll
		for (int i = 0; i < N; i++)
			v[i] += __shfl_xor_sync(kFull, v[i], lanes);
}

template <int W, int N>
SIMT_FN void group_max_n(float (&v)[N])
{
#pragma unroll
	for (int lanes = (W < kWarp ? W : kWarp) / 2; lanes > 0; lanes /= 2)
#pragma unroll
		for (int i = 0; i < N; i++)
			v[i] = fmaxf(v[i], __shfl_xor_sync(kFull, v[i], lanes));
}

SIMT_FN float warp_sum(float v)
{
	return group_sum<kWarp>(v);
}
SIMT_FN float warp_max(float v)
{
	return group_max<kWarp>(v);
}

/* A plain load: unlike the read-only path it may not be moved above grid_wait(). */
SIMT_FN uint4 load128(const void *p)
{
	return *static_cast<const uint4 *>(p);
}

/* `volatile` keeps it behind grid_wait(); L1 is left to what is read again. */
SIMT_FN uint4 load128_stream(const void *p)
{
	uint4 v;
	asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
	             : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
	             : "l"(__cvta_generic_to_global(p)));
	return v;
}

template <typename T>
SIMT_FN T load_fresh(const T *p)
{
	return __ldcg(p);
}

SIMT_FN void post(float *p, float4 v)
{
	asm volatile("st.relaxed.gpu.global.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(
	                     __cvta_generic_to_global(p)),
	             "f"(v.x), "f"(v.y), "f"(v.z), "f"(v.w)
	             : "memory");
}
SIMT_FN void post(float *p, float2 v)
{
	asm volatile(
	        "st.relaxed.gpu.global.v2.f32 [%0], {%1, %2};" ::"l"(__cvta_generic_to_global(p)),
	        "f"(v.x), "f"(v.y)
	        : "memory");
}
SIMT_FN float4 peek4(const float *p)
{
	float4 v;
	asm volatile("ld.relaxed.gpu.global.v4.f32 {%0, %1, %2, %3}, [%4];"
	             : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
	             : "l"(__cvta_generic_to_global(p))
	             : "memory");
	return v;
}
SIMT_FN float2 peek2(const float *p)
{
	float2 v;
	asm volatile("ld.relaxed.gpu.global.v2.f32 {%0, %1}, [%2];"
	             : "=f"(v.x), "=f"(v.y)
	             : "l"(__cvta_generic_to_global(p))
	             : "memory");
	return v;
}

SIMT_FN unsigned load_acquire(const unsigned *p)
{
	unsigned v;
	asm volatile("ld.acquire.gpu.global.u32 %0, [%1];"
	             : "=r"(v)
	             : "l"(__cvta_generic_to_global(p))
	             : "memory");
	return v;
}

SIMT_FN void prefetch_l2(const void *p)
{
	asm volatile("prefetch.global.L2 [%0];" ::"l"(__cvta_generic_to_global(p)));
}

/* Hopper prefetches by the piece, others by the line. */
template <int Threads>
SIMT_FN void prefetch_l2_range(const void *p, size_t bytes)
{
#if __CUDA_ARCH__ >= 900
	constexpr unsigned piece = 4096;
	for (size_t i = threadIdx.x * piece; i < bytes; i += (size_t)Threads * piece) {
		const unsigned n = bytes - i < piece ? (unsigned)(bytes - i) & ~15u : piece;
		asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(
		                     __cvta_generic_to_global(static_cast<const char *>(p) + i)),
		             "r"(n));
	}
#else
	for (size_t i = threadIdx.x * 128; i < bytes; i += (size_t)Threads * 128)
		prefetch_l2(static_cast<const char *>(p) + i);
#endif
}

/* 16 bytes, both addresses aligned to 16, past L1. */
SIMT_FN void cp_async16(void *shared, const void *global)
{
	asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(
	                     static_cast<unsigned>(__cvta_generic_to_shared(shared))),
	             "l"(__cvta_generic_to_global(global))
	             : "memory");
}

/* Zeros unless `there`: then nothing is read. */
SIMT_FN void cp_async16_or_zero(void *shared, const void *global, bool there)
{
	asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
	                     static_cast<unsigned>(__cvta_generic_to_shared(shared))),
	             "l"(__cvta_generic_to_global(global)), "r"(there ? 16 : 0)
	             : "memory");
}

SIMT_FN void cp_async_commit()
{
	asm volatile("cp.async.commit_group;" ::: "memory");
}

/* Until at most N of this thread's groups are pending. Other threads' copies need a barrier
 * after it. */
template <int N>
SIMT_FN void cp_async_wait()
{
	asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

/* From compute capability 9.0 on. */
struct copy_barrier {
	unsigned long long state;
};

SIMT_FN unsigned shared_address(const void *p)
{
	return static_cast<unsigned>(__cvta_generic_to_shared(p));
}

SIMT_FN void copy_barrier_init(copy_barrier *b)
{
	asm volatile(
	        "mbarrier.init.shared.b64 [%0], 1;\n\tfence.mbarrier_init.release.cluster;" ::"r"(
	                shared_address(b))
	        : "memory");
}

SIMT_FN void bulk_expect(copy_barrier *b, unsigned bytes)
{
	asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(shared_address(b)),
	             "r"(bytes)
	             : "memory");
}

SIMT_FN void bulk_copy(void *shared, const void *global, unsigned bytes, copy_barrier *b)
{
	asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes "
	             "[%0], [%1], %2, [%3];" ::"r"(shared_address(shared)),
	             "l"(__cvta_generic_to_global(global)), "r"(bytes), "r"(shared_address(b))
	             : "memory");
}

SIMT_FN void bulk_copy_early(void *shared, const void *global, unsigned bytes, copy_barrier *b)
{
	bulk_copy(shared, global, bytes, b);
}

SIMT_FN void bulk_wait(copy_barrier *b, unsigned phase)
{
	unsigned done;
	do
		asm volatile("{\n\t.reg .pred p;\n\t"
		             "mbarrier.try_wait.parity.shared.b64 p, [%1], %2;\n\t"
		             "selp.u32 %0, 1, 0, p;\n\t}"
		             : "=r"(done)
		             : "r"(shared_address(b)), "r"(phase)
		             : "memory");
	while (!done);
	__syncwarp();
}

template <typename T>
SIMT_FN T atomic_add(T *p, T v)
{
	return atomicAdd(p, v);
}
SIMT_FN unsigned atomic_inc(unsigned *p, unsigned limit)
{
	return atomicInc(p, limit);
}
template <typename T>
SIMT_FN T atomic_max(T *p, T v)
{
	return atomicMax(p, v);
}
/* One instruction is cheaper than two fences around a relaxed one. */
SIMT_FN unsigned atomic_inc_ordered(unsigned *p, unsigned limit)
{
	unsigned old;
	asm volatile("atom.acq_rel.gpu.global.inc.u32 %0, [%1], %2;"
	             : "=r"(old)
	             : "l"(__cvta_generic_to_global(p)), "r"(limit)
	             : "memory");
	return old;
}
SIMT_FN void fence_block()
{
	__threadfence_block();
}
SIMT_FN void fence_device()
{
	__threadfence();
}
SIMT_FN void spin_pause()
{
	__nanosleep(20);
}

SIMT_FN unsigned long long time_ns()
{
	unsigned long long ns;
	asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(ns)::"memory");
	return ns;
}
SIMT_FN unsigned long long clock_cycles()
{
	unsigned long long cycles;
	asm volatile("mov.u64 %0, %%clock64;" : "=l"(cycles)::"memory");
	return cycles;
}
SIMT_FN unsigned sm_id()
{
	unsigned id;
	asm volatile("mov.u32 %0, %%smid;" : "=r"(id));
	return id;
}

SIMT_FN void sync_cluster()
{
#if __CUDA_ARCH__ >= 900
	asm volatile("barrier.cluster.arrive.release;\n\tbarrier.cluster.wait.acquire;" ::
	                     : "memory");
#endif
}
template <typename T>
SIMT_FN const T *cluster_shared(const T *p, int rank)
{
#if __CUDA_ARCH__ >= 900
	const T *there;
	asm("mapa.u64 %0, %1, %2;" : "=l"(there) : "l"(p), "r"(rank));
	return there;
#else
	return rank ? nullptr : p;
#endif
}

SIMT_FN void grid_wait()
{
#if __CUDA_ARCH__ >= 900
	asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

SIMT_FN void grid_launch_dependents()
{
#if __CUDA_ARCH__ >= 900
	asm volatile("griddepcontrol.launch_dependents;");
#endif
}

/* d = a b + c: a 16x16 row-major, b 16x8 column-major, two bf16 to a register; fragments as in
 * the PTX manual under mma.m16n8k16. */
SIMT_FN void mma_bf16_16816(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                            const float (&c)[4])
{
	asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
	             "{%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"
	             : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
	             : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c[0]),
	               "f"(c[1]), "f"(c[2]), "f"(c[3]));
}

SIMT_FN float bits_to_float(unsigned bits)
{
	return __uint_as_float(bits);
}
SIMT_FN unsigned float_to_bits(float v)
{
	return __float_as_uint(v);
}

SIMT_FN float half_to_float(unsigned short bits)
{
	float v;
	asm("cvt.f32.f16 %0, %1;" : "=f"(v) : "h"(bits));
	return v;
}

SIMT_FN unsigned short float_to_half(float v)
{
	unsigned short bits;
	asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(v));
	return bits;
}

SIMT_FN unsigned pack_bf16(float low, float high)
{
	unsigned pair;
	asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
	return pair;
}

SIMT_FN unsigned low_halves(unsigned a, unsigned b)
{
	return __byte_perm(a, b, 0x5410);
}
SIMT_FN unsigned high_halves(unsigned a, unsigned b)
{
	return __byte_perm(a, b, 0x7632);
}

/* sum + four products of signed bytes */
SIMT_FN int dot4(unsigned a, unsigned b, int sum)
{
	return __dp4a((int)a, (int)b, sum);
}

/* Byte `Byte` of each, a's lowest. */
template <int Byte>
SIMT_FN unsigned gather_bytes(unsigned a, unsigned b, unsigned c, unsigned d)
{
	constexpr unsigned pick = Byte | (Byte + 4) << 4;
	return __byte_perm(__byte_perm(a, b, pick), __byte_perm(c, d, pick), 0x5410);
}

/* 1 / v within 2^-22 */
SIMT_FN float reciprocal_fast(float v)
{
	float r;
	asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(v));
	return r;
}

SIMT_FN float max(float a, float b)
{
	return fmaxf(a, b);
}
SIMT_FN float fma(float a, float b, float c)
{
	return fmaf(a, b, c);
}
SIMT_FN float rsqrt(float v)
{
	return rsqrtf(v);
}

SIMT_FN float exp2_fast(float v)
{
	float r;
	asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(v));
	return r;
}

/* Element i of v in memory order. */
SIMT_FN void unpack_bf16(uint4 v, float (&out)[8])
{
	const unsigned pairs[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
	for (int i = 0; i < 4; i++) {
		out[2 * i] = bits_to_float(pairs[i] << 16);
		out[2 * i + 1] = bits_to_float(pairs[i] & 0xffff0000u);
	}
}

SIMT_FN void unpack_half(uint4 v, float (&out)[8])
{
	const unsigned pairs[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
	for (int i = 0; i < 4; i++) {
		out[2 * i] = half_to_float(pairs[i] & 0xffff);
		out[2 * i + 1] = half_to_float(pairs[i] >> 16);
	}
}

SIMT_FN void unpack_int8(uint4 v, float (&out)[16])
{
	const unsigned quads[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
	for (int i = 0; i < 16; i++)
		out[i] = (float)(signed char)(quads[i / 4] >> (i % 4 * 8));
}

SIMT_FN void unpack_float(uint4 v, float (&out)[4])
{
	out[0] = bits_to_float(v.x);
	out[1] = bits_to_float(v.y);
	out[2] = bits_to_float(v.z);
	out[3] = bits_to_float(v.w);
}

/* A sum of products in kVector parts. */
struct partial {
	float v = 0.0f;
};

template <int N>
SIMT_FN void dot(partial &sum, const float (&a)[N], const float (&b)[N])
{
#pragma unroll
	for (int i = 0; i < N; i++)
		sum.v = fmaf(a[i], b[i], sum.v);
}

SIMT_FN float total(const partial &sum)
{
	return sum.v;
}

/* For observers of the host engine; nothing on a GPU. */
SIMT_FN void note_release(const unsigned *) {}
SIMT_FN void note_acquire(const unsigned *) {}

} // namespace simt

#endif

namespace simt
{

/* Called by all threads of each of n_blocks blocks after writing their part of a result. 0 .. k - 1
 * in the k blocks that arrive last, when all have arrived; they then see the parts of all others
 * (by load_fresh() or load128()). Others get -1. The counter is 0 before the first call and again
 * when the last block has arrived. Where k > 1 blocks wait for each other: all must be running by
 * then, as on a GPU, where those that arrived earlier have made room. */
SIMT_FN int arrive_among_last(unsigned *counter, unsigned n_blocks, unsigned k)
{
	SIMT_SHARED(unsigned, ticket);
	sync_block();
	if (threadIdx.x == 0) {
		note_release(counter);
		ticket = atomic_inc_ordered(counter, n_blocks - 1);
		while (ticket + k >= n_blocks && load_acquire(counter))
			spin_pause();
	}
	sync_block();
	if (ticket + k < n_blocks)
		return -1;
	note_acquire(counter);
	return ticket + k - n_blocks;
}

/* True in the last of all. */
SIMT_FN bool arrive_last(unsigned *counter, unsigned n_blocks)
{
	return arrive_among_last(counter, n_blocks, 1) == 0;
}

/* Two 16-bit floats in a register, the first in the low half, as 32-bit loads bring them. */
SIMT_FN float bf16_lo(unsigned pair)
{
	return bits_to_float(pair << 16);
}
SIMT_FN float bf16_hi(unsigned pair)
{
	return bits_to_float(pair & 0xffff0000u);
}
SIMT_FN float half_lo(unsigned pair)
{
	return half_to_float(pair & 0xffff);
}
SIMT_FN float half_hi(unsigned pair)
{
	return half_to_float(pair >> 16);
}
SIMT_FN float bf16_to_float(unsigned short bits)
{
	return bits_to_float((unsigned)bits << 16);
}

/* Round to nearest even; NaN stays NaN. */
SIMT_FN unsigned short float_to_bf16(float v)
{
	const unsigned bits = float_to_bits(v);
	if ((bits & 0x7fffffffu) > 0x7f800000u)
		return 0x7fff;
	return (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
}
#ifndef __CUDACC__
SIMT_FN unsigned pack_bf16(float low, float high)
{
	return float_to_bf16(low) | (unsigned)float_to_bf16(high) << 16;
}
#endif

/* v as the sum of two bf16 each: `high` is v rounded, `low` what that leaves, rounded. */
SIMT_FN void split_bf16(const float (&v)[8], uint4 &high, uint4 &low)
{
	unsigned h[4], l[4];
	for (int i = 0; i < 4; i++) {
		h[i] = pack_bf16(v[2 * i], v[2 * i + 1]);
		l[i] = pack_bf16(v[2 * i] - bf16_lo(h[i]), v[2 * i + 1] - bf16_hi(h[i]));
	}
	high = make_uint4(h[0], h[1], h[2], h[3]);
	low = make_uint4(l[0], l[1], l[2], l[3]);
}

} // namespace simt

#endif
