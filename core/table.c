#include "core/table.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/sources.h"
#include "results/tuned.h"

#define DEVICE_ROW(K, id, name, sm, lanes, ...) {name, sm, lanes, __VA_ARGS__},

/* Each list ends with an empty row, because an array cannot be empty. */
static const struct tuned_device host_devices[] = {TUNED_DEVICES_HOST(DEVICE_ROW, ){0}};
static const struct tuned_device host32_devices[] = {TUNED_DEVICES_HOST32(DEVICE_ROW, ){0}};
static const struct tuned_device cuda_devices[] = {TUNED_DEVICES_CUDA(DEVICE_ROW, ){0}};
#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])) - 1)

int table_devices(const struct device_info *info, const struct tuned_device **devices)
{
	if (info->target.sm) {
		*devices = cuda_devices;
		return COUNT(cuda_devices);
	}
	*devices = info->target.lanes == 1 ? host_devices : host32_devices;
	return info->target.lanes == 1 ? COUNT(host_devices) : COUNT(host32_devices);
}

/* How far another device is from this one: a generation counts as much as e times the bandwidth. */
static double device_distance(const struct tuned_device *other, const struct device_info *info)
{
	double distance = abs(other->sm - info->target.sm) / 10.0;
	if (other->bus_gbps > 0 && info->bus_gbps > 0)
		distance += fabs(log(other->bus_gbps / info->bus_gbps));
	return distance;
}

/* The device whose rows are used: this one, else the nearest; NULL when the table has none of its
 * kind. */
static const struct tuned_device *nearest_device(const struct device_info *info)
{
	const struct tuned_device *devices, *best = NULL;
	int n = table_devices(info, &devices);
	for (int i = 0; i < n; i++) {
		if (!strcmp(devices[i].name, info->name))
			return &devices[i];
		if (!best || device_distance(&devices[i], info) < device_distance(best, info))
			best = &devices[i];
	}
	return best;
}

double table_distance(int m, int k, int other_m, int other_k)
{
	return fabs(log((double)m / other_m)) + fabs(log((double)k / other_k));
}

bool table_is_lent(const struct variant *variant, const struct shape *shape)
{
	return variant->device && (variant->m != shape->m || variant->k != shape->k);
}

static bool covers(const struct variant *row, const struct shape *shape)
{
	return row->m == shape->m && row->k == shape->k &&
	       (!shape->len || !row->len_max ||
	        (row->len_min <= shape->len && shape->len <= row->len_max));
}

/* The one of two rows that cover a shape that was confirmed beside the weights most like its own,
 * the first where they are alike. */
static const struct variant *better(const struct variant *a, const struct variant *b,
                                    const struct shape *shape)
{
	return a && beside_distance(a->beside, shape->beside) <=
	                               beside_distance(b->beside, shape->beside)
	               ? a
	               : b;
}

/* The nearer of two rows to a shape, the first where they are as near. */
static const struct variant *nearer(const struct variant *a, const struct variant *b,
                                    const struct shape *shape)
{
	return a && table_distance(a->m, a->k, shape->m, shape->k) <=
	                               table_distance(b->m, b->k, shape->m, shape->k)
	               ? a
	               : b;
}

const struct variant *table_lookup(const struct kernel *kernel, const struct device_info *info,
                                   const int *kase, const struct shape *shape, bool use_tuned)
{
	const struct tuned_device *device = use_tuned ? nearest_device(info) : NULL;
	const struct variant *variants, *fallback = NULL, *lent = NULL, *own = NULL;
	int n = kernel_variants(kernel, info, &variants);
	for (int i = 0; i < n; i++) {
		const struct variant *v = &variants[i];
		if (memcmp(v->kase.value, kase, (size_t)kernel->n_fields * sizeof *kase))
			continue;
		if (!v->device) {
			fallback = fallback ? fallback : v;
			continue;
		}
		if (!device || strcmp(v->device, device->name) ||
		    !kernel->legal(kase, v->config.value, info->target) ||
		    !kernel->valid(shape, kase, v->config.value, info))
			continue;
		if (covers(v, shape))
			own = better(own, v, shape);
		else if (kernel->lends_rows)
			lent = nearer(lent, v, shape);
	}
	return own ? own : lent ? lent : fallback;
}

static void hash_sources(bool defaults_only, char hash[17])
{
	uint64_t h = FNV1A_START;
	for (const struct kernel *const *kernel = kernels; *kernel; kernel++) {
		if ((*kernel)->defaults_only != defaults_only)
			continue;
		source_hash((*kernel)->name, hash);
		h = fnv1a(h, hash, strlen(hash));
	}
	snprintf(hash, 17, "%016" PRIx64, h);
}

void table_source_hash(char hash[17])
{
	hash_sources(false, hash);
}

void table_prompt_hash(char hash[17])
{
	hash_sources(true, hash);
}

void table_space_hash(char hash[17])
{
	uint64_t h = FNV1A_START;
	for (const struct kernel *const *kernel = kernels; *kernel; kernel++) {
		if ((*kernel)->defaults_only)
			continue;
		space_hash((*kernel)->params, (*kernel)->n_params, hash);
		h = fnv1a(h, hash, strlen(hash));
	}
	snprintf(hash, 17, "%016" PRIx64, h);
}

void table_warn_stale(const struct device_info *info)
{
	const struct tuned_device *device = nearest_device(info);
	if (!device) {
		warn_once("results/tuned.h has no rows for %s: using default configurations",
		          info->name);
		return;
	}
	if (strcmp(device->name, info->name)) {
		warn_once(
		        "results/tuned.h has no rows for %s: using those of %s, the nearest device",
		        info->name, device->name);
		return;
	}
	char hash[17];
	table_source_hash(hash);
	if (strcmp(device->source_hash, hash))
		warn_once(
		        "results/tuned.h: the rows of %s were tuned with other kernel sources (%s, "
		        "now %s)",
		        info->name, device->source_hash, hash);
	table_space_hash(hash);
	if (strcmp(device->space_hash, hash))
		warn_once("results/tuned.h: the rows of %s were tuned with other tunables (%s, now "
		          "%s)",
		          info->name, device->space_hash, hash);
	if (strcmp(device->driver, info->driver))
		warn_once("results/tuned.h: the rows of %s were tuned with driver %s, now %s",
		          info->name, device->driver, info->driver);
}

/* Whether the answers to some shapes at two lengths are the same configurations. */
static bool answers_agree(const struct kernel *kernel, const struct device_info *info,
                          const int *kase, const struct shape *shapes, int n, int len,
                          int other_len)
{
	for (int i = 0; i < n; i++) {
		struct shape at = shapes[i], other = shapes[i];
		at.len = len;
		other.len = other_len;
		const struct variant *a = table_lookup(kernel, info, kase, &at, true);
		const struct variant *b = table_lookup(kernel, info, kase, &other, true);
		if (a != b && (!a || !b || memcmp(&a->config, &b->config, sizeof a->config)))
			return false;
	}
	return true;
}

int table_ranges(const struct kernel *kernel, const struct device_info *info, const int *kase,
                 const struct shape *shapes, int n_shapes, int max_len, int *upper, int max)
{
	const struct variant *variants;
	int n_variants = kernel_variants(kernel, info, &variants), n = 0;
	for (int len = 1; len <= max_len && n < max;) {
		/* the answer can change only where some row begins or ends */
		int next = max_len;
		for (int i = 0; i < n_variants; i++) {
			const struct variant *v = &variants[i];
			if (v->len_max >= len && v->len_max < next)
				next = v->len_max;
			if (v->len_min > len && v->len_min - 1 < next)
				next = v->len_min - 1;
		}
		if (next == max_len ||
		    !answers_agree(kernel, info, kase, shapes, n_shapes, len, next + 1))
			upper[n++] = next;
		len = next + 1;
	}
	if (n == max)
		upper[n - 1] = max_len;
	return n;
}
