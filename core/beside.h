/* The weights of the product behind a launch whose own case names none. What runs next to it, in
 * the same shared memory and registers, decides which of its configurations is the fastest in a
 * whole step. Readable by C and C++. */
#ifndef CORE_BESIDE_H
#define CORE_BESIDE_H

#include "core/dtype.h"

/* Nothing is said, or beside weights of this type. */
#define BESIDE_VALUE(NAME, name, value, ...) BESIDE_##NAME = value + 1,
enum beside { BESIDE_NONE, DTYPES(BESIDE_VALUE) };

#define BESIDE_COUNT(...) +1
enum { N_BESIDE = 1 DTYPES(BESIDE_COUNT) };

#ifdef __cplusplus
extern "C" {
#endif

int beside_weights(int dtype);
/* Of the type; "" for BESIDE_NONE. */
const char *beside_name(int beside);
/* BESIDE_NONE when weights have no type of this name. */
int beside_parse(const char *name);
/* How far a row that was confirmed beside some weights is from a launch beside others: 0 where they
 * are the same or neither says anything, INFINITY where one does not, else 1 and |log| of the
 * quotient of their bytes. */
double beside_distance(int row, int launch);

#ifdef __cplusplus
}
#endif
#endif
