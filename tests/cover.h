/* Few instances of a kernel in which every value of its fields and tunables occurs, or every legal
 * pair of values of two of them. */
#ifndef TESTS_COVER_H
#define TESTS_COVER_H

#include "core/kernel.h"

struct cover {
	struct kase *kases;
	struct config *configs;
	int n;
};

/* The same set each time. Exits when there is no memory. */
struct cover cover_values(const struct kernel *kernel, struct target target);
struct cover cover_pairs(const struct kernel *kernel, struct target target);
void cover_close(struct cover *cover);

#endif
