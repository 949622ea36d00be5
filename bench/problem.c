#include "bench/problem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/dtype.h"

enum {
	CANARY_BYTES = 256,
	CANARY_BYTE = 0xa5,
	POISON_BYTE = 0xff, /* NaN in every float type, -1 in integers */
	/* Random contents repeat after this prime number of elements or blocks: no row length
	   divides it. */
	PERIOD = 65521,
	LARGEST_BLOCK = 256, /* elements, of any dtype */
};

struct problem {
	struct device *device;
	const struct kernel *kernel;
	struct kase kase;
	struct shape shape;
	int copies, n_buffers;
	struct buffer buffer[MAX_BUFFERS];
	size_t bytes[MAX_BUFFERS];
	void *data[MAX_BUFFERS]; /* initial contents, on the host */
	void *seen[MAX_BUFFERS]; /* what a checked launch left in outputs */
	double *expected[MAX_BUFFERS], *tolerance[MAX_BUFFERS]; /* of outputs */
	bool has_reference;
	void **memory; /* [copies][MAX_BUFFERS] on the device */
	void *args;
};

static bool is_output(const struct buffer *buffer)
{
	return buffer->role == BUFFER_OUTPUT || buffer->role == BUFFER_INOUT;
}

/* splitmix64 (Steele, Lea, Flood 2014). */
static unsigned long long random_bits(unsigned long long *state)
{
	unsigned long long z = *state += 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

/* About normal, deviation 1: the sum of four uniform numbers. */
static float random_normal(unsigned long long *state)
{
	unsigned long long bits = random_bits(state);
	float sum = 0;
	for (int i = 0; i < 4; i++, bits >>= 16)
		sum += (float)(bits & 0xffff) / 65536.0f - 0.5f;
	return sum * 1.7320508f;
}

/* Fills `to` by repeating its first `filled` bytes. */
static void repeat_bytes(unsigned char *to, size_t filled, size_t bytes)
{
	while (filled < bytes) {
		size_t n = filled < bytes - filled ? filled : bytes - filled;
		memcpy(to + filled, to, n);
		filled += n;
	}
}

/* Random contents in device layout. */
static enum status fill_random(const struct buffer *buffer, void *to, size_t bytes,
                               unsigned long long seed)
{
	enum status status = STATUS_OK;
	size_t block = (size_t)dtype_block(buffer->dtype), period = PERIOD * block;
	size_t n = buffer->count < period ? buffer->count : period;
	size_t period_bytes = dtype_bytes(buffer->dtype, n);
	bool packed = dtype_scale_offset(buffer->dtype, buffer->count) != 0;
	float *values = malloc(n * sizeof *values);
	unsigned char *file = packed ? malloc(bytes) : to;
	if (!values || !file) {
		status = fail(STATUS_NO_MEMORY, "%s: out of memory", buffer->name);
		goto done;
	}
	for (size_t i = 0; i < n; i++)
		values[i] = buffer->scale * random_normal(&seed);
	dtype_from_f32(buffer->dtype, values, file, n);
	repeat_bytes(file, period_bytes, bytes);
	if (packed)
		dtype_pack(buffer->dtype, file, to, buffer->count);
done:
	free(values);
	if (packed)
		free(file);
	return status;
}

/* The largest configuration of a kernel's space: buffers never shrink when a tunable grows. */
static void largest_config(const struct kernel *kernel, int *config)
{
	for (int p = 0; p < kernel->n_params; p++) {
		config[p] = kernel->params[p].values[0];
		for (int i = 1; i < kernel->params[p].n_values; i++)
			if (kernel->params[p].values[i] > config[p])
				config[p] = kernel->params[p].values[i];
	}
}

static enum status make_contents(struct problem *p, unsigned long long seed)
{
	enum status status = STATUS_OK;
	for (int b = 0; b < p->n_buffers; b++) {
		const struct buffer *buffer = &p->buffer[b];
		p->bytes[b] = dtype_bytes(buffer->dtype, buffer->count);
		p->data[b] = calloc(1, p->bytes[b] ? p->bytes[b] : 1);
		if (!p->data[b])
			return fail(STATUS_NO_MEMORY, "%s: out of memory", buffer->name);
		bool random = buffer->role != BUFFER_SCRATCH && buffer->role != BUFFER_OUTPUT &&
		              buffer->dtype != DTYPE_I32 && buffer->dtype != DTYPE_U64;
		if (random)
			TRY(fill_random(buffer, p->data[b], p->bytes[b], seed + (unsigned)b));
		if (!is_output(buffer))
			continue;
		p->seen[b] = malloc(p->bytes[b]);
		p->expected[b] = calloc(buffer->count, sizeof(double));
		p->tolerance[b] = calloc(buffer->count, sizeof(double));
		if (!p->seen[b] || !p->expected[b] || !p->tolerance[b])
			return fail(STATUS_NO_MEMORY, "%s: out of memory", buffer->name);
	}
	if (p->kernel->fill)
		p->kernel->fill(&p->shape, p->kase.value, p->data);
done:
	return status;
}

void problem_compute_reference(struct problem *p)
{
	if (!p->has_reference)
		p->kernel->reference(&p->shape, p->kase.value, (const void *const *)p->data,
		                     p->expected, p->tolerance);
	p->has_reference = true;
}

static enum status make_copies(struct problem *p)
{
	enum status status = STATUS_OK;
	for (int copy = 0; copy < p->copies; copy++) {
		void **memory = &p->memory[copy * MAX_BUFFERS];
		for (int b = 0; b < p->n_buffers; b++) {
			if (copy && p->buffer[b].role == BUFFER_INPUT) {
				memory[b] = p->memory[b];
				continue;
			}
			TRY(device_alloc(p->device, p->bytes[b] + CANARY_BYTES, &memory[b]));
			TRY(device_write(p->device, memory[b], p->data[b], p->bytes[b]));
			TRY(device_fill(p->device, (char *)memory[b] + p->bytes[b], CANARY_BYTE,
			                CANARY_BYTES));
		}
	}
done:
	return status;
}

enum status problem_open(struct device *device, const struct kernel *kernel, const int *kase,
                         const struct shape *shape, unsigned long long seed, int copies,
                         struct problem **problem)
{
	enum status status = STATUS_OK;
	struct config config = {0};
	struct problem *p = *problem = calloc(1, sizeof *p);
	if (!p)
		return fail(STATUS_NO_MEMORY, "%s: out of memory", kernel->name);
	p->device = device;
	p->kernel = kernel;
	p->shape = *shape;
	p->copies = copies;
	memcpy(p->kase.value, kase, (size_t)kernel->n_fields * sizeof *kase);
	largest_config(kernel, config.value);
	p->n_buffers = kernel->buffers(shape, kase, config.value, device_info(device), p->buffer);
	p->memory = calloc((size_t)copies * MAX_BUFFERS, sizeof *p->memory);
	p->args = calloc(1, kernel->args_bytes);
	if (!p->memory || !p->args) {
		status = fail(STATUS_NO_MEMORY, "%s: out of memory", kernel->name);
		goto done;
	}
	TRY(make_contents(p, seed));
	TRY(make_copies(p));
done:
	if (status != STATUS_OK)
		problem_close(problem);
	return status;
}

void problem_close(struct problem **problem)
{
	struct problem *p = *problem;
	if (!p)
		return;
	for (int i = 0; p->memory && i < p->copies * MAX_BUFFERS; i++)
		if (i < MAX_BUFFERS || p->memory[i] != p->memory[i % MAX_BUFFERS])
			device_free(p->device, p->memory[i]);
	for (int b = 0; b < p->n_buffers; b++) {
		free(p->data[b]);
		free(p->seen[b]);
		free(p->expected[b]);
		free(p->tolerance[b]);
	}
	free(p->memory);
	free(p->args);
	free(p);
	*problem = NULL;
}

size_t problem_bytes(const struct kernel *kernel, const int *kase, const struct shape *shape,
                     const struct device_info *info)
{
	struct buffer buffers[MAX_BUFFERS];
	struct config config = {0};
	size_t bytes = 0;
	largest_config(kernel, config.value);
	int n = kernel->buffers(shape, kase, config.value, info, buffers);
	for (int b = 0; b < n; b++)
		if (buffers[b].role != BUFFER_SCRATCH)
			bytes += dtype_bytes(buffers[b].dtype, buffers[b].count);
	return bytes;
}

static enum status launch(struct problem *p, const void *entry, const int *config,
                          void *const *memory, bool dependent)
{
	const struct kernel *kernel = p->kernel;
	const struct device_info *info = device_info(p->device);
	kernel->bind(&p->shape, p->kase.value, config, info, memory, p->args);
	return device_launch(p->device, entry, kernel->grid(&p->shape, p->kase.value, config, info),
	                     p->args, kernel->args_bytes,
	                     (struct launch_options){.dependent = dependent});
}

enum status problem_launch(struct problem *p, const void *entry, const int *config, int copy)
{
	return launch(p, entry, config, &p->memory[copy * MAX_BUFFERS], false);
}

/* The first buffer with a role; -1: none. */
static int first_of(const struct buffer *buffers, int n, enum buffer_role role)
{
	for (int b = 0; b < n; b++)
		if (buffers[b].role == role)
			return b;
	return -1;
}

bool problem_can_chain(const struct kernel *kernel, const int *kase, const struct shape *shape,
                       const struct device_info *info)
{
	struct buffer buffers[MAX_BUFFERS];
	struct config config = {0};
	largest_config(kernel, config.value);
	const int n = kernel->buffers(shape, kase, config.value, info, buffers);
	const int in = first_of(buffers, n, BUFFER_INPUT),
	          out = first_of(buffers, n, BUFFER_OUTPUT);
	if (out < 0)
		return first_of(buffers, n, BUFFER_INOUT) >= 0;
	return in >= 0 && buffers[in].dtype == buffers[out].dtype &&
	       buffers[in].count == buffers[out].count;
}

enum status problem_launch_chained(struct problem *p, const void *entry, const int *config,
                                   int copy, int from)
{
	void *memory[MAX_BUFFERS];
	const int in = first_of(p->buffer, p->n_buffers, BUFFER_INPUT);
	const int out = first_of(p->buffer, p->n_buffers, BUFFER_OUTPUT);
	memcpy(memory, &p->memory[copy * MAX_BUFFERS], sizeof memory);
	for (int b = 0; b < p->n_buffers; b++)
		if (p->buffer[b].role == BUFFER_INOUT)
			memory[b] = p->memory[b];
	if (from >= 0 && in >= 0 && out >= 0)
		memory[in] = p->memory[from * MAX_BUFFERS + out];
	return launch(p, entry, config, memory, true);
}

/* Element i of what a launch left in buffer b. */
static double seen_value(const struct problem *p, int b, size_t i)
{
	const struct buffer *buffer = &p->buffer[b];
	const size_t n = (size_t)dtype_block(buffer->dtype);
	float block[LARGEST_BLOCK];
	switch (buffer->dtype) {
	case DTYPE_I32:
		return ((const int *)p->seen[b])[i];
	case DTYPE_U64:
		return (double)((const unsigned long long *)p->seen[b])[i];
	default:
		dtype_planes_to_f32(buffer->dtype, p->seen[b], buffer->count, i - i % n, n, block);
		return block[i % n];
	}
}

static enum status compare(struct problem *p, int b)
{
	const struct buffer *buffer = &p->buffer[b];
	size_t worst = 0;
	double worst_excess = 0;
	for (size_t i = 0; i < buffer->count; i++) {
		double error = fabs(seen_value(p, b, i) - p->expected[b][i]);
		double excess = isnan(error) ? INFINITY : error - p->tolerance[b][i];
		if (excess > worst_excess) {
			worst_excess = excess;
			worst = i;
		}
	}
	if (!(worst_excess > 0))
		return STATUS_OK;
	double got = seen_value(p, b, worst);
	return fail(STATUS_VIOLATION, "%s: %s[%zu]: expected %.9g, got %.9g%s, tolerance %.3g",
	            p->kernel->name, buffer->name, worst, p->expected[b][worst], got,
	            isnan(got) ? " (not written?)" : "", p->tolerance[b][worst]);
}

static enum status check_canary(struct problem *p, int b)
{
	enum status status = STATUS_OK;
	unsigned char canary[CANARY_BYTES];
	TRY(device_read(p->device, canary, (char *)p->memory[b] + p->bytes[b], sizeof canary));
	for (int i = 0; i < CANARY_BYTES; i++) {
		if (canary[i] == CANARY_BYTE)
			continue;
		TRY(device_fill(p->device, (char *)p->memory[b] + p->bytes[b], CANARY_BYTE,
		                CANARY_BYTES));
		return fail(STATUS_VIOLATION, "%s: wrote %d bytes beyond the end of %s",
		            p->kernel->name, i + 1, p->buffer[b].name);
	}
done:
	return status;
}

/* Poisoned outputs, everything else that a launch may write as it was; scratch is left as found, or
 * cleared. */
static enum status restore(struct problem *p, bool scratch)
{
	enum status status = STATUS_OK;
	for (int b = 0; b < p->n_buffers; b++) {
		const enum buffer_role role = p->buffer[b].role;
		if (role == BUFFER_OUTPUT)
			TRY(device_fill(p->device, p->memory[b], POISON_BYTE, p->bytes[b]));
		else if (role == BUFFER_SCRATCH ? scratch : role != BUFFER_WEIGHT)
			TRY(device_write(p->device, p->memory[b], p->data[b], p->bytes[b]));
	}
done:
	return status;
}

static enum status check_launch(struct problem *p, const void *entry, const int *config)
{
	enum status status = STATUS_OK;
	TRY(problem_launch(p, entry, config, 0));
	TRY(device_sync(p->device));
	for (int b = 0; b < p->n_buffers; b++) {
		TRY(check_canary(p, b));
		if (!is_output(&p->buffer[b]))
			continue;
		TRY(device_read(p->device, p->seen[b], p->memory[b], p->bytes[b]));
		TRY(compare(p, b));
	}
done:
	return status;
}

enum status problem_check(struct problem *p, const void *entry, const int *config)
{
	enum status status = STATUS_OK;
	problem_compute_reference(p);
	TRY(restore(p, true));
	TRY(check_launch(p, entry, config));
	for (int b = 0; b < p->n_buffers; b++) {
		if (p->buffer[b].role != BUFFER_SCRATCH)
			continue;
		/* again, on the scratch that the first launch left */
		TRY(restore(p, false));
		return check_launch(p, entry, config);
	}
done:
	return status;
}

void *problem_memory(const struct problem *p, const char *buffer, int copy)
{
	for (int b = 0; b < p->n_buffers; b++)
		if (!strcmp(p->buffer[b].name, buffer))
			return p->memory[copy * MAX_BUFFERS + b];
	return NULL;
}
