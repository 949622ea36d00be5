/* GGUF files, versions 2 and 3, little-endian, mapped read-only. Opening checks every count, length
 * and offset against the file, so what is reached through this interface lies inside it. Failures
 * name the file and the key or tensor. */
#ifndef MODEL_GGUF_H
#define MODEL_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/dtype.h"
#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum gguf_type {
	GGUF_U8,
	GGUF_I8,
	GGUF_U16,
	GGUF_I16,
	GGUF_U32,
	GGUF_I32,
	GGUF_F32,
	GGUF_BOOL,
	GGUF_STRING,
	GGUF_ARRAY,
	GGUF_U64,
	GGUF_I64,
	GGUF_F64,
	GGUF_TYPES,
};

/* Bytes inside the mapped file, not terminated; print with "%.*s". */
struct gguf_string {
	const char *data;
	size_t len;
};

/* One metadata key. A scalar is an array of one element. */
struct gguf_pair {
	struct gguf_string key;
	bool is_array;
	enum gguf_type type; /* of the elements */
	size_t count;        /* of elements */
	const uint8_t *data; /* first element, unaligned; strings: u64 length, then the bytes */
};

#define GGUF_ALIGNMENT 32 /* of tensor data, where general.alignment is missing */
#define GGUF_MAX_DIMS  4
#define GGUF_MAX_NAME  64

struct gguf_tensor {
	char name[GGUF_MAX_NAME + 1];
	int type; /* ggml's; one of enum dtype when the tensor can be read */
	int n_dims;
	uint64_t dims[GGUF_MAX_DIMS]; /* contiguous one first; 1 beyond n_dims */
	uint64_t offset;              /* from the start of the data section */
	size_t count;                 /* elements */
	size_t bytes;                 /* 0 for a type whose size is not known */
	const void *data;
};

struct gguf {
	char *path;
	const uint8_t *file;
	size_t file_bytes;
	uint32_t version;
	size_t n_pairs, n_tensors;
	struct gguf_pair *pairs;            /* sorted by key */
	struct gguf_tensor *tensors;        /* in the file's order */
	const struct gguf_tensor **by_name; /* sorted */
};

/* After a failure *g is zeroed. */
MUST_CHECK enum status gguf_open(const char *path, struct gguf *g);
void gguf_close(struct gguf *g);

/* Of a metadata type ("u32") and of a tensor type ("q4_k"); "?" when unknown. */
const char *gguf_type_name(enum gguf_type type);
const char *gguf_tensor_type_name(int type);

const struct gguf_pair *gguf_find(const struct gguf *g, const char *key);

/* A missing key is an error, or leaves the value as it was. */
enum gguf_need {
	GGUF_REQUIRED,
	GGUF_OPTIONAL,
};

/* Any integer type is accepted when the value is in [min, max]; any floating-point type likewise,
 * which NaN never is. */
MUST_CHECK enum status gguf_u32(const struct gguf *g, enum gguf_need need, const char *key,
                                uint32_t min, uint32_t max, uint32_t *value);
MUST_CHECK enum status gguf_u64(const struct gguf *g, enum gguf_need need, const char *key,
                                uint64_t min, uint64_t max, uint64_t *value);
MUST_CHECK enum status gguf_f32(const struct gguf *g, enum gguf_need need, const char *key,
                                float min, float max, float *value);
MUST_CHECK enum status gguf_bool(const struct gguf *g, enum gguf_need need, const char *key,
                                 bool *value);
MUST_CHECK enum status gguf_string(const struct gguf *g, enum gguf_need need, const char *key,
                                   struct gguf_string *value);

/* Arrays, to be freed by the caller; integers and floats are converted as above. An empty array is
 * *n == 0 and a pointer that may be freed. */
MUST_CHECK enum status gguf_strings(const struct gguf *g, enum gguf_need need, const char *key,
                                    struct gguf_string **values, size_t *n);
MUST_CHECK enum status gguf_i32s(const struct gguf *g, enum gguf_need need, const char *key,
                                 int32_t **values, size_t *n);
MUST_CHECK enum status gguf_f32s(const struct gguf *g, enum gguf_need need, const char *key,
                                 float **values, size_t *n);

/* The tensor if it is there and of a type that dtype.h reads, else a failure (a missing optional
 * one: OK and NULL). It has `rows` rows of `cols` contiguous elements; a vector is one row. */
MUST_CHECK enum status gguf_matrix(const struct gguf *g, enum gguf_need need, const char *name,
                                   uint64_t cols, uint64_t rows, const struct gguf_tensor **tensor);

/* NULL when there is none. Its type may be one that cannot be read. */
const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, const char *name);

#ifdef __cplusplus
}
#endif
#endif
