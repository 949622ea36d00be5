#include "model/weights.h"

#include <stdlib.h>
#include <string.h>

#include "core/progress.h"
#include "model/parallel.h"

#define CHUNK_BYTES    ((size_t)32 << 20)  /* of host memory, per copy to the device */
#define PROGRESS_BYTES ((size_t)256 << 20) /* models above this show progress */
#define MAX_PARTS      3
#define BEHIND         16 /* bytes of memory behind a matrix, which products read: kernels/gemv.h */

/* Row r of a fused matrix is row r of its parts one after the other, or row r / n of part r % n. In
 * the first `paired` parts, which are heads of head_dim, rows 2 i and 2 i + 1 of a head are its i
 * and i + head_dim / 2. */
struct fusion {
	const struct tensor *parts[MAX_PARTS];
	int n;
	bool interleave;
	int paired;
	size_t head_dim;
};

/* Rows are gathered and packed in one buffer while the other is copied to the device. */
struct upload {
	const struct model *model;
	struct weights *weights;
	struct progress progress;
	uint8_t *buffer[2];
	size_t buffer_bytes;
	int turn; /* of the buffers */
};

/* Where row r of a part is among the rows of its tensor. */
static size_t part_row(const struct fusion *f, int part, size_t r)
{
	if (part >= f->paired)
		return r;
	size_t i = r % f->head_dim;
	return r - i + i / 2 + i % 2 * (f->head_dim / 2);
}

static const struct tensor *fused_row(const struct fusion *f, size_t r, size_t *row)
{
	int part = 0;
	*row = r;
	if (f->interleave) {
		*row = r / (size_t)f->n;
		return f->parts[r % (size_t)f->n];
	}
	while (*row >= f->parts[part]->rows)
		*row -= f->parts[part++]->rows;
	*row = part_row(f, part, *row);
	return f->parts[part];
}

/* Rows [first, first + n) of a fused matrix, as a matrix of n rows in device layout. */
struct rows_job {
	const struct fusion *fusion;
	const struct matrix *matrix;
	size_t first, n;
	uint8_t *to;
	bool failed;
};

/* One row in file layout: where it is in the file, or made in `scratch`, which is zero from its
 * end on. */
static const void *gather_row(const struct tensor *t, size_t row, int dtype, size_t row_bytes,
                              uint8_t *scratch)
{
	size_t bytes = tensor_row_bytes(t);
	if (t->dtype != dtype)
		tensor_rows_f32(t, row, 1, (float *)scratch);
	else if (t->data && bytes == row_bytes)
		return (const uint8_t *)t->data + row * bytes;
	else
		tensor_rows(t, row, 1, scratch);
	return scratch;
}

static void pack_rows(void *context, size_t first, size_t last)
{
	struct rows_job *job = context;
	const struct matrix *mat = job->matrix;
	size_t k = (size_t)mat->k, row_bytes = dtype_bytes(mat->dtype, k);
	uint8_t *scratch = calloc(1, row_bytes);
	if (!scratch) {
		job->failed = true;
		return;
	}
	for (size_t r = first; r < last; r++) {
		size_t row;
		const struct tensor *t = fused_row(job->fusion, job->first + r, &row);
		const void *from = gather_row(t, row, mat->dtype, row_bytes, scratch);
		dtype_pack_part(mat->dtype, from, job->to, job->n * k, r * k, k);
	}
	free(scratch);
}

static void free_buffers(struct upload *u)
{
	for (int i = 0; i < 2; i++)
		device_free_host(u->weights->device, u->buffer[i]);
	u->buffer[0] = u->buffer[1] = NULL;
	u->buffer_bytes = 0;
}

/* Makes room for `bytes` of rows. */
static enum status reserve_buffers(struct upload *u, size_t bytes)
{
	enum status status = STATUS_OK;
	if (bytes <= u->buffer_bytes)
		return STATUS_OK;
	TRY(device_sync(u->weights->device));
	free_buffers(u);
	for (int i = 0; i < 2; i++)
		TRY(device_alloc_host(u->weights->device, bytes, (void **)&u->buffer[i]));
	u->buffer_bytes = bytes;
done:
	return status;
}

/* The buffer to be filled: its last copy was waited for before the other's began. */
static uint8_t *next_buffer(struct upload *u)
{
	return u->buffer[u->turn ^= 1];
}

/* Bytes of n elements in one plane. */
static size_t plane_bytes(int dtype, int plane, size_t n)
{
	return dtype_plane_offset(dtype, plane + 1, n) - dtype_plane_offset(dtype, plane, n);
}

static enum status write_rows(struct upload *u, const struct fusion *f, const struct matrix *mat,
                              size_t first, size_t n)
{
	enum status status;
	size_t k = (size_t)mat->k, count = (size_t)mat->m * k;
	struct rows_job job = {f, mat, first, n, next_buffer(u), false};
	parallel_for(n, pack_rows, &job);
	if (job.failed)
		return fail(STATUS_NO_MEMORY, "out of host memory for a row");
	TRY(device_sync(u->weights->device));
	for (int p = 0; p < DTYPE_PLANES; p++) {
		size_t bytes = plane_bytes(mat->dtype, p, n * k);
		size_t to = dtype_plane_offset(mat->dtype, p, count) +
		            plane_bytes(mat->dtype, p, first * k);
		if (bytes)
			TRY(device_write_start(u->weights->device, (uint8_t *)mat->w + to,
			                       job.to + dtype_plane_offset(mat->dtype, p, n * k),
			                       bytes));
	}
done:
	return status;
}

/* Parts of one type, or, converted to f32, of several. */
static enum status upload_run(struct upload *u, const struct fusion *f, int dtype,
                              struct matrix *mat)
{
	enum status status;
	size_t rows = 0;
	*mat = (struct matrix){.dtype = dtype, .k = padded((int)f->parts[0]->cols)};
	for (int p = 0; p < f->n; p++)
		rows += f->parts[p]->rows;
	mat->m = (int)rows;
	size_t count = rows * (size_t)mat->k, row_bytes = dtype_bytes(dtype, (size_t)mat->k);
	size_t step = CHUNK_BYTES / row_bytes ? CHUNK_BYTES / row_bytes : 1;
	step = step < rows ? step : rows;
	TRY(device_alloc(u->weights->device, dtype_bytes(dtype, count) + BEHIND, &mat->w));
	if (dtype_block(dtype) > 1)
		mat->scale = (uint8_t *)mat->w + dtype_scale_offset(dtype, count);
	TRY(reserve_buffers(u, step * row_bytes));
	for (size_t r = 0; r < rows; r += step) {
		size_t n = rows - r < step ? rows - r : step;
		TRY(write_rows(u, f, mat, r, n));
		u->weights->bytes += n * row_bytes;
		progress_update(&u->progress, (double)u->weights->bytes, NULL);
	}
done:
	return status;
}

/* Parts [first, last) of a fusion. */
static struct fusion parts_of(const struct fusion *f, int first, int last)
{
	struct fusion some = {.n = last - first, .interleave = f->interleave};
	memcpy(some.parts, f->parts + first, (size_t)some.n * sizeof *f->parts);
	some.paired = f->paired > first ? f->paired - first : 0;
	some.head_dim = f->head_dim;
	return some;
}

/* `rest`, for the runs of equal type after the first, is NULL where there may be none. */
static enum status upload_matrix(struct upload *u, struct fusion f, struct matrix *mat,
                                 struct matrix *rest)
{
	enum status status = STATUS_OK;
	bool mixed = false;
	int row = 0;
	for (int p = 1; p < f.n; p++)
		mixed |= f.parts[p]->dtype != f.parts[0]->dtype;
	if (mixed && !rest) {
		warn_once("tensors that are fused have different types: stored as f32");
		return upload_run(u, &f, DTYPE_F32, mat);
	}
	for (int first = 0, last; first < f.n; first = last) {
		for (last = first + 1; last < f.n && f.parts[last]->dtype == f.parts[first]->dtype;)
			last++;
		struct fusion run = parts_of(&f, first, last);
		TRY(upload_run(u, &run, f.parts[first]->dtype, mat));
		mat->row = row;
		row += mat->m;
		if (last < f.n) {
			mat->next = rest;
			mat = rest++;
		}
	}
done:
	return status;
}

/* f32, in the order of the rows of a matrix with that fusion. */
static enum status upload_vector(struct upload *u, struct fusion f, float **vector)
{
	enum status status;
	size_t n = 0, at = 0;
	float *values = NULL;
	for (int p = 0; p < f.n; p++)
		n += f.parts[p]->cols;
	size_t room = (size_t)padded((int)n);
	TRY(device_alloc(u->weights->device, room * sizeof **vector, (void **)vector));
	values = calloc(room + n, sizeof *values);
	if (!values)
		TRY(fail(STATUS_NO_MEMORY, "out of host memory for %zu values", n));
	for (int p = 0; p < f.n; p++) {
		float *to = values + at, *from = values + room;
		tensor_rows_f32(f.parts[p], 0, 1, from);
		for (size_t i = 0; i < f.parts[p]->cols; i++)
			to[i] = from[part_row(&f, p, i)];
		at += f.parts[p]->cols;
	}
	TRY(device_write(u->weights->device, *vector, values, room * sizeof **vector));
	u->weights->bytes += n * sizeof **vector;
done:
	free(values);
	return status;
}

static enum status upload_layer(struct upload *u, const struct tensor *t, struct layer_weights *to)
{
	enum status status;
	struct fusion qkv = {{&t[ATTN_Q], &t[ATTN_K], &t[ATTN_V]}, 3};
	struct fusion bias = {{&t[ATTN_Q_BIAS], &t[ATTN_K_BIAS], &t[ATTN_V_BIAS]}, 3};
	qkv.paired = bias.paired = 2;
	qkv.head_dim = bias.head_dim = (size_t)u->model->hparams.head_dim;
	TRY(upload_matrix(u, qkv, &to->qkv, to->qkv_rest));
	TRY(upload_matrix(u, (struct fusion){{&t[ATTN_O]}, 1}, &to->o, NULL));
	TRY(upload_matrix(u, (struct fusion){{&t[FFN_GATE], &t[FFN_UP]}, 2, true}, &to->gate_up,
	                  NULL));
	TRY(upload_matrix(u, (struct fusion){{&t[FFN_DOWN]}, 1}, &to->down, NULL));
	TRY(upload_vector(u, (struct fusion){{&t[ATTN_NORM]}, 1}, &to->attn_norm));
	TRY(upload_vector(u, bias, &to->qkv_bias));
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
	TRY(upload_matrix(&u, (struct fusion){{&model->embed}, 1}, &w->embed, NULL));
	for (int l = 0; l < w->n_layers; l++)
		TRY(upload_layer(&u, model->layers[l], &w->layers[l]));
	TRY(upload_vector(&u, (struct fusion){{&model->norm}, 1}, &w->norm));
	if (model->hparams.tied)
		w->head = w->embed;
	else
		TRY(upload_matrix(&u, (struct fusion){{&model->head}, 1}, &w->head, NULL));
	TRY(device_sync(device));
	progress_finish(&u.progress, NULL);
done:
	free_buffers(&u);
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
		void *memory[] = {lw->qkv.w,     lw->qkv_rest[0].w, lw->qkv_rest[1].w,
		                  lw->o.w,       lw->gate_up.w,     lw->down.w,
		                  lw->attn_norm, lw->qkv_bias,      lw->ffn_norm};
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
