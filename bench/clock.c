#include "bench/clock.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/kernel.h"
#include "kernels/mark.h"

/* A mark reads its two clocks within about 100 ns: over less than this they tell no better than to
 * 0.5 %. */
static const double LEAST_NS = 20000;
/* The first mark holds the GPU up for as long as queueing what follows takes at most, so that no
 * launch waits for the CPU. */
enum { DELAY_NS = 30000, FROM = 0, TO = 1 };

struct clock_marks {
	struct device *device;
	const struct kernel *kernel;
	const struct variant *variant;
	struct grid grid;
	int n;
	unsigned long long *memory; /* [2][2][n] on the device: from, to; ns, cycles */
	unsigned long long *seen;   /* the same */
};

enum status clock_open(struct device *device, struct clock_marks **marks)
{
	enum status status = STATUS_OK;
	const struct device_info *info = device_info(device);
	const struct shape shape = {.m = info->sm_count};
	const size_t bytes = 4 * (size_t)info->sm_count * sizeof(unsigned long long);
	void *memory;
	*marks = NULL;
	if (!info->target.sm)
		return STATUS_OK;
	struct clock_marks *m = *marks = calloc(1, sizeof *m);
	if (!m || !(m->seen = malloc(bytes))) {
		status = fail(STATUS_NO_MEMORY, "no memory for %zu bytes of marks", bytes);
		goto done;
	}
	m->device = device;
	m->n = info->sm_count;
	m->kernel = kernel_find("mark");
	if (!kernel_variants(m->kernel, info, &m->variant)) {
		status = fail(STATUS_UNSUPPORTED, "this program has no 'mark' for %s", info->name);
		goto done;
	}
	m->grid = m->kernel->grid(&shape, m->variant->kase.value, m->variant->config.value, info);
	TRY(device_alloc(device, bytes, &memory));
	m->memory = memory;
	TRY(device_fill(device, memory, 0, bytes));
done:
	if (status != STATUS_OK)
		clock_close(marks);
	return status;
}

void clock_close(struct clock_marks **marks)
{
	struct clock_marks *m = *marks;
	if (!m)
		return;
	if (m->device)
		device_free(m->device, m->memory);
	free(m->seen);
	free(m);
	*marks = NULL;
}

static enum status mark(struct clock_marks *m, int which, unsigned delay_ns)
{
	unsigned long long *ns = m->memory + 2 * which * m->n;
	const struct mark_args args = {
	        .ns = ns, .cycles = ns + m->n, .n = (unsigned)m->n, .delay_ns = delay_ns};
	return device_launch(m->device, m->variant->entry, m->grid, &args, sizeof args,
	                     (struct launch_options){0});
}

static enum status begin(void *user)
{
	return mark(user, FROM, DELAY_NS);
}

static enum status end(void *user)
{
	return mark(user, TO, 0);
}

static enum status read_mhz(void *user, double *mhz)
{
	enum status status;
	struct clock_marks *m = user;
	const size_t n = (size_t)m->n;
	TRY(device_read(m->device, m->seen, m->memory, 4 * n * sizeof *m->seen));
	*mhz = clock_mhz(m->n, m->seen, m->seen + n, m->seen + 2 * n, m->seen + 3 * n);
done:
	return status;
}

struct timer_marks clock_timer_marks(struct clock_marks *marks)
{
	return marks ? (struct timer_marks){begin, end, read_mhz, marks} : (struct timer_marks){0};
}

double clock_mhz(int n, const unsigned long long *ns_from, const unsigned long long *cycles_from,
                 const unsigned long long *ns_to, const unsigned long long *cycles_to)
{
	double mhz[MAX_SAMPLES];
	int known = 0;
	for (int i = 0; i < n && known < MAX_SAMPLES; i++) {
		if (!ns_from[i] || ns_to[i] <= ns_from[i])
			continue;
		const double ns = (double)(ns_to[i] - ns_from[i]);
		if (ns >= LEAST_NS)
			mhz[known++] = 1e3 * (double)(cycles_to[i] - cycles_from[i]) / ns;
	}
	return known ? median(mhz, known) : NAN;
}
