/* A GPU through the CUDA runtime, which is linked statically: without a driver the program starts all the same. */
#include <cuda_runtime_api.h>

#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/jit.h"
#include "device/nvml.h"
#include "device/ops.h"

#define OLDEST_SM         80
#define PDL_SM            90 /* programmatic dependent launch */
#define DEFAULT_SMEM      (48u * 1024) /* dynamic shared memory that needs no attribute */
#define ENTRY_SLOTS       256

/* What is known of an entry that was launched. */
struct entry_slot {
	const void *entry;
	const char *symbol;
	bool raised; /* may use all the shared memory of a block */
};

struct cuda_device {
	struct device base;
	int index;
	cudaStream_t stream;
	struct nvml *nvml;
	const char *latest; /* symbol of the kernel launched last, for error messages */
	struct entry_slot slots[ENTRY_SLOTS];
};

struct cuda_graph {
	struct graph base;
	cudaGraphExec_t exec;
	const char *latest;
};

struct cuda_event {
	struct event base;
	cudaEvent_t event;
};

static struct cuda_device *cuda_of(struct device *device)
{
	return (struct cuda_device *)device;
}

/* The source name in a mangled symbol: "gemv" of "_Z4gemvI...". */
static int source_name(const char *symbol, const char **name)
{
	char *end = NULL;
	*name = symbol;
	if (strncmp(symbol, "_Z", 2))
		return (int)strlen(symbol);
	const unsigned long n = strtoul(symbol + 2, &end, 10);
	if (!n || n > strlen(end))
		return (int)strlen(symbol);
	*name = end;
	return (int)n;
}

/* Errors of a running kernel: reported by whatever call comes next, and from then on by every call. */
static bool is_kernel_fault(cudaError_t error)
{
	return error == cudaErrorECCUncorrectable || error == cudaErrorInvalidPtx ?
		       false :
		       error >= cudaErrorIllegalAddress && error <= cudaErrorLaunchFailure;
}

static enum status report(const struct cuda_device *cuda, cudaError_t error, const char *doing)
{
	const char *what = cudaGetErrorName(error), *text = cudaGetErrorString(error), *name;
	(void)cudaGetLastError();
	if (is_kernel_fault(error) && cuda->latest) {
		const int n = source_name(cuda->latest, &name);
		return fail(STATUS_FAILED, "cuda:%d: kernel %.*s, or one launched before it: %s (%s)",
			    cuda->index, n, name, what, text);
	}
	if (error == cudaErrorNoKernelImageForDevice || error == cudaErrorUnsupportedPtxVersion)
		return fail(STATUS_NO_DEVICE, "cuda:%d: %s: this build has no code that sm_%d can run (%s)",
			    cuda->index, doing, cuda->base.info.target.sm, what);
	return fail(error == cudaErrorMemoryAllocation ? STATUS_NO_MEMORY : STATUS_FAILED,
		    "cuda:%d: %s: %s (%s)", cuda->index, doing, what, text);
}

/* Inside a function with a local `struct cuda_device *cuda`, `enum status status` and a label `done:`. */
#define CUDA(call, doing)                                       \
	do {                                                    \
		const cudaError_t error_ = (call);              \
		if (error_ != cudaSuccess) {                    \
			status = report(cuda, error_, doing);   \
			goto done;                              \
		}                                               \
	} while (0)
