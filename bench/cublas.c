/* cuBLAS as a peer of gemv. */
#include "device/cublas.h"

#include <stdio.h>
#include <stdlib.h>

#include "bench/peer.h"

struct cublas_peer {
	struct peer base;
	struct cublas *cublas;
	struct product product;
};

static void close_peer(struct peer *peer)
{
	struct cublas_peer *p = (struct cublas_peer *)peer;
	if (!p)
		return;
	cublas_close(&p->cublas);
	free(p);
}

static enum status open_peer(struct device *device, struct peer **peer)
{
	enum status status;
	struct cublas_peer *p = calloc(1, sizeof *p);
	if (!p)
		return fail(STATUS_NO_MEMORY, "no memory for cuBLAS");
	p->base = (struct peer){.kind = &cublas_kind, .device = device};
	TRY(cublas_open(device, &p->cublas));
	snprintf(p->base.version, sizeof p->base.version, "%s", cublas_version(p->cublas));
	*peer = &p->base;
	p = NULL;
done:
	close_peer((struct peer *)p);
	return status;
}

static enum status plan(struct peer *peer, const struct product *product, int *n)
{
	((struct cublas_peer *)peer)->product = *product;
	*n = N_FORMS;
	return STATUS_OK;
}

/* cuBLAS is column-major: to it, W is (k, m). */
static enum status run(struct peer *peer, int plan, const struct operands *o)
{
	struct cublas_peer *p = (struct cublas_peer *)peer;
	const int m = p->product.m, k = p->product.k;
	const struct cublas_product forms[N_FORMS] = {
	        [FORM_COLUMN] = {.a_transposed = true,
	                         .m = m,
	                         .n = 1,
	                         .a = o->w,
	                         .b = o->x,
	                         .lda = k,
	                         .ldb = k,
	                         .ldc = m},
	        [FORM_ROW] = {.m = 1, .n = m, .a = o->x, .b = o->w, .lda = 1, .ldb = k, .ldc = 1},
	};
	struct cublas_product product = forms[plan];
	product.k = k;
	product.dtype = p->product.dtype;
	product.c_dtype = p->product.y_dtype;
	product.c = o->y;
	return cublas_multiply(p->cublas, &product);
}

const struct peer_kind cublas_kind = {
        .name = "cublas",
        .open = open_peer,
        .close = close_peer,
        .plan = plan,
        .run = run,
};
