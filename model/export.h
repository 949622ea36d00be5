/* A model with random weights as a GGUF file, for programs that read nothing else. */
#ifndef MODEL_EXPORT_H
#define MODEL_EXPORT_H

#include "model/model.h"

/* The same weights to the last bit, and a vocabulary of the right size: bytes, words of 2 to 4
 * small letters merged from their halves, special tokens, padding. */
MUST_CHECK enum status export_gguf(const struct model *model, const char *path, bool quiet);

#endif
