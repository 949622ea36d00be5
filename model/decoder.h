/* A model ready to decode on a device: weights, state, and one captured plan per range of cache
 * lengths. */
#ifndef MODEL_DECODER_H
#define MODEL_DECODER_H

#include "model/plan.h"

struct decoder_options {
	int capacity; /* rows of the cache */
	int kv;       /* dtype of the cache */
	bool use_bias, use_tuned;
	bool unfused; /* norms, rotation and argmax as launches of their own, for comparison */
	bool serial;  /* each launch begins when the one before has ended, for comparison */
	bool graphs;  /* capture once and replay, instead of launching one by one */
	struct sampling sampling;
	bool quiet;
	/* see struct builder */
	const struct variant *(*find)(void *user, const struct kernel *kernel,
	                              const struct kase *kase, const struct shape *shape);
	void *find_user;
};

struct decoder {
	struct device *device;
	const struct model *model;
	struct decoder_options options;
	struct weights weights;
	struct state state;
	struct plan plans[PLAN_MAX_RANGES];
	struct graph *graphs[PLAN_MAX_RANGES];
	int n_plans;
	int position; /* of the next step, counted by the host to keep it inside the cache */
};

/* Watches a step that is launched one by one. Functions may be NULL. */
struct observer {
	bool traced; /* the attention instances are to report what they did */
	/* `token` as in decoder_step() */
	enum status (*begin)(void *context, const struct decoder *decoder, int token);
	enum status (*before)(void *context, const struct decoder *decoder,
	                      const struct launch *launch);
	enum status (*after)(void *context, const struct decoder *decoder,
	                     const struct launch *launch);
	void *context;
};

MUST_CHECK enum status decoder_open(struct device *device, const struct model *model,
                                    const struct decoder_options *options, struct decoder *decoder);
void decoder_close(struct decoder *decoder);

/* The plan as one graph. */
MUST_CHECK enum status decoder_capture(struct decoder *decoder, const struct plan *plan,
                                       struct graph **graph);

/* What the steps are, as CSVs name it: "tuned", "default eager", "tuned sampled". */
#define DECODER_WAY 40
const char *decoder_way(const struct decoder *decoder, char text[DECODER_WAY]);

/* Plan that runs a step at a position. */
const struct plan *decoder_plan(const struct decoder *decoder, int position);

/* One step on `token`, or with -1 on the one that the latest step chose. Fails when the cache is
 * full or the token is not in the vocabulary. With observers: one launch after the other. */
MUST_CHECK enum status decoder_step(struct decoder *decoder, int token,
                                    const struct observer *observers, int n_observers);
/* What the latest step chose, and its logits (vocab). */
MUST_CHECK enum status decoder_token(const struct decoder *decoder, int *token);
MUST_CHECK enum status decoder_logits(const struct decoder *decoder, float *logits);

/* Continues at `position`, as if that many tokens had been decoded; the cache is to be filled by
 * the caller. */
MUST_CHECK enum status decoder_seek(struct decoder *decoder, int position);
/* Fills rows [0, n) of every layer's cache with random values of unit scale and calls visit, unless
 * NULL, with what was written: key, then value, of one layer and head, n * head_dim elements of the
 * cache's dtype. */
MUST_CHECK enum status decoder_fill_cache(struct decoder *decoder, int n,
                                          void (*visit)(void *context, int layer, int head,
                                                        bool is_value, const void *rows),
                                          void *context);

#endif
