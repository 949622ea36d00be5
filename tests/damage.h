/* Hundreds of kinds of damage to a valid GGUF file of a Qwen2 model, always the same ones. */
#ifndef TESTS_DAMAGE_H
#define TESTS_DAMAGE_H

#include "tests/gguf_make.h"

struct damage {
	const char *name; /* "key qwen2.block_count: missing" */
	struct blob file;
	/* A part of the message with which loading the model must fail; NULL: it may as well
	 * succeed. */
	const char *says;
};

/* Calls visit for each kind. Returns their number. */
size_t damage_each(const struct gguf_make *valid,
                   void (*visit)(void *context, const struct damage *damage), void *context);

#endif
