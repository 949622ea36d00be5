#include "device/ops.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct device_ops *const kinds[] = {
        &host_ops,
#ifdef WARPSMITH_CUDA
        &cuda_ops,
#endif
};

bool names_gpu(const char *spec)
{
	const char *digits = spec + 5;
	if (strncmp(spec, "cuda", 4))
		return false;
	return !spec[4] || ((spec[4] == ':' || spec[4] == '%') && *digits && strlen(digits) <= 4 &&
	                    strspn(digits, "0123456789") == strlen(digits));
}

/* The first GPU if there is one that can be used, else the host. */
static enum status open_auto(bool quiet, struct device **device)
{
	char reason[256] = "";
#ifdef WARPSMITH_CUDA
	if (cuda_ops.open("cuda", device) == STATUS_OK)
		return STATUS_OK;
	snprintf(reason, sizeof reason, "%s", fail_message());
#endif
	if (!quiet && reason[0])
		fprintf(stderr, "running on the host: %s\n", reason);
	return host_ops.open("auto", device);
}

enum status device_open(const char *spec, bool quiet, struct device **device)
{
	*device = NULL;
	if (!strcmp(spec, "auto"))
		return open_auto(quiet, device);
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (kinds[i]->names(spec))
			return kinds[i]->open(spec, device);
#ifndef WARPSMITH_CUDA
	if (names_gpu(spec))
		return fail(STATUS_NO_DEVICE, "--device %s: this build has no CUDA", spec);
#endif
	return fail(STATUS_USAGE, "--device %s: expected auto, host, host32 or cuda[:N]", spec);
}

void device_close(struct device **device)
{
	if (*device)
		(*device)->ops->close(*device);
	*device = NULL;
}

const struct device_info *device_info(const struct device *device)
{
	return &device->info;
}

enum status device_alloc(struct device *device, size_t bytes, void **memory)
{
	*memory = NULL;
	return device->ops->alloc(device, bytes, memory);
}

void device_free(struct device *device, void *memory)
{
	if (memory)
		device->ops->free(device, memory);
}

enum status device_write(struct device *device, void *to, const void *from, size_t bytes)
{
	return device->ops->write(device, to, from, bytes);
}

enum status device_read(struct device *device, void *to, const void *from, size_t bytes)
{
	return device->ops->read(device, to, from, bytes);
}

enum status device_fill(struct device *device, void *memory, int byte, size_t bytes)
{
	return device->ops->fill(device, memory, byte, bytes);
}

enum status device_alloc_host(struct device *device, size_t bytes, void **memory)
{
	*memory = NULL;
	return device->ops->alloc_host(device, bytes, memory);
}

void device_free_host(struct device *device, void *memory)
{
	if (memory)
		device->ops->free_host(device, memory);
}

enum status device_write_start(struct device *device, void *to, const void *from, size_t bytes)
{
	return device->ops->write_start(device, to, from, bytes);
}

enum status device_launch(struct device *device, const void *entry, struct grid grid,
                          const void *args, size_t args_bytes, struct launch_options options)
{
	return device->ops->launch(device, entry, grid, args, args_bytes, options);
}

enum status device_profile(struct device *device, bool on)
{
	const enum status status = device_sync(device);
	if (device->ops->profile)
		device->ops->profile(on);
	return status;
}

enum status device_sync(struct device *device)
{
	return device->ops->sync(device);
}

enum status device_capture_begin(struct device *device)
{
	if (device->capturing)
		return fail(STATUS_USAGE, "a capture has already begun");
	const enum status status = device->ops->capture_begin(device);
	device->capturing = status == STATUS_OK;
	return status;
}

enum status device_capture_end(struct device *device, struct graph **graph)
{
	*graph = NULL;
	if (!device->capturing)
		return fail(STATUS_USAGE, "no capture has begun");
	device->capturing = false;
	return device->ops->capture_end(device, graph);
}

enum status graph_launch(struct graph *graph)
{
	return graph->device->ops->graph_launch(graph);
}

void graph_close(struct graph **graph)
{
	if (*graph)
		(*graph)->device->ops->graph_close(*graph);
	*graph = NULL;
}

enum status event_open(struct device *device, struct event **event)
{
	*event = NULL;
	return device->ops->event_open(device, event);
}

enum status event_record(struct event *event)
{
	event->recorded = true;
	return event->device->ops->event_record(event);
}

enum status event_elapsed_us(struct event *from, struct event *to, double *us)
{
	if (!from->recorded || !to->recorded)
		return fail(STATUS_USAGE, "time between events that were not recorded");
	return to->device->ops->event_elapsed_us(from, to, us);
}

void event_close(struct event **event)
{
	if (*event)
		(*event)->device->ops->event_close(*event);
	*event = NULL;
}

enum status device_resources(struct device *device, const void *entry, struct grid grid,
                             struct entry_resources *resources)
{
	*resources = (struct entry_resources){0};
	return device->ops->resources(device, entry, grid, resources);
}

void device_read_health(struct device *device, struct device_health *health)
{
	*health = (struct device_health){.sm_mhz = NAN, .watt = NAN, .celsius = NAN};
	device->ops->read_health(device, health);
}

void *device_stream(struct device *device)
{
	return device->ops->stream ? device->ops->stream(device) : NULL;
}
