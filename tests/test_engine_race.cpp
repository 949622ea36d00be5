/* The race detector: planted races are found with both lines, their fixed twins are clean. Compiled
 * with -fsanitize=thread; see device/race.h. */
#include "tests/test_engine.h"

#include <vector>

#include "device/race.h"
#include "tests/planted/engine.h"

namespace
{

using simt::kWarp;

constexpr unsigned kThreads = 256, kBlocks = 4;

struct pair_of_kernels {
	const void *bug, *fixed;
	unsigned blocks, threads;
	const char *memory;
	int lines[2];
};

#define PAIR(kernel) SIMT_ENTRY(planted::kernel<true>), SIMT_ENTRY(planted::kernel<false>)

const pair_of_kernels pairs[] = {
        {PAIR(race_block),
         1,
         kThreads,
         "shared",
         {planted::RACE_BLOCK_WRITE, planted::RACE_BLOCK_READ}},
        {PAIR(race_loop),
         1,
         kThreads,
         "shared",
         {planted::RACE_LOOP_WRITE, planted::RACE_LOOP_READ}},
        {PAIR(race_update), 64, 32, "global", {planted::RACE_UPDATE, planted::RACE_UPDATE}},
        {PAIR(race_last_block),
         kBlocks,
         64,
         "global",
         {planted::RACE_LAST_WRITE, planted::RACE_LAST_READ}},
        /* The rest need warps of 32 lanes. */
        {PAIR(race_warp), 1, 32, "shared", {planted::RACE_WARP_WRITE, planted::RACE_WARP_READ}},
        {PAIR(race_reduce),
         1,
         kThreads,
         "shared",
         {planted::RACE_REDUCE_WRITE, planted::RACE_REDUCE_READ}},
};
constexpr size_t kAnyLanes = 4;

/* Memory that no test has touched before. */
struct arrays {
	std::vector<float> x = std::vector<float>(2 * kThreads, 1.0f), y = x, z = x;
	unsigned counter = 0;
	planted::args from_x_to_y() { return {x.data(), y.data(), &counter}; }
	planted::args from_y_to_z() { return {y.data(), z.data(), &counter}; }
	planted::args from_z_to_x() { return {z.data(), x.data(), &counter}; }
};

void expect_clean()
{
	if (race_count())
		fail_msg("%lu races in a correct kernel: %s", race_count(), race_message());
}

void expect_race(const char *memory, int first, int second)
{
	assert_true(race_count() > 0);
	expect_text(race_message(), std::string("race on ") + memory + " memory");
	expect_text(race_message(), at("engine.h", first));
	expect_text(race_message(), at("engine.h", second));
	expect_text(race_message(), "by thread ");
	expect_text(race_message(), "of block ");
}

template <typename Body>
void watch(Body body)
{
	race_begin();
	body();
	race_end();
}

/* The verdict is the same whatever order the threads ran in. */
void test_races(void **)
{
	const size_t n = kWarp == 1 ? kAnyLanes : sizeof pairs / sizeof *pairs;
	const struct host_check before = host_check_get();
	for (int schedule = SCHEDULE_FORWARD; schedule <= SCHEDULE_RANDOM; schedule++) {
		struct host_check check = before;
		check.schedule = (enum schedule)schedule;
		host_check_set(check);
		for (size_t i = 0; i < n; i++) {
			const pair_of_kernels &p = pairs[i];
			arrays data;
			watch([&] { RUN(p.bug, p.blocks, p.threads, data.from_x_to_y()); });
			expect_race(p.memory, p.lines[0], p.lines[1]);
			watch([&] { RUN(p.fixed, p.blocks, p.threads, data.from_x_to_y()); });
			expect_clean();
		}
	}
	host_check_set(before);
}

/* Launches that do not depend are ordered, whatever they touch. */
void test_launches_are_ordered(void **)
{
	arrays data;
	watch([&] {
		RUN(SIMT_ENTRY(planted::producer), kBlocks, 64, data.from_x_to_y());
		RUN(SIMT_ENTRY(planted::wait_missing<true>), kBlocks, 64, data.from_y_to_z());
		RUN(SIMT_ENTRY(planted::wait_after_write<true>), kBlocks, 64, data.from_z_to_x());
	});
	expect_clean();
}

/* A producer, then `entry` as its dependent on what the producer wrote (or read). */
void run_dependent(arrays &data, const void *entry, const planted::args &args)
{
	RUN(SIMT_ENTRY(planted::producer), kBlocks, 64, data.from_x_to_y());
	RUN(entry, kBlocks, 64, args, 0, true);
}

void test_dependent_launches(void **)
{
	struct host_check check = host_check_get();
	const struct host_check before = check;
	check.checked = false; /* which knows of missing waits by itself */
	host_check_set(check);
	arrays data;

	watch([&] {
		run_dependent(data, SIMT_ENTRY(planted::wait_missing<true>), data.from_y_to_z());
	});
	expect_race("global", planted::PRODUCER, planted::WAIT_MISSING);
	expect_text(race_message(), "before grid_wait()");
	watch([&] {
		run_dependent(data, SIMT_ENTRY(planted::wait_missing<false>), data.from_y_to_z());
	});
	expect_clean();

	watch([&] {
		run_dependent(data, SIMT_ENTRY(planted::wait_after_read<true>), data.from_y_to_z());
	});
	expect_race("global", planted::PRODUCER, planted::WAIT_AFTER_READ);
	watch([&] {
		run_dependent(data, SIMT_ENTRY(planted::wait_after_read<false>),
		              data.from_y_to_z());
	});
	expect_clean();

	watch([&] {
		run_dependent(data, SIMT_ENTRY(planted::wait_after_write<true>),
		              data.from_z_to_x());
	});
	expect_race("global", planted::PRODUCER, planted::WAIT_AFTER_WRITE);
	watch([&] {
		run_dependent(data, SIMT_ENTRY(planted::wait_after_write<false>),
		              data.from_z_to_x());
	});
	expect_clean();

	watch([&] { run_dependent(data, SIMT_ENTRY(planted::wait_by_one), data.from_y_to_z()); });
	expect_clean();
	host_check_set(before);
}

/* Three launches in a row: the last is ordered with the first only through the wait of the second.
 */
void test_chain_of_dependents(void **)
{
	struct host_check check = host_check_get();
	const struct host_check before = check;
	check.checked = false;
	host_check_set(check);
	arrays data;
	std::vector<float> other(2 * kThreads);
	auto chain = [&](const void *middle, const void *last) {
		RUN(SIMT_ENTRY(planted::producer), kBlocks, 64, data.from_x_to_y());
		RUN(middle, kBlocks, 64, planted::args{other.data(), other.data(), nullptr}, 0,
		    true);
		RUN(last, kBlocks, 64, data.from_y_to_z(), 0, true);
	};
	watch([&] {
		chain(SIMT_ENTRY(planted::producer), SIMT_ENTRY(planted::wait_missing<false>));
	});
	expect_clean();
	watch([&] {
		chain(SIMT_ENTRY(planted::producer), SIMT_ENTRY(planted::wait_missing<true>));
	});
	expect_race("global", planted::PRODUCER, planted::WAIT_MISSING);
	watch([&] {
		chain(SIMT_ENTRY(planted::wait_missing<true>),
		      SIMT_ENTRY(planted::wait_missing<false>));
	});
	expect_race("global", planted::PRODUCER, planted::WAIT_MISSING);
	expect_text(race_message(), "no grid_wait() orders");

	/* Between graphs there is no overlap; within one there is. */
	struct graph *graph;
	assert_int_equal(device_capture_begin(host), STATUS_OK);
	RUN(SIMT_ENTRY(planted::wait_missing<true>), kBlocks, 64, data.from_y_to_z(), 0, true);
	assert_int_equal(device_capture_end(host, &graph), STATUS_OK);
	watch([&] {
		RUN(SIMT_ENTRY(planted::producer), kBlocks, 64, data.from_x_to_y());
		assert_int_equal(graph_launch(graph), STATUS_OK);
		RUN(SIMT_ENTRY(planted::wait_missing<true>), kBlocks, 64, data.from_z_to_x(), 0,
		    true);
	});
	expect_clean();
	graph_close(&graph);
	host_check_set(before);
}

/* A neighbour's asynchronous copy needs a barrier besides the wait. */
__global__ void read_copy_of_neighbour(const planted::args a)
{
	SIMT_SHARED(float[4 * 64], part);
	simt::cp_async16(part + 4 * threadIdx.x, a.x + 4 * threadIdx.x);
	simt::cp_async_commit();
	simt::cp_async_wait<0>();
	if (a.counter)
		simt::sync_block();
	a.y[threadIdx.x] = part[4 * (threadIdx.x ^ 32)];
}

void test_async_copy(void **)
{
	struct host_check check = host_check_get();
	const struct host_check before = check;
	check.checked = true;
	host_check_set(check);
	arrays data;
	alignas(16) float x[256] = {};
	watch([&] {
		RUN(SIMT_ENTRY(read_copy_of_neighbour), 1, 64,
		    planted::args{x, data.y.data(), nullptr});
	});
	assert_true(race_count() > 0);
	expect_text(race_message(), "test_engine_race.cpp:");
	watch([&] {
		RUN(SIMT_ENTRY(read_copy_of_neighbour), 1, 64,
		    planted::args{x, data.y.data(), &data.counter});
	});
	expect_clean();
	host_check_set(before);
}

/* Twice what the launch before wrote, copied before the wait; its first half anew behind it. */
template <bool Early>
__global__ void copy_before_wait(const planted::args a)
{
	SIMT_SHARED(float[64], part);
	SIMT_SHARED(simt::copy_barrier, barrier);
	const unsigned t = threadIdx.x;
	if (t == 0) {
		simt::copy_barrier_init(&barrier);
		simt::bulk_expect(&barrier, sizeof part);
		if (Early)
			simt::bulk_copy_early(part, a.x, sizeof part, &barrier);
		else
			simt::bulk_copy(part, a.x, sizeof part, &barrier);
	}
	simt::sync_warp();
	simt::grid_wait();
	simt::bulk_wait(&barrier, 0);
	for (unsigned i = t; i < 32; i += simt::kWarp)
		part[i] = a.x[i];
	simt::sync_warp();
	for (unsigned i = t; i < 64; i += simt::kWarp)
		a.y[i] = 2 * part[i];
}

/* What an early copy finds where the launch before writes is NaN, and no race; any other copy
 * races. */
void test_early_copy(void **)
{
	struct host_check check = host_check_get();
	const struct host_check before = check;
	check.checked = true;
	host_check_set(check);
	arrays data;
	for (bool dependent : {true, false}) {
		watch([&] {
			RUN(SIMT_ENTRY(planted::producer), kBlocks, 64, data.from_x_to_y());
			RUN(SIMT_ENTRY(copy_before_wait<true>), 1, (unsigned)simt::kWarp,
			    data.from_y_to_z(), 0, dependent);
		});
		expect_clean();
		for (int i = 0; i < 64; i++)
			assert_true(dependent && i >= 32 ? std::isnan(data.z[i])
			                                 : data.z[i] == 2 * data.y[i]);
	}
	watch([&] {
		RUN(SIMT_ENTRY(planted::producer), kBlocks, 64, data.from_x_to_y());
		RUN(SIMT_ENTRY(copy_before_wait<false>), 1, (unsigned)simt::kWarp,
		    data.from_y_to_z(), 0, true);
	});
	assert_true(race_count() > 0);
	host_check_set(before);
}

/* Reads too early, and of a block that has ended; orders that reach over blocks of a cluster. */
void test_clusters(void **)
{
	const struct grid sums = {4, 1, 64, 2, 64 * sizeof(float)}, plain = {4, 1, 64, 2, 0};
	const struct host_check before = host_check_get();
	for (int schedule = SCHEDULE_FORWARD; schedule <= SCHEDULE_RANDOM; schedule++) {
		struct host_check check = before;
		check.schedule = (enum schedule)schedule;
		host_check_set(check);
		arrays data;
		auto launch_watched = [&](const void *entry, const struct grid &grid) {
			data.counter = 0;
			watch([&] {
				assert_int_equal(launch_grid(entry, grid, data.from_x_to_y()),
				                 STATUS_OK);
			});
		};
		launch_watched(SIMT_ENTRY(planted::sum_cluster<planted::CLUSTER_EARLY, 2>), sums);
		expect_race("shared", planted::CLUSTER_WRITE, planted::CLUSTER_READ);
		launch_watched(SIMT_ENTRY(planted::sum_cluster<planted::CLUSTER_HOISTED, 2>), sums);
		assert_true(race_count() > 0);
		expect_text(race_message(), "end of block ");
		expect_text(race_message(), at("engine.h", planted::CLUSTER_READ));
		launch_watched(SIMT_ENTRY(planted::sum_cluster<planted::CLUSTER_RIGHT, 2>), sums);
		expect_clean();
		launch_watched(SIMT_ENTRY(planted::sum_by_last_cluster<true, 2>), plain);
		expect_race("global", planted::LAST_CLUSTER_WRITE, planted::LAST_CLUSTER_READ);
		launch_watched(SIMT_ENTRY(planted::sum_by_last_cluster<false, 2>), plain);
		expect_clean();
		assert_true(data.y[0] == 4 * 64);
	}
	host_check_set(before);
}

void test_wait_of_cluster(void **)
{
	arrays data;
	const struct grid grid = {kBlocks, 1, 64, 2, 0};
	for (bool bug : {true, false}) {
		const void *entry = bug ? SIMT_ENTRY(planted::wait_by_one_of_cluster<true, 2>)
		                        : SIMT_ENTRY(planted::wait_by_one_of_cluster<false, 2>);
		watch([&] {
			RUN(SIMT_ENTRY(planted::producer), kBlocks, 64, data.from_x_to_y());
			assert_int_equal(launch_grid(entry, grid, data.from_y_to_z(), true),
			                 STATUS_OK);
		});
		if (bug)
			expect_race("global", planted::PRODUCER, planted::WAIT_BY_ONE_OF_CLUSTER);
		else
			expect_clean();
	}
}

} // namespace

int main()
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_races),
	        cmocka_unit_test(test_launches_are_ordered),
	        cmocka_unit_test(test_dependent_launches),
	        cmocka_unit_test(test_chain_of_dependents),
	        cmocka_unit_test(test_async_copy),
	        cmocka_unit_test(test_early_copy),
	        cmocka_unit_test(test_clusters),
	        cmocka_unit_test(test_wait_of_cluster),
	};
	return cmocka_run_group_tests_name("engine_race", tests, open_host, close_host);
}
