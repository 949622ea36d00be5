#include "core/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char message[1024];

/* Names and values from files may hold line breaks and terminal codes; a message is one line of
 * text. */
static void make_printable(void)
{
	for (char *c = message; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
}

enum status fail(enum status status, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(message, sizeof message, format, args);
	va_end(args);
	make_printable();
	return status;
}

enum status fail_errno(enum status status, const char *format, ...)
{
	int error = errno;
	va_list args;
	va_start(args, format);
	int n = vsnprintf(message, sizeof message, format, args);
	va_end(args);
	if (n >= 0 && (size_t)n < sizeof message)
		snprintf(message + n, sizeof message - (size_t)n, ": %s", strerror(error));
	make_printable();
	return status;
}

const char *fail_message(void)
{
	return message;
}

int status_exit(const char *program, enum status status)
{
	errno = 0;
	bool lost = fflush(stdout) || ferror(stdout);
	if (lost && status == STATUS_OK)
		status = errno ? fail_errno(STATUS_FAILED, "standard output")
		               : fail(STATUS_FAILED, "standard output: not all was written");
	if (status == STATUS_OK)
		return 0;
	if (message[0])
		fprintf(stderr, "%s: %s\n", program, message);
	return status > STATUS_VIOLATION ? STATUS_FAILED : (int)status;
}

void warn_once(const char *format, ...)
{
	static char seen[16][256];
	static int n_seen;
	char text[256];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	for (int i = 0; i < n_seen; i++)
		if (!strcmp(seen[i], text))
			return;
	if (n_seen < 16)
		strcpy(seen[n_seen++], text);
	fprintf(stderr, "warning: %s\n", text);
}
