#include <stdlib.h>
#include <string.h>

#include "core/kernel.h"
#include "model/model.h"
#include "tests/fuzz/fuzz.h"
#include "tuner/journal.h"
#include "tuner/tasks.h"

/* A configuration or a case: written as it was read, it reads the same. */
static void parse_params(const struct param *params, int n, const char *text)
{
	int values[MAX_PARAMS + MAX_FIELDS], again[MAX_PARAMS + MAX_FIELDS];
	char written[CONFIG_TEXT];
	for (int i = 0; i < n; i++)
		values[i] = again[i] = params[i].values[0];
	if (params_parse(params, n, text, values) != STATUS_OK)
		return;
	params_format(params, n, values, written);
	if (params_parse(params, n, written, again) != STATUS_OK ||
	    memcmp(values, again, (size_t)n * sizeof *values))
		fuzz_fail("'%s' is written '%s' and then reads otherwise", text, written);
}

static void parse_shape(const struct kernel *kernel, const char *text)
{
	struct shape shape, again;
	char written[64];
	if (kernel_read_shape(kernel, text, &shape) != STATUS_OK)
		return;
	kernel_write_shape(kernel, &shape, written);
	if (kernel_read_shape(kernel, written, &again) != STATUS_OK ||
	    memcmp(&shape, &again, sizeof shape))
		fuzz_fail("%s: shape '%s' is written '%s' and then reads otherwise", kernel->name,
		          text, written);
}

static void parse_provenance(const char *text)
{
	struct provenance provenance;
	char written[PROVENANCE_TEXT];
	if (provenance_parse(text, &provenance) != STATUS_OK)
		return;
	provenance_format(&provenance, written);
	if (strcmp(text, written))
		fuzz_fail("provenance '%s' is written '%s'", text, written);
}

/* As --shape and --dtype have it. */
static void parse_tasks(const struct tasks_request *request)
{
	const struct device_info info = {.target = {.lanes = 1}};
	struct tasks tasks;
	if (tasks_open(request, &info, &tasks) != STATUS_OK)
		return;
	for (int i = 0; i < tasks.n; i++)
		parse_shape(tasks.task[i].kernel, tasks.task[i].shape_text);
	tasks_close(&tasks);
}

static void parse_model(const char *text)
{
	struct model model;
	if (model_open_random(text, &model) == STATUS_OK)
		model_close(&model);
}

int text_fuzz(const uint8_t *data, size_t n)
{
	char *text = strndup((const char *)data, n);
	if (!text)
		fuzz_fail("out of memory");
	for (const struct kernel *const *kernel = kernels; *kernel; kernel++) {
		parse_params((*kernel)->params, (*kernel)->n_params, text);
		parse_params((*kernel)->fields, (*kernel)->n_fields, text);
		parse_shape(*kernel, text);
	}
	parse_provenance(text);
	parse_tasks(&(struct tasks_request){.shapes = text});
	parse_tasks(&(struct tasks_request){.dtypes = text});
	parse_model(text);
	free(text);
	return 0;
}
