/* Libraries whose product y = Wx is timed beside gemv. Each is loaded when it is asked for, so that
 * programs start without it, and only what is used of its interface is declared here. */
#ifndef BENCH_PEER_H
#define BENCH_PEER_H

#include "core/dtype.h"
#include "device/device.h"

/* w (m, k) row-major and x (k) are both bf16, f16 or f32, y (m) of that type or f32; sums are in
 * f32. */
struct product {
	int m, k, dtype, y_dtype;
};
struct operands {
	const void *w, *x;
	void *y;
};

/* Ways to state y = Wx as a matrix product: W times one column, one row times W transposed. Which
 * is faster depends on the shape. */
enum { FORM_COLUMN, FORM_ROW, N_FORMS };

struct peer;

struct peer_kind {
	const char *name; /* in bench.csv */
	enum status (*open)(struct device *device, struct peer **peer);
	void (*close)(struct peer *peer);
	enum status (*plan)(struct peer *peer, const struct product *product, int *n);
	enum status (*run)(struct peer *peer, int plan, const struct operands *operands);
};

/* What each begins with. */
struct peer {
	const struct peer_kind *kind;
	struct device *device;
	char version[32]; /* "13.0.2" */
};

enum { N_PEERS = 2 };
extern const struct peer_kind *const peer_kinds[N_PEERS];
extern const struct peer_kind cublas_kind, cublaslt_kind;

/* Handle and workspace, made once. STATUS_UNSUPPORTED where there is no such library or no GPU. */
MUST_CHECK enum status peer_open(const struct peer_kind *kind, struct device *device,
                                 struct peer **peer);
void peer_close(struct peer **peer);
/* Makes whatever a product needs beforehand, in place of what was made for the one before; *n ways
 * to compute it are the plans 0 .. *n - 1. */
MUST_CHECK enum status peer_plan(struct peer *peer, const struct product *product, int *n);
/* Queues y = Wx on the device's stream; captured like a launch. */
MUST_CHECK enum status peer_run(struct peer *peer, int plan, const struct operands *operands);

#endif
