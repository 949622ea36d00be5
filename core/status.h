/* Results of functions that can fail, and the one-line message that goes with a failure. */
#ifndef CORE_STATUS_H
#define CORE_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

/* The first four are the exit codes of every command; the rest exit as STATUS_FAILED. */
enum status {
	STATUS_OK = 0,
	STATUS_FAILED = 1,
	STATUS_USAGE = 2,
	STATUS_VIOLATION = 3, /* a check ran and found something wrong */
	STATUS_NO_DEVICE,     /* no driver, no GPU, or one that cannot run our code */
	STATUS_NO_MEMORY,
	STATUS_UNSUPPORTED, /* valid input that this build cannot handle */
};

#define MUST_CHECK __attribute__((warn_unused_result))

/* Records the message (printf format, no newline) of this thread's latest failure and returns
 * `status`. */
enum status fail(enum status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same, with ": " and strerror(errno) appended. */
enum status fail_errno(enum status status, const char *format, ...)
        __attribute__((format(printf, 2, 3)));

/* Message of this thread's latest failure; "" when there was none. */
const char *fail_message(void);

/* For main: writes out stdout, which must succeed too, prints "PROGRAM: message" to stderr on a
 * failure and returns the exit code. */
int status_exit(const char *program, enum status status);

/* Prints "warning: ..." to stderr, once per distinct text. */
void warn_once(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Inside a function with a local `enum status status` and a label `done:`. */
#define TRY(call)                        \
	do {                             \
		status = (call);         \
		if (status != STATUS_OK) \
			goto done;       \
	} while (0)

#ifdef __cplusplus
}
#endif
#endif
