/* Whole models against the oracle's logits and ids (tests/oracle), for tests with cmocka: what
 * cannot be read or run fails the test, what is different is the answer false and, in `why`, where.
 */
#ifndef TESTS_GOLDEN_H
#define TESTS_GOLDEN_H

#include "model/decoder.h"
#include "model/prefill.h"

#define GOLDEN_WHY 256

struct golden_run {
	struct device *device;
	bool use_tuned, graphs, unfused;
	int chunk;     /* tokens of the prompt at a time; 0: one by one */
	int product;   /* dtype of the operands then */
	int positions; /* to decode at most; 0: all that the oracle did */
	/* see struct builder */
	const struct variant *(*find)(void *user, const struct kernel *kernel,
	                              const struct kase *kase, const struct shape *shape);
	void *find_user;
};

/* Number of fixtures. Changes to the folder of the project; a build that was carried elsewhere is
 * to be run in it. */
int golden_open(void);
void golden_close(void);

/* Logits and greedy ids of a fixture, with a cache of f32, so that f32 rounding alone separates the
 * two. When they are right `why` says how nearly. */
bool golden_fixture(const struct golden_run *run, int row, char why[GOLDEN_WHY]);

/* The bundled model, with a cache of bf16: answers that stand up to 200 tokens back. */
bool golden_answers(const struct golden_run *run, char why[GOLDEN_WHY]);

/* By how much logits, and an element of the cache's keys or values of a layer, may differ between
 * two ways of computing in f32, of which one may have had bf16 as operands of its products: then
 * `logits` are looked at. */
double golden_logit_tolerance(const struct model *model, int positions, int product,
                              const float *logits);
double golden_cache_tolerance(const struct model *model, int layer, bool is_value, int positions,
                              int product);

/* So that ids are really compared. */
void golden_margins_exceed_tolerance(void);

#endif
