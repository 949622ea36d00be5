/* Contents of random tensors, made directly in the file's layout. */
#ifndef MODEL_RANDOM_H
#define MODEL_RANDOM_H

#include "model/model.h"

/* Of the tensor's name. */
uint64_t random_seed(const char *name);

/* One row, from seed and row number alone. Quants are uniform; k-quants have scales and minima that
 * differ by up to a factor of 2, so that no two are taken for each other unnoticed. */
void random_row(const struct tensor *tensor, size_t row, uint8_t *to);

#endif
