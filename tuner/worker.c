#define _GNU_SOURCE
#include "tuner/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/progress.h"

static const double START_SECONDS = 120, STOP_SECONDS = 2;

void worker_print_info(FILE *out, const struct device_info *info)
{
	const unsigned char *byte = (const unsigned char *)info;
	fputs("info\t", out);
	for (size_t i = 0; i < sizeof *info; i++)
		fprintf(out, "%02x", byte[i]);
	fputc('\n', out);
	fflush(out);
}

static bool read_info(const char *line, struct device_info *info)
{
	unsigned char *byte = (unsigned char *)info;
	const char *hex = line + strlen("info\t");
	if (strncmp(line, "info\t", 5) || strlen(hex) != 2 * sizeof *info)
		return false;
	for (size_t i = 0; i < sizeof *info; i++)
		if (sscanf(hex + 2 * i, "%2hhx", &byte[i]) != 1)
			return false;
	return true;
}

/* In the new process: pipes become standard input and output, which dies with its parent. */
static void become_worker(const char *device, int in, int out, pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent || dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0)
		_exit(127);
	/* the tuner decides when to stop */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGPIPE, SIG_DFL);
	execl("/proc/self/exe", "warpsmith-tune", "--worker", device, (char *)NULL);
	_exit(127);
}

static enum status spawn(struct worker *worker)
{
	int request[2] = {-1, -1}, reply[2] = {-1, -1};
	pid_t parent = getpid();
	if (pipe2(request, O_CLOEXEC) || pipe2(reply, O_CLOEXEC) || (worker->pid = fork()) < 0) {
		enum status status = fail_errno(STATUS_FAILED, "cannot start a worker process");
		for (int i = 0; i < 2; i++) {
			if (request[i] >= 0)
				close(request[i]);
			if (reply[i] >= 0)
				close(reply[i]);
		}
		worker->pid = 0;
		return status;
	}
	if (!worker->pid)
		become_worker(worker->device, request[0], reply[1], parent);
	close(request[0]);
	close(reply[1]);
	worker->to = request[1];
	worker->from = reply[0];
	worker->used = 0;
	worker->task = NULL;
	return STATUS_OK;
}

bool worker_alive(const struct worker *worker)
{
	return worker->pid > 0;
}

/* Reaps the process, killed if it does not end by itself in time. Returns its wait status. */
static int reap(struct worker *worker, double seconds)
{
	int wait_status = 0;
	double until = seconds_now() + seconds;
	pid_t got;
	close(worker->to);
	while ((got = waitpid(worker->pid, &wait_status, WNOHANG)) == 0 && seconds_now() < until)
		poll(NULL, 0, 5);
	if (got == 0) {
		kill(worker->pid, SIGKILL);
		waitpid(worker->pid, &wait_status, 0);
	}
	close(worker->from);
	worker->pid = 0;
	worker->task = NULL;
	return wait_status;
}

void worker_stop(struct worker *worker)
{
	if (worker_alive(worker))
		reap(worker, STOP_SECONDS);
}

/* The next line, without its end; NULL when the worker has closed its pipe or time is up. */
static char *next_line(struct worker *worker, double until, bool *late)
{
	static char line[WORKER_LINE];
	*late = false;
	for (;;) {
		char *end = memchr(worker->buffer, '\n', worker->used);
		if (end) {
			size_t n = (size_t)(end - worker->buffer);
			memcpy(line, worker->buffer, n);
			line[n] = 0;
			worker->used -= n + 1;
			memmove(worker->buffer, end + 1, worker->used);
			return line;
		}
		double left = until - seconds_now();
		struct pollfd ready = {.fd = worker->from, .events = POLLIN};
		*late = left <= 0;
		if (*late || worker->used == sizeof worker->buffer)
			return NULL;
		if (poll(&ready, 1, (int)(1e3 * left) + 1) <= 0)
			continue;
		ssize_t n = read(worker->from, worker->buffer + worker->used,
		                 sizeof worker->buffer - worker->used);
		if (n == 0 || (n < 0 && errno != EINTR))
			return NULL;
		worker->used += n > 0 ? (size_t)n : 0;
	}
}

/* The worker has gone or must go: says why. */
static void bury(struct worker *worker, bool late, double seconds, struct answer *answer)
{
	if (late) {
		kill(worker->pid, SIGKILL);
		reap(worker, STOP_SECONDS);
		strcpy(answer->status, "hang");
		snprintf(answer->reason, sizeof answer->reason, "no answer within %.1f s", seconds);
		return;
	}
	int wait_status = reap(worker, STOP_SECONDS);
	strcpy(answer->status, "crash");
	if (WIFSIGNALED(wait_status) &&
	    (WTERMSIG(wait_status) == SIGKILL || WTERMSIG(wait_status) == SIGTERM))
		strcpy(answer->status, "killed");
	if (WIFSIGNALED(wait_status))
		snprintf(answer->reason, sizeof answer->reason, "signal %d (%s)",
		         WTERMSIG(wait_status), strsignal(WTERMSIG(wait_status)));
	else
		snprintf(answer->reason, sizeof answer->reason, "exit code %d",
		         WEXITSTATUS(wait_status));
}

void worker_ask(struct worker *worker, const char *request)
{
	size_t n = strlen(request), at = 0;
	while (at < n) {
		ssize_t written = write(worker->to, request + at, n - at);
		if (written < 0 && errno != EINTR)
			return;
		at += written > 0 ? (size_t)written : 0;
	}
}

void worker_answer(struct worker *worker, double first_seconds, double seconds,
                   struct answer *answer)
{
	bool late;
	char *line;
	*answer = (struct answer){.at = -1};
	while ((line = next_line(worker, seconds_now() + first_seconds, &late)) &&
	       sscanf(line, "at\t%d", &answer->at) == 1)
		first_seconds = seconds;
	if (!line) {
		bury(worker, late, first_seconds, answer);
		return;
	}
	char *tab = strchrnul(line, '\t');
	snprintf(answer->status, sizeof answer->status, "%.*s", (int)(tab - line), line);
	if (!strcmp(answer->status, "ok"))
		sscanf(tab, "%lf\t%d", &answer->value, &answer->samples);
	else
		snprintf(answer->reason, sizeof answer->reason, "%.255s", *tab ? tab + 1 : "");
}

enum status worker_start(struct worker *worker, const char *device)
{
	enum status status;
	bool late;
	worker->device = device;
	TRY(spawn(worker));
	char *line = next_line(worker, seconds_now() + START_SECONDS, &late);
	if (!line) {
		struct answer answer;
		bury(worker, late, START_SECONDS, &answer);
		status = fail(STATUS_FAILED, "the worker process did not start: %s: %s",
		              answer.status, answer.reason);
	} else if (!read_info(line, &worker->info)) {
		/* "failed REASON": no such device, or one that cannot be used */
		char *tab = strchr(line, '\t');
		int wait_status = reap(worker, STOP_SECONDS);
		bool usage = WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == STATUS_USAGE;
		status = fail(usage ? STATUS_USAGE : STATUS_NO_DEVICE, "%s", tab ? tab + 1 : line);
	}
done:
	return status;
}
