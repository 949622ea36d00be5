/* The host engine: fibers, their scheduler, worker threads, and what checked mode checks. */
#include "device/engine.h"

#include <algorithm>
#include <atomic>
#include <csetjmp>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

#include <sys/mman.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#include "device/host_check.h"
#include "device/observer.h"

namespace simt
{

constinit thread_local lane *current __attribute__((tls_model("initial-exec"))) = nullptr;
engine_mode mode = {SIMT_INLINE_SWITCH, kWarp == 32, false};

#ifdef __SANITIZE_ADDRESS__
constexpr bool kAsan = true;
static void asan_hide(const void *p, size_t bytes)
{
	__asan_poison_memory_region(p, bytes);
}
static void asan_show(const void *p, size_t bytes)
{
	__asan_unpoison_memory_region(p, bytes);
}
#else
constexpr bool kAsan = false;
static void asan_hide(const void *, size_t) {}
static void asan_show(const void *, size_t) {}
#endif

namespace
{

constexpr unsigned kMaxWarps = ENGINE_MAX_THREADS / kWarp;
constexpr size_t kPage = 4096;
constexpr size_t kStack = 256 << 10; /* per thread */
constexpr size_t kStackStride =
        kStack + kPage;           /* a guard page; no power of two, for the TLB's sets */
constexpr size_t kSharedGap = 64; /* between variables; ASan sees it */
constexpr size_t kSharedBytes =   /* dynamic, then static; whole pages */
        (ENGINE_SMEM_BYTES + (64 << 10) + kPage - 1) / kPage * kPage;
constexpr unsigned long kMaxSpins = 200000000;
/* That run clusters. A guarded stack is two mappings, a process has at most 65530: 2 workers with
 * 8 * 1024 stacks, 14 with 1024. */
constexpr int kClusterWorkers = 2;

/* Layout of std::source_location, to which SIMT_HERE points. */
struct site {
	const char *file, *function;
	unsigned line, column;
};

/* One line, on the stack: a lane that fails is abandoned, and with it whatever it had on the
 * heap. */
struct line {
	char text[900] = "";
	size_t length = 0;

	[[gnu::format(printf, 2, 3)]] line &add(const char *format, ...)
	{
		va_list args;
		va_start(args, format);
		vsnprintf(text + length, sizeof text - length, format, args);
		va_end(args);
		length += strlen(text + length);
		return *this;
	}

	/* "gemv.cu:42" */
	line &place(const void *at)
	{
		const site *s = static_cast<const site *>(at);
		const char *name = strrchr(s->file, '/');
		return add("%s:%u", name ? name + 1 : s->file, s->line);
	}
};

struct job {
	host_entry *entry;
	const void *args;
	struct grid grid;
	bool dependent;
	unsigned serial, n_blocks, cluster; /* blocks in all, of a cluster */
	std::atomic<unsigned> next{0};      /* cluster */
	std::atomic<bool> failed{false}, waited{false};
	std::mutex lock; /* of the failure */
	enum status status = STATUS_OK;
	line message;
};

/* A 16-byte asynchronous copy that has not arrived. */
struct pending_copy {
	void *to;
	const void *from;
	unsigned group;
};
struct copy_queue {
	std::vector<pending_copy> copies;
	unsigned group = 0; /* open now */
};

/* A bulk copy that has not arrived; an early one has what it found. */
struct pending_bulk {
	void *to;
	const void *from;
	unsigned bytes;
	const copy_barrier *barrier;
	std::vector<char> found;
};

/* What runs a block: its threads, their stacks, its shared memory. */
struct seat : block {
	warp all_warps[kMaxWarps]{};
	char *stacks = nullptr, *shared = nullptr;
	size_t shared_used = 0;
	unsigned n_ready_lanes = 0;   /* whose stacks are set up */
	bool at_cluster = false;      /* the barrier that its threads wait at is the cluster's */
	const void *reader = nullptr; /* place where another block got hold of its shared memory
	                               * since the last sync_cluster() */
	copy_queue copies[ENGINE_MAX_THREADS];
	std::vector<pending_bulk> bulks;
};

/* A thread that runs blocks one after the other, those of a cluster at a time. */
struct worker {
	seat *seats[ENGINE_MAX_CLUSTER] = {};
	unsigned cluster = 1;  /* seats that the running launch uses */
	unsigned n_synced = 0; /* of them, all of whose threads wait for the cluster */
	struct job *job = nullptr;
	uint64_t random = 1;
	unsigned long spins = 0;
	void *own_stack = nullptr, *abandoned = nullptr;
	const void *own_bottom = nullptr; /* of the thread's stack, for ASan */
	size_t own_bytes = 0;
	sigjmp_buf escape; /* from a fault */
	void *fault = nullptr;
	int fault_signal = 0;
	alignas(16) char signal_stack[64 << 10];
};

constinit thread_local worker *self = nullptr;
const observer *watcher = nullptr;
struct host_check check = {SCHEDULE_FORWARD, 1, 0, kWarp == 32};

// ---------------------------------------------------------------- messages

unsigned number_of(const lane *l)
{
	return l->thread.x;
}

seat &seat_of(const lane *l)
{
	return *static_cast<seat *>(l->block);
}

/* What the lanes of a warp are doing: "warp 0: lanes 0000ffff at k.cu:12, lanes ffff0000
 * exited". */
void describe_warp(line &what, const warp &w)
{
	auto place_of = [&](unsigned i) -> const void * {
		if (!(w.live >> i & 1))
			return nullptr;
		return w.waiting >> i & 1 ? w.site[i] : w.lanes[i].barrier;
	};
	what.add("warp %u:", w.id);
	const char *separator = " ";
	for (unsigned left = w.valid; left;) {
		const unsigned i = __builtin_ctz(left);
		unsigned same = 0;
		for (unsigned j = 0; j < kWarp; j++)
			if ((left >> j & 1) && place_of(j) == place_of(i) &&
			    !((w.live >> j ^ w.live >> i) & 1))
				same |= 1u << j;
		left &= ~same;
		what.add("%slanes %08x ", separator, same);
		if (place_of(i))
			what.add("at ").place(place_of(i));
		else
			what.add(w.live >> i & 1 ? "running" : "exited");
		separator = ", ";
	}
}

void record_failure(enum status status, const line &what)
{
	struct job *j = self->job;
	const uint3 b = current->block->index;
	std::lock_guard<std::mutex> guard(j->lock);
	if (j->failed.exchange(true))
		return;
	j->status = status;
	j->message.add("kernel, block (%u,%u): %s", b.x, b.y, what.text);
}

// ---------------------------------------------------------------- fibers

void lane_main();

char *stack_of(const seat &s, unsigned i)
{
	return s.stacks + i * kStackStride + kPage;
}

void lane_reset(seat &s, unsigned i)
{
	char *bottom = stack_of(s, i);
	char *top = bottom + kStack - i * 192 % kPage / 64 * 64; /* spread over the cache's sets */
	lane &l = s.warps[i / kWarp].lanes[i % kWarp];
	mprotect(bottom - kPage, kPage, PROT_NONE);
	asan_show(bottom, kStack);
	l.stack = new_stack(bottom, top, lane_main);
	l.barrier = nullptr;
	s.copies[i].copies.clear();
	s.bulks.clear();
}

/* Sets up what the next launch needs; after a failure, everything anew. */
void lanes_prepare(seat &s, unsigned n)
{
	for (; s.n_ready_lanes < n; s.n_ready_lanes++)
		lane_reset(s, s.n_ready_lanes);
}

void lanes_give_up()
{
	for (seat *s : self->seats)
		if (s)
			s->n_ready_lanes = 0;
}

/* To a stack of `bytes` from `bottom`. */
void switch_fiber(void **save, void *load, const void *bottom, size_t bytes)
{
#ifdef __SANITIZE_ADDRESS__
	void *fake;
	__sanitizer_start_switch_fiber(&fake, bottom, bytes);
	switch_stack(save, load);
	__sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#else
	(void)bottom, (void)bytes;
	switch_stack(save, load);
#endif
}

void switch_lane(void **save, lane *to)
{
	current = to;
	switch_fiber(save, to->stack, stack_of(seat_of(to), number_of(to)), kStack);
}

/* From the worker's own stack to the block's first lane, back when there is no block left. */
void enter(lane *to)
{
	switch_lane(&self->own_stack, to);
	current = nullptr;
}

void leave(void **save)
{
	switch_fiber(save, self->own_stack, self->own_bottom, self->own_bytes);
}

/* Gives up on all lanes of this worker. */
[[noreturn]] void abandon(enum status status, const line &what)
{
	record_failure(status, what);
	lanes_give_up();
	leave(&self->abandoned);
	__builtin_unreachable();
}

// ---------------------------------------------------------------- schedule

unsigned random_below(unsigned n)
{
	uint64_t x = self->random;
	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	self->random = x;
	return (x >> 32) % n;
}

unsigned pick_lane(unsigned ready)
{
	if (check.schedule == SCHEDULE_FORWARD)
		return __builtin_ctz(ready);
	if (check.schedule == SCHEDULE_REVERSE)
		return 31 - __builtin_clz(ready);
	for (unsigned skip = random_below(__builtin_popcount(ready)); skip; skip--)
		ready &= ready - 1;
	return __builtin_ctz(ready);
}

/* A lane of the block that can run: of the warp that ran last if the schedule goes on with it,
 * else of another. Null if none. */
lane *pick_in(const block &b, unsigned last_warp)
{
	unsigned start = last_warp;
	if (check.schedule == SCHEDULE_RANDOM)
		start = random_below(b.n_warps);
	for (unsigned i = 0; i < b.n_warps; i++) {
		const unsigned step = check.schedule == SCHEDULE_REVERSE ? b.n_warps - i : i;
		warp &w = b.warps[(start + step) % b.n_warps];
		if (w.ready)
			return &w.lanes[pick_lane(w.ready)];
	}
	return nullptr;
}

/* The same in all blocks that run at a time. */
lane *pick(unsigned last_rank, unsigned last_warp)
{
	const unsigned n = self->cluster;
	if (n == 1)
		return pick_in(*self->seats[0], last_warp);
	const unsigned start = check.schedule == SCHEDULE_RANDOM ? random_below(n) : last_rank;
	for (unsigned i = 0; i < n; i++) {
		const unsigned step = check.schedule == SCHEDULE_REVERSE ? n - i : i;
		const unsigned rank = (start + step) % n;
		lane *to = pick_in(*self->seats[rank], rank == last_rank ? last_warp : 0);
		if (to)
			return to;
	}
	return nullptr;
}

/* Lanes that left before the others of their collective, into `what`. */
void describe_exits(line &what, const block &b)
{
	for (unsigned i = 0; i < b.n_warps; i++) {
		const warp &w = b.warps[i];
		for (unsigned left = w.waiting; left; left &= left - 1) {
			const unsigned k = __builtin_ctz(left);
			const unsigned gone = w.mask[k] & ~w.live;
			if (gone)
				what = line().add("lanes %08x of warp %u exited before the "
				                  "collective at ",
				                  gone, w.id)
				               .place(w.site[k])
				               .add(": ");
		}
	}
}

/* Place of the sync_cluster() that a block waits in, else null. */
const void *cluster_barrier(const seat &s)
{
	for (unsigned i = 0; i < s.n_warps && s.at_cluster; i++)
		if (s.warps[i].live)
			return s.warps[i].lanes[__builtin_ctz(s.warps[i].live)].barrier;
	return nullptr;
}

/* A block that ended where others of its cluster wait, into `what`. */
void describe_end(line &what)
{
	const void *place = nullptr;
	const seat *ended = nullptr;
	for (unsigned r = 0; r < self->cluster; r++) {
		const seat &s = *self->seats[r];
		if (!s.n_live)
			ended = &s;
		else if (!place)
			place = cluster_barrier(s);
	}
	if (ended && place)
		what = line().add("block (%u,%u) ended before the sync_cluster() at ",
		                  ended->index.x, ended->index.y)
		               .place(place)
		               .add(": ");
}

[[noreturn]] void deadlock()
{
	line what;
	what.add("deadlock: ");
	describe_end(what);
	for (unsigned r = 0; r < self->cluster; r++)
		describe_exits(what, *self->seats[r]);
	const char *separator = "";
	for (unsigned r = 0; r < self->cluster; r++) {
		const block &b = *self->seats[r];
		if (self->cluster > 1 && b.n_live) {
			what.add("%sblock (%u,%u) ", separator, b.index.x, b.index.y);
			separator = "";
		}
		for (unsigned i = 0; i < b.n_warps; i++)
			if (b.warps[i].live) {
				what.add("%s", separator);
				describe_warp(what, b.warps[i]);
				separator = "; ";
			}
	}
	abandon(STATUS_VIOLATION, what);
}

// ---------------------------------------------------------------- blocks

/* All live threads must wait at one place. */
void check_barrier(const block &b)
{
	const lane *first = nullptr;
	for (unsigned t = 0; t < b.n_threads; t++) {
		const warp &w = b.warps[t / kWarp];
		const lane &l = w.lanes[t % kWarp];
		if (!(w.live >> l.index & 1))
			continue;
		if (!first)
			first = &l;
		if (l.barrier != first->barrier)
			abandon(STATUS_VIOLATION,
			        line().add("divergent barrier: thread %u waits at ",
			                   number_of(first))
			                .place(first->barrier)
			                .add(", thread %u at ", t)
			                .place(l.barrier));
	}
}

void release_block(block &b)
{
	b.n_arrived = 0;
	for (unsigned i = 0; i < b.n_warps; i++)
		b.warps[i].ready = b.warps[i].live;
}

void release_cluster()
{
	if (watcher)
		watcher->sync_cluster();
	self->n_synced = 0;
	for (unsigned r = 0; r < self->cluster; r++) {
		seat &s = *self->seats[r];
		s.at_cluster = false;
		s.reader = nullptr;
		release_block(s);
	}
}

/* All live threads of the block have arrived at a barrier. */
void release_barrier(seat &s)
{
	if (mode.checked)
		check_barrier(s);
	if (s.at_cluster) {
		if (++self->n_synced == self->cluster)
			release_cluster();
		return;
	}
	if (watcher)
		watcher->sync_block(s.rank);
	release_block(s);
}

void fill_with_nan(void *p, size_t bytes)
{
	memset(p, 0xff, bytes);
}

template <typename Do>
void each_shared(const seat &s, Do what)
{
	what(s.dynamic_smem, self->job->grid.smem_bytes);
	for (unsigned i = 0; i < s.n_slots; i++)
		what(s.slots[i].memory, s.slots[i].bytes);
}

void block_begin(seat &s, unsigned number)
{
	const struct grid &grid = self->job->grid;
	s.index = {number % grid.x, number / grid.x, 0};
	s.n_live = s.n_threads;
	s.n_arrived = 0;
	s.at_cluster = false;
	s.reader = nullptr;
	for (unsigned i = 0; i < s.n_warps; i++) {
		s.warps[i].live = s.warps[i].ready = s.warps[i].valid;
		s.warps[i].waiting = 0;
	}
	if (self->cluster > 1)
		each_shared(s, asan_show);
	if (mode.checked)
		each_shared(s, fill_with_nan);
	if (watcher)
		watcher->block_begin(s.rank, number);
}

[[noreturn]] void still_read(const seat &s, const void *reader)
{
	abandon(STATUS_VIOLATION,
	        line().add("block (%u,%u) ends without a sync_cluster() behind the "
	                   "cluster_shared() at ",
	                   s.index.x, s.index.y)
	                .place(reader)
	                .add(", which reads its shared memory"));
}

/* Others of the cluster find the block's shared memory gone. */
void block_end(seat &s)
{
	if (!s.bulks.empty())
		abandon(STATUS_VIOLATION,
		        line().add("block %u ends before %zu of its bulk copies have arrived",
		                   s.index.y * s.grid.x + s.index.x, s.bulks.size()));
	if (self->cluster == 1)
		return;
	if (s.reader)
		still_read(s, s.reader);
	if (watcher)
		watcher->block_end(s.rank);
	if (mode.checked)
		each_shared(s, fill_with_nan);
	each_shared(s, asan_hide);
}

/* Takes the next block or cluster of the grid and makes its threads ready; false if there is
 * none. */
bool next_blocks()
{
	struct job *j = self->job;
	const unsigned n = self->cluster;
	const unsigned first = n * j->next.fetch_add(1, std::memory_order_relaxed);
	if (first >= j->n_blocks || j->failed.load(std::memory_order_relaxed))
		return false;
	self->n_synced = 0;
	for (unsigned r = 0; r < n; r++)
		block_begin(*self->seats[r], first + r);
	return true;
}

bool all_ended()
{
	for (unsigned r = 0; r < self->cluster; r++)
		if (self->seats[r]->n_live)
			return false;
	return true;
}

/* The running thread has returned from the kernel. */
void exit_lane()
{
	lane *me = current;
	seat &s = seat_of(me);
	me->warp->live &= ~(1u << me->index);
	me->warp->ready &= ~(1u << me->index);
	if (--s.n_live == 0) {
		block_end(s);
		if (all_ended()) {
			if (!next_blocks()) {
				leave(&me->stack);
				return;
			}
			lane *to = pick(0, 0);
			if (to != me)
				switch_lane(&me->stack, to);
			return;
		}
	} else if (s.n_arrived == s.n_live) {
		release_barrier(s);
	}
	yield_blocked();
}

/* Hands over without the scheduler where the next lane is known and the block goes on. */
bool exit_in_order()
{
	lane *me = current, *next = next_in_order(me);
	block &b = *me->block;
	if (!next || b.n_arrived)
		return false;
	me->warp->live &= ~(1u << me->index);
	me->warp->ready &= ~(1u << me->index);
	b.n_live--;
	current = next;
	switch_stack(&me->stack, next->stack);
	return true;
}

/* A fiber outlives its thread and then runs the thread of the same number in another block. */
void lane_main()
{
#ifdef __SANITIZE_ADDRESS__
	const void *bottom;
	size_t bytes;
	__sanitizer_finish_switch_fiber(nullptr, &bottom, &bytes);
	if (!self->own_bottom) {
		self->own_bottom = bottom;
		self->own_bytes = bytes;
	}
#endif
	for (;;) {
		self->job->entry(self->job->args);
		if (mode.checked)
			seat_of(current).copies[number_of(current)].copies.clear();
		if (!exit_in_order())
			exit_lane();
	}
}

// ---------------------------------------------------------------- workers

/* A seat and its stacks are one mapping, so that one range holds all that is private to it. */
constexpr size_t kSeatBytes = (sizeof(seat) + kPage - 1) / kPage * kPage;
constexpr size_t kMappedBytes = kSeatBytes + ENGINE_MAX_THREADS * kStackStride;

seat *seat_open(unsigned rank)
{
	void *memory = mmap(nullptr, kMappedBytes, PROT_READ | PROT_WRITE,
	                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED)
		return nullptr;
	char *shared = static_cast<char *>(aligned_alloc(kPage, kSharedBytes));
	if (!shared) {
		munmap(memory, kMappedBytes);
		return nullptr;
	}
	seat *s = new (memory) seat();
	s->stacks = static_cast<char *>(memory) + kSeatBytes;
	s->shared = shared;
	s->warps = s->all_warps;
	s->rank = rank;
	for (unsigned i = 0; i < ENGINE_MAX_THREADS; i++) {
		warp &w = s->warps[i / kWarp];
		lane &l = w.lanes[i % kWarp];
		w.id = i / kWarp;
		l.warp = &w;
		l.block = s;
		l.index = i % kWarp;
		l.thread = {i, 0, 0};
	}
	return s;
}

void seat_close(seat *s)
{
	if (!s)
		return;
	asan_show(s->shared, kSharedBytes);
	free(s->shared);
	s->~seat();
	asan_show(s, kMappedBytes);
	munmap(static_cast<void *>(s), kMappedBytes);
}

worker *worker_open()
{
	worker *me = new (std::nothrow) worker;
	if (me && !kAsan) {
		stack_t stack = {};
		stack.ss_sp = me->signal_stack;
		stack.ss_size = sizeof me->signal_stack;
		sigaltstack(&stack, nullptr);
	}
	return me;
}

void worker_close(worker *me)
{
	if (!me)
		return;
	if (!kAsan) {
		stack_t stack = {};
		stack.ss_flags = SS_DISABLE;
		sigaltstack(&stack, nullptr);
	}
	for (seat *s : me->seats)
		seat_close(s);
	delete me;
}

/* A fault in a kernel ends the launch, as on a GPU; any other is none of our business. */
void on_fault(int number, siginfo_t *info, void *)
{
	if (!self || !current) {
		signal(number, SIG_DFL);
		return;
	}
	self->fault = info->si_addr;
	self->fault_signal = number;
	siglongjmp(self->escape, 1);
}

void record_fault(worker *me)
{
	sigset_t blocked;
	sigemptyset(&blocked);
	sigaddset(&blocked, me->fault_signal);
	pthread_sigmask(SIG_UNBLOCK, &blocked, nullptr);

	const unsigned thread = number_of(current);
	const char *guard = stack_of(seat_of(current), thread) - kPage;
	const char *fault = static_cast<char *>(me->fault);
	if (fault >= guard && fault < guard + kPage)
		record_failure(
		        STATUS_FAILED,
		        line().add("thread %u: stack overflow, the host gives a thread %zu KiB",
		                   thread, kStack >> 10));
	else if (me->fault_signal == SIGFPE)
		record_failure(STATUS_FAILED, line().add("thread %u: arithmetic fault", thread));
	else
		record_failure(STATUS_FAILED,
		               line().add("thread %u: memory fault at %p", thread, me->fault));
	current = nullptr;
	lanes_give_up();
}

void *shared_take(seat &s, size_t bytes, size_t align)
{
	align = align < 16 ? 16 : align;
	const size_t at = (s.shared_used + align - 1) / align * align;
	if (at + bytes + kSharedGap > kSharedBytes)
		return nullptr;
	s.shared_used = at + bytes + kSharedGap;
	asan_show(s.shared + at, bytes);
	return s.shared + at;
}

void seat_prepare(seat &s, const struct grid &grid)
{
	const unsigned n = grid.threads;
	s.n_threads = n;
	s.n_warps = (n + kWarp - 1) / kWarp;
	s.dim = {n, 1, 1};
	s.grid = {grid.x, grid.y, 1};
	s.n_slots = 0;
	for (unsigned i = 0; i < s.n_warps; i++)
		s.warps[i].valid = n - i * kWarp >= kWarp ? kFull : (1u << (n - i * kWarp)) - 1;
	asan_hide(s.shared, kSharedBytes);
	s.shared_used = 0;
	s.dynamic_smem = shared_take(s, grid.smem_bytes, 128);
	lanes_prepare(s, n);
	if (watcher)
		watcher->memory(s.rank, reinterpret_cast<char *>(&s),
		                reinterpret_cast<char *>(&s) + kMappedBytes, s.shared,
		                s.shared + kSharedBytes);
}

/* Makes this thread a worker, with seats for the blocks of a cluster; false: no memory. */
bool prepare(struct job *j)
{
	if (!self && !(self = worker_open()))
		return false;
	for (unsigned r = 0; r < j->cluster; r++) {
		seat *&s = self->seats[r];
		if (!s && !(s = seat_open(r)))
			return false;
		seat_prepare(*s, j->grid);
	}
	self->job = j;
	self->cluster = j->cluster;
	self->random =
	        ((check.seed + 1) * 0x9e3779b97f4a7c15u ^ j->serial * 0x2545f4914f6cdd1du) | 1;
	self->spins = 0;
	return true;
}

/* This thread's part of a launch. */
void work(struct job *j)
{
	if (!prepare(j)) {
		std::lock_guard<std::mutex> guard(j->lock);
		j->status = STATUS_NO_MEMORY;
		j->message = line().add("no memory for the threads of a host block");
		j->failed = true;
		return;
	}
	if (!next_blocks())
		return;
	if (!kAsan && sigsetjmp(self->escape, 0)) {
		record_fault(self);
		return;
	}
	enter(pick(0, 0));
}

/* Threads beside the caller's. They spin for a while after a launch, because the next one is
 * usually near. A launch waits for the helpers that have joined it, not for those that are late:
 * `guests` counts the former, and kClosed keeps the latter out. */
constexpr unsigned kClosed = 1u << 31;
struct pool {
	std::vector<std::thread> threads;
	std::atomic<unsigned> generation{0}, guests{kClosed};
	std::atomic<bool> stop{false};
	struct job *job = nullptr;
};
pool &helpers = *new pool; /* never destroyed: exit() may come while its threads wait */

template <typename T, typename Done>
void spin_then_wait(std::atomic<T> &value, Done done)
{
	constexpr int kSpins = 20000;
	for (int i = 0; i < kSpins; i++) {
		if (done(value.load(std::memory_order_acquire)))
			return;
#ifdef __x86_64__
		__builtin_ia32_pause();
#endif
	}
	for (T v = value.load(); !done(v); v = value.load())
		value.wait(v);
}

bool job_join()
{
	unsigned n = helpers.guests.load();
	while (!(n & kClosed))
		if (helpers.guests.compare_exchange_weak(n, n + 1))
			return true;
	return false;
}

void job_leave()
{
	if (helpers.guests.fetch_sub(1) == (kClosed | 1))
		helpers.guests.notify_one();
}

/* number: from 1, the caller of engine_run() is 0. */
void helper_main(int number)
{
	for (unsigned seen = 0;;) {
		spin_then_wait(helpers.generation, [=](unsigned g) { return g != seen; });
		seen = helpers.generation;
		if (helpers.stop)
			break;
		if (job_join()) {
			if (helpers.job->cluster == 1 || number < kClusterWorkers)
				work(helpers.job);
			job_leave();
		}
	}
	worker_close(self);
	self = nullptr;
}

void pool_close()
{
	helpers.stop = true;
	helpers.generation++;
	helpers.generation.notify_all();
	for (std::thread &t : helpers.threads)
		t.join();
	helpers.threads.clear();
	helpers.generation = 0;
	helpers.stop = false;
}

void pool_open(int n)
{
	for (int i = 1; i < n; i++)
		helpers.threads.emplace_back(helper_main, i);
}

void run(struct job *j)
{
	if (helpers.threads.empty() || watcher || j->n_blocks == j->cluster) {
		work(j);
		return;
	}
	helpers.job = j;
	helpers.guests = 0;
	helpers.generation++;
	helpers.generation.notify_all();
	work(j);
	helpers.guests |= kClosed;
	spin_then_wait(helpers.guests, [](unsigned n) { return n == kClosed; });
}

struct sigaction previous[3];
constexpr int kFaults[3] = {SIGSEGV, SIGBUS, SIGFPE};

void faults_catch()
{
	struct sigaction action = {};
	action.sa_sigaction = on_fault;
	action.sa_flags = SA_SIGINFO | SA_ONSTACK;
	for (int i = 0; i < 3 && !kAsan; i++)
		sigaction(kFaults[i], &action, &previous[i]);
}

void faults_restore()
{
	for (int i = 0; i < 3 && !kAsan; i++)
		sigaction(kFaults[i], &previous[i], nullptr);
}

int n_open, n_chosen = 1; /* openers; workers that the first of them asked for */

int n_wanted()
{
	return check.workers > 0 ? check.workers : n_chosen;
}

} // namespace

// ---------------------------------------------------------------- what kernels call

void yield_blocked()
{
	lane *me = current;
	const unsigned ready = check.schedule == SCHEDULE_RANDOM ? 0 : me->warp->ready;
	lane *to = ready ? &me->warp->lanes[pick_lane(ready)] : pick(me->block->rank, me->warp->id);
	if (!to)
		deadlock();
	if (to != me)
		switch_lane(&me->stack, to);
}

void sync_block_slow(const void *at)
{
	lane *me = current;
	seat &s = seat_of(me);
	me->barrier = at;
	if (++s.n_arrived == s.n_live) {
		release_barrier(s);
	} else {
		me->warp->ready &= ~(1u << me->index);
		yield_blocked();
	}
	me->barrier = nullptr;
}

void sync_cluster_slow(const void *at)
{
	lane *me = current;
	seat &s = seat_of(me);
	const unsigned bit = 1u << me->index;
	me->barrier = at;
	me->warp->ready &= ~bit;
	s.at_cluster = true;
	if (++s.n_arrived == s.n_live)
		release_barrier(s);
	if (!(me->warp->ready & bit))
		yield_blocked();
	me->barrier = nullptr;
}

/* Variables lie at the same place in all blocks. */
const void *shared_of_rank(const void *p, int rank, const void *at)
{
	const seat &mine = seat_of(current);
	const size_t offset =
	        reinterpret_cast<uintptr_t>(p) - reinterpret_cast<uintptr_t>(mine.shared);
	if (offset >= mine.shared_used)
		kernel_error(at, "cluster_shared() of what is not shared memory of the block");
	if (rank < 0 || static_cast<unsigned>(rank) >= self->cluster)
		abandon(STATUS_VIOLATION, line().add("thread %u: rank %d of a cluster of %u at ",
		                                     number_of(current), rank, self->cluster)
		                                  .place(at));
	seat &other = *self->seats[rank];
	if (&other == &mine)
		return p;
	if (!other.n_live)
		still_read(other, at);
	other.reader = at;
	return other.shared + offset;
}

/* Lets everybody else run first: the lanes after this one, then the next warps and blocks. */
void spin_yield()
{
	lane *me = current;
	const block &b = *me->block;
	if (self->job->failed)
		abandon(STATUS_FAILED, line().add("another block failed"));
	if (++self->spins > kMaxSpins)
		abandon(STATUS_VIOLATION, line().add("thread %u spins for ever", number_of(me)));
	lane *to = nullptr;
	const unsigned later = me->warp->ready & ~((2u << me->index) - 1);
	if (later)
		to = &me->warp->lanes[__builtin_ctz(later)];
	const unsigned n = b.n_warps * self->cluster, mine = b.rank * b.n_warps + me->warp->id;
	for (unsigned i = 1; i <= n && !to; i++) {
		const unsigned k = (mine + i) % n;
		warp &w = self->seats[k / b.n_warps]->warps[k % b.n_warps];
		if (w.ready)
			to = &w.lanes[__builtin_ctz(w.ready)];
	}
	if (to && to != me)
		switch_lane(&me->stack, to);
	else
		std::this_thread::yield();
}

void check_agreement(const warp *w, unsigned mask, const void *at)
{
	for (int i = 0; i < kWarp; i++) {
		if (!(mask >> i & 1))
			continue;
		if (w->mask[i] != mask)
			abandon(STATUS_VIOLATION,
			        line().add("mask mismatch in warp %u: lane %u with mask %08x at ",
			                   w->id, current->index, mask)
			                .place(at)
			                .add(", lane %d with mask %08x at ", i, w->mask[i])
			                .place(w->site[i]));
		if (w->site[i] != at)
			abandon(STATUS_VIOLATION,
			        line().add("divergent collective in warp %u: lane %u at ", w->id,
			                   current->index)
			                .place(at)
			                .add(", lane %d at ", i)
			                .place(w->site[i]));
	}
}

void kernel_error(const void *at, const char *what)
{
	abandon(STATUS_VIOLATION,
	        line().add("thread %u: %s at ", number_of(current), what).place(at));
}

void warp_synced(const warp *w, unsigned mask)
{
	if (mask == w->live && watcher)
		watcher->sync_warp(w);
}

/* In all blocks of the cluster, whichever comes first. */
void *shared_new(const void *key, size_t bytes, size_t align)
{
	constexpr unsigned n_max = sizeof block::slots / sizeof *block::slots;
	for (unsigned r = 0; r < self->cluster; r++) {
		seat &s = *self->seats[r];
		void *memory = s.n_slots < n_max ? shared_take(s, bytes, align) : nullptr;
		if (!memory)
			abandon(STATUS_FAILED,
			        line().add("more than %u variables or %zu bytes of shared memory",
			                   n_max, kSharedBytes));
		s.slots[s.n_slots++] = {key, memory, bytes};
		if (mode.checked)
			fill_with_nan(memory, bytes);
	}
	const block &b = *current->block;
	return b.slots[b.n_slots - 1].memory;
}

/* The destination holds NaN until the copy, of zeros if from nowhere, arrives. */
void cp_async_issue(void *shared, const void *global)
{
	copy_queue &q = seat_of(current).copies[number_of(current)];
	if (watcher)
		watcher->copy(shared, global, __builtin_return_address(0));
	fill_with_nan(shared, 16);
	q.copies.push_back({shared, global, q.group});
}

void cp_async_close()
{
	seat_of(current).copies[number_of(current)].group++;
}

void cp_async_finish(unsigned groups_left)
{
	copy_queue &q = seat_of(current).copies[number_of(current)];
	size_t kept = 0;
	for (const pending_copy &c : q.copies) {
		if (c.group + groups_left >= q.group) {
			q.copies[kept++] = c;
			continue;
		}
		if (watcher)
			watcher->copy(c.to, c.from, __builtin_return_address(0));
		if (c.from)
			memcpy(c.to, c.from, 16);
		else
			memset(c.to, 0, 16);
	}
	q.copies.resize(kept);
}

void bulk_open(copy_barrier *b)
{
	*b = {};
}

void bulk_ask(copy_barrier *b, unsigned bytes)
{
	if (b->is_asked)
		abandon(STATUS_VIOLATION,
		        line().add("thread %u asks for more before a phase of bulk "
		                   "copies is over",
		                   number_of(current)));
	b->expected = bytes;
	b->is_asked = true;
}

/* As cp_async_issue(). An early copy finds NaN where others may be writing. */
void bulk_issue(void *shared, const void *global, unsigned bytes, copy_barrier *b, bool early)
{
	pending_bulk copy = {shared, global, bytes, b, {}};
	char *to = static_cast<char *>(shared);
	const char *from = static_cast<const char *>(global);
	if ((reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from) | bytes) % 16)
		abandon(STATUS_VIOLATION,
		        line().add("thread %u: a bulk copy is not aligned to 16 bytes",
		                   number_of(current)));
	if (early)
		copy.found.assign(from, from + bytes);
	for (unsigned i = 0; i < bytes && watcher; i += 16) {
		watcher->copy(to + i, early ? nullptr : from + i, __builtin_return_address(0));
		if (early && !watcher->settled(from + i))
			fill_with_nan(copy.found.data() + i, 16);
	}
	fill_with_nan(shared, bytes);
	seat_of(current).bulks.push_back(std::move(copy));
}

/* What has been asked for arrives when all of it is on its way. */
static bool bulk_arrives(copy_barrier *b)
{
	std::vector<pending_bulk> &all = seat_of(current).bulks;
	auto is_here = [b](const pending_bulk &c) { return c.barrier == b; };
	size_t bytes = 0;
	for (const pending_bulk &c : all)
		bytes += is_here(c) ? c.bytes : 0;
	if (!b->is_asked || bytes < b->expected)
		return false;
	if (bytes > b->expected)
		abandon(STATUS_VIOLATION,
		        line().add("%zu bytes arrive by bulk copies where %u are expected", bytes,
		                   b->expected));
	for (const pending_bulk &c : all)
		if (is_here(c))
			memcpy(c.to, c.found.empty() ? c.from : c.found.data(), c.bytes);
	all.erase(std::remove_if(all.begin(), all.end(), is_here), all.end());
	b->phase++;
	b->is_asked = false;
	return true;
}

void bulk_finish(copy_barrier *b, unsigned phase)
{
	constexpr int max_turns = 1 << 16; /* of a warp whose first lane has only to ask */
	for (int turn = 0; b->phase % 2 == phase && !bulk_arrives(b); turn++) {
		if (turn == max_turns)
			abandon(STATUS_VIOLATION,
			        line().add("thread %u waits for ever for bulk copies: %s",
			                   number_of(current),
			                   b->is_asked
			                           ? "fewer bytes than expected are on their way"
			                           : "nobody asks for them"));
		spin_yield();
	}
}

void grid_wait_seen()
{
	self->job->waited.store(true, std::memory_order_relaxed);
	if (watcher)
		watcher->grid_wait(current);
}

void note_release_seen(const unsigned *counter)
{
	watcher->release(counter);
}

void note_acquire_seen(const unsigned *counter)
{
	watcher->acquire(counter);
}

/* Fragment layout of mma.m16n8k16 in the PTX manual: lane = 4 g + t holds rows g and g + 8 of a,
 * c; column g of b. */
void mma_all(mma_operands *all)
{
	float a[16][16], b[16][8], c[16][8];
	auto low = [](unsigned pair) { return bits_to_float(pair << 16); };
	auto high = [](unsigned pair) { return bits_to_float(pair & 0xffff0000u); };
	for (int i = 0; i < 32; i++) {
		const mma_operands &o = all[i];
		const int g = i / 4, t = i % 4 * 2;
		for (int q = 0; q < 4; q++) {
			const int row = g + 8 * (q % 2), column = t + 8 * (q / 2);
			a[row][column] = low(o.a[q]);
			a[row][column + 1] = high(o.a[q]);
			c[g + 8 * (q / 2)][t + q % 2] = o.c[q];
		}
		for (int q = 0; q < 2; q++) {
			b[t + 8 * q][g] = low(o.b[q]);
			b[t + 8 * q + 1][g] = high(o.b[q]);
		}
	}
	for (int row = 0; row < 16; row++)
		for (int k = 0; k < 16; k++)
			for (int column = 0; column < 8; column++)
				c[row][column] += a[row][k] * b[k][column];
	for (int i = 0; i < 32; i++)
		for (int q = 0; q < 4; q++)
			all[i].c[q] = c[i / 4 + 8 * (q / 2)][i % 4 * 2 + q % 2];
}

void observe(const observer *o)
{
	watcher = o;
	mode.watched = o != nullptr;
}

} // namespace simt

// ---------------------------------------------------------------- what launchers call

using namespace simt;

const unsigned engine_needs = 0
#ifdef __AVX2__
                              | CPU_AVX2
#endif
#ifdef __FMA__
                              | CPU_FMA
#endif
#ifdef __BMI2__
                              | CPU_BMI2
#endif
#ifdef __AVX512F__
                              | CPU_AVX512F
#endif
        ;

int engine_lanes(void)
{
	return kWarp;
}

int engine_workers(void)
{
	return static_cast<int>(helpers.threads.size()) + 1;
}

enum status engine_open(int workers)
{
	if (n_open++ == 0) {
		n_chosen = workers > 0 ? workers : 1;
		pool_open(n_wanted());
		faults_catch();
	}
	return STATUS_OK;
}

void engine_close(void)
{
	if (n_open == 0 || --n_open > 0)
		return;
	faults_restore();
	pool_close();
	worker_close(self);
	self = nullptr;
}

enum status engine_run(host_entry *entry, struct grid grid, const void *args,
                       struct launch_options options)
{
	static unsigned serial;
	if (!n_open)
		return fail(STATUS_USAGE, "no host device is open");
	if (!grid.x || !grid.y || !grid.threads || grid.threads > ENGINE_MAX_THREADS ||
	    grid.smem_bytes > ENGINE_SMEM_BYTES)
		return fail(STATUS_USAGE,
		            "launch of %ux%u blocks of %u threads with %zu bytes of shared memory; "
		            "the host takes 1 to %d threads and %zu bytes",
		            grid.x, grid.y, grid.threads, grid.smem_bytes, ENGINE_MAX_THREADS,
		            ENGINE_SMEM_BYTES);
	const unsigned cluster = grid.cluster ? grid.cluster : 1;
	if (cluster > ENGINE_MAX_CLUSTER || grid.x % cluster)
		return fail(
		        STATUS_USAGE,
		        "launch of %ux%u blocks in clusters of %u; the host takes clusters of 1 "
		        "to %d blocks, of which a row has whole ones",
		        grid.x, grid.y, cluster, ENGINE_MAX_CLUSTER);
	struct job j;
	j.entry = entry;
	j.args = args;
	j.grid = grid;
	j.dependent = options.dependent;
	j.serial = serial++;
	j.n_blocks = grid.x * grid.y;
	j.cluster = cluster;
	if (watcher)
		watcher->launch(options.dependent, cluster);
	run(&j);
	if (j.failed)
		return fail(j.status, "%s", j.message.text);
	if (mode.checked && j.dependent && !j.waited)
		return fail(STATUS_VIOLATION,
		            "a dependent launch of %ux%u blocks never waited for its predecessor",
		            grid.x, grid.y);
	return STATUS_OK;
}

void engine_boundary(void)
{
	if (watcher)
		watcher->boundary();
}

struct host_check host_check_get(void)
{
	return check;
}

void host_check_set(struct host_check wanted)
{
	check = wanted;
	mode.in_order = SIMT_INLINE_SWITCH && check.schedule == SCHEDULE_FORWARD;
	mode.checked = check.checked;
	if (n_open && engine_workers() != n_wanted()) {
		pool_close();
		pool_open(n_wanted());
	}
}
