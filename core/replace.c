#define _POSIX_C_SOURCE 200809L
#include "core/replace.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum status replacement_open(const char *path, struct replacement *r)
{
	struct stat info;
	*r = (struct replacement){.path = path};
	if (!stat(path, &info) && !S_ISREG(info.st_mode))
		return fail(STATUS_FAILED, "%s: not a regular file", path);
	if (snprintf(r->temporary, sizeof r->temporary, "%s.XXXXXX", path) >=
	    (int)sizeof r->temporary) {
		r->temporary[0] = 0;
		return fail(STATUS_FAILED, "%s: the name is too long", path);
	}
	int file = mkstemp(r->temporary);
	if (file < 0) {
		r->temporary[0] = 0;
		return fail_errno(STATUS_FAILED, "%s", path);
	}
	r->file = fdopen(file, "wb");
	if (r->file)
		return STATUS_OK;
	enum status status = fail_errno(STATUS_FAILED, "%s", path);
	close(file);
	replacement_close(r);
	return status;
}

enum status replacement_commit(struct replacement *r)
{
	int file = fileno(r->file);
	if (fflush(r->file) || fchmod(file, 0644) || fsync(file) || rename(r->temporary, r->path))
		return fail_errno(STATUS_FAILED, "%s", r->path);
	r->temporary[0] = 0;
	return STATUS_OK;
}

void replacement_close(struct replacement *r)
{
	if (r->file)
		fclose(r->file);
	if (r->temporary[0])
		unlink(r->temporary);
	*r = (struct replacement){0};
}
