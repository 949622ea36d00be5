#define _POSIX_C_SOURCE 200809L
#include "tuner/instances.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "device/jit.h"

enum { PROGRAM_SIZE = 32, LEAST_SIZE = 4, MAX_COMPILERS = 8 };

/* Candidates that are compiled together. */
struct program {
	struct program *next;
	struct config config[PROGRAM_SIZE];
	struct kase kase[PROGRAM_SIZE];
	int n;
	struct jit_module module;
	enum status status; /* of the compilation */
	char reason[256];
	bool compiled, loaded;
};

struct programs {
	const struct task *task;
	int sm;
	struct program *first, **last;
	struct program *waiting; /* the first that no thread has taken */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	pthread_t thread[MAX_COMPILERS];
	int n_threads;
	bool ends;
};

static void compile(const struct programs *programs, struct program *program)
{
	const struct kernel *kernel = programs->task->kernel;
	const struct jit_request request = {.kernel = kernel->name,
	                                    .n = program->n,
	                                    .kases = program->kase,
	                                    .configs = program->config,
	                                    .n_fields = kernel->n_fields,
	                                    .n_params = kernel->n_params,
	                                    .sm = programs->sm};
	program->status = jit_compile(&request, &program->module);
	if (program->status != STATUS_OK)
		snprintf(program->reason, sizeof program->reason, "%.255s", fail_message());
}

static void *compile_waiting(void *user)
{
	struct programs *programs = user;
	pthread_mutex_lock(&programs->lock);
	while (!programs->ends) {
		struct program *program = programs->waiting;
		if (!program) {
			pthread_cond_wait(&programs->changed, &programs->lock);
			continue;
		}
		programs->waiting = program->next;
		pthread_mutex_unlock(&programs->lock);
		compile(programs, program);
		pthread_mutex_lock(&programs->lock);
		program->compiled = true;
		pthread_cond_broadcast(&programs->changed);
	}
	pthread_mutex_unlock(&programs->lock);
	return NULL;
}

void instances_open(struct device *device, const struct task *task, struct instances *instances)
{
	*instances = (struct instances){.device = device, .task = task};
}

/* Half of the processors compile, the rest measure. */
int instances_compilers(void)
{
	const long wanted = sysconf(_SC_NPROCESSORS_ONLN) / 2;
	return wanted < 1 ? 1 : wanted > MAX_COMPILERS ? MAX_COMPILERS : (int)wanted;
}

static enum status start_compilers(struct instances *instances)
{
	struct programs *programs = calloc(1, sizeof *programs);
	if (!programs)
		return fail(STATUS_NO_MEMORY, "no memory for compiled candidates");
	programs->task = instances->task;
	programs->sm = device_info(instances->device)->target.sm;
	programs->last = &programs->first;
	pthread_mutex_init(&programs->lock, NULL);
	pthread_cond_init(&programs->changed, NULL);
	while (programs->n_threads < instances_compilers() &&
	       !pthread_create(&programs->thread[programs->n_threads], NULL, compile_waiting,
	                       programs))
		programs->n_threads++;
	instances->programs = programs;
	if (!programs->n_threads)
		return fail(STATUS_FAILED, "cannot start a thread to compile candidates");
	return STATUS_OK;
}

static void stop_compilers(struct programs *programs)
{
	pthread_mutex_lock(&programs->lock);
	programs->ends = true;
	pthread_cond_broadcast(&programs->changed);
	pthread_mutex_unlock(&programs->lock);
	for (int i = 0; i < programs->n_threads; i++)
		pthread_join(programs->thread[i], NULL);
}

/* The program that holds a configuration, NULL when none was asked for; *index is its place there.
 */
static struct program *find_program(const struct instances *instances, const struct config *config,
                                    int *index)
{
	for (struct program *p = instances->programs ? instances->programs->first : NULL; p;
	     p = p->next)
		for (*index = 0; *index < p->n; ++*index)
			if (!memcmp(&p->config[*index], config, sizeof *config))
				return p;
	return NULL;
}

/* Leaves the program to the compilers. */
static void queue(struct programs *programs, struct program *program)
{
	pthread_mutex_lock(&programs->lock);
	*programs->last = program;
	programs->last = &program->next;
	if (!programs->waiting)
		programs->waiting = program;
	pthread_cond_broadcast(&programs->changed);
	pthread_mutex_unlock(&programs->lock);
}

enum status instances_prepare(struct instances *instances, const struct config *configs, int n)
{
	enum status status = STATUS_OK;
	struct program *program = NULL;
	if (!device_info(instances->device)->target.sm)
		return STATUS_OK;
	if (!instances->programs)
		TRY(start_compilers(instances));
	struct programs *programs = instances->programs;
	/* enough programs for all compilers, few enough that what each costs at least does not
	 * count */
	int place, size = (n + programs->n_threads - 1) / programs->n_threads;
	size = size < LEAST_SIZE ? LEAST_SIZE : size > PROGRAM_SIZE ? PROGRAM_SIZE : size;
	for (int i = 0; i < n; i++) {
		if (find_program(instances, &configs[i], &place))
			continue;
		if (!program)
			program = calloc(1, sizeof *program);
		if (!program)
			return fail(STATUS_NO_MEMORY, "no memory for compiled candidates");
		program->config[program->n] = configs[i];
		program->kase[program->n++] = instances->task->kase;
		if (program->n < size)
			continue;
		queue(programs, program);
		program = NULL;
	}
	if (program)
		queue(programs, program);
done:
	return status;
}

static enum status find_compiled(struct instances *instances, const struct config *config,
                                 const void **entry)
{
	enum status status = STATUS_OK;
	int i;
	struct program *program = find_program(instances, config, &i);
	if (!program) {
		TRY(instances_prepare(instances, config, 1));
		program = find_program(instances, config, &i);
	}
	pthread_mutex_lock(&instances->programs->lock);
	while (!program->compiled)
		pthread_cond_wait(&instances->programs->changed, &instances->programs->lock);
	pthread_mutex_unlock(&instances->programs->lock);
	if (program->status != STATUS_OK)
		return fail(STATUS_UNSUPPORTED, "%s", program->reason);
	if (!program->loaded)
		TRY(jit_load(instances->device, &program->module));
	program->loaded = true;
	*entry = program->module.instances[i].entry;
	if (!*entry)
		status = fail(STATUS_UNSUPPORTED, "%s", program->module.instances[i].reason);
done:
	return status;
}

enum status instances_find(struct instances *instances, const struct config *config,
                           const void **entry)
{
	const struct device_info *info = device_info(instances->device);
	const struct variant *variants;
	if (info->target.sm)
		return find_compiled(instances, config, entry);
	int n = kernel_variants(instances->task->kernel, info, &variants);
	for (int i = 0; i < n; i++)
		if (!memcmp(&variants[i].kase, &instances->task->kase, sizeof variants[i].kase) &&
		    !memcmp(&variants[i].config, config, sizeof *config)) {
			*entry = variants[i].entry;
			return STATUS_OK;
		}
	return fail(STATUS_UNSUPPORTED, "this program has no such instance");
}

void instances_close(struct instances *instances)
{
	struct programs *programs = instances->programs;
	if (programs) {
		stop_compilers(programs);
		for (struct program *p = programs->first, *next; p; p = next) {
			next = p->next;
			jit_close(&p->module);
			free(p);
		}
		pthread_cond_destroy(&programs->changed);
		pthread_mutex_destroy(&programs->lock);
		free(programs);
	}
	*instances = (struct instances){0};
}
