#include "model/gguf.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utf8proc.h>

#define MAX_KEY          65535
#define MIN_PAIR_BYTES   (8 + 1 + 4 + 1)         /* length, key, type, value */
#define MIN_TENSOR_BYTES (8 + 1 + 4 + 8 + 4 + 8) /* length, name, n_dims, dim, type, offset */

static const struct {
	const char *name;
	size_t bytes; /* 0: varies */
} types[GGUF_TYPES] = {
        [GGUF_U8] = {"u8", 1},       [GGUF_I8] = {"i8", 1},     [GGUF_U16] = {"u16", 2},
        [GGUF_I16] = {"i16", 2},     [GGUF_U32] = {"u32", 4},   [GGUF_I32] = {"i32", 4},
        [GGUF_F32] = {"f32", 4},     [GGUF_BOOL] = {"bool", 1}, [GGUF_STRING] = {"string", 0},
        [GGUF_ARRAY] = {"array", 0}, [GGUF_U64] = {"u64", 8},   [GGUF_I64] = {"i64", 8},
        [GGUF_F64] = {"f64", 8},
};

/* Tensor types of ggml that dtype.h does not convert: a file may hold them, so that their sizes are
 * known. */
static const struct {
	int type;
	const char *name;
	size_t block, block_bytes;
} foreign[] = {
        {9, "q8_1", 32, 36},    {10, "q2_k", 256, 84}, {11, "q3_k", 256, 110},
        {15, "q8_k", 256, 292}, {24, "i8", 1, 1},      {25, "i16", 1, 2},
        {26, "i32", 1, 4},      {27, "i64", 1, 8},     {28, "f64", 1, 8},
};

#define N_FOREIGN (sizeof foreign / sizeof *foreign)

const char *gguf_type_name(enum gguf_type type)
{
	return (unsigned)type < GGUF_TYPES ? types[type].name : "?";
}

const char *gguf_tensor_type_name(int type)
{
	for (size_t i = 0; i < N_FOREIGN; i++)
		if (foreign[i].type == type)
			return foreign[i].name;
	return dtype_is_real(type) ? dtype_name(type) : "?";
}

/* *block is 0 for an unknown type. */
static void type_layout(int type, size_t *block, size_t *block_bytes)
{
	*block = *block_bytes = 0;
	for (size_t i = 0; i < N_FOREIGN; i++)
		if (foreign[i].type == type) {
			*block = foreign[i].block;
			*block_bytes = foreign[i].block_bytes;
		}
	if (dtype_is_real(type)) {
		*block = (size_t)dtype_block(type);
		*block_bytes = dtype_bytes(type, *block);
	}
}

/* Reading position. `where` names what is being read, for messages. */
struct cursor {
	const struct gguf *g;
	size_t at;
	char where[128];
};

static enum status take(struct cursor *c, uint64_t bytes, const uint8_t **data)
{
	*data = c->g->file + c->at;
	if (bytes > c->g->file_bytes - c->at)
		return fail(STATUS_FAILED, "%s: file ends inside %s", c->g->path, c->where);
	c->at += (size_t)bytes;
	return STATUS_OK;
}

static enum status take_u32(struct cursor *c, uint32_t *value)
{
	const uint8_t *data;
	enum status status = take(c, sizeof *value, &data);
	if (status == STATUS_OK)
		memcpy(value, data, sizeof *value);
	return status;
}

static enum status take_u64(struct cursor *c, uint64_t *value)
{
	const uint8_t *data;
	enum status status = take(c, sizeof *value, &data);
	if (status == STATUS_OK)
		memcpy(value, data, sizeof *value);
	return status;
}

static enum status take_string(struct cursor *c, struct gguf_string *string)
{
	enum status status;
	uint64_t len;
	const uint8_t *data;
	TRY(take_u64(c, &len));
	TRY(take(c, len, &data));
	*string = (struct gguf_string){(const char *)data, (size_t)len};
done:
	return status;
}

/* Keys and tensor names: 1 to max_len bytes of UTF-8 without control characters. */
static enum status take_name(struct cursor *c, size_t max_len, struct gguf_string *name)
{
	enum status status;
	TRY(take_string(c, name));
	if (name->len == 0 || name->len > max_len)
		return fail(STATUS_FAILED, "%s: %s has a name of %zu bytes, expected 1 to %zu",
		            c->g->path, c->where, name->len, max_len);
	for (size_t i = 0; i < name->len;) {
		utf8proc_int32_t code;
		utf8proc_ssize_t n = utf8proc_iterate((const uint8_t *)name->data + i,
		                                      (utf8proc_ssize_t)(name->len - i), &code);
		if (n < 1 || code < 0x20 || (code >= 0x7f && code < 0xa0))
			return fail(STATUS_FAILED, "%s: the name of %s is not plain UTF-8",
			            c->g->path, c->where);
		i += (size_t)n;
	}
done:
	return status;
}

static enum status map_file(const char *path, struct gguf *g)
{
	struct stat info;
	int file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0)
		return fail_errno(STATUS_FAILED, "%s", path);
	enum status status = STATUS_OK;
	if (fstat(file, &info))
		status = fail_errno(STATUS_FAILED, "%s", path);
	else if (!S_ISREG(info.st_mode))
		status = fail(STATUS_FAILED, "%s: not a regular file", path);
	else if (info.st_size == 0)
		status = fail(STATUS_FAILED, "%s: the file is empty", path);
	if (status == STATUS_OK) {
		void *map = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, file, 0);
		if (map == MAP_FAILED) {
			status = fail_errno(STATUS_FAILED, "%s: cannot map", path);
		} else {
			g->file = map;
			g->file_bytes = (size_t)info.st_size;
		}
	}
	close(file);
	return status;
}

static enum status read_header(struct cursor *c, struct gguf *g)
{
	enum status status;
	const uint8_t *magic;
	uint64_t n_tensors, n_pairs;
	if (g->file_bytes < 4 || memcmp(g->file, "GGUF", 4))
		return fail(STATUS_FAILED, "%s: not a GGUF file", g->path);
	TRY(take(c, 4, &magic));
	TRY(take_u32(c, &g->version));
	if (g->version && !(g->version & 0xffff))
		return fail(STATUS_UNSUPPORTED, "%s: big-endian GGUF is not supported", g->path);
	if (g->version != 2 && g->version != 3)
		return fail(STATUS_UNSUPPORTED, "%s: GGUF version %u is not supported, 2 and 3 are",
		            g->path, g->version);
	TRY(take_u64(c, &n_tensors));
	TRY(take_u64(c, &n_pairs));
	size_t left = g->file_bytes - c->at;
	if (n_pairs > left / MIN_PAIR_BYTES)
		return fail(STATUS_FAILED, "%s: claims %llu metadata keys in %zu bytes", g->path,
		            (unsigned long long)n_pairs, left);
	if (n_tensors > left / MIN_TENSOR_BYTES)
		return fail(STATUS_FAILED, "%s: claims %llu tensors in %zu bytes", g->path,
		            (unsigned long long)n_tensors, left);
	g->n_pairs = (size_t)n_pairs;
	g->n_tensors = (size_t)n_tensors;
	g->pairs = calloc(g->n_pairs + 1, sizeof *g->pairs);
	g->tensors = calloc(g->n_tensors + 1, sizeof *g->tensors);
	g->by_name = calloc(g->n_tensors + 1, sizeof *g->by_name);
	if (!g->pairs || !g->tensors || !g->by_name)
		return fail(STATUS_NO_MEMORY, "%s: out of memory", g->path);
done:
	return status;
}

static enum status read_elements(struct cursor *c, struct gguf_pair *pair, uint64_t count)
{
	enum status status = STATUS_OK;
	const uint8_t *data;
	struct gguf_string string;
	pair->data = c->g->file + c->at;
	pair->count = (size_t)count;
	if (pair->type == GGUF_STRING) {
		for (uint64_t i = 0; i < count; i++)
			TRY(take_string(c, &string));
		return STATUS_OK;
	}
	if (count > UINT64_MAX / 8)
		return fail(STATUS_FAILED, "%s: file ends inside %s", c->g->path, c->where);
	TRY(take(c, count * types[pair->type].bytes, &data));
done:
	return status;
}

static enum status read_type(struct cursor *c, enum gguf_type *type)
{
	enum status status;
	uint32_t value;
	TRY(take_u32(c, &value));
	if (value >= GGUF_TYPES)
		return fail(STATUS_FAILED, "%s: %s has the unknown type %u", c->g->path, c->where,
		            value);
	*type = (enum gguf_type)value;
done:
	return status;
}

static enum status read_pair(struct cursor *c, size_t index, struct gguf_pair *pair)
{
	enum status status;
	uint64_t count = 1;
	snprintf(c->where, sizeof c->where, "metadata key %zu", index);
	TRY(take_name(c, MAX_KEY, &pair->key));
	snprintf(c->where, sizeof c->where, "key '%.*s'", (int)pair->key.len, pair->key.data);
	TRY(read_type(c, &pair->type));
	if (pair->type == GGUF_ARRAY) {
		pair->is_array = true;
		TRY(read_type(c, &pair->type));
		if (pair->type == GGUF_ARRAY)
			return fail(STATUS_UNSUPPORTED, "%s: %s is an array of arrays", c->g->path,
			            c->where);
		TRY(take_u64(c, &count));
	}
	TRY(read_elements(c, pair, count));
done:
	return status;
}

static int compare_strings(struct gguf_string a, struct gguf_string b)
{
	int order = memcmp(a.data, b.data, a.len < b.len ? a.len : b.len);
	return order ? order : (a.len > b.len) - (a.len < b.len);
}

static int compare_pairs(const void *a, const void *b)
{
	const struct gguf_pair *x = a, *y = b;
	return compare_strings(x->key, y->key);
}

static enum status read_pairs(struct cursor *c, struct gguf *g)
{
	enum status status = STATUS_OK;
	for (size_t i = 0; i < g->n_pairs; i++)
		TRY(read_pair(c, i, &g->pairs[i]));
	qsort(g->pairs, g->n_pairs, sizeof *g->pairs, compare_pairs);
	for (size_t i = 1; i < g->n_pairs; i++)
		if (!compare_pairs(&g->pairs[i - 1], &g->pairs[i]))
			return fail(STATUS_FAILED, "%s: key '%.*s' appears twice", g->path,
			            (int)g->pairs[i].key.len, g->pairs[i].key.data);
done:
	return status;
}

/* count and bytes from dims and type. */
static enum status size_tensor(const struct gguf *g, struct gguf_tensor *t)
{
	uint64_t count = 1;
	size_t block, block_bytes, bytes;
	for (int d = 0; d < t->n_dims; d++) {
		if (t->dims[d] == 0)
			return fail(STATUS_FAILED, "%s: tensor '%s' has a dimension of 0", g->path,
			            t->name);
		if (__builtin_mul_overflow(count, t->dims[d], &count) || count > SIZE_MAX / 2)
			return fail(STATUS_FAILED, "%s: tensor '%s' has too many elements", g->path,
			            t->name);
	}
	t->count = (size_t)count;
	type_layout(t->type, &block, &block_bytes);
	if (!block)
		return STATUS_OK;
	if (t->dims[0] % block)
		return fail(STATUS_FAILED,
		            "%s: tensor '%s' of type %s has rows of %llu, not a multiple of %zu",
		            g->path, t->name, gguf_tensor_type_name(t->type),
		            (unsigned long long)t->dims[0], block);
	if (__builtin_mul_overflow(t->count / block, block_bytes, &bytes))
		return fail(STATUS_FAILED, "%s: tensor '%s' has too many elements", g->path,
		            t->name);
	t->bytes = bytes;
	return STATUS_OK;
}

static enum status read_tensor(struct cursor *c, size_t index, struct gguf_tensor *t)
{
	enum status status;
	struct gguf_string name;
	uint32_t n_dims, type;
	snprintf(c->where, sizeof c->where, "tensor %zu", index);
	TRY(take_name(c, GGUF_MAX_NAME, &name));
	memcpy(t->name, name.data, name.len);
	snprintf(c->where, sizeof c->where, "the description of tensor '%s'", t->name);
	TRY(take_u32(c, &n_dims));
	if (n_dims < 1 || n_dims > GGUF_MAX_DIMS)
		return fail(STATUS_FAILED, "%s: tensor '%s' has %u dimensions, expected 1 to %d",
		            c->g->path, t->name, n_dims, GGUF_MAX_DIMS);
	t->n_dims = (int)n_dims;
	for (int d = 0; d < GGUF_MAX_DIMS; d++)
		t->dims[d] = 1;
	for (int d = 0; d < t->n_dims; d++)
		TRY(take_u64(c, &t->dims[d]));
	TRY(take_u32(c, &type));
	TRY(take_u64(c, &t->offset));
	t->type = type > INT32_MAX ? -1 : (int)type;
	TRY(size_tensor(c->g, t));
done:
	return status;
}

static int compare_names(const void *a, const void *b)
{
	const struct gguf_tensor *const *x = a, *const *y = b;
	return strcmp((*x)->name, (*y)->name);
}

static int compare_offsets(const void *a, const void *b)
{
	const struct gguf_tensor *const *x = a, *const *y = b;
	return ((*x)->offset > (*y)->offset) - ((*x)->offset < (*y)->offset);
}

static enum status read_tensors(struct cursor *c, struct gguf *g)
{
	enum status status = STATUS_OK;
	for (size_t i = 0; i < g->n_tensors; i++) {
		TRY(read_tensor(c, i, &g->tensors[i]));
		g->by_name[i] = &g->tensors[i];
	}
done:
	return status;
}

/* Data pointers. The data section starts at the next multiple of the alignment. */
static enum status place_tensors(const struct cursor *c, struct gguf *g)
{
	enum status status;
	uint32_t alignment = GGUF_ALIGNMENT;
	TRY(gguf_u32(g, GGUF_OPTIONAL, "general.alignment", 8, 1u << 30, &alignment));
	if (alignment & (alignment - 1))
		return fail(STATUS_FAILED, "%s: key 'general.alignment' is %u, not a power of two",
		            g->path, alignment);
	size_t start = (c->at + alignment - 1) / alignment * alignment;
	for (size_t i = 0; i < g->n_tensors; i++) {
		struct gguf_tensor *t = &g->tensors[i];
		if (t->offset % alignment)
			return fail(STATUS_FAILED,
			            "%s: tensor '%s' starts at offset %llu, not a multiple of %u",
			            g->path, t->name, (unsigned long long)t->offset, alignment);
		if (start > g->file_bytes || t->offset > g->file_bytes - start ||
		    t->bytes > g->file_bytes - start - t->offset)
			return fail(STATUS_FAILED, "%s: file ends inside the data of tensor '%s'",
			            g->path, t->name);
		t->data = g->file + start + t->offset;
	}
done:
	return status;
}

/* Leaves by_name sorted by name. */
static enum status check_tensors(struct gguf *g)
{
	qsort(g->by_name, g->n_tensors, sizeof *g->by_name, compare_offsets);
	for (size_t i = 1; i < g->n_tensors; i++) {
		const struct gguf_tensor *a = g->by_name[i - 1], *b = g->by_name[i];
		if (a->bytes > b->offset - a->offset)
			return fail(STATUS_FAILED, "%s: tensors '%s' and '%s' overlap", g->path,
			            a->name, b->name);
	}
	qsort(g->by_name, g->n_tensors, sizeof *g->by_name, compare_names);
	for (size_t i = 1; i < g->n_tensors; i++)
		if (!compare_names(&g->by_name[i - 1], &g->by_name[i]))
			return fail(STATUS_FAILED, "%s: tensor '%s' appears twice", g->path,
			            g->by_name[i]->name);
	return STATUS_OK;
}

enum status gguf_open(const char *path, struct gguf *g)
{
	enum status status;
	struct cursor c = {.g = g, .where = "the header"};
	*g = (struct gguf){.path = strdup(path)};
	if (!g->path)
		return fail(STATUS_NO_MEMORY, "%s: out of memory", path);
	TRY(map_file(path, g));
	TRY(read_header(&c, g));
	TRY(read_pairs(&c, g));
	TRY(read_tensors(&c, g));
	TRY(place_tensors(&c, g));
	TRY(check_tensors(g));
done:
	if (status != STATUS_OK)
		gguf_close(g);
	return status;
}

void gguf_close(struct gguf *g)
{
	if (g->file)
		munmap((void *)(uintptr_t)g->file, g->file_bytes);
	free(g->pairs);
	free(g->tensors);
	free(g->by_name);
	free(g->path);
	*g = (struct gguf){0};
}

const struct gguf_pair *gguf_find(const struct gguf *g, const char *key)
{
	const struct gguf_pair wanted = {.key = {key, strlen(key)}};
	return bsearch(&wanted, g->pairs, g->n_pairs, sizeof *g->pairs, compare_pairs);
}

/* *pair is NULL when the key is missing and need not be there. */
static enum status find_pair(const struct gguf *g, enum gguf_need need, const char *key,
                             bool is_array, const struct gguf_pair **pair)
{
	*pair = gguf_find(g, key);
	if (!*pair && need == GGUF_REQUIRED)
		return fail(STATUS_FAILED, "%s: key '%s' is missing", g->path, key);
	if (*pair && (*pair)->is_array != is_array)
		return fail(STATUS_FAILED, "%s: key '%s' is %san array", g->path, key,
		            is_array ? "not " : "");
	return STATUS_OK;
}

static enum status wrong_type(const struct gguf *g, const struct gguf_pair *pair,
                              const char *expected)
{
	return fail(STATUS_FAILED, "%s: key '%.*s' has type %s, expected %s", g->path,
	            (int)pair->key.len, pair->key.data, gguf_type_name(pair->type), expected);
}

/* An integer as sign and magnitude, so that i64 and u64 both fit. */
struct integer {
	bool negative;
	uint64_t magnitude;
};

static bool load_integer(int type, const uint8_t **at, void *to)
{
	struct integer *integer = to;
	uint64_t bits = 0;
	int64_t value;
	memcpy(&bits, *at, types[type].bytes);
	*at += types[type].bytes;
	switch (type) {
	case GGUF_U8:
	case GGUF_U16:
	case GGUF_U32:
	case GGUF_U64:
		*integer = (struct integer){false, bits};
		return true;
	case GGUF_I8:
		value = (int8_t)bits;
		break;
	case GGUF_I16:
		value = (int16_t)bits;
		break;
	case GGUF_I32:
		value = (int32_t)bits;
		break;
	case GGUF_I64:
		value = (int64_t)bits;
		break;
	default:
		return false;
	}
	*integer = (struct integer){value < 0, value < 0 ? -(uint64_t)value : (uint64_t)value};
	return true;
}

/* A double beyond the range of float becomes infinite. */
static bool load_float(int type, const uint8_t **at, void *to)
{
	double wide;
	if (type != GGUF_F32 && type != GGUF_F64)
		return false;
	if (type == GGUF_F32) {
		memcpy(to, *at, sizeof(float));
	} else {
		memcpy(&wide, *at, sizeof wide);
		*(float *)to = (float)wide;
	}
	*at += types[type].bytes;
	return true;
}

static bool load_bool(int type, const uint8_t **at, void *to)
{
	if (type != GGUF_BOOL)
		return false;
	*(uint8_t *)to = *(*at)++;
	return true;
}

/* Lengths were checked by gguf_open. */
static bool load_string(int type, const uint8_t **at, void *to)
{
	uint64_t len;
	if (type != GGUF_STRING)
		return false;
	memcpy(&len, *at, sizeof len);
	*(struct gguf_string *)to =
	        (struct gguf_string){(const char *)*at + sizeof len, (size_t)len};
	*at += sizeof len + len;
	return true;
}

/* What a caller can ask for. load() reads the value of a file's type at *at, which moves behind it;
 * false when the type is of another kind. */
struct kind {
	const char *one, *many; /* as messages call them */
	size_t bytes;           /* of a loaded value */
	bool (*load)(int type, const uint8_t **at, void *to);
};
static const struct kind integers = {"an integer", "an array of integers", sizeof(struct integer),
                                     load_integer},
                         floats = {"f32", "an array of f32", sizeof(float), load_float},
                         bools = {"bool", "an array of bool", sizeof(uint8_t), load_bool},
                         strings = {"string", "an array of strings", sizeof(struct gguf_string),
                                    load_string};

/* The value of a key; *found is false, and *value untouched, when it is missing and need not be
 * there. */
static enum status get_one(const struct gguf *g, enum gguf_need need, const char *key,
                           const struct kind *kind, void *value, bool *found)
{
	enum status status;
	const struct gguf_pair *pair;
	TRY(find_pair(g, need, key, false, &pair));
	*found = pair != NULL;
	if (pair) {
		const uint8_t *at = pair->data;
		if (!kind->load(pair->type, &at, value))
			status = wrong_type(g, pair, kind->one);
	}
done:
	return status;
}

/* The values of an array, which the caller frees; *values and *n are untouched when it is missing
 * and need not be there. */
static enum status get_all(const struct gguf *g, enum gguf_need need, const char *key,
                           const struct kind *kind, void **values, size_t *n)
{
	enum status status;
	const struct gguf_pair *pair;
	char *memory = NULL;
	TRY(find_pair(g, need, key, true, &pair));
	if (!pair)
		return STATUS_OK;
	memory = calloc(pair->count + 1, kind->bytes);
	if (!memory)
		return fail(STATUS_NO_MEMORY, "%s: out of memory for key '%s'", g->path, key);
	const uint8_t *at = pair->data;
	for (size_t i = 0; i < pair->count; i++)
		if (!kind->load(pair->type, &at, memory + i * kind->bytes))
			TRY(wrong_type(g, pair, kind->many));
	*values = memory;
	*n = pair->count;
	memory = NULL;
done:
	free(memory);
	return status;
}

static enum status get_integer(const struct gguf *g, enum gguf_need need, const char *key,
                               uint64_t min, uint64_t max, uint64_t *value, bool *found)
{
	enum status status;
	struct integer i;
	TRY(get_one(g, need, key, &integers, &i, found));
	if (!*found)
		return STATUS_OK;
	if (i.negative || i.magnitude < min || i.magnitude > max)
		return fail(STATUS_FAILED, "%s: key '%s' is %s%llu, expected %llu to %llu", g->path,
		            key, i.negative ? "-" : "", (unsigned long long)i.magnitude,
		            (unsigned long long)min, (unsigned long long)max);
	*value = i.magnitude;
done:
	return status;
}

enum status gguf_u64(const struct gguf *g, enum gguf_need need, const char *key, uint64_t min,
                     uint64_t max, uint64_t *value)
{
	bool found;
	return get_integer(g, need, key, min, max, value, &found);
}

enum status gguf_u32(const struct gguf *g, enum gguf_need need, const char *key, uint32_t min,
                     uint32_t max, uint32_t *value)
{
	enum status status;
	uint64_t wide = 0;
	bool found;
	TRY(get_integer(g, need, key, min, max, &wide, &found));
	if (found)
		*value = (uint32_t)wide;
done:
	return status;
}

enum status gguf_f32(const struct gguf *g, enum gguf_need need, const char *key, float min,
                     float max, float *value)
{
	enum status status;
	float number;
	bool found;
	TRY(get_one(g, need, key, &floats, &number, &found));
	if (!found)
		return STATUS_OK;
	if (!(number >= min && number <= max))
		return fail(STATUS_FAILED, "%s: key '%s' is %g, expected %g to %g", g->path, key,
		            (double)number, (double)min, (double)max);
	*value = number;
done:
	return status;
}

enum status gguf_bool(const struct gguf *g, enum gguf_need need, const char *key, bool *value)
{
	enum status status;
	uint8_t byte;
	bool found;
	TRY(get_one(g, need, key, &bools, &byte, &found));
	if (!found)
		return STATUS_OK;
	if (byte > 1)
		return fail(STATUS_FAILED, "%s: key '%s' is %d, expected 0 or 1", g->path, key,
		            byte);
	*value = byte;
done:
	return status;
}

enum status gguf_string(const struct gguf *g, enum gguf_need need, const char *key,
                        struct gguf_string *value)
{
	bool found;
	return get_one(g, need, key, &strings, value, &found);
}

enum status gguf_strings(const struct gguf *g, enum gguf_need need, const char *key,
                         struct gguf_string **values, size_t *n)
{
	void *memory = NULL;
	enum status status = get_all(g, need, key, &strings, &memory, n);
	if (memory)
		*values = memory;
	return status;
}

enum status gguf_f32s(const struct gguf *g, enum gguf_need need, const char *key, float **values,
                      size_t *n)
{
	void *memory = NULL;
	enum status status = get_all(g, need, key, &floats, &memory, n);
	if (memory)
		*values = memory;
	return status;
}

enum status gguf_i32s(const struct gguf *g, enum gguf_need need, const char *key, int32_t **values,
                      size_t *n)
{
	enum status status;
	void *memory = NULL;
	size_t n_wide = 0;
	TRY(get_all(g, need, key, &integers, &memory, &n_wide));
	if (!memory)
		return STATUS_OK;
	/* an int32_t takes no more room than the integer it comes from: in place */
	const struct integer *wide = memory;
	int32_t *narrow = memory;
	for (size_t i = 0; i < n_wide; i++) {
		const struct integer from = wide[i];
		if (from.magnitude > INT32_MAX)
			TRY(fail(STATUS_FAILED, "%s: element %zu of key '%s' is %s%llu", g->path, i,
			         key, from.negative ? "-" : "",
			         (unsigned long long)from.magnitude));
		narrow[i] = from.negative ? -(int32_t)from.magnitude : (int32_t)from.magnitude;
	}
	*values = narrow;
	*n = n_wide;
	memory = NULL;
done:
	free(memory);
	return status;
}

static int compare_name_to(const void *name, const void *tensor)
{
	const struct gguf_tensor *const *t = tensor;
	return strcmp(name, (*t)->name);
}

const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, const char *name)
{
	const struct gguf_tensor **found =
	        bsearch(name, g->by_name, g->n_tensors, sizeof *g->by_name, compare_name_to);
	return found ? *found : NULL;
}

/* "[64 x 128]" */
static void format_dims(const struct gguf_tensor *t, char text[128])
{
	int at = 0;
	for (int d = 0; d < t->n_dims; d++)
		at += snprintf(text + at, (size_t)(128 - at), "%s%llu", d ? " x " : "[",
		               (unsigned long long)t->dims[d]);
	snprintf(text + at, (size_t)(128 - at), "]");
}

enum status gguf_matrix(const struct gguf *g, enum gguf_need need, const char *name, uint64_t cols,
                        uint64_t rows, const struct gguf_tensor **tensor)
{
	const struct gguf_tensor *t = *tensor = gguf_find_tensor(g, name);
	char dims[128];
	if (!t && need == GGUF_OPTIONAL)
		return STATUS_OK;
	if (!t)
		return fail(STATUS_FAILED, "%s: tensor '%s' is missing", g->path, name);
	if (!dtype_is_real(t->type))
		return fail(STATUS_UNSUPPORTED, "%s: tensor '%s' has the unsupported type %s (%d)",
		            g->path, name, gguf_tensor_type_name(t->type), t->type);
	if (t->dims[0] != cols || t->dims[1] != rows || t->dims[2] != 1 || t->dims[3] != 1) {
		format_dims(t, dims);
		return fail(STATUS_FAILED, "%s: tensor '%s' is %s, expected [%llu x %llu]", g->path,
		            name, dims, (unsigned long long)cols, (unsigned long long)rows);
	}
	return STATUS_OK;
}
