// C++20.
/* Kernels with one planted bug each, and their fixed twins. Lines are those that a message must
 * name. */
#ifndef TESTS_PLANTED_ENGINE_H
#define TESTS_PLANTED_ENGINE_H

#include "device/simt.h"

namespace planted
{

struct args {
	const float *x;
	float *y;
	unsigned *counter;
};

// ---------------------------------------------------------------- barriers and collectives

inline __global__ void divergent_barrier(const args)
{
	if (threadIdx.x < 64)
		simt::sync_block();
	else
		simt::sync_block();
}
enum { DIVERGENT_BARRIER_IF = __LINE__ - 4, DIVERGENT_BARRIER_ELSE = __LINE__ - 2 };

inline __global__ void half_barrier(const args)
{
	if (threadIdx.x < 40)
		simt::sync_block();
	else
		simt::sync_warp();
}
enum { HALF_BARRIER = __LINE__ - 4, HALF_WARP = __LINE__ - 2 };

inline __global__ void exit_before_shuffle(const args a)
{
	if (threadIdx.x >= 50)
		return;
	a.y[threadIdx.x] = simt::shuffle_xor(a.x[threadIdx.x], 1);
}
enum { EXIT_SHUFFLE = __LINE__ - 2 };

inline __global__ void divergent_shuffle(const args a)
{
	float v = a.x[threadIdx.x];
	if (threadIdx.x & 1)
		v = simt::shuffle_xor(v, 2);
	else
		v = simt::shuffle_xor(v, 4);
	a.y[threadIdx.x] = v;
}
enum { DIVERGENT_SHUFFLE_IF = __LINE__ - 5, DIVERGENT_SHUFFLE_ELSE = __LINE__ - 3 };

inline __global__ void mask_mismatch(const args)
{
	simt::sync_warp(threadIdx.x == 3 ? 0xfu : simt::kFull);
}
enum { MASK_MISMATCH = __LINE__ - 2 };

inline __global__ void shuffle_outside_mask(const args a)
{
	if (threadIdx.x < 16)
		a.y[threadIdx.x] = simt::shuffle_xor(a.x[threadIdx.x], 16, 0xffffu);
}
enum { SHUFFLE_OUTSIDE_MASK = __LINE__ - 2 };

// ---------------------------------------------------------------- memory

inline __global__ void misaligned_load(const args a)
{
	a.y[threadIdx.x] = (float)simt::load128(a.x + 1).x;
}
enum { MISALIGNED_LOAD = __LINE__ - 2 };

/* Every lane copies four floats and reads one of them. Pending: groups that its wait leaves; -1: it
 * does not wait. */
template <int Pending>
__global__ void read_copy(const args a)
{
	SIMT_SHARED(float[4 * simt::kWarp], part);
	const float *mine = part + 4 * threadIdx.x;
	simt::cp_async16(part + 4 * threadIdx.x, a.x + 4 * threadIdx.x);
	simt::cp_async_commit();
	if constexpr (Pending >= 0)
		simt::cp_async_wait<Pending>();
	a.y[threadIdx.x] = mine[1];
}

enum bulk_bug {
	BULK_RIGHT,
	BULK_UNAWAITED,
	BULK_TOO_EARLY,
	BULK_TOO_MUCH,
	BULK_TOO_LITTLE,
	BULK_ODD,
	BULK_TWICE,
	BULK_NEXT_PHASE
};

/* A warp copies four floats per lane in bulk; each lane reads one. */
template <bulk_bug Bug>
__global__ void read_bulk(const args a)
{
	SIMT_SHARED(float[4 * simt::kWarp], part);
	SIMT_SHARED(simt::copy_barrier, barrier);
	const unsigned bytes = sizeof part, all = Bug == BULK_TOO_MUCH ? bytes / 2 : bytes;
	if (threadIdx.x == 0) {
		simt::copy_barrier_init(&barrier);
		simt::bulk_expect(&barrier, all);
		simt::bulk_copy(part, a.x, Bug == BULK_TOO_LITTLE ? bytes / 2 : bytes, &barrier);
		if (Bug == BULK_ODD)
			simt::bulk_copy(part, a.x, 8, &barrier);
		if (Bug == BULK_TWICE)
			simt::bulk_expect(&barrier, all);
	}
	simt::sync_warp();
	const float early = part[4 * threadIdx.x];
	simt::sync_warp();
	if (Bug != BULK_UNAWAITED)
		simt::bulk_wait(&barrier, 0);
	if (Bug == BULK_NEXT_PHASE)
		simt::bulk_wait(&barrier, 1);
	a.y[threadIdx.x] = Bug == BULK_TOO_EARLY ? early : part[4 * threadIdx.x];
}

template <bool Bug>
__global__ void uninitialised_shared(const args a)
{
	SIMT_SHARED(float[64], part);
	if (!Bug || threadIdx.x > 0)
		part[threadIdx.x] = 1.0f;
	simt::sync_block();
	a.y[threadIdx.x] = part[threadIdx.x];
}

template <bool Bug>
__global__ void uninitialised_dynamic(const args a)
{
	SIMT_DYN_SMEM(float, part);
	if (!Bug || threadIdx.x > 0)
		part[threadIdx.x] = 1.0f;
	simt::sync_block();
	a.y[threadIdx.x] = part[threadIdx.x];
}

inline __global__ void wild_write(const args a)
{
	if (threadIdx.x == 5)
		a.y[1ull << 42] = 1.0f;
}

[[gnu::noinline]] inline float deep(int n)
{
	volatile char frame[4096];
	frame[0] = (char)n;
	return n ? deep(n - 1) + frame[0] : 0.0f;
}

inline __global__ void stack_overflow(const args a)
{
	a.y[threadIdx.x] = deep(400);
}

/* Out of bounds by one element, for AddressSanitizer: 8 threads, a.y has 8 floats. */
inline __global__ void past_global(const args a)
{
	a.y[threadIdx.x + 1] = 1.0f;
}

inline __global__ void past_shared(const args a)
{
	SIMT_SHARED(float[8], first);
	SIMT_SHARED(float[8], second);
	first[threadIdx.x] = second[threadIdx.x] = 1.0f;
	simt::sync_block();
	volatile unsigned past = threadIdx.x + 1;
	a.y[threadIdx.x] = first[past] + second[threadIdx.x];
}

inline __global__ void past_dynamic(const args a)
{
	SIMT_DYN_SMEM(float, part);
	part[threadIdx.x] = 1.0f;
	simt::sync_block();
	a.y[threadIdx.x] = part[threadIdx.x + 1];
}

// ---------------------------------------------------------------- races

/* Between warps. */
template <bool Bug>
__global__ void race_block(const args a)
{
	SIMT_SHARED(float[256], part);
	part[threadIdx.x] = a.x[threadIdx.x];
	if (threadIdx.x < 32)
		simt::sync_warp(); /* orders nothing between warps */
	if (!Bug)
		simt::sync_block();
	a.y[threadIdx.x] = part[threadIdx.x ^ 64];
}
enum { RACE_BLOCK_WRITE = __LINE__ - 7, RACE_BLOCK_READ = __LINE__ - 2 };

/* Within a warp. */
template <bool Bug>
__global__ void race_warp(const args a)
{
	SIMT_SHARED(float[32], part);
	part[threadIdx.x] = a.x[threadIdx.x];
	if (!Bug)
		simt::sync_warp();
	a.y[threadIdx.x] = part[31 - threadIdx.x];
}
enum { RACE_WARP_WRITE = __LINE__ - 5, RACE_WARP_READ = __LINE__ - 2 };

/* The next iteration writes what this one reads. */
template <bool Bug>
__global__ void race_loop(const args a)
{
	SIMT_SHARED(float[256], part);
	float sum = 0.0f;
	for (int i = 0; i < 4; i++) {
		part[threadIdx.x] = a.x[threadIdx.x] + (float)i;
		simt::sync_block();
		sum += part[255 - threadIdx.x];
		if (!Bug)
			simt::sync_block();
	}
	a.y[threadIdx.x] = sum;
}
enum { RACE_LOOP_WRITE = __LINE__ - 8, RACE_LOOP_READ = __LINE__ - 6 };

template <bool Bug>
__global__ void race_reduce(const args a)
{
	SIMT_SHARED(float[8], part);
	const float sum = simt::warp_sum(a.x[threadIdx.x]);
	if (simt::lane_id() == 0)
		part[simt::warp_id()] = sum;
	if (!Bug)
		simt::sync_block();
	if (threadIdx.x == 0)
		for (int i = 1; i < 8; i++)
			part[0] += part[i];
	if (threadIdx.x == 0)
		*a.y = part[0];
}
enum { RACE_REDUCE_WRITE = __LINE__ - 9, RACE_REDUCE_READ = __LINE__ - 4 };

/* Between blocks: an update that gets lost. */
template <bool Bug>
__global__ void race_update(const args a)
{
	if (threadIdx.x > 0)
		return;
	if (Bug)
		*a.y += a.x[blockIdx.x];
	else
		simt::atomic_add(a.y, a.x[blockIdx.x]);
}
enum { RACE_UPDATE = __LINE__ - 4 };

/* Between blocks: all parts are summed up by whoever believes to be last. */
template <bool Bug>
__global__ void race_last_block(const args a)
{
	float *part = a.y + 1;
	part[blockIdx.x * blockDim.x + threadIdx.x] = a.x[threadIdx.x];
	const bool last =
	        Bug ? blockIdx.x == gridDim.x - 1 : simt::arrive_last(a.counter, gridDim.x);
	if (!last || threadIdx.x > 0)
		return;
	float sum = 0.0f;
	for (unsigned i = 0; i < gridDim.x * blockDim.x; i++)
		sum += simt::load_fresh(part + i);
	*a.y = sum;
}
enum { RACE_LAST_WRITE = __LINE__ - 10, RACE_LAST_READ = __LINE__ - 3 };

// ---------------------------------------------------------------- clusters

enum cluster_bug {
	CLUSTER_RIGHT,
	CLUSTER_EARLY,   /* no sync before others' memory is read */
	CLUSTER_FIRST,   /* none after block 0 has read, which alone does so */
	CLUSTER_LAST,    /* the same of the last one */
	CLUSTER_HOISTED, /* none after all have read by pointers from before the first sync */
	CLUSTER_SPLIT,   /* a part of block 1 waits for that block instead */
	CLUSTER_EXIT,    /* block 1 ends at once */
	CLUSTER_MORE,    /* it syncs once more than the others */
	CLUSTER_RANK,    /* it reads of a rank that there is not */
	CLUSTER_PRIVATE, /* it asks for what is not in shared memory */
};

/* y = sum of x over the cluster, plus x of the same thread in the last block. */
template <cluster_bug Bug, int N>
__global__ void sum_cluster(const args a)
{
	SIMT_DYN_SMEM(float, mine);
	SIMT_SHARED(float, sum);
	const unsigned t = threadIdx.x, i = blockIdx.x * blockDim.x + t;
	const unsigned rank = blockIdx.x % N;
	const bool planted = rank == 1;
	const float *last = simt::cluster_shared(mine, N - 1), *sums[N];
	if (Bug == CLUSTER_EXIT && planted)
		return;
	for (int r = 0; r < N && Bug == CLUSTER_HOISTED; r++)
		sums[r] = simt::cluster_shared(&sum, r);
	mine[t] = a.x[i];
	simt::sync_block();
	if (t == 0) {
		float all = 0.0f;
		for (unsigned k = 0; k < blockDim.x; k++)
			all += mine[k];
		sum = all;
	}
	if (Bug == CLUSTER_EARLY || (Bug == CLUSTER_SPLIT && planted && t < 32))
		simt::sync_block();
	else
		simt::sync_cluster();
	if ((Bug == CLUSTER_FIRST && rank > 0) || (Bug == CLUSTER_LAST && rank < N - 1))
		return;
	for (int r = 0; r < N && Bug != CLUSTER_HOISTED; r++)
		sums[r] = simt::cluster_shared(&sum, r);
	float total = Bug == CLUSTER_RIGHT ? last[t] : 0.0f;
	for (int r = 0; r < N; r++)
		total += *sums[r];
	if (Bug == CLUSTER_RANK && planted)
		total += *simt::cluster_shared(&sum, N);
	if (Bug == CLUSTER_PRIVATE && planted)
		total += *simt::cluster_shared(&total, 0);
	if (Bug != CLUSTER_FIRST && Bug != CLUSTER_LAST && Bug != CLUSTER_HOISTED)
		simt::sync_cluster();
	if (Bug == CLUSTER_MORE && planted)
		simt::sync_cluster();
	a.y[i] = total;
}
enum {
	CLUSTER_MORE_SYNC = __LINE__ - 4,
	CLUSTER_PRIVATE_READ = __LINE__ - 9,
	CLUSTER_RANK_READ = __LINE__ - 12,
	CLUSTER_READ = __LINE__ - 15,
	CLUSTER_POINTER = __LINE__ - 19,
	CLUSTER_FIRST_SYNC = __LINE__ - 24,
	CLUSTER_FIRST_BLOCK = __LINE__ - 27,
	CLUSTER_WRITE = __LINE__ - 31,
};

/* *y = sum of all parts, by a block that hears from the first of its cluster that it was the last
 * of all first ones to arrive. */
template <bool Bug, int N>
__global__ void sum_by_last_cluster(const args a)
{
	SIMT_SHARED(bool, is_last);
	const unsigned t = threadIdx.x, rank = blockIdx.x % N;
	float *part = a.y + 1;
	part[blockIdx.x * blockDim.x + t] = a.x[t];
	if (!Bug)
		simt::sync_cluster();
	const bool heard = rank == 0 && simt::arrive_last(a.counter, gridDim.x / N);
	if (t == 0)
		is_last = heard;
	simt::sync_cluster();
	const bool last = *simt::cluster_shared(&is_last, 0);
	simt::sync_cluster();
	if (!last || rank != N - 1 || t > 0)
		return;
	float sum = 0.0f;
	for (unsigned i = 0; i < gridDim.x * blockDim.x; i++)
		sum += simt::load_fresh(part + i);
	*a.y = sum;
}
enum { LAST_CLUSTER_WRITE = __LINE__ - 16, LAST_CLUSTER_READ = __LINE__ - 3 };

/* What the launch before wrote, after one thread of the cluster has waited for it. */
template <bool Bug, int N>
__global__ void wait_by_one_of_cluster(const args a)
{
	const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
	if (i % (N * blockDim.x) == 0)
		simt::grid_wait();
	if (!Bug)
		simt::sync_cluster();
	a.y[i] = a.x[i] * 2.0f;
}
enum { WAIT_BY_ONE_OF_CLUSTER = __LINE__ - 2 };

// ---------------------------------------------------------------- dependent launches

/* y = x + 1, element by element. */
inline __global__ void producer(const args a)
{
	const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
	simt::grid_wait();
	a.y[i] = a.x[i] + 1.0f;
}
enum { PRODUCER = __LINE__ - 2 };

template <bool Bug>
__global__ void wait_missing(const args a)
{
	const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
	if (!Bug)
		simt::grid_wait();
	a.y[i] = a.x[i] * 2.0f;
}
enum { WAIT_MISSING = __LINE__ - 2 };

/* Reads what its predecessor writes. */
template <bool Bug>
__global__ void wait_after_read(const args a)
{
	const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
	float v = 0.0f;
	if (Bug)
		v = a.x[i];
	simt::grid_wait();
	if (!Bug)
		v = a.x[i];
	a.y[i] = v;
}
enum { WAIT_AFTER_READ = __LINE__ - 6 };

/* Writes what its predecessor reads. */
template <bool Bug>
__global__ void wait_after_write(const args a)
{
	const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
	if (Bug)
		a.y[i] = 0.0f;
	simt::grid_wait();
	if (!Bug)
		a.y[i] = 0.0f;
}
enum { WAIT_AFTER_WRITE = __LINE__ - 5 };

/* One thread waits, a barrier passes it on to the block. */
inline __global__ void wait_by_one(const args a)
{
	const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
	if (threadIdx.x == 0)
		simt::grid_wait();
	simt::sync_block();
	a.y[i] = a.x[i] * 2.0f;
}

} // namespace planted

#endif
