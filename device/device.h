/* Where kernels run: a CUDA GPU, or the host engine that executes the same kernels on the CPU.
 *
 * All work of a device is ordered as in one CUDA stream. On the host, work is done when the call
 * returns. */
#ifndef DEVICE_DEVICE_H
#define DEVICE_DEVICE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/status.h"
#include "core/target.h"

#ifdef __cplusplus
extern "C" {
#endif

struct device;
struct stamp; /* device/stamp.h */
struct graph; /* a captured sequence of launches */
struct event; /* a point in the device's work, with a time */

/* What results depend on; every field is part of a table's provenance. */
struct device_info {
	char name[64]; /* as the vendor writes it: "NVIDIA H200"; "host" or "host32" for the CPU */
	char slug[64]; /* folder and identifier: "nvidia-h200", "host" */
	struct target target;    /* what code must be compiled for */
	int sm_count;            /* multiprocessors; worker threads on the host */
	int clusters[4];         /* of 2^i blocks that run at a time, a block to a multiprocessor,
	                          * which are not all of them; 0 when unknown */
	size_t memory_bytes;     /* 0 when unknown */
	size_t l2_bytes;         /* last-level cache */
	size_t smem_block_bytes; /* shared memory that one block may use */
	size_t smem_sm_bytes;    /* shared memory of one multiprocessor */
	int regs_sm;             /* 32-bit registers of one multiprocessor; 0 on the host */
	double bus_gbps;         /* theoretical memory bandwidth; 0 when unknown */
	char driver[32];         /* driver version; kernel release on the host */
	char toolkit[32];        /* CUDA runtime version; compiler version on the host */
	char pci_bus_id[16];     /* for NVML; "" on the host */
	/* How fast a launch is depends on the process that it runs in: where its memory and code
	 * are, what the processor has learnt of its branches. */
	bool draws_differ;
};

/* Launch geometry: x*y blocks of `threads` threads, `smem_bytes` dynamic shared memory each. */
struct grid {
	unsigned x, y;
	unsigned threads;
	unsigned cluster; /* neighbouring blocks along x that are one cluster; 0 and 1: none */
	size_t smem_bytes;
};

/* A compiled kernel instance. On the host `entry` is a host_entry, on CUDA a cudaKernel_t. */
typedef void host_entry(const void *args);

struct launch_options {
	bool dependent;       /* programmatic dependent launch: may start before its predecessor has
	                       * finished; its kernel must execute simt::grid_wait() before it touches
	                       * what earlier launches wrote */
	struct stamp *stamps; /* memory of the device, (x * y): when each block ran; NULL: nobody
	                       * asks. On a GPU only instances of jit_stamped() write them */
};

/* spec: "auto", "host", "host32", "cuda", "cuda:N", or "cuda%N" for process N of a machine, of
 * which each has its own GPU. "auto" takes the first GPU, else the host, and says so in one line on
 * stderr when `quiet` is false and a GPU could not be used. */
MUST_CHECK enum status device_open(const char *spec, bool quiet, struct device **device);
void device_close(struct device **device);
const struct device_info *device_info(const struct device *device);

/* Memory is aligned to 256 bytes. device_free(NULL) does nothing. */
MUST_CHECK enum status device_alloc(struct device *device, size_t bytes, void **memory);
void device_free(struct device *device, void *memory);
MUST_CHECK enum status device_write(struct device *device, void *to, const void *from,
                                    size_t bytes);
MUST_CHECK enum status device_read(struct device *device, void *to, const void *from, size_t bytes);
MUST_CHECK enum status device_fill(struct device *device, void *memory, int byte, size_t bytes);

/* Memory of the host that the device copies from at the bus's speed. */
MUST_CHECK enum status device_alloc_host(struct device *device, size_t bytes, void **memory);
void device_free_host(struct device *device, void *memory);
/* Queues a copy from such memory, which must stay as it is until device_sync(). */
MUST_CHECK enum status device_write_start(struct device *device, void *to, const void *from,
                                          size_t bytes);

/* Queues one launch; `args` is the kernel's argument struct, copied. While capturing, records it.
 */
MUST_CHECK enum status device_launch(struct device *device, const void *entry, struct grid grid,
                                     const void *args, size_t args_bytes,
                                     struct launch_options options);
MUST_CHECK enum status device_sync(struct device *device);

/* Between begin and end only device_launch may be called. Pointers in arguments are baked in. */
MUST_CHECK enum status device_capture_begin(struct device *device);
MUST_CHECK enum status device_capture_end(struct device *device, struct graph **graph);
MUST_CHECK enum status graph_launch(struct graph *graph);
void graph_close(struct graph **graph);

MUST_CHECK enum status event_open(struct device *device, struct event **event);
MUST_CHECK enum status event_record(struct event *event);
/* Waits for `to`; microseconds of device time between the two. */
MUST_CHECK enum status event_elapsed_us(struct event *from, struct event *to, double *us);
void event_close(struct event **event);

/* Resources of an instance, known without a launch. All zero on the host. */
struct entry_resources {
	int registers;   /* per thread */
	int spill_bytes; /* local memory per thread */
	int static_smem_bytes;
	int max_threads;   /* per block, from launch bounds and registers */
	int blocks_per_sm; /* occupancy for the given block size and dynamic shared memory */
};
MUST_CHECK enum status device_resources(struct device *device, const void *entry, struct grid grid,
                                        struct entry_resources *resources);

/* Clock, power, temperature; fields that cannot be read are NaN or empty. */
struct device_health {
	double sm_mhz, watt, celsius;
	char throttle[64];
};
void device_read_health(struct device *device, struct device_health *health);

/* Waits for all work, then opens or closes the window that a profiler captures (cudaProfilerStart,
 * cudaProfilerStop); the host has none. */
MUST_CHECK enum status device_profile(struct device *device, bool on);

/* The cudaStream_t of all work, for libraries that launch on their own; NULL on the host. */
void *device_stream(struct device *device);

#ifdef __cplusplus
}
#endif
#endif
