/* What a kind of device implements; device.h describes each operation. Structs derived from
 * these begin with them. */
#ifndef DEVICE_OPS_H
#define DEVICE_OPS_H

#include "device/device.h"

struct device_ops {
	/* Whether `spec` names a device of this kind; open() then takes the same spec. */
	bool (*names)(const char *spec);
	enum status (*open)(const char *spec, struct device **device);
	void (*close)(struct device *device);

	enum status (*alloc)(struct device *device, size_t bytes, void **memory);
	void (*free)(struct device *device, void *memory);
	enum status (*write)(struct device *device, void *to, const void *from, size_t bytes);
	enum status (*read)(struct device *device, void *to, const void *from, size_t bytes);
	enum status (*fill)(struct device *device, void *memory, int byte, size_t bytes);
	enum status (*alloc_host)(struct device *device, size_t bytes, void **memory);
	void (*free_host)(struct device *device, void *memory);
	enum status (*write_start)(struct device *device, void *to, const void *from, size_t bytes);

	enum status (*launch)(struct device *device, const void *entry, struct grid grid,
	                      const void *args, size_t args_bytes, struct launch_options options);
	enum status (*sync)(struct device *device);
	enum status (*capture_begin)(struct device *device);
	enum status (*capture_end)(struct device *device, struct graph **graph);
	enum status (*graph_launch)(struct graph *graph);
	void (*graph_close)(struct graph *graph);

	enum status (*event_open)(struct device *device, struct event **event);
	enum status (*event_record)(struct event *event);
	enum status (*event_elapsed_us)(struct event *from, struct event *to, double *us);
	void (*event_close)(struct event *event);

	enum status (*resources)(struct device *device, const void *entry, struct grid grid,
	                         struct entry_resources *resources);
	void (*read_health)(struct device *device, struct device_health *health);
	void (*profile)(bool on);               /* NULL: no profiler listens */
	void *(*stream)(struct device *device); /* NULL: has none */
};

struct device {
	const struct device_ops *ops;
	struct device_info info;
	bool capturing;
};

struct graph {
	struct device *device;
};

struct event {
	struct device *device;
	bool recorded;
};

/* Whether `spec` is "cuda" or "cuda:N". */
bool names_gpu(const char *spec);

extern const struct device_ops host_ops;
#ifdef WARPSMITH_CUDA
/* open("cuda") takes the first GPU. */
extern const struct device_ops cuda_ops;
#endif

#endif
