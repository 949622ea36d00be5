#include "device/race.h"

#include <link.h>

#include <bitset>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>

#include "device/engine.h"
#include "device/observer.h"

namespace
{

using simt::lane;
using simt::warp;

struct access {
	uint32_t launch; /* from 1; 0: never touched */
	uint32_t block, block_epoch, warp_epoch;
	uint16_t thread;
	uint8_t bytes; /* of the four, as a mask */
	bool write : 1, atomic : 1, waited : 1;
	uint32_t cluster_epoch;
	const void *pc; /* null: the end of the block */
};

/* What is remembered of four bytes of memory. */
struct cell {
	access write, reads[2];
};

constexpr size_t kPage = 4096, kCells = kPage / 4;
struct page {
	cell cells[kCells];
};

/* Launches first..end-1. */
struct span {
	uint32_t first, end;
	bool holds(uint32_t launch) const { return launch >= first && launch < end; }
};

struct range {
	uintptr_t begin, end;
	bool holds(uintptr_t address) const { return address >= begin && address < end; }
};

struct found {
	access earlier, later;
	bool shared;
};

/* A block that runs. Epochs only grow, over blocks and launches. */
struct running {
	range engine{}, shared{}; /* private to the engine; shared memory */
	uint32_t block = 0, block_epoch = 0;
	uint32_t warp_epochs[ENGINE_MAX_THREADS]{};
	std::bitset<ENGINE_MAX_THREADS> waited;
	std::set<const unsigned *> acquired;
};

/* Epochs at which a block arrived at a counter. */
struct arrival {
	uint32_t block_epoch, cluster_epoch;
};

struct detector {
	std::unordered_map<uintptr_t, page *> pages;
	uintptr_t last_number = ~(uintptr_t)0;
	page *last_page = nullptr;

	/* The running launch, and which launches are not ordered with it. */
	uint32_t launch = 0, base = 1;
	bool bounded = true, dependent = false, any_waited = true;
	span before_wait{}, after_wait{};

	/* The running cluster. */
	uint32_t cluster = 1, cluster_epoch = 0;
	running ranks[ENGINE_MAX_CLUSTER];
	std::map<std::pair<const unsigned *, uint32_t>, arrival> released;

	unsigned long count = 0;
	std::set<std::pair<const void *, const void *>> seen;
	found latest{};
	std::string message;
};
detector *d;

// ---------------------------------------------------------------- source lines

/* Load address and file of the object that holds pc. */
struct object {
	uintptr_t pc, bias;
	const char *file;
};

int find_object(dl_phdr_info *info, size_t, void *data)
{
	object *o = static_cast<object *>(data);
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const auto &segment = info->dlpi_phdr[i];
		const uintptr_t begin = info->dlpi_addr + segment.p_vaddr;
		if (segment.p_type != PT_LOAD || o->pc < begin || o->pc >= begin + segment.p_memsz)
			continue;
		o->bias = info->dlpi_addr;
		o->file = info->dlpi_name[0] ? info->dlpi_name : "/proc/self/exe";
		return 1;
	}
	return 0;
}

/* "k.cu:12": the innermost inlined frame outside the simt headers. */
std::string place(const void *return_address)
{
	object o = {reinterpret_cast<uintptr_t>(return_address) - 1, 0, nullptr};
	char command[4352], line[512], file[4096];
	std::string result = "?";
	if (!dl_iterate_phdr(find_object, &o))
		return result;
	/* A shell has another /proc/self. */
	const char *path = realpath(o.file, file);
	snprintf(command, sizeof command, "addr2line -i -s -e '%s' %#zx", path ? path : o.file,
	         static_cast<size_t>(o.pc - o.bias));
	FILE *pipe = popen(command, "r");
	if (!pipe)
		return result;
	for (bool done = false; fgets(line, sizeof line, pipe);) {
		std::string text(line, strcspn(line, " \n"));
		if (!done)
			result = text;
		done |= text.rfind("simt", 0) != 0;
	}
	pclose(pipe);
	return result;
}

std::string describe(const access &a)
{
	char who[96];
	if (!a.pc) {
		snprintf(who, sizeof who, "end of block %u in launch %u", a.block, a.launch);
		return who;
	}
	snprintf(who, sizeof who, " by thread %u of block %u in launch %u", a.thread, a.block,
	         a.launch);
	std::string text = a.atomic ? "atomic " : "";
	return text + (a.write ? "write at " : "read at ") + place(a.pc) + who;
}

// ---------------------------------------------------------------- order

bool same_cluster(uint32_t a, uint32_t b)
{
	return a / d->cluster == b / d->cluster;
}

running &running_of(const lane *l)
{
	return d->ranks[l->block->rank];
}

/* Whether it came before a counter that this block has seen: by its block, or by another one of the
 * cluster that had synced since. */
bool counted(const access &earlier, const running &now)
{
	const uint32_t first = earlier.block / d->cluster * d->cluster;
	for (const unsigned *counter : now.acquired)
		for (uint32_t block = first; block < first + d->cluster; block++) {
			const auto at = d->released.find({counter, block});
			if (at == d->released.end())
				continue;
			if (block == earlier.block && earlier.block_epoch <= at->second.block_epoch)
				return true;
			if (earlier.cluster_epoch < at->second.cluster_epoch)
				return true;
		}
	return false;
}

bool blocks_ordered(const access &earlier, const access &now, bool shared)
{
	const bool by_itself = same_cluster(earlier.block, now.block)
	                               ? earlier.cluster_epoch != now.cluster_epoch
	                               : shared;
	return by_itself || counted(earlier, d->ranks[now.block % d->cluster]);
}

bool ordered(const access &earlier, const access &now, bool shared)
{
	if (earlier.launch != now.launch)
		return shared ||
		       !(now.waited ? d->after_wait : d->before_wait).holds(earlier.launch);
	if (earlier.block != now.block)
		return blocks_ordered(earlier, now, shared);
	return earlier.thread == now.thread || earlier.block_epoch != now.block_epoch ||
	       (earlier.thread / simt::kWarp == now.thread / simt::kWarp &&
	        earlier.warp_epoch != now.warp_epoch);
}

/* Counts a race if there is one; true then. */
bool compare(const access &earlier, const access &now, bool shared)
{
	if (!earlier.launch || !(earlier.bytes & now.bytes) || (earlier.atomic && now.atomic) ||
	    ordered(earlier, now, shared))
		return false;
	d->count++;
	if (d->seen.insert({earlier.pc, now.pc}).second)
		d->latest = {earlier, now, shared};
	return true;
}

void remember_read(cell &c, const access &now)
{
	access &last = c.reads[0];
	if (last.launch != now.launch || last.block != now.block || last.thread != now.thread)
		c.reads[1] = last;
	else if (last.block_epoch == now.block_epoch && last.warp_epoch == now.warp_epoch) {
		const uint8_t bytes = last.bytes | now.bytes;
		last = now;
		last.bytes = bytes;
		return;
	}
	last = now;
}

void touch(cell &c, const access &now, bool shared)
{
	const bool raced = compare(c.write, now, shared);
	if (!now.write) {
		remember_read(c, now);
		return;
	}
	if (!raced && !compare(c.reads[0], now, shared))
		compare(c.reads[1], now, shared);
	c.write = now;
}

cell &cell_of(uintptr_t address)
{
	const uintptr_t number = address / kPage;
	if (number != d->last_number) {
		page *&p = d->pages[number];
		if (!p)
			p = new page{};
		d->last_number = number;
		d->last_page = p;
	}
	return d->last_page->cells[address % kPage / 4];
}

access access_of(const lane *l)
{
	const running &r = running_of(l);
	access now = {};
	now.launch = d->launch;
	now.block = r.block;
	now.block_epoch = r.block_epoch;
	now.cluster_epoch = d->cluster_epoch;
	now.warp_epoch = r.warp_epochs[l->warp->id];
	now.thread = static_cast<uint16_t>(l->thread.x);
	now.waited = r.waited[l->thread.x];
	return now;
}

/* Whether the address is in such memory of a block that runs. */
bool any_holds(range running::*memory, uintptr_t address)
{
	for (uint32_t i = 0; i < d->cluster; i++)
		if ((d->ranks[i].*memory).holds(address))
			return true;
	return false;
}

void note(uintptr_t address, size_t bytes, bool write, bool atomic, const void *pc)
{
	if (!d || !simt::current || any_holds(&running::engine, address) ||
	    address == reinterpret_cast<uintptr_t>(&simt::current))
		return;
	access now = access_of(simt::current);
	now.write = write;
	now.atomic = atomic;
	now.pc = pc;
	const bool shared = any_holds(&running::shared, address);
	for (uintptr_t end = address + bytes; address < end;) {
		const uintptr_t next = address / 4 * 4 + 4 < end ? address / 4 * 4 + 4 : end;
		now.bytes = static_cast<uint8_t>(((1u << (next - address)) - 1) << address % 4);
		touch(cell_of(address), now, shared);
		address = next;
	}
}

// ---------------------------------------------------------------- events of the engine

void on_boundary()
{
	d->bounded = true;
}

void on_launch(bool dependent, unsigned cluster)
{
	const span after = d->any_waited || !d->dependent ? d->after_wait : d->before_wait;
	d->launch++;
	d->dependent = dependent && !d->bounded;
	d->any_waited = false;
	d->bounded = false;
	if (!d->dependent)
		d->base = d->launch;
	d->before_wait = {d->base, d->launch};
	d->after_wait = d->dependent ? after : span{d->launch, d->launch};
	d->released.clear();
	d->cluster = cluster;
}

void on_block_begin(unsigned rank, unsigned number)
{
	running &r = d->ranks[rank];
	r.block = number;
	r.block_epoch++;
	r.waited.reset();
	r.acquired.clear();
}

/* As if the block wrote all its shared memory, which is gone. */
void on_block_end(unsigned rank)
{
	running &r = d->ranks[rank];
	access now = {};
	now.launch = d->launch;
	now.block = r.block;
	now.block_epoch = ++r.block_epoch;
	now.cluster_epoch = d->cluster_epoch;
	now.bytes = 0xf;
	now.write = true;
	for (uintptr_t page = r.shared.begin; page < r.shared.end; page += kPage)
		if (d->pages.count(page / kPage))
			for (uintptr_t i = 0; i < kPage; i += 4)
				touch(cell_of(page + i), now, true);
}

void on_memory(unsigned rank, const char *engine_begin, const char *engine_end,
               const char *shared_begin, const char *shared_end)
{
	auto address = [](const char *p) { return reinterpret_cast<uintptr_t>(p); };
	d->ranks[rank].engine = {address(engine_begin), address(engine_end)};
	d->ranks[rank].shared = {address(shared_begin), address(shared_end)};
}

void on_sync_block(unsigned rank)
{
	running &r = d->ranks[rank];
	r.block_epoch++;
	if (r.waited.any())
		r.waited.set();
}

/* Each block knows what any of them knew. */
void on_sync_cluster()
{
	bool any_waited = false;
	std::set<const unsigned *> acquired;
	for (uint32_t i = 0; i < d->cluster; i++) {
		const running &r = d->ranks[i];
		any_waited |= r.waited.any();
		acquired.insert(r.acquired.begin(), r.acquired.end());
	}
	for (uint32_t i = 0; i < d->cluster; i++) {
		running &r = d->ranks[i];
		r.block_epoch++;
		r.acquired = acquired;
		if (any_waited)
			r.waited.set();
	}
	d->cluster_epoch++;
}

void on_sync_warp(const warp *w)
{
	running &r = running_of(w->lanes);
	r.warp_epochs[w->id]++;
	bool any = false;
	for (int i = 0; i < simt::kWarp; i++)
		any |= r.waited[w->id * simt::kWarp + i];
	for (int i = 0; i < simt::kWarp && any; i++)
		r.waited.set(w->id * simt::kWarp + i);
}

void on_grid_wait(const lane *l)
{
	d->any_waited = true;
	running_of(l).waited.set(l->thread.x);
}

void on_copy(const void *to, const void *from, const void *pc)
{
	if (from)
		note(reinterpret_cast<uintptr_t>(from), 16, false, false, pc);
	note(reinterpret_cast<uintptr_t>(to), 16, true, false, pc);
}

bool on_settled(const void *from)
{
	const access now = access_of(simt::current);
	const uintptr_t begin = reinterpret_cast<uintptr_t>(from);
	for (uintptr_t address = begin; address < begin + 16; address += 4) {
		const access &write = cell_of(address).write;
		if (write.launch && !ordered(write, now, false))
			return false;
	}
	return true;
}

void on_release(const unsigned *counter)
{
	const running &r = running_of(simt::current);
	d->released[{counter, r.block}] = {r.block_epoch, d->cluster_epoch};
}

void on_acquire(const unsigned *counter)
{
	running_of(simt::current).acquired.insert(counter);
}

const simt::observer watch = {on_boundary,  on_launch,     on_memory,       on_block_begin,
                              on_block_end, on_sync_block, on_sync_cluster, on_sync_warp,
                              on_grid_wait, on_copy,       on_settled,      on_release,
                              on_acquire};

void forget()
{
	if (d)
		for (auto &entry : d->pages)
			delete entry.second;
	delete d;
	d = nullptr;
}

} // namespace

void race_begin(void)
{
	forget();
	d = new detector;
	simt::observe(&watch);
}

void race_end(void)
{
	simt::observe(nullptr);
}

unsigned long race_count(void)
{
	return d ? d->count : 0;
}

const char *race_message(void)
{
	if (!d || !d->count)
		return "";
	const found &f = d->latest;
	d->message = std::string("race on ") + (f.shared ? "shared" : "global") +
	             " memory: " + describe(f.later) + ", " + describe(f.earlier);
	if (f.later.launch != f.earlier.launch)
		d->message +=
		        f.later.waited ? ", which no grid_wait() orders" : ", before grid_wait()";
	return d->message.c_str();
}

// ---------------------------------------------------------------- what -fsanitize=thread calls

#define NOTE(p, bytes, write, atomic) \
	note(reinterpret_cast<uintptr_t>(p), bytes, write, atomic, __builtin_return_address(0))

#define ACCESSES(bytes)                             \
	void __tsan_read##bytes(void *p)            \
	{                                           \
		NOTE(p, bytes, false, false);       \
	}                                           \
	void __tsan_write##bytes(void *p)           \
	{                                           \
		NOTE(p, bytes, true, false);        \
	}                                           \
	void __tsan_unaligned_read##bytes(void *p)  \
	{                                           \
		NOTE(p, bytes, false, false);       \
	}                                           \
	void __tsan_unaligned_write##bytes(void *p) \
	{                                           \
		NOTE(p, bytes, true, false);        \
	}                                           \
	void __tsan_volatile_read##bytes(void *p)   \
	{                                           \
		NOTE(p, bytes, false, false);       \
	}                                           \
	void __tsan_volatile_write##bytes(void *p)  \
	{                                           \
		NOTE(p, bytes, true, false);        \
	}

#define EXCHANGE(bits, name, builtin)                                                             \
	uint##bits##_t __tsan_atomic##bits##_##name(volatile uint##bits##_t *p, uint##bits##_t v, \
	                                            int)                                          \
	{                                                                                         \
		NOTE(p, bits / 8, true, true);                                                    \
		return builtin(p, v, __ATOMIC_SEQ_CST);                                           \
	}

#define COMPARE_EXCHANGE(bits, name)                                                              \
	int __tsan_atomic##bits##_compare_exchange_##name(                                        \
	        volatile uint##bits##_t *p, uint##bits##_t *expected, uint##bits##_t v, int, int) \
	{                                                                                         \
		NOTE(p, bits / 8, true, true);                                                    \
		return __atomic_compare_exchange_n(p, expected, v, false, __ATOMIC_SEQ_CST,       \
		                                   __ATOMIC_SEQ_CST);                             \
	}

#define ATOMICS(bits)                                                                       \
	uint##bits##_t __tsan_atomic##bits##_load(const volatile uint##bits##_t *p, int)    \
	{                                                                                   \
		NOTE(p, bits / 8, false, true);                                             \
		return __atomic_load_n(p, __ATOMIC_SEQ_CST);                                \
	}                                                                                   \
	void __tsan_atomic##bits##_store(volatile uint##bits##_t *p, uint##bits##_t v, int) \
	{                                                                                   \
		NOTE(p, bits / 8, true, true);                                              \
		__atomic_store_n(p, v, __ATOMIC_SEQ_CST);                                   \
	}                                                                                   \
	EXCHANGE(bits, exchange, __atomic_exchange_n)                                       \
	EXCHANGE(bits, fetch_add, __atomic_fetch_add)                                       \
	EXCHANGE(bits, fetch_sub, __atomic_fetch_sub)                                       \
	EXCHANGE(bits, fetch_and, __atomic_fetch_and)                                       \
	EXCHANGE(bits, fetch_or, __atomic_fetch_or)                                         \
	EXCHANGE(bits, fetch_xor, __atomic_fetch_xor)                                       \
	COMPARE_EXCHANGE(bits, strong)                                                      \
	COMPARE_EXCHANGE(bits, weak)

extern "C" {

void __tsan_init() {}
void __tsan_func_entry(void *) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void **, void *) {}
void __tsan_vptr_read(void **) {}
void __tsan_atomic_thread_fence(int) {}
void __tsan_atomic_signal_fence(int) {}
void __tsan_read_range(void *p, unsigned long bytes)
{
	NOTE(p, bytes, false, false);
}
void __tsan_write_range(void *p, unsigned long bytes)
{
	NOTE(p, bytes, true, false);
}
ACCESSES(1)
ACCESSES(2)
ACCESSES(4)
ACCESSES(8)
ACCESSES(16)
ATOMICS(8)
ATOMICS(16)
ATOMICS(32)
ATOMICS(64)

} // extern "C"
