/* Writes GGUF files for tests, right and wrong ones alike: every field can be replaced before
 * writing, and the file's bytes afterwards, because writing records where each field went. */
#ifndef TESTS_GGUF_MAKE_H
#define TESTS_GGUF_MAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct blob {
	uint8_t *data;
	size_t n, capacity;
};

void blob_add(struct blob *b, const void *data, size_t n);
void blob_free(struct blob *b);

struct made_pair {
	struct blob key;
	uint32_t type;
	struct blob value;            /* of arrays with element type and count */
	size_t at, type_at, value_at; /* in the written file; `at` is where the key's length is */
};

#define MADE_DIMS 8

struct made_tensor {
	struct blob name;
	uint32_t n_dims, type;
	uint64_t dims[MADE_DIMS];
	uint64_t offset; /* set by make_write */
	struct blob data;
	size_t at, n_dims_at, dims_at, type_at, offset_at, data_at;
};

#define MADE_PAIRS   64
#define MADE_TENSORS 64

struct gguf_make {
	uint32_t version, alignment;
	struct made_pair pairs[MADE_PAIRS];
	struct made_tensor tensors[MADE_TENSORS];
	size_t n_pairs, n_tensors;
	size_t tensors_at, data_at; /* in the written file */
};

void make_open(struct gguf_make *m);
void make_close(struct gguf_make *m);

/* Each adds a key, or replaces the one of that name. */
void make_raw(struct gguf_make *m, const char *key, uint32_t type, const void *value, size_t bytes);
void make_u32(struct gguf_make *m, const char *key, uint32_t value);
void make_u64(struct gguf_make *m, const char *key, uint64_t value);
void make_i32(struct gguf_make *m, const char *key, int32_t value);
void make_f32(struct gguf_make *m, const char *key, float value);
void make_bool(struct gguf_make *m, const char *key, bool value);
void make_string(struct gguf_make *m, const char *key, const char *value);
void make_strings(struct gguf_make *m, const char *key, const char *const *values, size_t n);
void make_array(struct gguf_make *m, const char *key, uint32_t type, const void *values, size_t n,
                size_t element_bytes);

/* A matrix of random values with this deviation about this mean; rows == 0 makes a vector. */
struct made_tensor *make_tensor(struct gguf_make *m, const char *name, int dtype, uint64_t cols,
                                uint64_t rows, float mean, float deviation);

struct made_pair *make_find(struct gguf_make *m, const char *key);
struct made_tensor *make_find_tensor(struct gguf_make *m, const char *name);
void make_remove(struct gguf_make *m, struct made_pair *pair);
void make_remove_tensor(struct gguf_make *m, struct made_tensor *tensor);
/* Adds a second one. */
void make_repeat(struct gguf_make *m, const struct made_pair *pair);
void make_repeat_tensor(struct gguf_make *m, const struct made_tensor *tensor);

/* A whole Qwen2: 2 layers, hidden 64, 2 heads on 1, every type of blocks of 32, byte-level
 * vocabulary with some merges. */
void make_qwen2(struct gguf_make *m);
/* Its vocabulary alone: 256 bytes, merges, three special tokens. */
void make_vocabulary(struct gguf_make *m);
/* The UTF-8 text by which byte-level BPE writes a byte. */
void make_byte_text(int byte, char text[4]);

/* A valid file as what would write it. False when it cannot be read or has too many keys or
 * tensors. */
bool make_load(struct gguf_make *m, const char *path);

void make_write(struct gguf_make *m, struct blob *file);
/* Aborts when the file cannot be written. */
void blob_save(const struct blob *b, const char *path);

#endif
