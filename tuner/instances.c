#define _GNU_SOURCE
#include "tuner/instances.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tuner/compiler.h"

/* Of a program: one instance alone takes a third longer to compile than one among many. */
enum { PROGRAM_SIZE = 16, MAX_COMPILERS = 16 };

/* Candidates that are compiled together. */
struct program {
	struct program *next;        /* of its task */
	struct program *next_queued; /* of all tasks */
	const struct instances *of;
	struct config config[PROGRAM_SIZE];
	struct kase kase[PROGRAM_SIZE];
	int n;
	struct jit_module module;
	enum status status; /* of the compilation */
	char reason[256];
	enum { QUEUED, COMPILING, COMPILED, TAKEN_BACK } state;
	bool loaded;
};

/* The threads that compile for all tasks, in the order of asking, each in a process of its own. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct program *first, **last; /* queued */
	pthread_t thread[MAX_COMPILERS];
	int n_threads, n_users; /* instances that have asked for something */
	bool ends;
} compilers = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void compile(struct compiler *compiler, struct program *program)
{
	const struct instances *instances = program->of;
	const struct kernel *kernel = instances->task->kernel;
	const struct jit_request request = {.kernel = kernel->name,
	                                    .n = program->n,
	                                    .kases = program->kase,
	                                    .configs = program->config,
	                                    .n_fields = kernel->n_fields,
	                                    .n_params = kernel->n_params,
	                                    .sm = device_info(instances->device)->target.sm};
	program->status = compiler_compile(compiler, &request, &program->module);
	if (program->status != STATUS_OK)
		snprintf(program->reason, sizeof program->reason, "%.255s", fail_message());
}

/* Takes the first program off the queue; NULL: it is empty. */
static struct program *take_queued(void)
{
	struct program *program = compilers.first;
	if (!program)
		return NULL;
	compilers.first = program->next_queued;
	if (!compilers.first)
		compilers.last = &compilers.first;
	return program;
}

static void *compile_queued(void *user)
{
	struct compiler compiler = {0};
	(void)user;
	pthread_mutex_lock(&compilers.lock);
	while (!compilers.ends) {
		struct program *program = take_queued();
		if (!program) {
			pthread_cond_wait(&compilers.changed, &compilers.lock);
			continue;
		}
		program->state = COMPILING;
		pthread_mutex_unlock(&compilers.lock);
		compile(&compiler, program);
		pthread_mutex_lock(&compilers.lock);
		program->state = COMPILED;
		pthread_cond_broadcast(&compilers.changed);
	}
	pthread_mutex_unlock(&compilers.lock);
	compiler_stop(&compiler);
	return NULL;
}

void instances_open(struct device *device, const struct task *task, struct instances *instances)
{
	*instances = (struct instances){.device = device, .task = task};
}

/* One processor measures. */
int instances_compilers(void)
{
	cpu_set_t mine;
	const int n = sched_getaffinity(0, sizeof mine, &mine) ? 1 : CPU_COUNT(&mine) - 1;
	return n < 1 ? 1 : n > MAX_COMPILERS ? MAX_COMPILERS : n;
}

static enum status start_compilers(struct instances *instances)
{
	if (instances->compiles)
		return STATUS_OK;
	if (!compilers.n_users) {
		compilers.ends = false;
		compilers.last = &compilers.first;
		while (compilers.n_threads < instances_compilers() &&
		       !pthread_create(&compilers.thread[compilers.n_threads], NULL, compile_queued,
		                       NULL))
			compilers.n_threads++;
	}
	if (!compilers.n_threads)
		return fail(STATUS_FAILED, "cannot start a thread to compile candidates");
	compilers.n_users++;
	instances->compiles = true;
	return STATUS_OK;
}

static void stop_compilers(void)
{
	pthread_mutex_lock(&compilers.lock);
	compilers.ends = true;
	pthread_cond_broadcast(&compilers.changed);
	pthread_mutex_unlock(&compilers.lock);
	for (int i = 0; i < compilers.n_threads; i++)
		pthread_join(compilers.thread[i], NULL);
	compilers.n_threads = 0;
}

/* What is compiled for a configuration: one instance for all that have the same code. */
static struct config code_of(const struct instances *instances, const struct config *config)
{
	const struct kernel *kernel = instances->task->kernel;
	struct config code = *config;
	if (kernel->code_of)
		kernel->code_of(code.value);
	return code;
}

/* The program that holds some code, NULL when none was asked for; *index is its place there. */
static struct program *find_program(const struct instances *instances, const struct config *code,
                                    int *index)
{
	for (struct program *p = instances->first; p; p = p->next)
		for (*index = 0; *index < p->n; ++*index)
			if (!memcmp(&p->config[*index], code, sizeof *code))
				return p;
	return NULL;
}

/* Leaves the program to the compilers. */
static void queue(struct program *program)
{
	pthread_mutex_lock(&compilers.lock);
	*compilers.last = program;
	compilers.last = &program->next_queued;
	pthread_cond_broadcast(&compilers.changed);
	pthread_mutex_unlock(&compilers.lock);
}

static struct program *add_program(struct instances *instances)
{
	struct program *program = calloc(1, sizeof *program);
	if (!program)
		return NULL;
	program->of = instances;
	program->next = instances->first;
	instances->first = program;
	return program;
}

/* Programs for all compilers. */
static int program_size(int n)
{
	const int size = n / compilers.n_threads;
	return size < 1 ? 1 : size > PROGRAM_SIZE ? PROGRAM_SIZE : size;
}

enum status instances_prepare(struct instances *instances, const struct config *configs, int n)
{
	enum status status = STATUS_OK;
	struct program *program = NULL;
	int place;
	if (!device_info(instances->device)->target.sm)
		return STATUS_OK;
	TRY(start_compilers(instances));
	const int size = program_size(n);
	for (int i = 0; i < n; i++) {
		const struct config code = code_of(instances, &configs[i]);
		if (find_program(instances, &code, &place))
			continue;
		if (!program)
			program = add_program(instances);
		if (!program)
			return fail(STATUS_NO_MEMORY, "no memory for compiled candidates");
		program->config[program->n] = code;
		program->kase[program->n++] = instances->task->kase;
		if (program->n < size)
			continue;
		queue(program);
		program = NULL;
	}
	if (program)
		queue(program);
done:
	return status;
}

static enum status find_compiled(struct instances *instances, const struct config *config,
                                 const void **entry)
{
	enum status status = STATUS_OK;
	const struct config code = code_of(instances, config);
	int i;
	struct program *program = find_program(instances, &code, &i);
	if (!program) {
		TRY(instances_prepare(instances, config, 1));
		program = find_program(instances, &code, &i);
	}
	pthread_mutex_lock(&compilers.lock);
	while (program->state != COMPILED)
		pthread_cond_wait(&compilers.changed, &compilers.lock);
	pthread_mutex_unlock(&compilers.lock);
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

/* Off the queue. */
static void take_back(const struct instances *instances)
{
	for (struct program **at = &compilers.first; *at;) {
		struct program *program = *at;
		if (program->of != instances) {
			at = &program->next_queued;
			continue;
		}
		*at = program->next_queued;
		program->state = TAKEN_BACK;
	}
	compilers.last = &compilers.first;
	while (*compilers.last)
		compilers.last = &(*compilers.last)->next_queued;
}

void instances_withdraw(struct instances *instances)
{
	if (!instances->compiles)
		return;
	pthread_mutex_lock(&compilers.lock);
	take_back(instances);
	pthread_mutex_unlock(&compilers.lock);
	for (struct program **at = &instances->first; *at;) {
		struct program *program = *at;
		if (program->state != TAKEN_BACK) {
			at = &program->next;
			continue;
		}
		*at = program->next;
		free(program);
	}
}

/* None waits any more, or is being compiled. */
static void await_programs(struct instances *instances)
{
	instances_withdraw(instances);
	pthread_mutex_lock(&compilers.lock);
	for (struct program *p = instances->first; p; p = p->next)
		while (p->state != COMPILED)
			pthread_cond_wait(&compilers.changed, &compilers.lock);
	pthread_mutex_unlock(&compilers.lock);
}

void instances_close(struct instances *instances)
{
	if (instances->compiles) {
		await_programs(instances);
		if (!--compilers.n_users)
			stop_compilers();
	}
	for (struct program *p = instances->first, *next; p; p = next) {
		next = p->next;
		jit_close(&p->module);
		free(p);
	}
	*instances = (struct instances){0};
}
