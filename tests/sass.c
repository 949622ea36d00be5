/* sass EXCEPTIONS [bulk] <TEXT: what nvdisasm prints of a cubin. Each instance must keep in
 * registers what it has, and one that promises loads in flight must issue as many, each of
 * the promised width, before the first instruction that waits for one of them: what a compiler that
 * lacks registers, or moves a load behind a use, breaks in silence. A line of EXCEPTIONS has a
 * kernel and words of its case or configuration, and excuses the instances that have all of them;
 * comments begin with #. With `bulk` only instances count that promise bulk copies. */
#include "core/kernel.h"
#include "kernels/gemv.h"
#include "kernels/gqa_attention.h"
#include "kernels/rms_norm.h"
#include "kernels/rope.h"
#include "tests/symbol.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_LINE = 4096, MAX_NAME = 64 + 2 * CONFIG_TEXT, MAX_EXCEPTIONS = 64, REGISTERS = 256 };

/* Where loads go to: registers; shared memory, waited for as a group; the same in bulk, waited for
 * by the bytes that arrive. */
enum loads_to { TO_REGISTERS, TO_SHARED, IN_BULK };

/* Loads of a thread that are issued together, of 16 bytes each, of 8, of any width, or, in bulk, of
 * as many as it asks. */
struct promise {
	int loads;
	enum loads_to to;
	bool weights; /* by the path of what is read once */
	bool half;    /* of 8 bytes */
	bool any;     /* of any width */
	bool early;   /* before the dependency wait */
};

static int n_planes(int dtype)
{
	int n = 0;
	for (int p = 0; p < DTYPE_PLANES; p++)
		n += dtype_layout_of(dtype).plane[p] > 0;
	return n;
}

/* Weights of the first `unroll` steps; in bulk, of as many as are in flight, in a loop over the
 * rows. */
static struct promise promise_of_gemv(const int *kase, const int *config)
{
	struct gemv_case k;
	struct gemv_config c;
	memcpy(&k, kase, sizeof k);
	memcpy(&c, config, sizeof c);
	if (c.copy)
		return (struct promise){
		        .loads = c.copy * n_planes(k.w), .to = IN_BULK, .early = c.early > 0};
	return (struct promise){.loads = c.unroll * (c.math == GEMV_MMA ? 2 : c.rows),
	                        .weights = true,
	                        .early = c.early > 0};
}

/* mma: copies of the first `stages` steps, each of `unroll` tiles of keys and values; in bulk, one
 * of each. fma: keys and values of a step; of the generic instance a chunk, for it looks after each
 * whether the head has more. */
static struct promise promise_of_attention(const int *kase, const int *config)
{
	static const struct target target = {.sm = 90, .lanes = 32};
	struct gqa_attention_case k;
	struct gqa_attention_config c;
	memcpy(&k, kase, sizeof k);
	memcpy(&c, config, sizeof c);
	const bool half = k.kv == DTYPE_Q8_0;
	const int row = k.head_dim / (half ? 8 : dtype_chunk(k.kv));
	const int lanes = k.head_dim / 8 < c.lanes ? k.head_dim / 8 : c.lanes;
	if (gqa_attention_uses_mma(k, c, target))
		return (struct promise){
		        .loads = c.stages * (c.copy == COPY_BULK
		                                     ? 2
		                                     : c.unroll * 2 * ATTENTION_TILE * row / 32),
		        .to = c.copy == COPY_BULK ? IN_BULK : TO_SHARED,
		        .early = c.prefetch};
	return (struct promise){.loads = k.head_dim ? 2 * c.unroll * row / lanes : 2, .half = half};
}

/* w and x, and the residual. */
static struct promise promise_of_rms_norm(const int *kase, const int *config)
{
	struct rms_norm_case k;
	struct rms_norm_config c;
	memcpy(&k, kase, sizeof k);
	memcpy(&c, config, sizeof c);
	const int w = c.unroll / c.blocks * dtype_chunk(k.x) / dtype_chunk(DTYPE_F32);
	return (struct promise){.loads = w + c.unroll * (k.residual ? 2 : 1)};
}

/* The position, turns, both elements of the pairs, and v, which is copied. */
static struct promise promise_of_rope(const int *kase, const int *config)
{
	struct rope_case k;
	struct rope_config c;
	memcpy(&k, kase, sizeof k);
	memcpy(&c, config, sizeof c);
	const int turns = c.pairs == 4 ? 2 : 1, pairs = k.append && c.pairs < 4 ? 1 : 2;
	return (struct promise){.loads = 1 + turns + pairs + (k.append ? 2 : 0), .any = true};
}

static const struct {
	const char *kernel;
	struct promise (*promise)(const int *kase, const int *config);
} promises[] = {
        {"gemv", promise_of_gemv},
        {"gqa_attention", promise_of_attention},
        {"rms_norm", promise_of_rms_norm},
        {"rope", promise_of_rope},
};

/* What has been seen of an instance. */
struct instance {
	char name[MAX_NAME]; /* "" outside of one */
	struct promise promise;
	int loads; /* before the first use */
	bool used, spills;
	bool pending[REGISTERS]; /* will hold what is being loaded */
};

static char exceptions[MAX_EXCEPTIONS][MAX_NAME];
static bool needed[MAX_EXCEPTIONS];
static int n_exceptions;

static void begin_instance(const char *symbol, struct instance *x)
{
	int kase[MAX_FIELDS], config[MAX_PARAMS];
	char kase_text[CONFIG_TEXT], config_text[CONFIG_TEXT];
	*x = (struct instance){0};
	for (const struct kernel *const *at = kernels; *at; at++) {
		const struct kernel *k = *at;
		if (!symbol_values(symbol, k->name, "case", kase, k->n_fields) ||
		    !symbol_values(symbol, k->name, "config", config, k->n_params))
			continue;
		params_format(k->fields, k->n_fields, kase, kase_text);
		params_format(k->params, k->n_params, config, config_text);
		snprintf(x->name, sizeof x->name, "%s %s: %s", k->name, kase_text, config_text);
		for (size_t i = 0; i < sizeof promises / sizeof promises[0]; i++)
			if (!strcmp(promises[i].kernel, k->name))
				x->promise = promises[i].promise(kase, config);
	}
}

static bool begins(const char *text, const char *with)
{
	return !strncmp(text, with, strlen(with));
}

static bool is_promised_load(const struct promise *p, const char *name)
{
	if (p->to == IN_BULK)
		return begins(name, "UBLKCP");
	if (!p->any && !strstr(name, p->half ? ".64" : ".128"))
		return false;
	return p->to == TO_SHARED ? begins(name, "LDGSTS")
	                          : begins(name, "LDG.") && !strstr(name, "STRONG") &&
	                                    (!p->weights || strstr(name, "CONSTANT"));
}

/* Whether a register occurs in the operands that a load is still to fill. */
static bool mentions_pending(const struct instance *x, const char *operands)
{
	for (const char *at = operands; (at = strchr(at, 'R')); at++) {
		char *end;
		const unsigned long number = strtoul(at + 1, &end, 10);
		if ((at == operands || !isalnum((unsigned char)at[-1])) && end > at + 1 &&
		    number < REGISTERS && x->pending[number])
			return true;
	}
	return false;
}

static void see_load(struct instance *x, const char *name, const char *operands)
{
	const unsigned size = strstr(name, ".128") ? 4 : strstr(name, ".64") ? 2 : 1;
	unsigned first;
	x->loads++;
	if (x->promise.to == TO_REGISTERS && sscanf(operands, "R%u,", &first) == 1)
		for (unsigned r = first; r < first + size && r < REGISTERS; r++)
			x->pending[r] = true;
}

static void see_instruction(struct instance *x, const char *name, const char *operands)
{
	const struct promise *p = &x->promise;
	x->spills |= begins(name, "STL") || begins(name, "LDL");
	if (x->used)
		return;
	if (is_promised_load(p, name))
		see_load(x, name, operands);
	else if (p->early && begins(name, "ACQBULK"))
		x->used = true;
	else if (x->loads)
		x->used = p->to == IN_BULK     ? begins(name, "SYNCS.PHASECHK")
		          : p->to == TO_SHARED ? begins(name, "DEPBAR")
		                               : mentions_pending(x, operands);
}

/* Behind the address in a comment, which ends at `text`: "@!P0 LDG.E.128 R44, [R44.64] ;" */
static void split_instruction(struct instance *x, char *text)
{
	text += strspn(text, " \t");
	if (*text == '@')
		text += strcspn(text, " ");
	text += strspn(text, " ");
	char *end = text + strcspn(text, " ;");
	char *operands = end + (*end == ' ');
	*end = '\0';
	see_instruction(x, text, operands);
}

/* Whether each word of `words` is one of the name's. */
static bool has_words(const char *name, const char *words)
{
	for (const char *word = words; *word; word += strspn(word, " ")) {
		const size_t n = strcspn(word, " ");
		const char *at = name;
		while (at && (strncmp(at, word, n) || (at[n] && !strchr(" :", at[n]))))
			at = strchr(at, ' ') ? strchr(at, ' ') + 1 : NULL;
		if (!at)
			return false;
		word += n;
	}
	return true;
}

static bool is_exception(const char *name)
{
	bool is = false;
	for (int i = 0; i < n_exceptions; i++)
		if (has_words(name, exceptions[i]))
			needed[i] = is = true;
	return is;
}

/* 1 when what was promised is not there. */
static int end_instance(const struct instance *x)
{
	const bool lacks = x->loads < x->promise.loads;
	if (!x->name[0] || (!lacks && !x->spills) || is_exception(x->name))
		return 0;
	if (x->spills)
		fprintf(stderr, "%s: spills\n", x->name);
	if (lacks)
		fprintf(stderr, "%s: %d %s in flight, not %d\n", x->name, x->loads,
		        x->promise.to == IN_BULK ? "bulk copies" : "promised loads",
		        x->promise.loads);
	return 1;
}

static bool read_exceptions(const char *path)
{
	char line[MAX_NAME];
	FILE *file = fopen(path, "r");
	if (!file) {
		perror(path);
		return false;
	}
	while (n_exceptions < MAX_EXCEPTIONS && fgets(line, sizeof line, file)) {
		line[strcspn(line, "\n")] = '\0';
		if (line[0] && line[0] != '#')
			snprintf(exceptions[n_exceptions++], MAX_NAME, "%s", line);
	}
	fclose(file);
	return true;
}

/* Those of the kernel that `last` is an instance of. */
static int report_stale(const char *last)
{
	int n = 0;
	for (int i = 0; i < n_exceptions; i++)
		if (!needed[i] && !strncmp(exceptions[i], last, strcspn(last, " ") + 1)) {
			fprintf(stderr, "no exception any more, take it off the list: %s\n",
			        exceptions[i]);
			n++;
		}
	return n;
}

int main(int argc, char **argv)
{
	static struct instance x;
	char line[MAX_LINE], last[MAX_NAME] = "";
	int n = 0, n_promises = 0, n_bad = 0;
	if (argc < 2 || !read_exceptions(argv[1]))
		return 2;
	const bool only_bulk = argc > 2;
	while (fgets(line, sizeof line, stdin)) {
		char *comment = strstr(line, "*/");
		if (begins(line, ".text.")) {
			n_bad += end_instance(&x);
			begin_instance(line, &x);
			if (only_bulk && x.promise.to != IN_BULK)
				x.name[0] = '\0';
			n += x.name[0] != '\0';
			n_promises += x.name[0] && x.promise.loads > 0;
			memcpy(last, x.name, sizeof last);
		} else if (x.name[0] && comment) {
			split_instruction(&x, comment + 2);
		}
	}
	n_bad += end_instance(&x) + (only_bulk ? 0 : report_stale(last));
	printf("%d instances, %d with a promise of loads in flight; %d faults\n", n, n_promises,
	       n_bad);
	return (n == 0 && !only_bulk) || n_bad;
}
