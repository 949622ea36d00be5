#define _XOPEN_SOURCE 700
#include "model/gguf_write.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static const char magic[4] = {'G', 'G', 'U', 'F'};
static const uint32_t version = 3;

static void put(struct gguf_writer *w, const void *data, size_t bytes)
{
	if (!w->error && fwrite(data, 1, bytes, w->out.file) != bytes)
		w->error = errno;
	w->at += bytes;
}

static void put_u32(struct gguf_writer *w, uint32_t value)
{
	put(w, &value, sizeof value);
}

static void put_u64(struct gguf_writer *w, uint64_t value)
{
	put(w, &value, sizeof value);
}

static void put_text(struct gguf_writer *w, const char *text)
{
	put_u64(w, strlen(text));
	put(w, text, strlen(text));
}

static enum status check(const struct gguf_writer *w)
{
	if (!w->error)
		return STATUS_OK;
	errno = w->error;
	return fail_errno(STATUS_FAILED, "%s", w->out.path);
}

/* How many tensors and keys there are is known at the end. */
static void put_header(struct gguf_writer *w)
{
	put(w, magic, sizeof magic);
	put_u32(w, version);
	put_u64(w, w->n_tensors);
	put_u64(w, w->n_pairs);
}

enum status gguf_create(const char *path, struct gguf_writer *w)
{
	enum status status;
	*w = (struct gguf_writer){0};
	TRY(replacement_open(path, &w->out));
	put_header(w);
done:
	return status;
}

static void put_key(struct gguf_writer *w, const char *key, enum gguf_type type)
{
	put_text(w, key);
	put_u32(w, type);
	w->n_pairs++;
}

void gguf_put_u32(struct gguf_writer *w, const char *key, uint32_t value)
{
	put_key(w, key, GGUF_U32);
	put_u32(w, value);
}

void gguf_put_f32(struct gguf_writer *w, const char *key, float value)
{
	put_key(w, key, GGUF_F32);
	put(w, &value, sizeof value);
}

void gguf_put_bool(struct gguf_writer *w, const char *key, bool value)
{
	uint8_t byte = value;
	put_key(w, key, GGUF_BOOL);
	put(w, &byte, sizeof byte);
}

void gguf_put_string(struct gguf_writer *w, const char *key, const char *value)
{
	put_key(w, key, GGUF_STRING);
	put_text(w, value);
}

void gguf_put_array(struct gguf_writer *w, const char *key, enum gguf_type type, uint64_t n)
{
	put_key(w, key, GGUF_ARRAY);
	put_u32(w, type);
	put_u64(w, n);
}

void gguf_put_element_i32(struct gguf_writer *w, int32_t value)
{
	put(w, &value, sizeof value);
}

void gguf_put_element_string(struct gguf_writer *w, const char *value)
{
	put_text(w, value);
}

static uint64_t aligned(uint64_t bytes)
{
	return (bytes + GGUF_ALIGNMENT - 1) / GGUF_ALIGNMENT * GGUF_ALIGNMENT;
}

void gguf_put_tensor(struct gguf_writer *w, const char *name, int dtype, uint64_t cols,
                     uint64_t rows)
{
	put_text(w, name);
	put_u32(w, rows == 1 ? 1 : 2);
	put_u64(w, cols);
	if (rows != 1)
		put_u64(w, rows);
	put_u32(w, (uint32_t)dtype);
	put_u64(w, w->offset);
	w->offset += aligned(rows * dtype_bytes(dtype, cols));
	w->n_tensors++;
}

void gguf_align(struct gguf_writer *w)
{
	static const uint8_t zeros[GGUF_ALIGNMENT];
	put(w, zeros, aligned(w->at) - w->at);
}

enum status gguf_write_data(struct gguf_writer *w, const void *data, size_t bytes)
{
	put(w, data, bytes);
	return check(w);
}

enum status gguf_commit(struct gguf_writer *w)
{
	enum status status;
	gguf_align(w);
	TRY(check(w));
	if (fseek(w->out.file, 0, SEEK_SET))
		TRY(fail_errno(STATUS_FAILED, "%s", w->out.path));
	put_header(w);
	TRY(check(w));
	TRY(replacement_commit(&w->out));
done:
	return status;
}

void gguf_writer_close(struct gguf_writer *w)
{
	replacement_close(&w->out);
	*w = (struct gguf_writer){0};
}
