/* The few types are declared here because the header's own weak definition of the injection would
 * take the place of this one. */
#include "tests/planted/nvtx.h"

#include <stdio.h>
#include <stdlib.h>

enum { ETID_CALLBACKS = 1, MODULE_CORE2 = 5, DOMAIN_PUSH = 4, DOMAIN_POP = 5, DOMAIN_CREATE = 12 };

struct event {
	uint16_t version, size;
	uint32_t category;
	int32_t color_type;
	uint32_t color;
	int32_t payload_type, reserved;
	uint64_t payload;
	int32_t message_type;
	const char *message;
};

typedef void (*function)(void);
struct callbacks {
	size_t struct_size;
	int (*module_table)(int module, function ***table, unsigned *size);
};

struct nvtx_seen nvtx_seen;
static int domain;
static FILE *log_file;

/* Of another domain, or of none: not ours. */
static int push(void *handle, const struct event *e)
{
	struct nvtx_seen *s = &nvtx_seen;
	if (handle != &domain)
		abort();
	if (s->n_ranges < NVTX_MAX_RANGES) {
		struct nvtx_range *r = &s->ranges[s->n_ranges++];
		r->depth = s->depth;
		r->payload = e->payload;
		snprintf(r->name, sizeof r->name, "%s", e->message);
	}
	if (log_file)
		fprintf(log_file, "%d %llu %s\n", s->depth, (unsigned long long)e->payload,
		        e->message);
	return s->depth++;
}

static int pop(void *handle)
{
	if (handle != &domain)
		abort();
	return --nvtx_seen.depth;
}

static void *create(const char *name)
{
	snprintf(nvtx_seen.domain_name, sizeof nvtx_seen.domain_name, "%s", name);
	nvtx_seen.n_domains++;
	return &domain;
}

int InitializeInjectionNvtx2(nvtx_export_table get)
{
	const char *path = getenv("PLANTED_RANGES");
	const struct callbacks *callbacks = get(ETID_CALLBACKS);
	function **table;
	unsigned size;
	if (!callbacks || !callbacks->module_table(MODULE_CORE2, &table, &size) ||
	    size <= DOMAIN_CREATE)
		return 0;
	*table[DOMAIN_PUSH] = (function)push;
	*table[DOMAIN_POP] = (function)pop;
	*table[DOMAIN_CREATE] = (function)create;
	if (path)
		log_file = fopen(path, "w");
	return 1;
}
