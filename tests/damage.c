#include "tests/damage.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/gguf.h"

/* More of anything than fits in memory. */
static const uint64_t huge = (uint64_t)1 << 60;
static const uint64_t zero = 0;

/* How the loader treats a key. */
enum use {
	UNREAD,   /* not looked at, or not with these contents */
	OPTIONAL, /* may be missing, must be right */
	REQUIRED,
};

static const struct {
	const char *name;
	enum use use;
} keys[] = {
        {"general.architecture", REQUIRED},
        {"general.name", OPTIONAL},
        {"general.alignment", OPTIONAL},
        {"qwen2.block_count", REQUIRED},
        {"qwen2.context_length", REQUIRED},
        {"qwen2.embedding_length", REQUIRED},
        {"qwen2.feed_forward_length", REQUIRED},
        {"qwen2.attention.head_count", REQUIRED},
        {"qwen2.attention.head_count_kv", OPTIONAL},
        {"qwen2.attention.layer_norm_rms_epsilon", REQUIRED},
        {"qwen2.rope.freq_base", OPTIONAL},
        {"tokenizer.ggml.model", REQUIRED},
        {"tokenizer.ggml.pre", REQUIRED},
        {"tokenizer.ggml.tokens", REQUIRED},
        {"tokenizer.ggml.token_type", REQUIRED},
        {"tokenizer.ggml.merges", REQUIRED},
        {"tokenizer.ggml.eos_token_id", OPTIONAL},
        {"tokenizer.ggml.add_bos_token", OPTIONAL},
        {"tokenizer.ggml.bos_token_id", UNREAD},
};

static const char *const tensors[] = {
        "token_embd.weight",        "output_norm.weight",    "blk.0.attn_norm.weight",
        "blk.0.attn_q.weight",      "blk.0.attn_k.weight",   "blk.0.attn_v.weight",
        "blk.0.attn_q.bias",        "blk.0.attn_k.bias",     "blk.0.attn_v.bias",
        "blk.0.attn_output.weight", "blk.0.ffn_norm.weight", "blk.0.ffn_gate.weight",
        "blk.0.ffn_up.weight",      "blk.0.ffn_down.weight",
};

#define COUNT(array) (sizeof(array) / sizeof *(array))

struct maker {
	const struct gguf_make *valid;
	struct gguf_make m; /* a copy to damage */
	void (*visit)(void *context, const struct damage *damage);
	void *context;
	size_t n;
};

static void begin(struct maker *k)
{
	make_close(&k->m);
	make_open(&k->m);
	k->m.version = k->valid->version;
	k->m.alignment = k->valid->alignment;
	for (size_t i = 0; i < k->valid->n_pairs; i++)
		make_repeat(&k->m, &k->valid->pairs[i]);
	for (size_t i = 0; i < k->valid->n_tensors; i++)
		make_repeat_tensor(&k->m, &k->valid->tensors[i]);
}

static void emit_file(struct maker *k, const struct blob *file, const char *says,
                      const char *format, va_list args)
{
	char name[160];
	vsnprintf(name, sizeof name, format, args);
	k->n++;
	k->visit(k->context, &(struct damage){name, *file, says});
}

/* Hands out a damaged file as it is. */
__attribute__((format(printf, 4, 5))) static void emit_raw(struct maker *k, const struct blob *file,
                                                           const char *says, const char *format,
                                                           ...)
{
	va_list args;
	va_start(args, format);
	emit_file(k, file, says, format, args);
	va_end(args);
}

/* Sets the positions of the copy's fields. */
static void lay_out(struct maker *k)
{
	struct blob file;
	make_write(&k->m, &file);
	blob_free(&file);
}

/* Writes the damaged copy, hands it out and begins the next. */
__attribute__((format(printf, 3, 4))) static void emit(struct maker *k, const char *says,
                                                       const char *format, ...)
{
	struct blob file;
	va_list args;
	make_write(&k->m, &file);
	va_start(args, format);
	emit_file(k, &file, says, format, args);
	va_end(args);
	blob_free(&file);
	begin(k);
}

/* Writes the copy, replaces bytes at one place, hands it out and begins the next. */
__attribute__((format(printf, 6, 7))) static void emit_patch(struct maker *k, const size_t *at,
                                                             const void *bytes, size_t n,
                                                             const char *says, const char *format,
                                                             ...)
{
	struct blob file;
	va_list args;
	make_write(&k->m, &file);
	memcpy(file.data + *at, bytes, n);
	va_start(args, format);
	emit_file(k, &file, says, format, args);
	va_end(args);
	blob_free(&file);
	begin(k);
}

static void damage_header(struct maker *k)
{
	static const size_t magic = 0, version = 4, n_tensors = 8, n_pairs = 16;
	static const struct {
		uint32_t value;
		const char *says;
	} versions[] = {
	        {0, "version 0"},           {1, "version 1"},           {4, "version 4"},
	        {0x03000000, "big-endian"}, {0x02000000, "big-endian"}, {UINT32_MAX, "version"},
	};
	const uint64_t tensors_here = k->valid->n_tensors, pairs_here = k->valid->n_pairs;
	const uint64_t deltas[] = {(uint64_t)-1, 1, 1000, huge, huge * 8, UINT64_MAX / 2};
	emit_patch(k, &magic, "GGML", 4, "not a GGUF file", "magic of another format");
	emit_patch(k, &magic, "FUGG", 4, "not a GGUF file", "magic reversed");
	for (size_t i = 0; i < COUNT(versions); i++)
		emit_patch(k, &version, &versions[i].value, 4, versions[i].says, "version %#x",
		           versions[i].value);
	for (size_t i = 0; i < COUNT(deltas); i++) {
		uint64_t t = tensors_here + deltas[i], p = pairs_here + deltas[i];
		/* Without its last tensor a model may be whole, with a tied head. */
		emit_patch(k, &n_tensors, &t, 8, i ? "" : NULL, "tensor count %+lld",
		           (long long)deltas[i]);
		emit_patch(k, &n_pairs, &p, 8, "", "key count %+lld", (long long)deltas[i]);
	}
}

static void damage_by_truncation(struct maker *k)
{
	static const size_t in_header[] = {0, 1, 4, 7, 8, 15, 16, 23, 24};
	struct blob file;
	make_write(&k->m, &file);
	const struct blob whole = file;
	for (size_t i = 0; i < COUNT(in_header); i++) {
		file.n = in_header[i];
		emit_raw(k, &file, "", "truncated in the header at %zu", file.n);
	}
	for (size_t i = 0; i < k->m.n_pairs; i++) {
		const struct made_pair *p = &k->m.pairs[i];
		const size_t cuts[] = {p->at + 4, p->at + 9, p->type_at + 1,
		                       p->value_at + p->value.n - 1};
		for (size_t c = 0; c < COUNT(cuts); c++) {
			file.n = cuts[c];
			emit_raw(k, &file, "", "truncated in key %.*s, cut %zu", (int)p->key.n,
			         (const char *)p->key.data, c);
		}
	}
	for (size_t i = 0; i < k->m.n_tensors; i += 5) {
		const struct made_tensor *t = &k->m.tensors[i];
		const size_t cuts[] = {t->at + 4,        t->at + 9,
		                       t->n_dims_at + 2, t->dims_at + 7,
		                       t->type_at + 1,   t->offset_at + 5,
		                       t->data_at,       t->data_at + t->data.n - 1};
		for (size_t c = 0; c < COUNT(cuts); c++) {
			file.n = cuts[c];
			emit_raw(k, &file, "", "truncated in tensor %.*s, cut %zu", (int)t->name.n,
			         (const char *)t->name.data, c);
		}
	}
	file.n = k->m.data_at;
	emit_raw(k, &file, "ends inside", "no data section");
	file.n = whole.n / 2;
	emit_raw(k, &file, "ends inside", "half a file");
	blob_free(&file);
}

/* What can be wrong with any key. */
static void damage_key(struct maker *k, const char *key, enum use use)
{
	static const uint32_t no_type = 99;
	static const uint64_t long_name = 70000;
	const char *says = use == UNREAD ? NULL : key;
	struct made_pair *p = make_find(&k->m, key);
	if (!p)
		return;
	bool is_array = p->type == GGUF_ARRAY;
	make_remove(&k->m, p);
	emit(k, use == REQUIRED ? key : NULL, "key %s: missing", key);

	make_repeat(&k->m, make_find(&k->m, key));
	emit(k, key, "key %s: twice", key);

	if (p->type == GGUF_STRING)
		make_u32(&k->m, key, 7);
	else
		make_string(&k->m, key, "seven");
	emit(k, says, "key %s: of another type", key);

	if (is_array)
		make_f32(&k->m, key, 1);
	else
		make_array(&k->m, key, p->type, p->value.data, 1, p->value.n);
	emit(k, says, "key %s: %s", key, is_array ? "no array" : "an array");

	make_find(&k->m, key)->key.data[0] = 0xff;
	emit(k, "UTF-8", "key %s: name is not UTF-8", key);

	make_find(&k->m, key)->key.data[0] = '\n';
	emit(k, "UTF-8", "key %s: name with a newline", key);

	p = make_find(&k->m, key);
	emit_patch(k, &p->type_at, &no_type, 4, key, "key %s: unknown type", key);
	emit_patch(k, &p->at, &huge, 8, "ends inside", "key %s: name of 2^60 bytes", key);
	emit_patch(k, &p->at, &long_name, 8, "", "key %s: name of 70000 bytes", key);
	emit_patch(k, &p->at, &zero, 8, "", "key %s: empty name", key);
}

static void damage_array(struct maker *k, const char *key)
{
	static const uint32_t unknown = 77, nested = GGUF_ARRAY;
	const uint64_t counts[] = {0, 1, huge, huge * 8, UINT64_MAX};
	struct made_pair *p = make_find(&k->m, key);
	if (!p || p->type != GGUF_ARRAY)
		return;
	const char *says[] = {"", "", key, key, key};
	lay_out(k);
	const size_t count_at = p->value_at + 4;
	for (size_t i = 0; i < COUNT(counts); i++)
		emit_patch(k, &count_at, &counts[i], 8, says[i], "key %s: %llu elements", key,
		           (unsigned long long)counts[i]);
	emit_patch(k, &p->value_at, &unknown, 4, key, "key %s: elements of unknown type", key);
	emit_patch(k, &p->value_at, &nested, 4, key, "key %s: array of arrays", key);
}

/* Numbers that no model has. */
static void damage_number(struct maker *k, const char *key, enum use use)
{
	static const float floats[] = {0, -1, NAN, INFINITY, -INFINITY};
	struct made_pair *p = make_find(&k->m, key);
	const char *says = use == UNREAD ? NULL : key;
	if (p && p->type == GGUF_U32) {
		bool zero_is_valid = strstr(key, "_token_id");
		make_u32(&k->m, key, 0);
		emit(k, zero_is_valid ? NULL : says, "key %s: 0", key);
		make_u32(&k->m, key, UINT32_MAX);
		emit(k, says, "key %s: 2^32 - 1", key);
		make_u32(&k->m, key, INT32_MAX);
		emit(k, says, "key %s: 2^31 - 1", key);
		make_i32(&k->m, key, -1);
		emit(k, says, "key %s: -1", key);
		make_u64(&k->m, key, huge);
		emit(k, says, "key %s: 2^60", key);
	}
	if (p && p->type == GGUF_F32)
		for (size_t i = 0; i < COUNT(floats); i++) {
			make_f32(&k->m, key, floats[i]);
			emit(k, says, "key %s: %g", key, (double)floats[i]);
		}
	if (p && p->type == GGUF_BOOL) {
		make_raw(&k->m, key, GGUF_BOOL, "\2", 1);
		emit(k, says, "key %s: 2", key);
	}
}

static void damage_string(struct maker *k, const char *key, bool free_text)
{
	const uint64_t lengths[] = {huge, UINT64_MAX, UINT64_MAX - 7};
	struct made_pair *p = make_find(&k->m, key);
	const char *says = free_text ? NULL : "";
	if (!p || p->type != GGUF_STRING)
		return;
	make_string(&k->m, key, "");
	emit(k, says, "key %s: empty", key);
	make_string(&k->m, key, "llama");
	emit(k, says, "key %s: llama", key);
	make_string(&k->m, key, "\xff\xfe\n\x1b[31m");
	emit(k, says, "key %s: no text", key);
	p = make_find(&k->m, key);
	for (size_t i = 0; i < COUNT(lengths); i++)
		emit_patch(k, &p->value_at, &lengths[i], 8, key, "key %s: string of %llu bytes",
		           key, (unsigned long long)lengths[i]);
}

/* What can be wrong with any tensor. */
static void damage_tensor(struct maker *k, const char *name)
{
	static const uint32_t no_dims = 0, many_dims = 5, unknown = 1000, max = UINT32_MAX,
	                      q3_k = 11;
	static const uint64_t odd = 13, wrap = UINT64_MAX - 31;
	struct made_tensor *t = make_find_tensor(&k->m, name);
	if (!t)
		return;
	make_remove_tensor(&k->m, t);
	emit(k, name, "tensor %s: missing", name);
	make_repeat_tensor(&k->m, make_find_tensor(&k->m, name));
	emit(k, name, "tensor %s: twice", name);

	const size_t last = t->n_dims - 1;
	make_find_tensor(&k->m, name)->dims[last] *= 2;
	emit(k, "", "tensor %s: twice as large as its data", name);
	t = make_find_tensor(&k->m, name);
	if (t->n_dims == 2 && t->dims[0] != t->dims[1]) {
		uint64_t rows = t->dims[1];
		t->dims[1] = t->dims[0];
		t->dims[0] = rows;
		emit(k, name, "tensor %s: transposed", name);
	}
	make_find_tensor(&k->m, name)->dims[last] /= 2;
	emit(k, "", "tensor %s: half", name);

	t = make_find_tensor(&k->m, name);
	emit_patch(k, &t->type_at, &unknown, 4, name, "tensor %s: type 1000", name);
	emit_patch(k, &t->type_at, &max, 4, name, "tensor %s: type 2^32 - 1", name);
	emit_patch(k, &t->type_at, &q3_k, 4, name, "tensor %s: type q3_K", name);
	emit_patch(k, &t->n_dims_at, &no_dims, 4, name, "tensor %s: no dimensions", name);
	emit_patch(k, &t->n_dims_at, &many_dims, 4, name, "tensor %s: five dimensions", name);
	emit_patch(k, &t->n_dims_at, &max, 4, name, "tensor %s: 2^32 - 1 dimensions", name);
	emit_patch(k, &t->dims_at, &zero, 8, name, "tensor %s: dimension 0", name);
	emit_patch(k, &t->dims_at, &huge, 8, name, "tensor %s: dimension 2^60", name);
	emit_patch(k, &t->dims_at, &odd, 8, name, "tensor %s: dimension 13", name);
	emit_patch(k, &t->offset_at, &odd, 8, name, "tensor %s: offset 13", name);
	emit_patch(k, &t->offset_at, &huge, 8, name, "tensor %s: offset 2^60", name);
	emit_patch(k, &t->offset_at, &wrap, 8, name, "tensor %s: offset 2^64 - 32", name);
	emit_patch(k, &t->at, &huge, 8, "ends inside", "tensor %s: name of 2^60 bytes", name);
	emit_patch(k, &t->at, &zero, 8, "", "tensor %s: empty name", name);
	lay_out(k);
	const uint64_t other = k->m.tensors[t == k->m.tensors].offset;
	emit_patch(k, &t->offset_at, &other, 8, "", "tensor %s: offset of another", name);
}

/* Keys that are right one by one and wrong together. */
static void damage_shape(struct maker *k)
{
	static const struct {
		const char *key;
		uint32_t value;
		bool fails;
	} values[] = {
	        {"qwen2.attention.head_count", 3, true},
	        {"qwen2.attention.head_count", 7, true},
	        {"qwen2.attention.head_count", 1000, true},
	        {"qwen2.attention.head_count_kv", 3, true},
	        {"qwen2.attention.head_count_kv", 1000, true},
	        {"qwen2.embedding_length", 1, true},
	        {"qwen2.embedding_length", 32, true},
	        {"qwen2.embedding_length", 65536, true},
	        {"qwen2.feed_forward_length", 33, true},
	        {"qwen2.block_count", 1000, true},
	        {"qwen2.block_count", 1, false},
	        {"general.alignment", 4, true},
	        {"general.alignment", 33, true},
	        {"general.alignment", 48, true},
	        {"general.alignment", 1u << 31, true},
	        {"general.alignment", 1u << 29, true},
	        {"general.alignment", 64, false},
	};
	for (size_t i = 0; i < COUNT(values); i++) {
		make_u32(&k->m, values[i].key, values[i].value);
		emit(k, values[i].fails ? "" : NULL, "key %s: %u", values[i].key, values[i].value);
	}
	for (size_t i = 0; i < k->m.n_tensors; i += 4) {
		struct made_tensor *t = &k->m.tensors[i];
		memset(t->data.data, 0xff, t->data.n);
		emit(k, NULL, "tensor %.*s: all NaN", (int)k->valid->tensors[i].name.n,
		     (const char *)k->valid->tensors[i].name.data);
	}
}

/* Replaces element i of an array of strings; NULL removes it. */
static void replace_string(struct gguf_make *m, const char *key, size_t i, const char *text)
{
	struct made_pair *p = make_find(m, key);
	struct blob value = {0};
	uint64_t count, len;
	memcpy(&count, p->value.data + 4, sizeof count);
	const uint8_t *at = p->value.data + 12;
	blob_add(&value, p->value.data, 12);
	for (uint64_t j = 0; j < count; j++) {
		memcpy(&len, at, sizeof len);
		if (j != i) {
			blob_add(&value, at, 8 + len);
		} else if (text) {
			uint64_t new_len = strlen(text);
			blob_add(&value, &new_len, 8);
			blob_add(&value, text, new_len);
		}
		at += 8 + len;
	}
	count -= !text && i < count;
	memcpy(value.data + 4, &count, sizeof count);
	make_raw(m, key, GGUF_ARRAY, value.data, value.n);
	blob_free(&value);
}

static void damage_vocabulary(struct maker *k)
{
	static const char *const merges[] = {
	        "", "the", " the", "the ", "t h e", "q\u0121 zz", "t t", "\xff \xfe", "a\n b",
	};
	static const char *const words[] = {"", "\xff\xff", "two words", "<|im_end|>"};
	static const int32_t types[] = {-1, 7, INT32_MAX, 0, 2, 4};
	for (size_t i = 0; i < COUNT(merges); i++) {
		replace_string(&k->m, "tokenizer.ggml.merges", 2, merges[i]);
		emit(k, "merge 2", "merge 2: wrong %zu", i);
	}
	for (size_t i = 0; i < COUNT(words); i++) {
		replace_string(&k->m, "tokenizer.ggml.tokens", 1, words[i]);
		emit(k, NULL, "token 1: wrong %zu", i);
	}
	replace_string(&k->m, "tokenizer.ggml.tokens", 256, "\u0141");
	emit(k, "merge", "token of a merge replaced");
	replace_string(&k->m, "tokenizer.ggml.tokens", 0, NULL);
	emit(k, "token types", "fewer tokens than types");
	for (size_t i = 0; i < COUNT(types); i++) {
		memcpy(make_find(&k->m, "tokenizer.ggml.token_type")->value.data + 12, &types[i],
		       4);
		emit(k, i < 3 ? "token_type" : NULL, "token type %d", types[i]);
	}
	make_u32(&k->m, "tokenizer.ggml.eos_token_id", 1u << 20);
	emit(k, "eos_token_id", "end token outside the vocabulary");
	make_bool(&k->m, "tokenizer.ggml.add_bos_token", true);
	make_u32(&k->m, "tokenizer.ggml.bos_token_id", 1u << 20);
	emit(k, "bos_token_id", "begin token outside the vocabulary");
	make_bool(&k->m, "tokenizer.ggml.add_bos_token", true);
	make_remove(&k->m, make_find(&k->m, "tokenizer.ggml.bos_token_id"));
	emit(k, "bos_token_id", "begin token wanted and missing");
}

static uint32_t next_random(uint32_t *state)
{
	*state = *state * 1664525 + 1013904223;
	return *state >> 8;
}

/* A few bytes before the data changed, removed or doubled. */
static void damage_at_random(struct maker *k)
{
	static const char *const what[] = {"byte changed", "bytes changed", "bytes removed",
	                                   "bytes doubled"};
	uint32_t state = 3;
	struct blob whole;
	make_write(&k->m, &whole);
	for (size_t i = 0; i < 128; i++) {
		struct blob file = {0};
		size_t at = next_random(&state) % (k->m.data_at - 16);
		size_t n = 2 + next_random(&state) % 14;
		blob_add(&file, whole.data, i % 4 == 3 ? at + n : at);
		size_t rest = i % 4 == 2 ? at + n : at;
		blob_add(&file, whole.data + rest, whole.n - rest);
		for (size_t j = 0; j < n && i % 4 < 2; j += i % 4 ? 1 : n)
			file.data[at + j] ^= (uint8_t)(1 + next_random(&state) % 255);
		emit_raw(k, &file, NULL, "random %zu: %s at %zu", i, what[i % 4], at);
		blob_free(&file);
	}
	blob_free(&whole);
}

size_t damage_each(const struct gguf_make *valid,
                   void (*visit)(void *context, const struct damage *damage), void *context)
{
	struct maker *k = calloc(1, sizeof *k);
	if (!k)
		abort();
	*k = (struct maker){.valid = valid, .visit = visit, .context = context};
	begin(k);
	damage_header(k);
	damage_by_truncation(k);
	for (size_t i = 0; i < COUNT(keys); i++) {
		damage_key(k, keys[i].name, keys[i].use);
		damage_array(k, keys[i].name);
		damage_number(k, keys[i].name, keys[i].use);
		damage_string(k, keys[i].name, !strcmp(keys[i].name, "general.name"));
	}
	for (size_t i = 0; i < COUNT(tensors); i++)
		damage_tensor(k, tensors[i]);
	damage_shape(k);
	damage_vocabulary(k);
	damage_at_random(k);
	size_t n = k->n;
	make_close(&k->m);
	free(k);
	return n;
}
