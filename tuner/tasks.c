#define _GNU_SOURCE
#include "tuner/tasks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/gemv.h"
#include "kernels/gqa_attention.h"
#include "model/sizes.h"

enum { MAX_CACHE_LENGTH = 131072 };

/* Cache lengths that attention is tuned at; 0 ends. */
static const int gpu_lengths[] = {64, 256, 1024, 4096, 16384, 65536, 131072, 0};
static const int host_lengths[] = {64, 256, 1024, 4096, 0};
static const int quick_lengths[] = {128, 2048, 0};

bool name_listed(const char *list, const char *name)
{
	size_t n = strlen(name);
	for (const char *at = list; at; at = strchr(at, ',')) {
		at += *at == ',';
		if (strcspn(at, ",") == n && !strncmp(at, name, n))
			return true;
	}
	return !list;
}

static int field_index(const struct kernel *kernel, const char *name)
{
	for (int i = 0; i < kernel->n_fields; i++)
		if (!strcmp(kernel->fields[i].name, name))
			return i;
	return -1;
}

/* A builder's state. */
struct builder {
	const struct tasks_request *request;
	const int *lengths;
	struct tasks *tasks;
	int dtype; /* of weights */
	int kv;    /* of caches; -1: that of plain weights, else bf16 */
	int x;     /* dtype of activations; -1: what the decode step has, epilogues included */
	int found; /* tasks of the shape being added, known ones included */
};

static enum status add(struct builder *b, const struct kernel *kernel, const struct kase *kase,
                       const struct shape *shape)
{
	struct tasks *tasks = b->tasks;
	struct task task = {.kernel = kernel, .kase = *kase, .shape = *shape};
	if (kernel->specialise)
		kernel->specialise(shape, task.kase.value);
	params_format(kernel->fields, kernel->n_fields, task.kase.value, task.case_text);
	kernel_write_shape(kernel, shape, task.shape_text);
	b->found++;
	for (int i = 0; i < tasks->n; i++)
		if (tasks->task[i].kernel == kernel &&
		    !strcmp(tasks->task[i].case_text, task.case_text) &&
		    !strcmp(tasks->task[i].shape_text, task.shape_text))
			return STATUS_OK;
	if (tasks->n == tasks->capacity) {
		int capacity = tasks->capacity ? 2 * tasks->capacity : 32;
		void *grown = realloc(tasks->task, (size_t)capacity * sizeof task);
		if (!grown)
			return fail(STATUS_NO_MEMORY, "no memory for the list of tasks");
		tasks->task = grown;
		tasks->capacity = capacity;
	}
	tasks->task[tasks->n++] = task;
	return STATUS_OK;
}

/* Sets a field of a case where the kernel has it and lists the value. */
static void set_field(const struct kernel *kernel, struct kase *kase, const char *name, int value)
{
	int i = field_index(kernel, name);
	if (i >= 0 && param_allows(&kernel->fields[i], value))
		kase->value[i] = value;
}

static int cache_dtype(const struct builder *b)
{
	if (b->kv >= 0)
		return b->kv;
	return dtype_block(b->dtype) > 1 ? DTYPE_BF16 : b->dtype;
}

/* The case that the decode step uses: f32 activations, cache appended to, nothing added but by
 * epilogues. */
static struct kase decode_case(const struct builder *b, const struct kernel *kernel)
{
	struct kase kase = {0};
	set_field(kernel, &kase, "w", b->dtype);
	set_field(kernel, &kase, "x", DTYPE_F32);
	set_field(kernel, &kase, "x", b->x);
	set_field(kernel, &kase, "kv", DTYPE_BF16);
	set_field(kernel, &kase, "kv", cache_dtype(b));
	set_field(kernel, &kase, "append", 1);
	return kase;
}

static enum status add_gemv(struct builder *b, bool norm, int epilogue, int m, int k)
{
	const struct kernel *kernel = kernel_find("gemv");
	if (!kernel || !name_listed(b->request->kernels, kernel->name))
		return STATUS_OK;
	struct kase kase = decode_case(b, kernel);
	set_field(kernel, &kase, "norm", b->x < 0 && norm);
	set_field(kernel, &kase, "epilogue", b->x < 0 ? epilogue : EPILOGUE_NONE);
	return add(b, kernel, &kase, &(struct shape){.m = m, .k = k});
}

/* Attention at every length of the grid, unless the shape has one; other kernels once. */
static enum status add_lengths(struct builder *b, const char *name, struct shape shape, bool grid)
{
	enum status status = STATUS_OK;
	const struct kernel *kernel = kernel_find(name);
	if (!kernel || !name_listed(b->request->kernels, name))
		return STATUS_OK;
	struct kase kase = decode_case(b, kernel);
	if (!grid)
		return add(b, kernel, &kase, &shape);
	for (const int *len = b->lengths; *len; len++) {
		shape.len = *len;
		TRY(add(b, kernel, &kase, &shape));
	}
done:
	return status;
}

/* With and without cuts; greedy decoding has no use for it, so only where it is named. */
static enum status add_sample(struct builder *b, int n)
{
	enum status status = STATUS_OK;
	const struct kernel *kernel = kernel_find("sample");
	if (!kernel || !b->request->kernels || !name_listed(b->request->kernels, kernel->name))
		return STATUS_OK;
	struct kase kase = decode_case(b, kernel);
	for (int cut = 0; cut < 2; cut++) {
		set_field(kernel, &kase, "cut", cut);
		TRY(add(b, kernel, &kase, &(struct shape){.m = n}));
	}
done:
	return status;
}

static enum status add_heads(struct builder *b, struct shape heads)
{
	enum status status;
	TRY(add_lengths(b, "gqa_attention", heads, heads.len == 0));
	heads.len = 0;
	TRY(add_lengths(b, "rope", heads, false));
done:
	return status;
}

static enum status add_size(struct builder *b, const struct model_size *size)
{
	enum status status;
	int head_dim = size->hidden / size->heads;
	int q = size->heads * head_dim, kv = size->kv_heads * head_dim;
	TRY(add_gemv(b, true, EPILOGUE_QKV, q + 2 * kv, size->hidden));
	TRY(add_gemv(b, false, EPILOGUE_RESIDUAL, size->hidden, q));
	TRY(add_gemv(b, true, EPILOGUE_SWIGLU, 2 * size->ffn, size->hidden));
	TRY(add_gemv(b, false, EPILOGUE_RESIDUAL, size->hidden, size->ffn));
	TRY(add_gemv(b, true, EPILOGUE_ARGMAX, size->vocab, size->hidden));
	TRY(add_heads(b,
	              (struct shape){.m = size->heads, .k = size->kv_heads, .head_dim = head_dim}));
	TRY(add_lengths(b, "rms_norm", (struct shape){.m = size->hidden}, false));
	TRY(add_sample(b, size->vocab));
done:
	return status;
}

/* "Q/KV/D" or "Q/KV/D@LENGTH"; length 0 when it has none. */
static bool parse_heads(const char *text, struct shape *s)
{
	int end = 0, n = (int)strlen(text);
	*s = (struct shape){0};
	int fields = sscanf(text, "%9d/%9d/%9d%n@%9d%n", &s->m, &s->k, &s->head_dim, &end, &s->len,
	                    &end);
	return fields >= 3 && end == n && s->m > 0 && s->k > 0 && s->m % s->k == 0 &&
	       s->head_dim > 0 && s->head_dim % 8 == 0 &&
	       s->head_dim <= GQA_ATTENTION_MAX_HEAD_DIM && (fields == 3 || s->len > 0) &&
	       s->len <= MAX_CACHE_LENGTH;
}

/* "M" is a vector, "MxK" a matrix, with each epilogue, "Q/KV/D" and "Q/KV/D@LENGTH" heads. Nine
 * digits fit an int. */
static enum status add_text(struct builder *b, const char *text)
{
	enum status status = STATUS_OK;
	struct shape s = {0};
	int end = 0, n = (int)strlen(text);
	if (sscanf(text, "%9dx%9d%n", &s.m, &s.k, &end) == 2 && end == n && s.m > 0 && s.k > 0) {
		for (int epilogue = EPILOGUE_NONE; epilogue <= EPILOGUE_SWIGLU; epilogue++)
			TRY(add_gemv(b, false, epilogue, s.m, s.k));
	} else if (parse_heads(text, &s)) {
		TRY(add_heads(b, s));
	} else if (sscanf(text, "%9d%n", &s.m, &end) == 1 && end == n && s.m > 0) {
		TRY(add_lengths(b, "rms_norm", (struct shape){.m = s.m}, false));
		TRY(add_sample(b, s.m));
	} else if (strchr(text, '/')) {
		status = fail(STATUS_USAGE,
		              "--shape: '%s': heads are Q/KV/D[@LENGTH] with Q a multiple of KV, D "
		              "one of 8 up to %d and a length of 1 to %d",
		              text, GQA_ATTENTION_MAX_HEAD_DIM, MAX_CACHE_LENGTH);
	} else {
		status = fail(STATUS_USAGE,
		              "--shape: '%s' is neither a model size nor N, MxK or Q/KV/D[@LENGTH]",
		              text);
	}
done:
	return status;
}

static enum status add_shape(struct builder *b, const char *text)
{
	enum status status;
	const struct model_size *size = model_size_find(text, strlen(text));
	b->found = 0;
	TRY(size ? add_size(b, size) : add_text(b, text));
	if (!b->found)
		status = fail(STATUS_USAGE, "--shape: no kernel of --kernel takes '%s'", text);
done:
	return status;
}

bool next_listed(const char **list, char item[ITEM_TEXT])
{
	*list += strspn(*list, ",");
	const size_t n = strcspn(*list, ",");
	snprintf(item, ITEM_TEXT, "%.*s", (int)n, *list);
	*list += n;
	return n > 0;
}

/* Kernels that the functions above have tasks of. */
static const char *const offered[] = {"gemv", "gqa_attention", "rope", "rms_norm", "sample"};

static enum status check_kernel(const char *name)
{
	char names[128] = "";
	size_t n = 0;
	const struct kernel *kernel = kernel_find(name);
	if (!kernel)
		return fail(STATUS_USAGE, "--kernel: no kernel '%s'", name);
	if (kernel->defaults_only)
		return fail(STATUS_USAGE,
		            "--kernel: %s is timed in whole prompts alone: warpsmith-run --random "
		            "qwen2.5-0.5b --bench --prefill 4096",
		            name);
	for (size_t i = 0; i < sizeof offered / sizeof *offered; i++) {
		if (!strcmp(offered[i], name))
			return STATUS_OK;
		n += (size_t)snprintf(names + n, sizeof names - n, " %s", offered[i]);
	}
	return fail(STATUS_USAGE, "--kernel: %s has no shapes of its own; these have:%s", name,
	            names);
}

static enum status check_kernels(const char *list)
{
	enum status status = STATUS_OK;
	char name[ITEM_TEXT];
	while (next_listed(&list, name))
		TRY(check_kernel(name));
done:
	return status;
}

/* "bf16" or "bf16:bf16", both as GEMV has them. */
static enum status parse_dtypes(struct builder *b, const char *text)
{
	const struct kernel *gemv = kernel_find("gemv");
	const char *colon = strchr(text, ':');
	char w[32];
	snprintf(w, sizeof w, "%.*s", colon ? (int)(colon - text) : (int)strlen(text), text);
	b->dtype = dtype_parse(w);
	b->x = colon ? dtype_parse(colon + 1) : -1;
	if (b->dtype < 0 || !param_allows(&gemv->fields[field_index(gemv, "w")], b->dtype) ||
	    (colon && (b->x < 0 || !param_allows(&gemv->fields[field_index(gemv, "x")], b->x))))
		return fail(STATUS_USAGE, "--dtype: no kernel takes '%s'", text);
	return STATUS_OK;
}

enum status tasks_open(const struct tasks_request *request, const struct device_info *info,
                       struct tasks *tasks)
{
	enum status status;
	bool gpu = info->target.sm > 0;
	char dtype[ITEM_TEXT], shape[ITEM_TEXT];
	const char *dtypes = request->dtypes ? request->dtypes : "bf16";
	const char *shapes = request->shapes          ? request->shapes
	                     : gpu && !request->quick ? "qwen2.5-0.5b,qwen2.5-7b"
	                                              : "qwen2.5-0.5b";
	struct builder b = {.request = request, .tasks = tasks, .kv = -1};
	*tasks = (struct tasks){0};
	b.lengths = request->quick ? quick_lengths : gpu ? gpu_lengths : host_lengths;
	TRY(check_kernels(request->kernels ? request->kernels : ""));
	if (request->kv)
		TRY(kernel_parse_field(kernel_find("gqa_attention"), "kv", "kv", request->kv,
		                       &b.kv));
	while (next_listed(&dtypes, dtype)) {
		TRY(parse_dtypes(&b, dtype));
		for (const char *left = shapes; next_listed(&left, shape);)
			TRY(add_shape(&b, shape));
	}
	if (!tasks->n)
		status = fail(STATUS_USAGE,
		              "nothing to tune: --kernel, --shape and --dtype leave no launch");
done:
	if (status != STATUS_OK)
		tasks_close(tasks);
	return status;
}

void tasks_close(struct tasks *tasks)
{
	free(tasks->task);
	*tasks = (struct tasks){0};
}

int task_suggestions(const struct task *task, const struct device_info *info,
                     struct config config[MAX_SUGGESTIONS])
{
	const struct kernel *kernel = task->kernel;
	return kernel->suggest ? kernel->suggest(&task->shape, task->kase.value, info, config) : 0;
}
