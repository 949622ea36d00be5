#include "model/nfc.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define MAX_DECOMPOSITION 4 /* code points, of any one code point in form D */
#define MAX_UTF8          4
/* Before the first trailing consonant of Hangul: of no syllable, though utf8proc composes it away.
 */
#define NO_CONSONANT 0x11a7

/* Form D but for the order of combining marks. Returns the number of code points. */
static size_t decompose(const char *text, size_t len, utf8proc_int32_t *codes)
{
	size_t n = 0;
	int last_class = 0;
	for (size_t i = 0; i < len;) {
		utf8proc_int32_t code;
		i += (size_t)utf8proc_iterate((const uint8_t *)text + i,
		                              (utf8proc_ssize_t)(len - i), &code);
		n += (size_t)utf8proc_decompose_char(code, codes + n, MAX_DECOMPOSITION,
		                                     UTF8PROC_DECOMPOSE, &last_class);
	}
	return n;
}

static int combining_class(utf8proc_int32_t code)
{
	return utf8proc_get_property(code)->combining_class;
}

/* A stable counting sort of one run of combining marks by their class. */
static void sort_run(utf8proc_int32_t *run, size_t n, utf8proc_int32_t *spare)
{
	size_t start[257] = {0};
	for (size_t i = 0; i < n; i++)
		start[combining_class(run[i]) + 1]++;
	for (int c = 0; c < 256; c++)
		start[c + 1] += start[c];
	for (size_t i = 0; i < n; i++)
		spare[start[combining_class(run[i])]++] = run[i];
	memcpy(run, spare, n * sizeof *run);
}

/* utf8proc's own ordering takes quadratic time for a long run of marks. */
static void order_marks(utf8proc_int32_t *codes, size_t n, utf8proc_int32_t *spare)
{
	for (size_t i = 0; i < n;) {
		size_t end = i;
		bool sorted = true;
		while (end < n && combining_class(codes[end])) {
			sorted &= end == i ||
			          combining_class(codes[end - 1]) <= combining_class(codes[end]);
			end++;
		}
		if (!sorted)
			sort_run(codes + i, end - i, spare);
		i = end + 1;
	}
}

/* Form D to form C, in place. Nothing composes across NO_CONSONANT. Returns the number of code
 * points. */
static size_t compose(utf8proc_int32_t *codes, size_t n)
{
	size_t kept = 0;
	for (size_t i = 0, end; i < n; i = end + 1) {
		for (end = i; end < n && codes[end] != NO_CONSONANT;)
			end++;
		memmove(codes + kept, codes + i, (end - i) * sizeof *codes);
		kept += (size_t)utf8proc_normalize_utf32(codes + kept, (utf8proc_ssize_t)(end - i),
		                                         UTF8PROC_STABLE | UTF8PROC_COMPOSE);
		if (end < n)
			codes[kept++] = NO_CONSONANT;
	}
	return kept;
}

enum status nfc_normalize(const char *text, size_t len, char **normal, size_t *normal_len)
{
	utf8proc_int32_t *codes = malloc((len * MAX_DECOMPOSITION + 1) * sizeof *codes);
	utf8proc_int32_t *spare = malloc((len * MAX_DECOMPOSITION + 1) * sizeof *spare);
	enum status status = STATUS_OK;
	size_t n = 0, bytes = 0;
	*normal = NULL;
	if (codes && spare) {
		n = decompose(text, len, codes);
		order_marks(codes, n, spare);
		n = compose(codes, n);
		*normal = malloc(n * MAX_UTF8 + 1);
	}
	if (*normal)
		for (size_t i = 0; i < n; i++)
			bytes += (size_t)utf8proc_encode_char(codes[i], (uint8_t *)*normal + bytes);
	else
		status = fail(STATUS_NO_MEMORY, "out of memory for %zu bytes of text", len);
	*normal_len = bytes;
	free(codes);
	free(spare);
	return status;
}
