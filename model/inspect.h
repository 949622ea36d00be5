/* --inspect: what the tensors of a model hold. */
#ifndef MODEL_INSPECT_H
#define MODEL_INSPECT_H

#include <stdio.h>

#include "model/model.h"

/* A table: type, shape, least, largest, mean, deviation, outliers, NaN and infinities; QKV biases
 * first. STATUS_VIOLATION when any value is not finite. */
MUST_CHECK enum status inspect(const struct model *model, FILE *to);

#endif
