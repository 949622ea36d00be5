/* A file that a target maps is copied to memory of its very length: of a mapping, the rest of the
 * last page could be read, and no sanitizer would see it. Linked with --wrap=mmap and munmap. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

enum { ALIGNMENT = 64 }; /* at least what tensors are promised */

void *__real_mmap(void *at, size_t bytes, int protection, int flags, int file, off_t offset);
int __real_munmap(void *at, size_t bytes);
void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int file, off_t offset);
int __wrap_munmap(void *at, size_t bytes);

static void *copy; /* of the one file that is open */

void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int file, off_t offset)
{
	if (file < 0)
		return __real_mmap(at, bytes, protection, flags, file, offset);
	if (copy || posix_memalign(&copy, ALIGNMENT, bytes))
		fuzz_fail("cannot copy a file of %zu bytes", bytes);
	if (pread(file, copy, bytes, offset) != (ssize_t)bytes)
		fuzz_fail("cannot read a file of %zu bytes", bytes);
	return copy;
}

int __wrap_munmap(void *at, size_t bytes)
{
	if (at != copy)
		return __real_munmap(at, bytes);
	free(copy);
	copy = NULL;
	return 0;
}
