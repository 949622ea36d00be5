#include "model/weights.h"

#include <stdlib.h>
#include <string.h>

#include "core/progress.h"
#include "model/parallel.h"

#define CHUNK_BYTES    ((size_t)32 << 20)  /* of host memory, per copy to the device */
#define PROGRESS_BYTES ((size_t)256 << 20) /* models above this show progress */
#define MAX_PARTS      3

/* Row r of a fused matrix is row r of its parts one after the other, or row r / n of part r % n. Of
 * the first `paired` rows, in heads of head_dim, rows 2 i and 2 i + 1 of a head are its i and i +
 * head_dim / 2. */
struct fusion {
	const struct tensor *parts[MAX_PARTS];
	int n;
	bool interleave;
	size_t paired, head_dim;
};

struct upload {
	const struct model *model;
	struct weights *weights;
	struct progress progress;
	uint8_t *chunk, *packed;
	size_t chunk_bytes;
};

/* Where row r of the matrix is among the rows of the parts, one after the other. */
static size_t fused_index(const struct fusion *f, size_t r)
{
	if (r >= f->paired)
		return r;
	size_t within = r % f->head_dim;
	return r - within + within / 2 + within % 2 * (f->head_dim / 2);
}

static const struct tensor *fused_row(const struct fusion *f, size_t r, size_t *row)
{
	int part = 0;
	*row = fused_index(f, r);
	if (f->interleave) {
		*row = r / (size_t)f->n;
		return f->parts[r % (size_t)f->n];
	}
	while (*row >= f->parts[part]->rows)
		*row -= f->parts[part++]->rows;
	return f->parts[part];
}

/* Rows of a fused matrix from `first` on, in file layout but padded. */
struct rows_job {
	const struct fusion *fusion;
	const struct matrix *matrix;
	size_t first;
	uint8_t *to;
};

static void gather_rows(void *context, size_t first, size_t last)
{
	const struct rows_job *job = context;
	size_t row_bytes = dtype_bytes(job->matrix->dtype, (size_t)job->matrix->k);
	for (size_t r = first; r < last; r++) {
		size_t row;
		const struct tensor *t = fused_row(job->fusion, job->first + r, &row);
		uint8_t *to = job->to + r * row_bytes;
		size_t bytes = dtype_bytes(job->matrix->dtype, t->cols);
		if (t->dtype == job->matrix->dtype)
			tensor_rows(t, row, 1, to);
		else
			tensor_rows_f32(t, row, 1, (float *)to);
		memset(to + bytes, 0, row_bytes - bytes);
	}
}

/* Makes room for `bytes` of rows. */
static enum status reserve_chunk(struct upload *u, size_t bytes)
{
	if (bytes <= u->chunk_bytes)
		return STATUS_OK;
	free(u->chunk);
	free(u->packed);
	u->chunk = malloc(bytes);
	u->packed = malloc(bytes);
	u->chunk_bytes = u->chunk && u->packed ? bytes : 0;
	return u->chunk_bytes ? STATUS_OK
	                      : fail(STATUS_NO_MEMORY, "out of host memory for %zu bytes", bytes);
}

static enum status write_rows(struct upload *u, const struct fusion *f, const struct matrix *mat,
                              size_t first, size_t n)
{
	enum status status;
	size_t count = n * (size_t)mat->k, at = first * (size_t)mat->k;
	size_t values = dtype_scale_offset(mat->dtype, count);
	size_t scales = dtype_bytes(mat->dtype, count) - values;
	parallel_for(n, gather_rows, &(struct rows_job){f, mat, first, u->chunk});
	dtype_pack(mat->dtype, u->chunk, u->packed, count);
	TRY(device_write(u->weights->device, (uint8_t *)mat->w + dtype_scale_offset(mat->dtype, at),
	                 u->packed, values));
	if (scales) {
		size_t offset = dtype_bytes(mat->dtype, at) - dtype_scale_offset(mat->dtype, at);
		TRY(device_write(u->weights->device, (uint8_t *)mat->scale + offset,
		                 u->packed + values, scales));
	}
done:
	return status;
}

static enum status upload_matrix(struct upload *u, struct fusion f, struct matrix *mat)
{
	enum status status;
	size_t rows = 0;
	bool mixed = false;
	for (int p = 0; p < f.n; p++) {
		rows += f.parts[p]->rows;
		mixed |= f.parts[p]->dtype != f.parts[0]->dtype;
	}
	if (mixed)
		warn_once("tensors that are fused have different types: stored as f32");
	*mat = (struct matrix){.dtype = mixed ? DTYPE_F32 : f.parts[0]->dtype,
	                       .k = padded((int)f.parts[0]->cols)};
	mat->m = (int)rows;
	size_t count = rows * (size_t)mat->k, bytes = dtype_bytes(mat->dtype, count);
	size_t row_bytes = dtype_bytes(mat->dtype, (size_t)mat->k);
	size_t step = CHUNK_BYTES / row_bytes ? CHUNK_BYTES / row_bytes : 1;
	step = step < rows ? step : rows;
	TRY(device_alloc(u->weights->device, bytes, &mat->w));
	if (mat->dtype == DTYPE_Q8_0)
		mat->scale = (uint8_t *)mat->w + dtype_scale_offset(mat->dtype, count);
	TRY(reserve_chunk(u, step * row_bytes));
	for (size_t r = 0; r < rows; r += step) {
		size_t n = rows - r < step ? rows - r : step;
		TRY(write_rows(u, &f, mat, r, n));
		u->weights->bytes += n * row_bytes;
		progress_update(&u->progress, (double)u->weights->bytes, NULL);
	}
done:
	return status;
}

/* f32, in the order of the rows of a matrix with that fusion. */
static enum status upload_vector(struct upload *u, struct fusion f, float **vector)
{
	enum status status;
	size_t n = 0, at = 0;
	for (int p = 0; p < f.n; p++)
		n += f.parts[p]->cols;
	size_t bytes = (size_t)padded((int)n) * sizeof **vector;
	TRY(device_alloc(u->weights->device, bytes, (void **)vector));
	TRY(reserve_chunk(u, bytes));
	float *natural = (float *)u->packed, *ordered = (float *)u->chunk;
	memset(ordered, 0, bytes);
	for (int p = 0; p < f.n; p++) {
		tensor_rows_f32(f.parts[p], 0, 1, natural + at);
		at += f.parts[p]->cols;
	}
	for (size_t i = 0; i < n; i++)
		ordered[i] = natural[fused_index(&f, i)];
	TRY(device_write(u->weights->device, *vector, ordered, bytes));
	u->weights->bytes += n * sizeof **vector;
done:
	return status;
}

static enum status upload_layer(struct upload *u, const struct tensor *t, struct layer_weights *to)
{
	enum status status;
	const struct hparams *h = &u->model->hparams;
	const size_t head_dim = (size_t)h->head_dim;
	const size_t paired = (size_t)(h->heads + h->kv_heads) * head_dim;
	TRY(upload_matrix(u,
	                  (struct fusion){{&t[ATTN_Q], &t[ATTN_K], &t[ATTN_V]},
	                                  3,
	                                  .paired = paired,
	                                  .head_dim = head_dim},
	                  &to->qkv));
	TRY(upload_matrix(u, (struct fusion){{&t[ATTN_O]}, 1}, &to->o));
	TRY(upload_matrix(u, (struct fusion){{&t[FFN_GATE], &t[FFN_UP]}, 2, .interleave = true},
	                  &to->gate_up));
	TRY(upload_matrix(u, (struct fusion){{&t[FFN_DOWN]}, 1}, &to->down));
	TRY(upload_vector(u, (struct fusion){{&t[ATTN_NORM]}, 1}, &to->attn_norm));
	TRY(upload_vector(u,
	                  (struct fusion){{&t[ATTN_Q_BIAS], &t[ATTN_K_BIAS], &t[ATTN_V_BIAS]},
	                                  3,
	                                  .paired = paired,
	                                  .head_dim = head_dim},
	                  &to->qkv_bias));
	TRY(upload_vector(u, (struct fusion){{&t[FFN_NORM]}, 1}, &to->ffn_norm));
done:
	return status;
}

static enum status add_bytes(void *total, const struct tensor *tensor)
{
	*(double *)total += (double)(tensor->rows * tensor_row_bytes(tensor));
	return STATUS_OK;
}

enum status weights_open(const struct model *model, struct device *device, bool quiet,
                         struct weights *w)
{
	enum status status;
	double total = 0;
	*w = (struct weights){.device = device, .n_layers = model->hparams.layers};
	struct upload u = {.model = model, .weights = w};
	const struct device_info *info = device_info(device);
	TRY(model_each_tensor(model, add_bytes, &total));
	/* the host hands out more than it has, and kills who uses it */
	if (info->memory_bytes && total > (double)info->memory_bytes) {
		status = fail(STATUS_NO_MEMORY,
		              "%s: %.1f GB of weights do not fit the %.1f GB of memory", info->name,
		              total / 1e9, (double)info->memory_bytes / 1e9);
		goto done;
	}
	progress_start(&u.progress, "loading weights", total, quiet || total < PROGRESS_BYTES);
	w->layers = calloc((size_t)w->n_layers, sizeof *w->layers);
	if (!w->layers) {
		status = fail(STATUS_NO_MEMORY, "out of host memory");
		goto done;
	}
	TRY(upload_matrix(&u, (struct fusion){{&model->embed}, 1}, &w->embed));
	for (int l = 0; l < w->n_layers; l++)
		TRY(upload_layer(&u, model->layers[l], &w->layers[l]));
	TRY(upload_vector(&u, (struct fusion){{&model->norm}, 1}, &w->norm));
	if (model->hparams.tied)
		w->head = w->embed;
	else
		TRY(upload_matrix(&u, (struct fusion){{&model->head}, 1}, &w->head));
	progress_finish(&u.progress, NULL);
done:
	free(u.chunk);
	free(u.packed);
	if (status != STATUS_OK)
		weights_close(w);
	return status;
}

void weights_close(struct weights *w)
{
	if (!w->device)
		return;
	for (int l = 0; w->layers && l < w->n_layers; l++) {
		struct layer_weights *lw = &w->layers[l];
		void *memory[] = {lw->qkv.w,     lw->o.w,      lw->gate_up.w, lw->down.w,
		                  lw->attn_norm, lw->qkv_bias, lw->ffn_norm};
		for (size_t i = 0; i < sizeof memory / sizeof *memory; i++)
			device_free(w->device, memory[i]);
	}
	if (w->head.w != w->embed.w)
		device_free(w->device, w->head.w);
	device_free(w->device, w->embed.w);
	device_free(w->device, w->norm);
	free(w->layers);
	*w = (struct weights){0};
}
