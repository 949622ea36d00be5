#include "model/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/sizes.h"

#define RANDOM_CONTEXT   131072
#define RANDOM_ROPE_BASE 1e6
#define RANDOM_EPS       1e-6
#define RANDOM_RUN       64 /* elements made at once */
/* Deviation of the uniform distribution on [-1, 1). */
#define UNIFORM_DEVIATION 0.57735027f
/* Of integers drawn uniformly from [-127, 127]. */
#define QUANT_DEVIATION 73.32f

size_t tensor_row_bytes(const struct tensor *tensor)
{
	return dtype_bytes(tensor->dtype, tensor->cols);
}

/* The next of a sequence of 64 random bits (splitmix64: Steele, Lea, Flood 2014). */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

/* One row depends on seed and row number alone. 16 random bits make an element. */
static void random_row(const struct tensor *t, size_t row, uint8_t *to)
{
	uint64_t state = t->seed + row * 0xd1342543de82ef95u, bits = 0;
	if (t->dtype == DTYPE_Q8_0) {
		uint16_t scale = f32_to_f16(t->deviation / QUANT_DEVIATION);
		for (size_t i = 0; i < t->cols; i += 32, to += 34) {
			memcpy(to, &scale, 2);
			for (int j = 0; j < 32; j++, bits >>= 16) {
				bits = j % 4 ? bits : next_random(&state);
				to[2 + j] = (uint8_t)(int8_t)((bits & 0xffff) * 255 / 65536 - 127);
			}
		}
		return;
	}
	float scale = t->deviation / UNIFORM_DEVIATION / 32768, v[RANDOM_RUN];
	for (size_t i = 0; i < t->cols; i += RANDOM_RUN) {
		size_t n = t->cols - i < RANDOM_RUN ? t->cols - i : RANDOM_RUN;
		for (size_t j = 0; j < n; j++, bits >>= 16) {
			bits = j % 4 ? bits : next_random(&state);
			v[j] = t->mean + scale * (float)(int16_t)bits;
		}
		dtype_from_f32(t->dtype, v, to + dtype_bytes(t->dtype, i), n);
	}
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

/* A different dtype for vectors, as in files. */
static void make_random(struct tensor *t, int dtype)
{
	t->dtype = t->rows > 1 ? dtype : DTYPE_F32;
	t->seed = 0x5851f42d4c957f2du;
	for (const char *c = t->name; *c; c++)
		t->seed = (t->seed ^ (uint64_t)*c) * 0x100000001b3u;
}

/* dtype < 0: from the file. */
static enum status find_tensors(struct model *m, int dtype)
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
			describe(m, &a->layer[t], l, &m->layers[l][t]);
			if (dtype < 0)
				TRY(find_in_file(m, GGUF_REQUIRED, &m->layers[l][t]));
			else
				make_random(&m->layers[l][t], dtype);
		}
	if (dtype < 0) {
		TRY(find_in_file(m, GGUF_REQUIRED, &m->embed));
		TRY(find_in_file(m, GGUF_REQUIRED, &m->norm));
		TRY(find_in_file(m, GGUF_OPTIONAL, &m->head));
		m->hparams.tied = !m->head.data;
	} else {
		make_random(&m->embed, dtype);
		make_random(&m->norm, dtype);
		make_random(&m->head, dtype);
	}
	if (m->hparams.tied)
		m->head = m->embed;
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
	TRY(find_tensors(m, -1));
done:
	if (status != STATUS_OK)
		model_close(m);
	return status;
}

enum status model_open_random(const char *spec, struct model *m)
{
	const char *colon = strchr(spec, ':');
	const char *type = colon ? colon + 1 : "bf16";
	size_t len = colon ? (size_t)(colon - spec) : strlen(spec);
	const struct model_size *size = model_size_find(spec, len);
	int dtype = dtype_parse(type);
	*m = (struct model){0};
	if (!size)
		return fail(STATUS_USAGE, "--random: unknown model '%.*s'", (int)len, spec);
	if (!strcmp(type, "q4_k_m"))
		return fail(STATUS_UNSUPPORTED, "--random: q4_k_m is not supported yet");
	if (dtype != DTYPE_BF16 && dtype != DTYPE_Q8_0)
		return fail(STATUS_USAGE, "--random: unknown type '%s', bf16 and q8_0 are known",
		            type);
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
	        .eps = RANDOM_EPS,
	        .tied = size->tied,
	};
	snprintf(hparams.name, sizeof hparams.name, "%s", size->name);
	return model_make_random(&qwen2, &hparams, dtype, m);
}

enum status model_make_random(const struct arch *arch, const struct hparams *hparams, int dtype,
                              struct model *m)
{
	enum status status;
	*m = (struct model){.arch = arch, .hparams = *hparams};
	TRY(hparams_check(hparams, hparams->name));
	TRY(find_tensors(m, dtype));
done:
	if (status != STATUS_OK)
		model_close(m);
	return status;
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
