#include "bench/peer.h"

#include "device/cublas.h"

const struct peer_kind *const peer_kinds[N_PEERS] = {&cublas_kind, &cublaslt_kind};

enum status peer_open(const struct peer_kind *kind, struct device *device, struct peer **peer)
{
	if (!device_stream(device))
		return fail(STATUS_UNSUPPORTED, "%s needs a GPU, not device %s", kind->name,
		            device_info(device)->name);
	return kind->open(device, peer);
}

void peer_close(struct peer **peer)
{
	if (*peer)
		(*peer)->kind->close(*peer);
	*peer = NULL;
}

enum status peer_plan(struct peer *peer, const struct product *product, int *n)
{
	const int in = cuda_data_type(product->dtype), out = cuda_data_type(product->y_dtype);
	*n = 0;
	if (in < 0 || (out != in && product->y_dtype != DTYPE_F32))
		return fail(STATUS_UNSUPPORTED, "%s has no product of %s weights into %s",
		            peer->kind->name, dtype_name(product->dtype),
		            dtype_name(product->y_dtype));
	return peer->kind->plan(peer, product, n);
}

enum status peer_run(struct peer *peer, int plan, const struct operands *operands)
{
	return peer->kind->run(peer, plan, operands);
}
