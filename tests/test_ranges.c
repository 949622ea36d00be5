/* NVTX ranges as a profiler sees them. The test takes the profiler's place: NVTX calls the
 * injection below when its first function is used. The few types are declared here because the
 * header's own weak definition of the injection would take the place of this one. */
#include "model/decoder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ETID_CALLBACKS = 1, MODULE_CORE2 = 5, DOMAIN_PUSH = 4, DOMAIN_POP = 5, DOMAIN_CREATE = 12 };

struct event {
	uint16_t version, size;
	uint32_t category;
	int32_t color_type;
	uint32_t color;
	int32_t payload_type, reserved;
	uint64_t payload;
	int32_t message_type;
	const char *message;
};

typedef void (*function)(void);
struct callbacks {
	size_t struct_size;
	int (*module_table)(int module, function ***table, unsigned *size);
};
typedef const void *(*export_table)(uint32_t id);

#define MAX_RANGES 4096
enum { STEPS = 3, MAX_LAUNCHES = 32 };
static struct range {
	int depth;
	uint64_t payload;
	char name[128];
} ranges[MAX_RANGES];
static uint64_t launch_bytes_of[STEPS][MAX_LAUNCHES]; /* of the plan's launches, at each position */
static int n_ranges, depth, n_domains;
static char domain_name[64];
static int domain;

static int push(void *handle, const struct event *e)
{
	assert_ptr_equal(handle, &domain);
	if (n_ranges < MAX_RANGES) {
		ranges[n_ranges].depth = depth;
		ranges[n_ranges].payload = e->payload;
		snprintf(ranges[n_ranges++].name, sizeof ranges[0].name, "%s", e->message);
	}
	return depth++;
}

static int pop(void *handle)
{
	assert_ptr_equal(handle, &domain);
	return --depth;
}

static void *create(const char *name)
{
	snprintf(domain_name, sizeof domain_name, "%s", name);
	n_domains++;
	return &domain;
}

static int inject(export_table get)
{
	const struct callbacks *callbacks = get(ETID_CALLBACKS);
	function **table;
	unsigned size;
	if (!callbacks || !callbacks->module_table(MODULE_CORE2, &table, &size) ||
	    size <= DOMAIN_CREATE)
		return 0;
	*table[DOMAIN_PUSH] = (function)push;
	*table[DOMAIN_POP] = (function)pop;
	*table[DOMAIN_CREATE] = (function)create;
	return 1;
}

int (*InitializeInjectionNvtx2_fnptr)(export_table get) = inject;

static void decode(struct device *device, bool graphs, bool unfused)
{
	const struct hparams h = {.name = "random",
	                          .layers = 2,
	                          .hidden = 64,
	                          .heads = 2,
	                          .kv_heads = 1,
	                          .head_dim = 32,
	                          .ffn = 64,
	                          .vocab = 50,
	                          .context = 64,
	                          .rope_base = 10000,
	                          .eps = 1e-6};
	struct decoder_options options = {.capacity = 8,
	                                  .kv = DTYPE_BF16,
	                                  .use_bias = true,
	                                  .unfused = unfused,
	                                  .graphs = graphs,
	                                  .quiet = true};
	struct model model;
	struct decoder d;
	assert_int_equal(model_make_random(&qwen2, &h, DTYPE_BF16, &model), STATUS_OK);
	assert_int_equal(decoder_open(device, &model, &options, &d), STATUS_OK);
	n_ranges = 0;
	for (int i = 0; i < STEPS; i++) {
		const struct plan *plan = decoder_plan(&d, i);
		assert_true(plan->n <= MAX_LAUNCHES);
		for (int l = 0; l < plan->n; l++)
			launch_bytes_of[i][l] = (uint64_t)launch_bytes(&plan->launches[l], i + 1);
		assert_int_equal(decoder_step(&d, i ? -1 : 1, NULL, 0), STATUS_OK);
	}
	decoder_close(&d);
	model_close(&model);
	assert_int_equal(depth, 0);
	assert_int_equal(n_domains, 1);
	assert_string_equal(domain_name, "warpsmith");
}

static void expect_range(const struct range *r, int at_depth, uint64_t payload, const char *name)
{
	if (r->depth != at_depth || r->payload != payload || strncmp(r->name, name, strlen(name)))
		fail_msg("range '%s' with %d at depth %d, expected '%s' with %d at %d", r->name,
		         (int)r->payload, r->depth, name, (int)payload, at_depth);
}

/* Ranges of a step's launches, each with its bytes and the configuration's first tunable; those
 * around them have the position. */
static void expect_tokens(int n_layer, const char *const *layer_ops, int n_end,
                          const char *const *ends)
{
	const struct range *r = ranges;
	assert_int_equal(n_ranges, STEPS * (1 + 1 + 2 * (1 + n_layer) + n_end));
	for (uint64_t position = 0; position < STEPS; position++) {
		const uint64_t *bytes = launch_bytes_of[position];
		expect_range(r++, 0, position, "token");
		expect_range(r++, 1, *bytes++, "embed: warps=");
		for (int layer = 0; layer < 2; layer++) {
			expect_range(r++, 1, position, layer ? "layer 1" : "layer 0");
			for (int i = 0; i < n_layer; i++)
				expect_range(r++, 2, *bytes++, layer_ops[i]);
		}
		for (int i = 0; i < n_end; i++)
			expect_range(r++, 1, *bytes++, ends[i]);
	}
}

static void launches_nest_in_layers_and_tokens(void **state)
{
	static const char *const ops[] = {"qkv: math=", "attention: splits=", "attn_out: math=",
	                                  "gate_up: math=", "down: math="};
	static const char *const ends[] = {"head: math=", "advance: warps="};
	decode(*state, false, false);
	expect_tokens(5, ops, 2, ends);
}

static void so_do_those_without_fusion(void **state)
{
	static const char *const ops[] = {
	        "attn_norm: warps=", "qkv: math=",       "rope: warps=",   "attention: splits=",
	        "attn_out: math=",   "ffn_norm: warps=", "gate_up: math=", "down: math="};
	static const char *const ends[] = {
	        "final_norm: warps=", "head: math=", "argmax: warps=", "advance: warps="};
	decode(*state, false, true);
	expect_tokens(8, ops, 4, ends);
}

static void replay_has_tokens_alone(void **state)
{
	decode(*state, true, false);
	assert_int_equal(n_ranges, STEPS);
	for (int i = 0; i < STEPS; i++)
		expect_range(&ranges[i], 0, (uint64_t)i, "token");
}

int main(void)
{
	struct device *device;
	if (device_open("auto", true, &device) != STATUS_OK) {
		fprintf(stderr, "%s\n", fail_message());
		return 1;
	}
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_prestate(launches_nest_in_layers_and_tokens, device),
	        cmocka_unit_test_prestate(so_do_those_without_fusion, device),
	        cmocka_unit_test_prestate(replay_has_tokens_alone, device),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	device_close(&device);
	return failed;
}
