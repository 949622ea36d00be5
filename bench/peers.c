#include "bench/peers.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/cublas.h"
#include "kernels/gemv.h"

enum { CHECKED_ROWS = 16, POISON_BYTE = 0xff };
/* Of the size that a sum of so many random products has; some ways round parts of a sum to 16 bits.
 */
static const double TOLERANCE = 0.02;

struct peers {
	struct device *device;
	struct peer *peer[N_PEERS]; /* NULL: absent */
	char text[512];
	/* the product that is set up */
	struct problem *problem;
	struct product product;
	int n_plans[N_PEERS];
	void *own_x, *own_y; /* where the problem's have other types */
	float *x;            /* what x holds */
};

enum status peers_open(struct device *device, struct peers **peers)
{
	size_t at = 0;
	struct peers *p = *peers = calloc(1, sizeof *p);
	if (!p)
		return fail(STATUS_NO_MEMORY, "no memory for peers");
	p->device = device;
	for (int i = 0; i < N_PEERS; i++) {
		bool there = peer_open(peer_kinds[i], device, &p->peer[i]) == STATUS_OK;
		at += (size_t)snprintf(p->text + at, sizeof p->text - at, "%s%s%s%s%.160s",
		                       i ? "; " : "", there ? "" : "no ", peer_kinds[i]->name,
		                       there ? " " : ": ",
		                       there ? p->peer[i]->version : fail_message());
	}
	return STATUS_OK;
}

static void close_product(struct peers *p)
{
	device_free(p->device, p->own_x);
	device_free(p->device, p->own_y);
	free(p->x);
	p->own_x = p->own_y = NULL;
	p->x = NULL;
	p->problem = NULL;
	memset(p->n_plans, 0, sizeof p->n_plans);
}

void peers_close(struct peers **peers)
{
	struct peers *p = *peers;
	if (!p)
		return;
	close_product(p);
	for (int i = 0; i < N_PEERS; i++)
		peer_close(&p->peer[i]);
	free(p);
	*peers = NULL;
}

const char *peers_text(const struct peers *peers)
{
	return peers->text;
}

/* Activations of the weights' type, where the task has others; both live on the device. */
static enum status make_operands(struct peers *p)
{
	enum status status = STATUS_OK;
	const size_t k = (size_t)p->product.k, bytes = dtype_bytes(p->product.dtype, k);
	void *x = malloc(bytes);
	p->x = malloc(k * sizeof *p->x);
	if (!x || !p->x) {
		status = fail(STATUS_NO_MEMORY, "no memory for %zu values", k);
		goto done;
	}
	for (size_t i = 0; i < k; i++)
		p->x[i] = (float)sin((double)i);
	dtype_from_f32(p->product.dtype, p->x, x, k);
	dtype_to_f32(p->product.dtype, x, p->x, k);
	TRY(device_alloc(p->device, bytes, &p->own_x));
	TRY(device_write(p->device, p->own_x, x, bytes));
	TRY(device_alloc(p->device, dtype_bytes(p->product.y_dtype, (size_t)p->product.m),
	                 &p->own_y));
done:
	free(x);
	return status;
}

int peers_use(struct peers *p, const struct task *task, struct problem *problem)
{
	struct gemv_case kase;
	int n = 0;
	close_product(p);
	if (strcmp(task->kernel->name, "gemv"))
		return 0;
	memcpy(&kase, task->kase.value, sizeof kase);
	p->product = (struct product){task->shape.m, task->shape.k, kase.w, kase.x};
	if (cuda_data_type(kase.w) < 0)
		return 0;
	p->problem = problem;
	for (int i = 0; i < N_PEERS; i++) {
		if (p->peer[i] && peer_plan(p->peer[i], &p->product, &p->n_plans[i]) != STATUS_OK)
			p->n_plans[i] = 0;
		n += p->n_plans[i];
	}
	if (!n || make_operands(p) != STATUS_OK) {
		close_product(p);
		return 0;
	}
	return n;
}

const struct peer *peers_way(const struct peers *p, int way, int *plan)
{
	int i = 0;
	while (way >= p->n_plans[i])
		way -= p->n_plans[i++];
	*plan = way;
	return p->peer[i];
}

/* Like the kernel's, x stays where it is while the weights rotate. */
enum status peers_run(struct peers *p, int way, int copy)
{
	int plan;
	const struct peer *peer = peers_way(p, way, &plan);
	const struct operands operands = {problem_memory(p->problem, "w", copy), p->own_x,
	                                  p->own_y};
	return peer_run((struct peer *)peer, plan, &operands);
}

/* One row's product and the size of what it sums. */
static double multiply_row(const struct peers *p, const float *w, double *size)
{
	double sum = 0, squares = 0;
	for (int i = 0; i < p->product.k; i++) {
		const double product = (double)w[i] * p->x[i];
		sum += product;
		squares += product * product;
	}
	*size = sqrt(squares);
	return sum;
}

static enum status check_row(struct peers *p, int row, void *raw, float *w)
{
	enum status status;
	const struct product *q = &p->product;
	const size_t k = (size_t)q->k;
	float y;
	double size;
	TRY(device_read(p->device, raw,
	                (const char *)problem_memory(p->problem, "w", 0) +
	                        dtype_bytes(q->dtype, (size_t)row * k),
	                dtype_bytes(q->dtype, k)));
	dtype_to_f32(q->dtype, raw, w, k);
	TRY(device_read(p->device, raw,
	                (const char *)p->own_y + dtype_bytes(q->y_dtype, (size_t)row),
	                dtype_bytes(q->y_dtype, 1)));
	dtype_to_f32(q->y_dtype, raw, &y, 1);
	const double expected = multiply_row(p, w, &size);
	if (!(fabs(y - expected) <= TOLERANCE * (size + fabs(expected))))
		status = fail(STATUS_VIOLATION, "y[%d]: expected %.6g, got %.6g", row, expected,
		              (double)y);
done:
	return status;
}

enum status peers_check(struct peers *p, int way)
{
	enum status status = STATUS_OK;
	const struct product *q = &p->product;
	const size_t k = (size_t)q->k;
	void *raw = malloc(k * sizeof(float));
	float *w = malloc(k * sizeof *w);
	if (!raw || !w) {
		status = fail(STATUS_NO_MEMORY, "no memory for %zu values", k);
		goto done;
	}
	TRY(device_fill(p->device, p->own_y, POISON_BYTE, dtype_bytes(q->y_dtype, (size_t)q->m)));
	TRY(peers_run(p, way, 0));
	TRY(device_sync(p->device));
	for (int i = 0; i < CHECKED_ROWS; i++)
		TRY(check_row(p, (int)((long long)i * (q->m - 1) / (CHECKED_ROWS - 1)), raw, w));
done:
	free(raw);
	free(w);
	return status;
}
