#define _GNU_SOURCE
#include "tuner/compiler.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_INSTANCES = 256 };

/* What is asked for; cases and configurations follow. */
struct question {
	char kernel[64];
	int n, n_fields, n_params, sm;
	bool no_cache, ptx;
};
/* The answer begins with this; instances and parts follow, each with what it points to. */
struct result {
	enum status status;
	char message[512];
	int n_instances, n_parts;
};
struct instance_head {
	char reason[256];
	struct cubin_resources resources;
	size_t symbol_bytes; /* 0: none */
};
struct part_head {
	size_t bytes;
	int first, n;
};

static bool allowed;

void compiler_allow(void)
{
	allowed = true;
}

static bool put(int link, const void *data, size_t bytes)
{
	const char *at = data;
	while (bytes) {
		const ssize_t n = send(link, at, bytes, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		at += n;
		bytes -= (size_t)n;
	}
	return true;
}

static bool get(int link, void *data, size_t bytes)
{
	char *at = data;
	while (bytes) {
		const ssize_t n = recv(link, at, bytes, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		at += n;
		bytes -= (size_t)n;
	}
	return true;
}

static bool put_request(int link, const struct jit_request *r)
{
	struct question q = {.n = r->n,
	                     .n_fields = r->n_fields,
	                     .n_params = r->n_params,
	                     .sm = r->sm,
	                     .no_cache = r->no_cache,
	                     .ptx = r->ptx};
	snprintf(q.kernel, sizeof q.kernel, "%s", r->kernel);
	return put(link, &q, sizeof q) && put(link, r->kases, (size_t)r->n * sizeof *r->kases) &&
	       put(link, r->configs, (size_t)r->n * sizeof *r->configs);
}

static bool put_module(int link, const struct jit_module *module)
{
	for (int i = 0; i < module->n_instances; i++) {
		const struct jit_instance *instance = &module->instances[i];
		struct instance_head head = {.resources = instance->resources};
		memcpy(head.reason, instance->reason, sizeof head.reason);
		head.symbol_bytes = instance->symbol ? strlen(instance->symbol) + 1 : 0;
		if (!put(link, &head, sizeof head) ||
		    !put(link, instance->symbol, head.symbol_bytes))
			return false;
	}
	for (int i = 0; i < module->n_parts; i++) {
		const struct jit_part *part = &module->parts[i];
		const struct part_head head = {part->bytes, part->first, part->n};
		if (!put(link, &head, sizeof head) || !put(link, part->image, part->bytes))
			return false;
	}
	return true;
}

static bool get_instance(int link, struct jit_instance *instance)
{
	struct instance_head head;
	if (!get(link, &head, sizeof head))
		return false;
	memcpy(instance->reason, head.reason, sizeof head.reason);
	instance->resources = head.resources;
	if (!head.symbol_bytes)
		return true;
	instance->symbol = malloc(head.symbol_bytes);
	return instance->symbol && get(link, instance->symbol, head.symbol_bytes);
}

static bool get_part(int link, struct jit_part *part)
{
	struct part_head head;
	if (!get(link, &head, sizeof head))
		return false;
	*part = (struct jit_part){
	        .image = malloc(head.bytes), .bytes = head.bytes, .first = head.first, .n = head.n};
	return part->image && get(link, part->image, head.bytes);
}

static bool get_module(int link, const struct result *result, struct jit_module *module)
{
	module->instances = calloc((size_t)result->n_instances + 1, sizeof *module->instances);
	module->parts = calloc((size_t)result->n_parts + 1, sizeof *module->parts);
	if (!module->instances || !module->parts)
		return false;
	while (module->n_instances < result->n_instances)
		if (!get_instance(link, &module->instances[module->n_instances++]))
			return false;
	while (module->n_parts < result->n_parts)
		if (!get_part(link, &module->parts[module->n_parts++]))
			return false;
	return true;
}

/* In the new process: the link becomes standard input; it dies with the thread that asks. */
static void become_compiler(int link, pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent || dup2(link, STDIN_FILENO) < 0 ||
	    dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
		_exit(127);
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGUSR1, SIG_IGN);
	execl("/proc/self/exe", "warpsmith-tune", "--compiler", (char *)NULL);
	_exit(127);
}

static bool start(struct compiler *compiler)
{
	int link[2];
	const pid_t parent = getpid();
	if (compiler->pid)
		return true;
	if (!allowed || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, link))
		return false;
	const pid_t pid = fork();
	if (!pid)
		become_compiler(link[1], parent);
	close(link[1]);
	if (pid < 0) {
		close(link[0]);
		return false;
	}
	*compiler = (struct compiler){.pid = pid, .link = link[0]};
	return true;
}

void compiler_stop(struct compiler *compiler)
{
	if (!compiler->pid)
		return;
	close(compiler->link);
	kill(compiler->pid, SIGKILL);
	waitpid(compiler->pid, NULL, 0);
	*compiler = (struct compiler){0};
}

enum status compiler_compile(struct compiler *compiler, const struct jit_request *request,
                             struct jit_module *module)
{
	struct result result;
	if (!start(compiler))
		return jit_compile(request, module);
	if (!put_request(compiler->link, request) || !get(compiler->link, &result, sizeof result) ||
	    !get_module(compiler->link, &result, module)) {
		compiler_stop(compiler);
		jit_close(module);
		return jit_compile(request, module);
	}
	if (result.status == STATUS_OK)
		return STATUS_OK;
	jit_close(module);
	return fail(result.status, "%s", result.message);
}

/* Answers one request. */
static bool serve(int link, const struct question *q, const struct kase *kases,
                  const struct config *configs)
{
	struct jit_module module = {0};
	struct result result = {0};
	const struct jit_request request = {.kernel = q->kernel,
	                                    .n = q->n,
	                                    .kases = kases,
	                                    .configs = configs,
	                                    .n_fields = q->n_fields,
	                                    .n_params = q->n_params,
	                                    .sm = q->sm,
	                                    .no_cache = q->no_cache,
	                                    .ptx = q->ptx};
	result.status = jit_compile(&request, &module);
	if (result.status != STATUS_OK)
		snprintf(result.message, sizeof result.message, "%s", fail_message());
	result.n_instances = module.n_instances;
	result.n_parts = module.n_parts;
	const bool sent = put(link, &result, sizeof result) && put_module(link, &module);
	jit_close(&module);
	return sent;
}

int compiler_main(void)
{
	static struct kase kases[MAX_INSTANCES];
	static struct config configs[MAX_INSTANCES];
	const int link = STDIN_FILENO;
	struct question q;
	while (get(link, &q, sizeof q) && q.n >= 0 && q.n <= MAX_INSTANCES &&
	       get(link, kases, (size_t)q.n * sizeof *kases) &&
	       get(link, configs, (size_t)q.n * sizeof *configs) && serve(link, &q, kases, configs))
		;
	return STATUS_OK;
}
