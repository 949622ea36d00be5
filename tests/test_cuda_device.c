/* The CUDA device: what it says where there is no GPU, and on one, what it does. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/peer.h"
#include "tests/toy.h"

#include <cmocka.h>

#define N 5000

static struct device *gpu; /* NULL: none here */
static char why_not[256];
static struct jit_module toy;
static float *x, *y; /* (N) on the GPU; y with room for what spilling instances write */

static void need_gpu(void)
{
	if (!gpu)
		skip();
}

static void absence_is_one_clear_line(void **state)
{
	(void)state;
	struct device *device = NULL;
	if (gpu) {
		assert_int_equal(device_open("cuda:999", true, &device), STATUS_NO_DEVICE);
		assert_non_null(strstr(fail_message(), "cuda:999"));
		assert_int_equal(device_open("cuda%999", true, &device), STATUS_OK);
		device_close(&device);
	} else {
		assert_true(strlen(why_not) > 5);
		assert_null(strchr(why_not, '\n'));
		assert_int_equal(device_open("auto", true, &device), STATUS_OK);
		assert_int_equal(device_info(device)->target.sm, 0);
		assert_null(device_stream(device));
		device_close(&device);
	}
	assert_null(device);
#ifdef WARPSMITH_CUDA
	assert_int_equal(device_open("cuda:x", true, &device), STATUS_USAGE);
	assert_int_equal(device_open("cuda:", true, &device), STATUS_USAGE);
	assert_int_equal(device_open("cuda%", true, &device), STATUS_USAGE);
#endif
}

static void info_is_complete(void **state)
{
	(void)state;
	need_gpu();
	const struct device_info *info = device_info(gpu);
	print_message("%s (%s): sm_%d, %d SMs, %.0f GB/s, driver %s, %s, %s\n", info->name,
	              info->slug, info->target.sm, info->sm_count, info->bus_gbps, info->driver,
	              info->toolkit, info->pci_bus_id);
	assert_true(info->name[0] && info->slug[0] && info->driver[0] && info->toolkit[0]);
	assert_int_equal(strspn(info->slug, "abcdefghijklmnopqrstuvwxyz0123456789-"),
	                 strlen(info->slug));
	assert_true(info->target.sm >= 80);
	assert_int_equal(info->target.lanes, 32);
	assert_true(info->sm_count > 0 && info->memory_bytes > 1 << 30 && info->l2_bytes > 1 << 20);
	assert_true(info->smem_block_bytes > 48 * 1024 &&
	            info->smem_sm_bytes >= info->smem_block_bytes);
	assert_int_equal(info->regs_sm, 65536);
	assert_non_null(strchr(info->pci_bus_id, ':'));
}

static void health_is_plausible(void **state)
{
	struct device_health health;
	(void)state;
	need_gpu();
	device_read_health(gpu, &health);
	print_message("%.0f MHz, %.1f W, %.0f C, throttle '%s'\n", health.sm_mhz, health.watt,
	              health.celsius, health.throttle);
	assert_true(isnan(health.sm_mhz) || (health.sm_mhz > 50 && health.sm_mhz < 5000));
	assert_true(isnan(health.watt) || (health.watt > 1 && health.watt < 3000));
	assert_true(isnan(health.celsius) || (health.celsius > 5 && health.celsius < 120));
}

static void launch_toy(int instance, float *from, float *to, struct launch_options options)
{
	const struct toy_args args = {.y = to, .x = from, .n = N};
	const struct grid grid = {.x = 1, .y = 1, .threads = toy_threads(instance)};
	assert_int_equal(device_launch(gpu, toy.instances[instance].entry, grid, &args, sizeof args,
	                               options),
	                 STATUS_OK);
}

static void assert_y_is(float factor)
{
	static float values[N];
	assert_int_equal(device_read(gpu, values, y, sizeof values), STATUS_OK);
	for (int i = 0; i < N; i++)
		assert_float_equal(values[i], factor * (float)i, 0);
}

static void compiled_instances_run(void **state)
{
	(void)state;
	need_gpu();
	for (int i = 0; i < TOY_MAX; i++) {
		if (i == TOY_BAD)
			continue;
		assert_int_equal(device_fill(gpu, y, 0xff, N * sizeof *y), STATUS_OK);
		launch_toy(i, x, y, (struct launch_options){0});
		assert_y_is(3);
	}
}

static void ptx_runs(void **state)
{
	(void)state;
	need_gpu();
	char *text = toy_read_file(TOY_PATH);
	struct jit_module module = {0};
	struct jit_request request = toy_request(text, 1, device_info(gpu)->target.sm);
	const struct toy_args args = {.y = y, .x = x, .n = N};
	request.ptx = true;
	assert_int_equal(jit_compile(&request, &module), STATUS_OK);
	assert_int_equal(jit_load(gpu, &module), STATUS_OK);
	assert_int_equal(device_fill(gpu, y, 0xff, N * sizeof *y), STATUS_OK);
	assert_int_equal(device_launch(gpu, module.instances[0].entry, (struct grid){1, 1, 32, 0},
	                               &args, sizeof args, (struct launch_options){0}),
	                 STATUS_OK);
	assert_y_is(3);
	jit_close(&module);
	free(text);
}

/* Three launches that wait for each other, in the stream and in a graph. */
static void dependent_launches_and_graphs_keep_order(void **state)
{
	const struct launch_options dependent = {.dependent = true};
	struct graph *graph = NULL;
	struct event *from, *to;
	float *middle;
	double us;
	(void)state;
	need_gpu();
	assert_int_equal(device_alloc(gpu, N * sizeof(float), (void **)&middle), STATUS_OK);
	assert_int_equal(event_open(gpu, &from), STATUS_OK);
	assert_int_equal(event_open(gpu, &to), STATUS_OK);
	for (int captured = 0; captured < 2; captured++) {
		assert_int_equal(device_fill(gpu, y, 0xff, N * sizeof *y), STATUS_OK);
		if (captured)
			assert_int_equal(device_capture_begin(gpu), STATUS_OK);
		launch_toy(0, x, middle, (struct launch_options){0});
		launch_toy(1, middle, y, dependent);
		launch_toy(0, y, middle, dependent);
		launch_toy(1, middle, y, dependent);
		if (captured) {
			assert_int_equal(device_capture_end(gpu, &graph), STATUS_OK);
			assert_int_equal(event_record(from), STATUS_OK);
			for (int i = 0; i < 3; i++)
				assert_int_equal(graph_launch(graph), STATUS_OK);
			assert_int_equal(event_record(to), STATUS_OK);
			assert_int_equal(event_elapsed_us(from, to, &us), STATUS_OK);
			assert_true(us > 1 && us < 1e6);
		}
		assert_y_is(81);
	}
	graph_close(&graph);
	graph_close(&graph);
	event_close(&from);
	event_close(&to);
	device_free(gpu, middle);
}

static void shared_memory_is_raised_up_to_the_limit(void **state)
{
	const struct toy_args args = {.y = y, .x = x, .n = N};
	struct grid grid = {.x = 1, .y = 1, .threads = 32};
	(void)state;
	need_gpu();
	grid.smem_bytes = device_info(gpu)->smem_block_bytes - 1024;
	assert_int_equal(device_launch(gpu, toy.instances[0].entry, grid, &args, sizeof args,
	                               (struct launch_options){0}),
	                 STATUS_OK);
	grid.smem_bytes += 4096;
	assert_int_equal(device_launch(gpu, toy.instances[0].entry, grid, &args, sizeof args,
	                               (struct launch_options){0}),
	                 STATUS_FAILED);
	assert_non_null(strstr(fail_message(), "toy"));
	assert_int_equal(device_sync(gpu), STATUS_OK);
}

static void resources_agree_with_the_image(void **state)
{
	struct entry_resources resources;
	(void)state;
	need_gpu();
	for (int i = 0; i < TOY_MAX; i++) {
		const struct cubin_resources *image = &toy.instances[i].resources;
		if (i == TOY_BAD)
			continue;
		const struct grid grid = {.x = 1, .y = 1, .threads = toy_threads(i)};
		assert_int_equal(device_resources(gpu, toy.instances[i].entry, grid, &resources),
		                 STATUS_OK);
		assert_int_equal(resources.registers, image->registers);
		assert_int_equal(resources.spill_bytes, image->stack_bytes);
		assert_int_equal(resources.static_smem_bytes, image->static_smem_bytes);
		assert_int_equal(resources.max_threads, image->max_threads);
		assert_true(resources.blocks_per_sm > 0);
	}
}

static void too_much_memory_is_an_error(void **state)
{
	void *memory;
	(void)state;
	need_gpu();
	assert_int_equal(device_alloc(gpu, (size_t)1 << 46, &memory), STATUS_NO_MEMORY);
	assert_null(memory);
	assert_non_null(strstr(fail_message(), "out of memory"));
	assert_int_equal(device_alloc(gpu, 256, &memory), STATUS_OK);
	device_free(gpu, memory);
}

/* Exact in every type: small integers, sums below 2^8. */
static void multiply(const struct peer_kind *kind, int dtype, int y_dtype)
{
	enum { M = 96, K = 64 };
	static float w[M * K], v[K], product[M];
	static unsigned char raw[M * K * sizeof(float)];
	void *gpu_w, *gpu_v, *gpu_y;
	struct peer *peer;
	int n;
	assert_int_equal(peer_open(kind, gpu, &peer), STATUS_OK);
	for (int i = 0; i < M * K; i++)
		w[i] = (float)(i % 7 - 3);
	for (int i = 0; i < K; i++)
		v[i] = (float)(i % 5 - 2);
	assert_int_equal(device_alloc(gpu, sizeof w, &gpu_w), STATUS_OK);
	assert_int_equal(device_alloc(gpu, sizeof v, &gpu_v), STATUS_OK);
	assert_int_equal(device_alloc(gpu, sizeof product, &gpu_y), STATUS_OK);
	dtype_from_f32(dtype, w, raw, M * K);
	assert_int_equal(device_write(gpu, gpu_w, raw, dtype_bytes(dtype, M * K)), STATUS_OK);
	dtype_from_f32(dtype, v, raw, K);
	assert_int_equal(device_write(gpu, gpu_v, raw, dtype_bytes(dtype, K)), STATUS_OK);
	const struct product shape = {M, K, dtype, y_dtype};
	assert_int_equal(peer_plan(peer, &shape, &n), STATUS_OK);
	print_message("%s %s, %s into %s: %d ways\n", kind->name, peer->version, dtype_name(dtype),
	              dtype_name(y_dtype), n);
	assert_in_range(n, 1, 32);
	for (int way = 0; way < n; way++) {
		const struct operands operands = {gpu_w, gpu_v, gpu_y};
		assert_int_equal(device_fill(gpu, gpu_y, 0xff, sizeof product), STATUS_OK);
		assert_int_equal(peer_run(peer, way, &operands), STATUS_OK);
		assert_int_equal(device_read(gpu, raw, gpu_y, dtype_bytes(y_dtype, M)), STATUS_OK);
		dtype_to_f32(y_dtype, raw, product, M);
		for (int i = 0; i < M; i++) {
			float sum = 0;
			for (int j = 0; j < K; j++)
				sum += w[i * K + j] * v[j];
			assert_float_equal(product[i], sum, 0);
		}
	}
	const struct product quantised = {M, K, DTYPE_Q8_0, DTYPE_F32};
	assert_int_equal(peer_plan(peer, &quantised, &n), STATUS_UNSUPPORTED);
	assert_int_equal(n, 0);
	device_free(gpu, gpu_w);
	device_free(gpu, gpu_v);
	device_free(gpu, gpu_y);
	peer_close(&peer);
	peer_close(&peer);
}

static void peers_multiply(void **state)
{
	struct peer *peer;
	(void)state;
	need_gpu();
	for (int i = 0; i < N_PEERS; i++) {
		if (peer_open(peer_kinds[i], gpu, &peer) != STATUS_OK) {
			print_message("no %s: %s\n", peer_kinds[i]->name, fail_message());
			continue;
		}
		peer_close(&peer);
		multiply(peer_kinds[i], DTYPE_F32, DTYPE_F32);
		multiply(peer_kinds[i], DTYPE_BF16, DTYPE_BF16);
		multiply(peer_kinds[i], DTYPE_BF16, DTYPE_F32);
		multiply(peer_kinds[i], DTYPE_F16, DTYPE_F16);
	}
}

/* The last test: after it the GPU answers this process with errors alone. */
static void illegal_access_names_error_and_kernel(void **state)
{
	(void)state;
	need_gpu();
	launch_toy(0, (float *)(uintptr_t)64, y, (struct launch_options){0});
	assert_int_equal(device_sync(gpu), STATUS_FAILED);
	print_message("%s\n", fail_message());
	assert_non_null(strstr(fail_message(), "cudaErrorIllegalAddress"));
	assert_non_null(strstr(fail_message(), "kernel toy"));
	assert_int_not_equal(device_fill(gpu, y, 0, 4), STATUS_OK);
}

static int open_gpu(void **state)
{
	static float values[N];
	(void)state;
	if (device_open("cuda", true, &gpu) != STATUS_OK) {
		snprintf(why_not, sizeof why_not, "%s", fail_message());
		print_message("no GPU for these tests: %s\n", why_not);
		return 0;
	}
	char *text = toy_read_file(TOY_PATH);
	const struct jit_request request = toy_request(text, TOY_MAX, device_info(gpu)->target.sm);
	for (int i = 0; i < N; i++)
		values[i] = (float)i;
	const bool failed =
	        !text || jit_compile(&request, &toy) || jit_load(gpu, &toy) ||
	        device_alloc(gpu, sizeof values, (void **)&x) ||
	        device_alloc(gpu, sizeof values + 160 * 1024 * sizeof(float), (void **)&y) ||
	        device_write(gpu, x, values, sizeof values);
	if (failed)
		print_error("%s\n", fail_message());
	free(text);
	return failed;
}

static int close_gpu(void **state)
{
	(void)state;
	jit_close(&toy);
	if (gpu) {
		device_free(gpu, x);
		device_free(gpu, y);
	}
	device_close(&gpu);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(absence_is_one_clear_line),
	        cmocka_unit_test(info_is_complete),
	        cmocka_unit_test(health_is_plausible),
	        cmocka_unit_test(compiled_instances_run),
	        cmocka_unit_test(ptx_runs),
	        cmocka_unit_test(dependent_launches_and_graphs_keep_order),
	        cmocka_unit_test(shared_memory_is_raised_up_to_the_limit),
	        cmocka_unit_test(resources_agree_with_the_image),
	        cmocka_unit_test(too_much_memory_is_an_error),
	        cmocka_unit_test(peers_multiply),
	        cmocka_unit_test(illegal_access_names_error_and_kernel),
	};
	return cmocka_run_group_tests(tests, open_gpu, close_gpu);
}
