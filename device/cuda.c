/* A GPU through the CUDA runtime, which is linked statically: without a driver the program starts
 * all the same. */
#include <cuda_profiler_api.h>
#include <cuda_runtime_api.h>

#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/jit.h"
#include "device/nvml.h"
#include "device/ops.h"

#define OLDEST_SM    80
#define PDL_SM       90 /* programmatic dependent launch */
#define CLUSTER_SM   90
#define DEFAULT_SMEM (48 * 1024) /* bytes of shared memory that a block may use unasked */
#define ENTRY_SLOTS  256

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

/* Errors of a running kernel: reported by whatever call comes next, and from then on by every call.
 */
static bool is_kernel_fault(cudaError_t error)
{
	return error == cudaErrorIllegalAddress || error == cudaErrorLaunchTimeout ||
	       error == cudaErrorAssert ||
	       (error >= cudaErrorHardwareStackError && error <= cudaErrorLaunchFailure);
}

static enum status report(const struct cuda_device *cuda, cudaError_t error, const char *doing)
{
	const char *what = cudaGetErrorName(error), *text = cudaGetErrorString(error), *name;
	(void)cudaGetLastError();
	if (is_kernel_fault(error) && cuda->latest) {
		const int n = source_name(cuda->latest, &name);
		return fail(STATUS_FAILED,
		            "cuda:%d: kernel %.*s, or one launched before it: %s (%s)", cuda->index,
		            n, name, what, text);
	}
	if (error == cudaErrorNoKernelImageForDevice || error == cudaErrorUnsupportedPtxVersion)
		return fail(STATUS_NO_DEVICE,
		            "cuda:%d: %s: this build has no code that sm_%d can run (%s)",
		            cuda->index, doing, cuda->base.info.target.sm, what);
	return fail(error == cudaErrorMemoryAllocation ? STATUS_NO_MEMORY : STATUS_FAILED,
	            "cuda:%d: %s: %s (%s)", cuda->index, doing, what, text);
}

/* Inside a function with a local `struct cuda_device *cuda`, `enum status status` and a label
 * `done:`. */
#define CUDA(call, doing)                                     \
	do {                                                  \
		const cudaError_t error_ = (call);            \
		if (error_ != cudaSuccess) {                  \
			status = report(cuda, error_, doing); \
			goto done;                            \
		}                                             \
	} while (0)

/* Fails with the reason why no GPU can be used. */
static enum status count_gpus(int *n)
{
	int driver = 0;
	const char *visible = getenv("CUDA_VISIBLE_DEVICES");
	*n = 0;
	(void)cudaDriverGetVersion(&driver);
	const cudaError_t error = cudaGetDeviceCount(n);
	(void)cudaGetLastError();
	if (error == cudaSuccess && *n > 0)
		return STATUS_OK;
	if (driver == 0 || error == cudaErrorStubLibrary)
		return fail(STATUS_NO_DEVICE, "no NVIDIA driver");
	if (error == cudaErrorInsufficientDriver)
		return fail(STATUS_NO_DEVICE,
		            "the NVIDIA driver is for CUDA %d.%d, this build needs %d.%d",
		            driver / 1000, driver % 1000 / 10, CUDART_VERSION / 1000,
		            CUDART_VERSION % 1000 / 10);
	if (error != cudaSuccess && error != cudaErrorNoDevice)
		return fail(STATUS_NO_DEVICE, "CUDA does not start: %s (%s)",
		            cudaGetErrorName(error), cudaGetErrorString(error));
	return visible ? fail(STATUS_NO_DEVICE, "no GPU (CUDA_VISIBLE_DEVICES=%s)", visible)
	               : fail(STATUS_NO_DEVICE, "no GPU");
}

static int attribute(int index, enum cudaDeviceAttr which)
{
	int value = 0;
	if (cudaDeviceGetAttribute(&value, which, index) != cudaSuccess) {
		(void)cudaGetLastError();
		return 0;
	}
	return value;
}

static int sm_of(int index)
{
	return 10 * attribute(index, cudaDevAttrComputeCapabilityMajor) +
	       attribute(index, cudaDevAttrComputeCapabilityMinor);
}

/* "cuda:N" names a GPU, "cuda%N" one of those there by N modulo their number; "cuda" the first that
 * is new enough, 0 when none is. */
static enum status choose_gpu(const char *spec, int *index)
{
	enum status status;
	int n;
	TRY(count_gpus(&n));
	*index = spec[4] ? atoi(spec + 5) : 0;
	if (spec[4] == '%')
		*index %= n;
	if (*index >= n)
		return fail(STATUS_NO_DEVICE, "--device %s: there %s %d GPU%s, counted from 0",
		            spec, n == 1 ? "is" : "are", n, n == 1 ? "" : "s");
	for (int i = 0; !spec[4] && i < n; i++)
		if (sm_of(i) >= OLDEST_SM) {
			*index = i;
			break;
		}
done:
	return status;
}

/* "NVIDIA H200" to "nvidia-h200". */
static void make_slug(const char *name, char *slug, size_t bytes)
{
	size_t n = 0;
	for (; *name && n + 1 < bytes; name++) {
		if (isalnum((unsigned char)*name))
			slug[n++] = (char)tolower((unsigned char)*name);
		else if (n && slug[n - 1] != '-')
			slug[n++] = '-';
	}
	while (n && slug[n - 1] == '-')
		n--;
	slug[n] = '\0';
}

static void describe_versions(struct cuda_device *cuda)
{
	struct device_info *info = &cuda->base.info;
	int driver = 0, runtime = 0;
	(void)cudaRuntimeGetVersion(&runtime);
	snprintf(info->toolkit, sizeof info->toolkit, "CUDA %d.%d", runtime / 1000,
	         runtime % 1000 / 10);
	if (cuda->nvml)
		nvml_driver_version(cuda->nvml, info->driver);
	if (info->driver[0])
		return;
	(void)cudaDriverGetVersion(&driver);
	snprintf(info->driver, sizeof info->driver, "CUDA %d.%d", driver / 1000,
	         driver % 1000 / 10);
}

/* The theoretical bandwidth counts two transfers per memory clock. */
static enum status describe(struct cuda_device *cuda)
{
	enum status status = STATUS_OK;
	struct device_info *info = &cuda->base.info;
	struct cudaDeviceProp prop;
	const int i = cuda->index;
	CUDA(cudaGetDeviceProperties(&prop, i), "reading its properties");
	snprintf(info->name, sizeof info->name, "%.63s", prop.name);
	make_slug(info->name, info->slug, sizeof info->slug);
	info->target = (struct target){.sm = sm_of(i), .lanes = 32};
	info->sm_count = attribute(i, cudaDevAttrMultiProcessorCount);
	info->memory_bytes = prop.totalGlobalMem;
	info->l2_bytes = (size_t)attribute(i, cudaDevAttrL2CacheSize);
	info->smem_block_bytes = (size_t)attribute(i, cudaDevAttrMaxSharedMemoryPerBlockOptin);
	info->smem_sm_bytes = (size_t)attribute(i, cudaDevAttrMaxSharedMemoryPerMultiprocessor);
	info->regs_sm = attribute(i, cudaDevAttrMaxRegistersPerMultiprocessor);
	info->bus_gbps = 2.0 * 1e3 * attribute(i, cudaDevAttrMemoryClockRate) *
	                 attribute(i, cudaDevAttrGlobalMemoryBusWidth) / 8 / 1e9;
	CUDA(cudaDeviceGetPCIBusId(info->pci_bus_id, sizeof info->pci_bus_id, i),
	     "reading its PCI id");
done:
	return status;
}

/* Multiprocessors come in groups, and no cluster spans two: asked of a kernel whose blocks have a
 * multiprocessor each. What cannot be asked stays unknown. */
static void count_clusters(struct device_info *info)
{
	static const char probe[] = ".version 8.0\n.target sm_90\n.address_size 64\n"
	                            ".visible .entry probe() { ret; }";
	cudaLibrary_t library = NULL;
	cudaKernel_t kernel;
	const int bytes = (int)info->smem_block_bytes;
	info->clusters[0] = info->sm_count;
	if (info->target.sm < CLUSTER_SM ||
	    cudaLibraryLoadData(&library, probe, NULL, NULL, 0, NULL, NULL, 0) != cudaSuccess)
		return;
	if (cudaLibraryGetKernel(&kernel, library, "probe") == cudaSuccess &&
	    cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
	                         bytes) == cudaSuccess)
		for (unsigned i = 1; i < 4; i++) {
			cudaLaunchAttribute size = {.id = cudaLaunchAttributeClusterDimension,
			                            .val.clusterDim = {1u << i, 1, 1}};
			const cudaLaunchConfig_t config = {.gridDim = {1u << i, 1, 1},
			                                   .blockDim = {32, 1, 1},
			                                   .dynamicSmemBytes = (size_t)bytes,
			                                   .attrs = &size,
			                                   .numAttrs = 1};
			if (cudaOccupancyMaxActiveClusters(&info->clusters[i], (const void *)kernel,
			                                   &config) != cudaSuccess)
				info->clusters[i] = 0;
		}
	(void)cudaLibraryUnload(library);
	(void)cudaGetLastError();
}

static void cuda_close(struct device *device)
{
	struct cuda_device *cuda = cuda_of(device);
	if (!cuda)
		return;
	if (cuda->stream)
		(void)cudaStreamDestroy(cuda->stream);
	nvml_close(&cuda->nvml);
	free(cuda);
}

static enum status cuda_open(const char *spec, struct device **device)
{
	enum status status;
	struct cuda_device *cuda = NULL;
	int index;
	TRY(choose_gpu(spec, &index));
	cuda = calloc(1, sizeof *cuda);
	if (!cuda)
		return fail(STATUS_NO_MEMORY, "no memory for a CUDA device");
	cuda->base.ops = &cuda_ops;
	cuda->index = index;
	TRY(describe(cuda));
	if (cuda->base.info.target.sm < OLDEST_SM) {
		status = fail(STATUS_NO_DEVICE, "cuda:%d (%s) is sm_%d; sm_%d or newer is needed",
		              index, cuda->base.info.name, cuda->base.info.target.sm, OLDEST_SM);
		goto done;
	}
	CUDA(cudaSetDevice(index), "starting");
	CUDA(cudaStreamCreateWithFlags(&cuda->stream, cudaStreamNonBlocking), "starting");
	count_clusters(&cuda->base.info);
	cuda->nvml = nvml_open(cuda->base.info.pci_bus_id);
	describe_versions(cuda);
	*device = &cuda->base;
	cuda = NULL;
done:
	if (cuda)
		cuda_close(&cuda->base);
	/* A GPU that cannot be opened is no device, whatever the reason. */
	return status == STATUS_OK ? STATUS_OK : STATUS_NO_DEVICE;
}

static enum status cuda_alloc(struct device *device, size_t bytes, void **memory)
{
	enum status status = STATUS_OK;
	struct cuda_device *cuda = cuda_of(device);
	size_t free_bytes = 0, total_bytes = 0;
	CUDA(cudaSetDevice(cuda->index), "allocating");
	const cudaError_t error = cudaMalloc(memory, bytes ? bytes : 1);
	if (error == cudaErrorMemoryAllocation) {
		(void)cudaGetLastError();
		(void)cudaMemGetInfo(&free_bytes, &total_bytes);
		return fail(STATUS_NO_MEMORY,
		            "cuda:%d: out of memory: %.1f MiB wanted, %.1f of %.1f MiB free",
		            cuda->index, (double)bytes / 0x1p20, (double)free_bytes / 0x1p20,
		            (double)total_bytes / 0x1p20);
	}
	CUDA(error, "allocating");
done:
	return status;
}

static void cuda_free(struct device *device, void *memory)
{
	(void)device;
	(void)cudaFree(memory);
}

static enum status copy(struct device *device, void *to, const void *from, size_t bytes,
                        enum cudaMemcpyKind kind, const char *doing)
{
	enum status status = STATUS_OK;
	struct cuda_device *cuda = cuda_of(device);
	CUDA(cudaMemcpyAsync(to, from, bytes, kind, cuda->stream), doing);
	CUDA(cudaStreamSynchronize(cuda->stream), doing);
done:
	return status;
}

static enum status cuda_write(struct device *device, void *to, const void *from, size_t bytes)
{
	return copy(device, to, from, bytes, cudaMemcpyHostToDevice, "copying to the GPU");
}

static enum status cuda_read(struct device *device, void *to, const void *from, size_t bytes)
{
	return copy(device, to, from, bytes, cudaMemcpyDeviceToHost, "copying from the GPU");
}

static enum status cuda_fill(struct device *device, void *memory, int byte, size_t bytes)
{
	enum status status = STATUS_OK;
	struct cuda_device *cuda = cuda_of(device);
	CUDA(cudaMemsetAsync(memory, byte, bytes, cuda->stream), "filling memory");
done:
	return status;
}

static enum status cuda_alloc_host(struct device *device, size_t bytes, void **memory)
{
	enum status status = STATUS_OK;
	struct cuda_device *cuda = cuda_of(device);
	CUDA(cudaSetDevice(cuda->index), "allocating pinned memory");
	CUDA(cudaMallocHost(memory, bytes ? bytes : 1), "allocating pinned memory");
done:
	return status;
}

static void cuda_free_host(struct device *device, void *memory)
{
	(void)device;
	(void)cudaFreeHost(memory);
}

static enum status cuda_write_start(struct device *device, void *to, const void *from, size_t bytes)
{
	enum status status = STATUS_OK;
	struct cuda_device *cuda = cuda_of(device);
	CUDA(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, cuda->stream),
	     "copying to the GPU");
done:
	return status;
}

/* Looks an entry up and lets it use `smem_bytes` of dynamic shared memory. */
static enum status prepare(struct cuda_device *cuda, const void *entry, size_t smem_bytes)
{
	enum status status = STATUS_OK;
	struct cudaFuncAttributes attributes;
	if (!entry)
		return fail(STATUS_NO_DEVICE,
		            "cuda:%d: this build has no code of a kernel for sm_%d", cuda->index,
		            cuda->base.info.target.sm);
	struct entry_slot *slot =
	        &cuda->slots[((uintptr_t)entry >> 4 ^ (uintptr_t)entry >> 12) % ENTRY_SLOTS];
	if (slot->entry != entry) {
		*slot = (struct entry_slot){0};
		CUDA(cudaFuncGetName(&slot->symbol, entry), "looking up a kernel");
		slot->entry = entry;
	}
	if (smem_bytes > DEFAULT_SMEM && !slot->raised) {
		CUDA(cudaFuncGetAttributes(&attributes, entry), "reading a kernel's resources");
		CUDA(cudaFuncSetAttribute(
		             entry, cudaFuncAttributeMaxDynamicSharedMemorySize,
		             (int)(cuda->base.info.smem_block_bytes - attributes.sharedSizeBytes)),
		     "raising a kernel's shared memory");
		slot->raised = true;
	}
	cuda->latest = slot->symbol;
done:
	return status;
}

/* args_bytes is not needed: the runtime knows a kernel's parameters. */
static enum status cuda_launch(struct device *device, const void *entry, struct grid grid,
                               const void *args, size_t args_bytes, struct launch_options options)
{
	enum status status = STATUS_OK;
	struct cuda_device *cuda = cuda_of(device);
	cudaLaunchAttribute attributes[2];
	unsigned n_attributes = 0;
	if (options.dependent && device->info.target.sm >= PDL_SM)
		attributes[n_attributes++] = (cudaLaunchAttribute){
		        .id = cudaLaunchAttributeProgrammaticStreamSerialization,
		        .val.programmaticStreamSerializationAllowed = 1};
	if (grid.cluster > 1)
		attributes[n_attributes++] =
		        (cudaLaunchAttribute){.id = cudaLaunchAttributeClusterDimension,
		                              .val.clusterDim = {grid.cluster, 1, 1}};
	const cudaLaunchConfig_t config = {
	        .gridDim = {grid.x, grid.y, 1},
	        .blockDim = {grid.threads, 1, 1},
	        .dynamicSmemBytes = grid.smem_bytes,
	        .stream = cuda->stream,
	        .attrs = attributes,
	        .numAttrs = n_attributes,
	};
	void *parameters[] = {(void *)(uintptr_t)args, &options.stamps}; /* of most, the first */
	char doing[160];
	const char *name;
	(void)args_bytes;
	CUDA(cudaSetDevice(cuda->index), "launching");
	TRY(prepare(cuda, entry, grid.smem_bytes));
	const cudaError_t error = cudaLaunchKernelExC(&config, entry, parameters);
	if (error != cudaSuccess) {
		const int n = source_name(cuda->latest, &name);
		snprintf(doing, sizeof doing,
		         "launching %.*s with %u x %u blocks of %u threads and %zu bytes of shared "
		         "memory",
		         n < 64 ? n : 64, name, grid.x, grid.y, grid.threads, grid.smem_bytes);
		status = report(cuda, error, doing);
	}
done:
	return status;
}

static enum status cuda_sync(struct device *device)
{
	enum status status = STATUS_OK;
	struct cuda_device *cuda = cuda_of(device);
	CUDA(cudaStreamSynchronize(cuda->stream), "waiting for kernels");
done:
	return status;
}

static enum status cuda_capture_begin(struct device *device)
{
	enum status status = STATUS_OK;
	struct cuda_device *cuda = cuda_of(device);
	CUDA(cudaSetDevice(cuda->index), "capturing");
	CUDA(cudaStreamBeginCapture(cuda->stream, cudaStreamCaptureModeThreadLocal), "capturing");
done:
	return status;
}

static void cuda_graph_close(struct graph *base)
{
	struct cuda_graph *graph = (struct cuda_graph *)base;
	if (!graph)
		return;
	if (graph->exec)
		(void)cudaGraphExecDestroy(graph->exec);
	free(graph);
}

static enum status cuda_capture_end(struct device *device, struct graph **out)
{
	enum status status = STATUS_OK;
	struct cuda_device *cuda = cuda_of(device);
	cudaGraph_t recorded = NULL;
	struct cuda_graph *graph = NULL;
	CUDA(cudaStreamEndCapture(cuda->stream, &recorded), "ending a capture");
	graph = calloc(1, sizeof *graph);
	if (!graph) {
		status = fail(STATUS_NO_MEMORY, "no memory for a graph");
		goto done;
	}
	graph->base.device = device;
	graph->latest = cuda->latest;
	CUDA(cudaGraphInstantiate(&graph->exec, recorded, 0), "instantiating a graph");
	CUDA(cudaGraphUpload(graph->exec, cuda->stream), "uploading a graph");
	*out = &graph->base;
	graph = NULL;
done:
	cuda_graph_close((struct graph *)graph);
	if (recorded)
		(void)cudaGraphDestroy(recorded);
	return status;
}

static enum status cuda_graph_launch(struct graph *base)
{
	enum status status = STATUS_OK;
	struct cuda_graph *graph = (struct cuda_graph *)base;
	struct cuda_device *cuda = cuda_of(base->device);
	cuda->latest = graph->latest;
	CUDA(cudaGraphLaunch(graph->exec, cuda->stream), "launching a graph");
done:
	return status;
}

static void cuda_event_close(struct event *base)
{
	struct cuda_event *event = (struct cuda_event *)base;
	if (!event)
		return;
	if (event->event)
		(void)cudaEventDestroy(event->event);
	free(event);
}

static enum status cuda_event_open(struct device *device, struct event **out)
{
	enum status status = STATUS_OK;
	struct cuda_device *cuda = cuda_of(device);
	struct cuda_event *event = calloc(1, sizeof *event);
	if (!event)
		return fail(STATUS_NO_MEMORY, "no memory for an event");
	event->base.device = device;
	CUDA(cudaSetDevice(cuda->index), "making an event");
	CUDA(cudaEventCreate(&event->event), "making an event");
	*out = &event->base;
	event = NULL;
done:
	cuda_event_close((struct event *)event);
	return status;
}

static enum status cuda_event_record(struct event *base)
{
	enum status status = STATUS_OK;
	struct cuda_device *cuda = cuda_of(base->device);
	CUDA(cudaEventRecord(((struct cuda_event *)base)->event, cuda->stream),
	     "recording an event");
done:
	return status;
}

static enum status cuda_event_elapsed_us(struct event *from, struct event *to, double *us)
{
	enum status status = STATUS_OK;
	struct cuda_device *cuda = cuda_of(to->device);
	const cudaEvent_t first = ((struct cuda_event *)from)->event;
	const cudaEvent_t last = ((struct cuda_event *)to)->event;
	float ms;
	CUDA(cudaEventSynchronize(last), "waiting for kernels");
	CUDA(cudaEventElapsedTime(&ms, first, last), "reading event times");
	*us = 1e3 * (double)ms;
done:
	return status;
}

static enum status cuda_resources(struct device *device, const void *entry, struct grid grid,
                                  struct entry_resources *resources)
{
	enum status status = STATUS_OK;
	struct cuda_device *cuda = cuda_of(device);
	struct cudaFuncAttributes attributes;
	int blocks = 0;
	CUDA(cudaSetDevice(cuda->index), "reading a kernel's resources");
	TRY(prepare(cuda, entry, grid.smem_bytes));
	CUDA(cudaFuncGetAttributes(&attributes, entry), "reading a kernel's resources");
	if ((int)grid.threads <= attributes.maxThreadsPerBlock)
		CUDA(cudaOccupancyMaxActiveBlocksPerMultiprocessor(
		             &blocks, entry, (int)grid.threads, grid.smem_bytes),
		     "computing occupancy");
	*resources = (struct entry_resources){
	        .registers = attributes.numRegs,
	        .spill_bytes = (int)attributes.localSizeBytes,
	        .static_smem_bytes = (int)attributes.sharedSizeBytes,
	        .max_threads = attributes.maxThreadsPerBlock,
	        .blocks_per_sm = blocks,
	};
done:
	return status;
}

static void cuda_read_health(struct device *device, struct device_health *health)
{
	const struct cuda_device *cuda = cuda_of(device);
	if (cuda->nvml)
		nvml_read(cuda->nvml, health);
}

/* Without a profiler the calls do nothing. */
static void cuda_profile(bool on)
{
	if (on)
		cudaProfilerStart();
	else
		cudaProfilerStop();
}

static void *cuda_stream(struct device *device)
{
	return cuda_of(device)->stream;
}

const struct device_ops cuda_ops = {
        .names = names_gpu,
        .open = cuda_open,
        .close = cuda_close,
        .alloc = cuda_alloc,
        .free = cuda_free,
        .write = cuda_write,
        .read = cuda_read,
        .fill = cuda_fill,
        .alloc_host = cuda_alloc_host,
        .free_host = cuda_free_host,
        .write_start = cuda_write_start,
        .launch = cuda_launch,
        .sync = cuda_sync,
        .capture_begin = cuda_capture_begin,
        .capture_end = cuda_capture_end,
        .graph_launch = cuda_graph_launch,
        .graph_close = cuda_graph_close,
        .event_open = cuda_event_open,
        .event_record = cuda_event_record,
        .event_elapsed_us = cuda_event_elapsed_us,
        .event_close = cuda_event_close,
        .resources = cuda_resources,
        .read_health = cuda_read_health,
        .profile = cuda_profile,
        .stream = cuda_stream,
};

static enum status cannot_load(cudaError_t error)
{
	(void)cudaGetLastError();
	return fail(STATUS_FAILED, "loading compiled kernels: %s (%s)", cudaGetErrorName(error),
	            cudaGetErrorString(error));
}

enum status jit_load_code(const void *code, void **library)
{
	cudaLibrary_t loaded;
	const cudaError_t error = cudaLibraryLoadData(&loaded, code, NULL, NULL, 0, NULL, NULL, 0);
	*library = error == cudaSuccess ? loaded : NULL;
	return error == cudaSuccess ? STATUS_OK : cannot_load(error);
}

enum status jit_find_entry(void *library, const char *symbol, const void **entry)
{
	cudaKernel_t kernel;
	const cudaError_t error = cudaLibraryGetKernel(&kernel, library, symbol);
	*entry = error == cudaSuccess ? kernel : NULL;
	return error == cudaSuccess ? STATUS_OK : cannot_load(error);
}

enum status jit_load(struct device *device, struct jit_module *module)
{
	enum status status = STATUS_OK;
	struct cuda_device *cuda = cuda_of(device);
	if (device->ops != &cuda_ops)
		return fail(STATUS_UNSUPPORTED, "compiled GPU code cannot run on device %s",
		            device->info.name);
	CUDA(cudaSetDevice(cuda->index), "loading compiled kernels");
	module->device = device;
	for (int p = 0; p < module->n_parts; p++) {
		struct jit_part *part = &module->parts[p];
		struct jit_instance *instances = &module->instances[part->first];
		TRY(jit_load_code(part->image, &part->library));
		for (int i = 0; i < part->n; i++)
			TRY(jit_find_entry(part->library, instances[i].symbol,
			                   &instances[i].entry));
	}
done:
	return status;
}

/* jit_close() calls it. Another kernel may come to lie at the address of one that goes. */
void jit_unload(struct jit_module *module)
{
	if (!module->device)
		return;
	struct cuda_device *cuda = cuda_of(module->device);
	memset(cuda->slots, 0, sizeof cuda->slots);
	cuda->latest = NULL;
	for (int i = 0; i < module->n_parts; i++)
		if (module->parts[i].library)
			(void)cudaLibraryUnload(module->parts[i].library);
	module->device = NULL;
}
