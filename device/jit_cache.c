#include "device/jit_cache.h"

#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/sources.h"

#define PATH_BYTES     512
#define MAX_FILE_BYTES ((size_t)1 << 30)

/* Of a file: this, the key, the symbols (each NUL-terminated), the image. */
struct header {
	char magic[8];
	uint64_t key_bytes, symbol_bytes, image_bytes;
	uint64_t checksum; /* FNV-1a of all that follows */
};
static const char magic[8] = "WSCUBIN1";

/* "FOLDER/warpsmith", and with `key` the file in it; false when there is no home for it. */
static bool cache_path(const char *key, char path[PATH_BYTES])
{
	const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	int n;
	if (cache && cache[0] == '/')
		n = snprintf(path, PATH_BYTES, "%s/warpsmith", cache);
	else if (home && home[0] == '/')
		n = snprintf(path, PATH_BYTES, "%s/.cache/warpsmith", home);
	else
		return false;
	if (key && n < PATH_BYTES)
		n += snprintf(path + n, (size_t)(PATH_BYTES - n), "/%016" PRIx64 ".cubin",
		              fnv1a(FNV1A_START, key, strlen(key)));
	return n < PATH_BYTES;
}

static bool make_folders(char *path)
{
	for (char *p = path + 1;; p++) {
		if (*p && *p != '/')
			continue;
		const char end = *p;
		*p = '\0';
		const bool made = mkdir(path, 0755) == 0 || errno == EEXIST;
		*p = end;
		if (!made || !end)
			return made;
	}
}

static void *read_file(const char *path, size_t *bytes)
{
	struct stat stat;
	char *data = NULL;
	FILE *file = fopen(path, "rb");
	if (!file)
		return NULL;
	if (fstat(fileno(file), &stat) || stat.st_size <= 0 ||
	    (uint64_t)stat.st_size > MAX_FILE_BYTES)
		goto done;
	*bytes = (size_t)stat.st_size;
	data = malloc(*bytes);
	if (data && fread(data, 1, *bytes, file) != *bytes) {
		free(data);
		data = NULL;
	}
done:
	fclose(file);
	return data;
}

/* Where the parts of a file lie; false unless it is whole and of this key. */
static bool check_file(const char *data, size_t bytes, const char *key, struct header *header)
{
	if (bytes < sizeof *header)
		return false;
	memcpy(header, data, sizeof *header);
	const size_t rest = bytes - sizeof *header;
	return !memcmp(header->magic, magic, sizeof magic) && header->key_bytes == strlen(key) &&
	       header->key_bytes <= rest && header->symbol_bytes <= rest &&
	       header->image_bytes <= rest && header->image_bytes &&
	       header->key_bytes + header->symbol_bytes + header->image_bytes == rest &&
	       header->checksum == fnv1a(FNV1A_START, data + sizeof *header, rest) &&
	       !memcmp(data + sizeof *header, key, header->key_bytes);
}

/* Copies the symbols out; all or none. */
static bool take_symbols(const char *text, size_t bytes, const struct jit_part *part,
                         struct jit_instance *instances)
{
	int i = 0;
	for (; i < part->n; i++) {
		const char *end = memchr(text, '\0', bytes);
		char *symbol = end ? strdup(text) : NULL;
		if (!symbol)
			break;
		instances[part->first + i].symbol = symbol;
		bytes -= (size_t)(end + 1 - text);
		text = end + 1;
	}
	const bool all = i == part->n && bytes == 0;
	for (; !all && i > 0; i--) {
		free(instances[part->first + i - 1].symbol);
		instances[part->first + i - 1].symbol = NULL;
	}
	return all;
}

bool jit_cache_read(const char *key, struct jit_part *part, struct jit_instance *instances)
{
	char path[PATH_BYTES];
	struct header header;
	size_t bytes;
	bool found = false;
	char *data = cache_path(key, path) ? read_file(path, &bytes) : NULL;
	if (!data || !check_file(data, bytes, key, &header))
		goto done;
	const char *symbols = data + sizeof header + header.key_bytes;
	part->image = malloc(header.image_bytes);
	if (!part->image || !take_symbols(symbols, header.symbol_bytes, part, instances))
		goto done;
	memcpy(part->image, symbols + header.symbol_bytes, header.image_bytes);
	part->bytes = header.image_bytes;
	found = true;
done:
	if (!found) {
		free(part->image);
		part->image = NULL;
	}
	free(data);
	return found;
}

static char *append(char *at, const void *data, size_t bytes)
{
	memcpy(at, data, bytes);
	return at + bytes;
}

/* The whole file in memory. */
static char *compose(const char *key, const struct jit_part *part,
                     const struct jit_instance *instances, size_t *bytes)
{
	struct header header = {.key_bytes = strlen(key), .image_bytes = part->bytes};
	const struct jit_instance *first = instances + part->first;
	memcpy(header.magic, magic, sizeof magic);
	for (int i = 0; i < part->n; i++)
		header.symbol_bytes += strlen(first[i].symbol) + 1;
	*bytes = sizeof header + header.key_bytes + header.symbol_bytes + header.image_bytes;
	char *data = malloc(*bytes);
	if (!data)
		return NULL;
	char *at = append(data + sizeof header, key, header.key_bytes);
	for (int i = 0; i < part->n; i++)
		at = append(at, first[i].symbol, strlen(first[i].symbol) + 1);
	append(at, part->image, part->bytes);
	header.checksum = fnv1a(FNV1A_START, data + sizeof header, *bytes - sizeof header);
	memcpy(data, &header, sizeof header);
	return data;
}

void jit_cache_write(const char *key, const struct jit_part *part,
                     const struct jit_instance *instances)
{
	char folder[PATH_BYTES], path[PATH_BYTES], draft[PATH_BYTES + 8];
	size_t bytes;
	if (!cache_path(NULL, folder) || !cache_path(key, path) || !make_folders(folder))
		return;
	char *data = compose(key, part, instances, &bytes);
	if (!data)
		return;
	snprintf(draft, sizeof draft, "%s.XXXXXX", path);
	const int fd = mkstemp(draft);
	if (fd >= 0) {
		const bool whole = write(fd, data, bytes) == (ssize_t)bytes;
		if (close(fd) || !whole || rename(draft, path))
			unlink(draft);
	}
	free(data);
}
