#include "tests/gguf_make.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/dtype.h"
#include "model/gguf.h"

static void *must(void *memory)
{
	if (!memory)
		abort();
	return memory;
}

void blob_add(struct blob *b, const void *data, size_t n)
{
	if (b->n + n > b->capacity) {
		b->capacity = 2 * (b->n + n) + 64;
		b->data = must(realloc(b->data, b->capacity));
	}
	if (n)
		memcpy(b->data + b->n, data, n);
	b->n += n;
}

void blob_free(struct blob *b)
{
	free(b->data);
	*b = (struct blob){0};
}

static void add_u32(struct blob *b, uint32_t value)
{
	blob_add(b, &value, sizeof value);
}

static void add_u64(struct blob *b, uint64_t value)
{
	blob_add(b, &value, sizeof value);
}

static void add_string(struct blob *b, const void *data, size_t n)
{
	add_u64(b, n);
	blob_add(b, data, n);
}

static struct blob copy_of(const struct blob *b)
{
	struct blob copy = {0};
	blob_add(&copy, b->data, b->n);
	return copy;
}

static bool is_named(const struct blob *b, const char *name)
{
	return b->n == strlen(name) && !memcmp(b->data, name, b->n);
}

void make_open(struct gguf_make *m)
{
	*m = (struct gguf_make){.version = 3, .alignment = 32};
}

void make_close(struct gguf_make *m)
{
	while (m->n_pairs)
		make_remove(m, m->pairs);
	while (m->n_tensors)
		make_remove_tensor(m, m->tensors);
}

struct made_pair *make_find(struct gguf_make *m, const char *key)
{
	for (size_t i = 0; i < m->n_pairs; i++)
		if (is_named(&m->pairs[i].key, key))
			return &m->pairs[i];
	return NULL;
}

struct made_tensor *make_find_tensor(struct gguf_make *m, const char *name)
{
	for (size_t i = 0; i < m->n_tensors; i++)
		if (is_named(&m->tensors[i].name, name))
			return &m->tensors[i];
	return NULL;
}

static struct made_pair *new_pair(struct gguf_make *m)
{
	if (m->n_pairs == MADE_PAIRS)
		abort();
	struct made_pair *p = &m->pairs[m->n_pairs++];
	*p = (struct made_pair){0};
	return p;
}

static struct made_tensor *new_tensor(struct gguf_make *m)
{
	if (m->n_tensors == MADE_TENSORS)
		abort();
	struct made_tensor *t = &m->tensors[m->n_tensors++];
	*t = (struct made_tensor){0};
	return t;
}

void make_remove(struct gguf_make *m, struct made_pair *pair)
{
	blob_free(&pair->key);
	blob_free(&pair->value);
	memmove(pair, pair + 1, (size_t)(m->pairs + m->n_pairs - pair - 1) * sizeof *pair);
	m->n_pairs--;
}

void make_remove_tensor(struct gguf_make *m, struct made_tensor *tensor)
{
	blob_free(&tensor->name);
	blob_free(&tensor->data);
	memmove(tensor, tensor + 1,
	        (size_t)(m->tensors + m->n_tensors - tensor - 1) * sizeof *tensor);
	m->n_tensors--;
}

void make_repeat(struct gguf_make *m, const struct made_pair *pair)
{
	struct made_pair *copy = new_pair(m);
	*copy = *pair;
	copy->key = copy_of(&pair->key);
	copy->value = copy_of(&pair->value);
}

void make_repeat_tensor(struct gguf_make *m, const struct made_tensor *tensor)
{
	struct made_tensor *copy = new_tensor(m);
	*copy = *tensor;
	copy->name = copy_of(&tensor->name);
	copy->data = copy_of(&tensor->data);
}

void make_raw(struct gguf_make *m, const char *key, uint32_t type, const void *value, size_t bytes)
{
	struct made_pair *p = make_find(m, key);
	if (!p) {
		p = new_pair(m);
		blob_add(&p->key, key, strlen(key));
	}
	struct blob old = p->value; /* freed last: `value` may lie in it */
	p->type = type;
	p->value = (struct blob){0};
	blob_add(&p->value, value, bytes);
	blob_free(&old);
}

void make_u32(struct gguf_make *m, const char *key, uint32_t value)
{
	make_raw(m, key, GGUF_U32, &value, sizeof value);
}

void make_u64(struct gguf_make *m, const char *key, uint64_t value)
{
	make_raw(m, key, GGUF_U64, &value, sizeof value);
}

void make_i32(struct gguf_make *m, const char *key, int32_t value)
{
	make_raw(m, key, GGUF_I32, &value, sizeof value);
}

void make_f32(struct gguf_make *m, const char *key, float value)
{
	make_raw(m, key, GGUF_F32, &value, sizeof value);
}

void make_bool(struct gguf_make *m, const char *key, bool value)
{
	make_raw(m, key, GGUF_BOOL, &value, 1);
}

void make_string(struct gguf_make *m, const char *key, const char *value)
{
	struct blob b = {0};
	add_string(&b, value, strlen(value));
	make_raw(m, key, GGUF_STRING, b.data, b.n);
	blob_free(&b);
}

void make_strings(struct gguf_make *m, const char *key, const char *const *values, size_t n)
{
	struct blob b = {0};
	add_u32(&b, GGUF_STRING);
	add_u64(&b, n);
	for (size_t i = 0; i < n; i++)
		add_string(&b, values[i], strlen(values[i]));
	make_raw(m, key, GGUF_ARRAY, b.data, b.n);
	blob_free(&b);
}

void make_array(struct gguf_make *m, const char *key, uint32_t type, const void *values, size_t n,
                size_t element_bytes)
{
	struct blob b = {0};
	add_u32(&b, type);
	add_u64(&b, n);
	blob_add(&b, values, n * element_bytes);
	make_raw(m, key, GGUF_ARRAY, b.data, b.n);
	blob_free(&b);
}

/* Uniform, with this deviation; from the tensor's name, so that equal calls make equal tensors. */
static void fill(float *values, size_t n, const char *name, float mean, float deviation)
{
	uint32_t state = 2166136261;
	for (; *name; name++)
		state = (state ^ (uint8_t)*name) * 16777619;
	for (size_t i = 0; i < n; i++) {
		state = state * 1664525 + 1013904223;
		values[i] = mean + deviation * 1.7320508f * ((float)(state >> 8) / 0x1p23f - 1);
	}
}

struct made_tensor *make_tensor(struct gguf_make *m, const char *name, int dtype, uint64_t cols,
                                uint64_t rows, float mean, float deviation)
{
	struct made_tensor *t = new_tensor(m);
	size_t n = (size_t)(cols * (rows ? rows : 1)), bytes = dtype_bytes(dtype, n);
	float *values = must(malloc(n * sizeof *values));
	void *stored = must(malloc(bytes));
	fill(values, n, name, mean, deviation);
	dtype_from_f32(dtype, values, stored, n);
	blob_add(&t->name, name, strlen(name));
	blob_add(&t->data, stored, bytes);
	t->type = (uint32_t)dtype;
	t->n_dims = rows ? 2 : 1;
	t->dims[0] = cols;
	t->dims[1] = rows;
	free(stored);
	free(values);
	return t;
}

void make_byte_text(int byte, char text[4])
{
	int code = byte;
	if (byte <= ' ')
		code = 0x100 + byte;
	else if (byte >= 0x7f && byte <= 0xa0)
		code = 0x121 + byte - 0x7f;
	else if (byte == 0xad)
		code = 0x143;
	if (code < 0x80)
		snprintf(text, 4, "%c", code);
	else
		snprintf(text, 4, "%c%c", 0xc0 | code >> 6, 0x80 | (code & 0x3f));
}

static const char *const merges[] = {
        "t h",       "th e", "\u0120 the", "a a", "aa aa",
        "aaaa aaaa", "i n",  "\u0120 a",   "e r", "\u0120 \u0120",
};
static const char *const merged[] = {
        "th", "the", "\u0120the", "aa", "aaaa", "aaaaaaaa", "in", "\u0120a", "er", "\u0120\u0120",
};
static const char *const specials[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};

#define N_MERGES   (sizeof merges / sizeof *merges)
#define N_SPECIALS (sizeof specials / sizeof *specials)
#define N_TOKENS   (256 + N_MERGES + N_SPECIALS)

void make_vocabulary(struct gguf_make *m)
{
	char bytes[256][4];
	const char *tokens[N_TOKENS];
	int32_t types[N_TOKENS];
	for (size_t i = 0; i < N_TOKENS; i++) {
		bool special = i >= 256 + N_MERGES;
		types[i] = special ? 3 : 1;
		if (i < 256) {
			make_byte_text((int)i, bytes[i]);
			tokens[i] = bytes[i];
		} else {
			tokens[i] = special ? specials[i - 256 - N_MERGES] : merged[i - 256];
		}
	}
	make_string(m, "tokenizer.ggml.model", "gpt2");
	make_string(m, "tokenizer.ggml.pre", "qwen2");
	make_strings(m, "tokenizer.ggml.tokens", tokens, N_TOKENS);
	make_array(m, "tokenizer.ggml.token_type", GGUF_I32, types, N_TOKENS, sizeof *types);
	make_strings(m, "tokenizer.ggml.merges", merges, N_MERGES);
	make_u32(m, "tokenizer.ggml.bos_token_id", N_TOKENS - 3);
	make_u32(m, "tokenizer.ggml.eos_token_id", N_TOKENS - 1);
	make_bool(m, "tokenizer.ggml.add_bos_token", false);
}

#define HIDDEN 64
#define KV     32
#define FFN    96

void make_qwen2(struct gguf_make *m)
{
	static const struct {
		const char *name;
		int dtypes[2]; /* in the first layer, in the second */
		uint64_t cols, rows;
	} layer[] = {
	        {"attn_norm.weight", {DTYPE_F32, DTYPE_F32}, HIDDEN, 0},
	        {"attn_q.weight", {DTYPE_BF16, DTYPE_Q5_0}, HIDDEN, HIDDEN},
	        {"attn_k.weight", {DTYPE_BF16, DTYPE_Q5_0}, HIDDEN, KV},
	        {"attn_v.weight", {DTYPE_BF16, DTYPE_Q8_0}, HIDDEN, KV},
	        {"attn_q.bias", {DTYPE_F32, DTYPE_F32}, HIDDEN, 0},
	        {"attn_k.bias", {DTYPE_F32, DTYPE_F32}, KV, 0},
	        {"attn_v.bias", {DTYPE_F32, DTYPE_F32}, KV, 0},
	        {"attn_output.weight", {DTYPE_F16, DTYPE_Q4_1}, HIDDEN, HIDDEN},
	        {"ffn_norm.weight", {DTYPE_F32, DTYPE_F32}, HIDDEN, 0},
	        {"ffn_gate.weight", {DTYPE_F32, DTYPE_Q4_0}, HIDDEN, FFN},
	        {"ffn_up.weight", {DTYPE_F32, DTYPE_Q4_0}, HIDDEN, FFN},
	        {"ffn_down.weight", {DTYPE_Q8_0, DTYPE_Q5_1}, FFN, HIDDEN},
	};
	char name[GGUF_MAX_NAME];
	make_string(m, "general.architecture", "qwen2");
	make_string(m, "general.name", "made for tests");
	make_u32(m, "general.alignment", 32);
	make_u32(m, "qwen2.block_count", 2);
	make_u32(m, "qwen2.context_length", 128);
	make_u32(m, "qwen2.embedding_length", HIDDEN);
	make_u32(m, "qwen2.feed_forward_length", FFN);
	make_u32(m, "qwen2.attention.head_count", 2);
	make_u32(m, "qwen2.attention.head_count_kv", 1);
	make_f32(m, "qwen2.attention.layer_norm_rms_epsilon", 1e-6f);
	make_f32(m, "qwen2.rope.freq_base", 10000);
	make_vocabulary(m);
	make_tensor(m, "token_embd.weight", DTYPE_Q8_0, HIDDEN, N_TOKENS, 0, 0.1f);
	for (int l = 0; l < 2; l++)
		for (size_t i = 0; i < sizeof layer / sizeof *layer; i++) {
			bool norm = strstr(layer[i].name, "norm");
			snprintf(name, sizeof name, "blk.%d.%s", l, layer[i].name);
			make_tensor(m, name, layer[i].dtypes[l], layer[i].cols, layer[i].rows, norm,
			            0.1f);
		}
	make_tensor(m, "output_norm.weight", DTYPE_F32, HIDDEN, 0, 1, 0.1f);
	make_tensor(m, "output.weight", DTYPE_F16, HIDDEN, N_TOKENS, 0, 0.1f);
}

static size_t value_bytes(const struct gguf_pair *p)
{
	static const size_t bytes[GGUF_TYPES] = {
	        [GGUF_U8] = 1,  [GGUF_I8] = 1,  [GGUF_U16] = 2, [GGUF_I16] = 2,
	        [GGUF_U32] = 4, [GGUF_I32] = 4, [GGUF_F32] = 4, [GGUF_BOOL] = 1,
	        [GGUF_U64] = 8, [GGUF_I64] = 8, [GGUF_F64] = 8,
	};
	if (p->type != GGUF_STRING)
		return p->count * bytes[p->type];
	const uint8_t *end = p->data;
	for (size_t i = 0; i < p->count; i++) {
		uint64_t len;
		memcpy(&len, end, sizeof len);
		end += sizeof len + len;
	}
	return (size_t)(end - p->data);
}

static void load_pair(struct gguf_make *m, const struct gguf_pair *from)
{
	struct made_pair *p = new_pair(m);
	blob_add(&p->key, from->key.data, from->key.len);
	p->type = from->is_array ? GGUF_ARRAY : from->type;
	if (from->is_array) {
		add_u32(&p->value, from->type);
		add_u64(&p->value, from->count);
	}
	blob_add(&p->value, from->data, value_bytes(from));
}

bool make_load(struct gguf_make *m, const char *path)
{
	struct gguf g;
	make_open(m);
	if (gguf_open(path, &g) != STATUS_OK)
		return false;
	bool fits = g.n_pairs < MADE_PAIRS && g.n_tensors < MADE_TENSORS;
	m->version = g.version;
	if (gguf_u32(&g, GGUF_OPTIONAL, "general.alignment", 8, 1u << 20, &m->alignment))
		fits = false;
	for (size_t i = 0; fits && i < g.n_pairs; i++)
		load_pair(m, &g.pairs[i]);
	for (size_t i = 0; fits && i < g.n_tensors; i++) {
		const struct gguf_tensor *from = &g.tensors[i];
		struct made_tensor *t = new_tensor(m);
		blob_add(&t->name, from->name, strlen(from->name));
		t->n_dims = (uint32_t)from->n_dims;
		t->type = (uint32_t)from->type;
		memcpy(t->dims, from->dims, sizeof from->dims);
		blob_add(&t->data, from->data, from->bytes);
	}
	gguf_close(&g);
	return fits;
}

static void align(struct blob *file, size_t alignment)
{
	static const uint8_t zeros[256];
	while (alignment && file->n % alignment) {
		size_t left = alignment - file->n % alignment;
		blob_add(file, zeros, left < sizeof zeros ? left : sizeof zeros);
	}
}

void make_write(struct gguf_make *m, struct blob *file)
{
	uint64_t offset = 0;
	*file = (struct blob){0};
	blob_add(file, "GGUF", 4);
	add_u32(file, m->version);
	add_u64(file, m->n_tensors);
	add_u64(file, m->n_pairs);
	for (size_t i = 0; i < m->n_pairs; i++) {
		struct made_pair *p = &m->pairs[i];
		p->at = file->n;
		add_string(file, p->key.data, p->key.n);
		p->type_at = file->n;
		add_u32(file, p->type);
		p->value_at = file->n;
		blob_add(file, p->value.data, p->value.n);
	}
	m->tensors_at = file->n;
	for (size_t i = 0; i < m->n_tensors; i++) {
		struct made_tensor *t = &m->tensors[i];
		t->offset = offset;
		offset += (t->data.n + m->alignment - 1) / m->alignment * m->alignment;
		t->at = file->n;
		add_string(file, t->name.data, t->name.n);
		t->n_dims_at = file->n;
		add_u32(file, t->n_dims);
		t->dims_at = file->n;
		for (uint32_t d = 0; d < t->n_dims && d < MADE_DIMS; d++)
			add_u64(file, t->dims[d]);
		t->type_at = file->n;
		add_u32(file, t->type);
		t->offset_at = file->n;
		add_u64(file, t->offset);
	}
	align(file, m->alignment);
	m->data_at = file->n;
	for (size_t i = 0; i < m->n_tensors; i++) {
		m->tensors[i].data_at = file->n;
		blob_add(file, m->tensors[i].data.data, m->tensors[i].data.n);
		align(file, m->alignment);
	}
}

void blob_save(const struct blob *b, const char *path)
{
	FILE *f = must(fopen(path, "wb"));
	if (fwrite(b->data, 1, b->n, f) != b->n || fclose(f)) {
		perror(path);
		abort();
	}
}
