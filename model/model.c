#include "model/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/random.h"
#include "model/sizes.h"

#define RANDOM_CONTEXT   131072
#define RANDOM_ROPE_BASE 1e6
#define RANDOM_EPS       1e-6f /* as a file stores it */

size_t tensor_row_bytes(const struct tensor *tensor)
{
	return dtype_bytes(tensor->dtype, tensor->cols);
}

void tensor_rows(const struct tensor *t, size_t first, size_t n, void *to)
{
	size_t bytes = tensor_row_bytes(t);
	if (t->data)
		memcpy(to, (const uint8_t *)t->data + first * bytes, n * bytes);
	else
		for (size_t r = 0; r < n; r++)
			random_row(t, first + r, (uint8_t *)to + r * bytes);
}

void tensor_rows_f32(const struct tensor *t, size_t first, size_t n, float *to)
{
	size_t bytes = tensor_row_bytes(t);
	if (t->data) {
		dtype_to_f32(t->dtype, (const uint8_t *)t->data + first * bytes, to, n * t->cols);
		return;
	}
	uint8_t *row = malloc(bytes);
	for (size_t r = 0; row && r < n; r++) {
		random_row(t, first + r, row);
		dtype_to_f32(t->dtype, row, to + r * t->cols, t->cols);
	}
	free(row);
}

/* Describes a tensor; `what` is its row of the architecture's table. */
static void describe(const struct model *m, const struct tensor_row *what, int layer,
                     struct tensor *t)
{
	char prefix[32] = "";
	if (layer >= 0)
		snprintf(prefix, sizeof prefix, "blk.%d.", layer);
	snprintf(t->name, sizeof t->name, "%s%s", prefix, what->name);
	t->rows = (size_t)hparams_extent(&m->hparams, what->rows);
	t->cols = (size_t)hparams_extent(&m->hparams, what->cols);
	t->mean = what->mean;
	t->deviation = what->deviation > 0 ? what->deviation : 1 / sqrtf((float)t->cols);
}

static enum status find_in_file(const struct model *m, enum gguf_need need, struct tensor *t)
{
	enum status status;
	const struct gguf_tensor *found;
	TRY(gguf_matrix(&m->file, need, t->name, t->cols, t->rows, &found));
	if (found) {
		t->dtype = found->type;
		t->data = found->data;
	}
done:
	return status;
}

/* Vectors are f32, as in files. */
static void make_random(const struct model *m, const struct mixture *mixture,
                        enum mixture_part part, int layer, struct tensor *t)
{
	t->dtype = t->rows == 1 ? DTYPE_F32
	                        : mixture_dtype(mixture, part, layer, m->hparams.layers, t->cols);
	t->seed = random_seed(t->name);
}

static enum mixture_part part_of(enum layer_tensor t)
{
	return t == ATTN_V ? MIX_VALUE : t == FFN_DOWN ? MIX_DOWN : MIX_OTHER;
}

/* A NULL mixture: from the file. */
static enum status find_tensors(struct model *m, const struct mixture *mixture)
{
	enum status status = STATUS_OK;
	const struct arch *a = m->arch;
	m->layers = calloc((size_t)m->hparams.layers, sizeof *m->layers);
	if (!m->layers)
		return fail(STATUS_NO_MEMORY, "out of memory for %d layers", m->hparams.layers);
	describe(m, &a->embed, -1, &m->embed);
	describe(m, &a->norm, -1, &m->norm);
	describe(m, &a->head, -1, &m->head);
	for (int l = 0; l < m->hparams.layers; l++)
		for (int t = 0; t < LAYER_TENSORS; t++) {
			struct tensor *tensor = &m->layers[l][t];
			describe(m, &a->layer[t], l, tensor);
			if (mixture)
				make_random(m, mixture, part_of((enum layer_tensor)t), l, tensor);
			else
				TRY(find_in_file(m, GGUF_REQUIRED, tensor));
		}
	if (mixture) {
		make_random(m, mixture, m->hparams.tied ? MIX_HEAD : MIX_OTHER, 0, &m->embed);
		make_random(m, mixture, MIX_OTHER, 0, &m->norm);
		make_random(m, mixture, MIX_HEAD, 0, &m->head);
	} else {
		TRY(find_in_file(m, GGUF_REQUIRED, &m->embed));
		TRY(find_in_file(m, GGUF_REQUIRED, &m->norm));
		TRY(find_in_file(m, GGUF_OPTIONAL, &m->head));
		m->hparams.tied = !m->head.data;
	}
	if (m->hparams.tied)
		m->head = m->embed;
done:
	return status;
}

/* Values of general.file_type (llama_ftype). */
static const struct {
	uint32_t value;
	const char *name;
} file_types[] = {
        {0, "f32"},     {1, "f16"},   {2, "q4_0"},    {3, "q4_1"},    {7, "q8_0"},
        {8, "q5_0"},    {9, "q5_1"},  {14, "q4_k_s"}, {15, "q4_k_m"}, {16, "q5_k_s"},
        {17, "q5_k_m"}, {18, "q6_k"}, {32, "bf16"},
};

bool model_file_type(const char *types, uint32_t *value)
{
	for (size_t i = 0; i < sizeof file_types / sizeof *file_types; i++)
		if (!strcmp(file_types[i].name, types)) {
			*value = file_types[i].value;
			return true;
		}
	return false;
}

/* As the file says, else the type of all matrices of the layers. */
static enum status name_types(struct model *m)
{
	enum status status;
	uint32_t type = UINT32_MAX;
	const char *name = dtype_name(m->layers[0][ATTN_Q].dtype);
	TRY(gguf_u32(&m->file, GGUF_OPTIONAL, "general.file_type", 0, UINT32_MAX, &type));
	for (int l = 0; l < m->hparams.layers; l++)
		for (int t = 0; t < LAYER_TENSORS; t++)
			if (m->layers[l][t].rows > 1 &&
			    m->layers[l][t].dtype != m->layers[0][ATTN_Q].dtype)
				name = "mixed";
	for (size_t i = 0; i < sizeof file_types / sizeof *file_types; i++)
		if (file_types[i].value == type)
			name = file_types[i].name;
	snprintf(m->types, sizeof m->types, "%s", name);
done:
	return status;
}

enum status model_open(const char *path, struct model *m)
{
	enum status status;
	struct gguf_string name;
	*m = (struct model){0};
	TRY(gguf_open(path, &m->file));
	TRY(gguf_string(&m->file, GGUF_REQUIRED, "general.architecture", &name));
	m->arch = arch_find(name);
	if (!m->arch) {
		status = fail(STATUS_UNSUPPORTED, "%s: architecture '%.*s' is not supported", path,
		              (int)name.len, name.data);
		goto done;
	}
	TRY(m->arch->read(&m->file, &m->hparams));
	TRY(hparams_check(&m->hparams, path));
	const struct gguf_tensor *embed = gguf_find_tensor(&m->file, m->arch->embed.name);
	if (!embed || embed->dims[1] < 1 || embed->dims[1] > INT32_MAX) {
		status = fail(STATUS_FAILED, "%s: tensor '%s' is missing or empty", path,
		              m->arch->embed.name);
		goto done;
	}
	m->hparams.vocab = (int)embed->dims[1];
	TRY(find_tensors(m, NULL));
	TRY(name_types(m));
done:
	if (status != STATUS_OK)
		model_close(m);
	return status;
}

static enum status open_mixture(const struct arch *arch, const struct hparams *hparams,
                                const struct mixture *mixture, struct model *m)
{
	enum status status;
	*m = (struct model){.arch = arch, .hparams = *hparams};
	snprintf(m->types, sizeof m->types, "%s", mixture->name);
	TRY(hparams_check(hparams, hparams->name));
	TRY(find_tensors(m, mixture));
done:
	if (status != STATUS_OK)
		model_close(m);
	return status;
}

enum status model_make_random(const struct arch *arch, const struct hparams *hparams, int dtype,
                              struct model *m)
{
	struct mixture mixture;
	if (!mixture_find(dtype_name(dtype), &mixture))
		return fail(STATUS_UNSUPPORTED, "random weights: unknown type %d", dtype);
	return open_mixture(arch, hparams, &mixture, m);
}

enum status model_open_random(const char *spec, struct model *m)
{
	const char *colon = strchr(spec, ':');
	const char *types = colon ? colon + 1 : "bf16";
	size_t len = colon ? (size_t)(colon - spec) : strlen(spec);
	const struct model_size *size = model_size_find(spec, len);
	struct mixture mixture;
	*m = (struct model){0};
	if (!size)
		return fail(STATUS_USAGE, "--random: unknown model '%.*s'", (int)len, spec);
	if (!mixture_find(types, &mixture))
		return fail(STATUS_USAGE,
		            "--random: unknown type '%s': bf16, q8_0, q4_k_m and others are known",
		            types);
	struct hparams hparams = {
	        .layers = size->layers,
	        .hidden = size->hidden,
	        .heads = size->heads,
	        .kv_heads = size->kv_heads,
	        .head_dim = size->hidden / size->heads,
	        .ffn = size->ffn,
	        .vocab = size->vocab,
	        .context = RANDOM_CONTEXT,
	        .rope_base = RANDOM_ROPE_BASE,
	        .eps = (double)RANDOM_EPS,
	        .tied = size->tied,
	};
	snprintf(hparams.name, sizeof hparams.name, "%s", size->name);
	return open_mixture(&qwen2, &hparams, &mixture, m);
}

enum status model_each_tensor(const struct model *m,
                              enum status (*visit)(void *context, const struct tensor *tensor),
                              void *context)
{
	enum status status;
	TRY(visit(context, &m->embed));
	for (int l = 0; l < m->hparams.layers; l++)
		for (int t = 0; t < LAYER_TENSORS; t++)
			TRY(visit(context, &m->layers[l][t]));
	TRY(visit(context, &m->norm));
	if (!m->hparams.tied)
		TRY(visit(context, &m->head));
done:
	return status;
}

void model_close(struct model *m)
{
	free(m->layers);
	gguf_close(&m->file);
	*m = (struct model){0};
}
