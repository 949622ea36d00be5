/* Writes a GGUF file of version 3 from front to back: keys, what tensors there are, their data in
 * the same order. It takes its place when all of it is there. What cannot be written is kept and
 * fails the next function that returns a status. */
#ifndef MODEL_GGUF_WRITE_H
#define MODEL_GGUF_WRITE_H

#include "core/replace.h"
#include "model/gguf.h"

struct gguf_writer {
	struct replacement out;
	int error;       /* errno of the first failure */
	uint64_t at;     /* in the file */
	uint64_t offset; /* of the next tensor, in the data section */
	uint64_t n_tensors, n_pairs;
};

MUST_CHECK enum status gguf_create(const char *path, struct gguf_writer *w);

void gguf_put_u32(struct gguf_writer *w, const char *key, uint32_t value);
void gguf_put_f32(struct gguf_writer *w, const char *key, float value);
void gguf_put_bool(struct gguf_writer *w, const char *key, bool value);
void gguf_put_string(struct gguf_writer *w, const char *key, const char *value);
/* An array; n elements follow. */
void gguf_put_array(struct gguf_writer *w, const char *key, enum gguf_type type, uint64_t n);
void gguf_put_element_i32(struct gguf_writer *w, int32_t value);
void gguf_put_element_string(struct gguf_writer *w, const char *value);

/* One row: a vector. */
void gguf_put_tensor(struct gguf_writer *w, const char *name, int dtype, uint64_t cols,
                     uint64_t rows);

/* Data of the tensors that were put, in their order; zeros up to the alignment come before each and
 * behind the last. */
void gguf_align(struct gguf_writer *w);
MUST_CHECK enum status gguf_write_data(struct gguf_writer *w, const void *data, size_t bytes);

MUST_CHECK enum status gguf_commit(struct gguf_writer *w);
/* Removes what was not committed. */
void gguf_writer_close(struct gguf_writer *w);

#endif
