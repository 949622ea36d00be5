#define _GNU_SOURCE
#include "tuner/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/progress.h"
#include "tuner/ranks.h"

/* RELAY_SECONDS: for a relay that lives to say that its worker has ended. */
static const double START_SECONDS = 120, STOP_SECONDS = 2, RELAY_SECONDS = 10;

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
	signal(SIGUSR1, SIG_IGN);
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
		return status;
	}
	if (!worker->pid)
		become_worker(worker->device, request[0], reply[1], parent);
	close(request[0]);
	close(reply[1]);
	worker->to = request[1];
	worker->from.fd = reply[0];
	return STATUS_OK;
}

static enum status lose(struct worker *worker)
{
	worker->lost = true;
	return fail(STATUS_FAILED, "rank %d on %s is lost", worker->rank, ranks_host(worker->rank));
}

enum status worker_launch(struct worker *worker, const char *device)
{
	enum status status = STATUS_OK;
	worker->device = device;
	worker->task = NULL;
	worker->ended = false;
	worker->from.used = 0;
	if (!worker->rank) {
		TRY(spawn(worker));
	} else {
		worker->to = worker->from.fd = ranks_link(worker->rank);
		if (worker->lost || dprintf(worker->to, "!start\t%s\n", device) < 0)
			return lose(worker);
	}
	worker->alive = true;
done:
	return status;
}

bool worker_alive(const struct worker *worker)
{
	return worker->alive;
}

char *worker_line(struct worker *worker, double until, bool *late)
{
	*late = false;
	char *line = worker->ended ? NULL : lines_next(&worker->from, until, late);
	if (!line || !worker->rank || sscanf(line, "!end\t%d", &worker->wait_status) != 1)
		return line;
	worker->ended = true;
	return NULL;
}

static int end_process(struct worker *worker, double seconds)
{
	int wait_status = 0;
	double until = seconds_now() + seconds;
	struct pollfd end = {
	        .fd = worker->from.fd}; /* is hung up shortly before that of the process */
	pid_t got;
	if (worker->from.lock)
		pthread_mutex_unlock(worker->from.lock);
	close(worker->to);
	while ((got = waitpid(worker->pid, &wait_status, WNOHANG)) == 0 && seconds_now() < until)
		end.revents ? usleep(100) : poll(&end, 1, 5);
	if (got == 0) {
		kill(worker->pid, SIGKILL);
		waitpid(worker->pid, &wait_status, 0);
	}
	close(worker->from.fd);
	if (worker->from.lock)
		pthread_mutex_lock(worker->from.lock);
	return wait_status;
}

/* A worker of another rank is ended by its relay. */
static int end_remote(struct worker *worker, double seconds)
{
	bool late;
	double until = seconds_now() + seconds + RELAY_SECONDS;
	if (!worker->ended)
		worker_ask(worker, seconds > 0 ? "!stop\n" : "!kill\n");
	while (worker_line(worker, until, &late))
		;
	worker->lost = !worker->ended;
	return worker->wait_status;
}

int worker_end(struct worker *worker, double seconds)
{
	worker->alive = false;
	worker->task = NULL;
	return worker->rank ? end_remote(worker, seconds) : end_process(worker, seconds);
}

void worker_stop(struct worker *worker)
{
	if (worker_alive(worker))
		worker_end(worker, STOP_SECONDS);
}

/* The worker has gone or must go: says why. */
static void bury(struct worker *worker, bool late, double seconds, struct answer *answer)
{
	int wait_status = worker_end(worker, late ? 0 : STOP_SECONDS);
	if (worker->lost) {
		strcpy(answer->status, "killed");
		snprintf(answer->reason, sizeof answer->reason, "rank %d is lost", worker->rank);
		return;
	}
	if (late) {
		strcpy(answer->status, "hang");
		snprintf(answer->reason, sizeof answer->reason, "no answer within %.1f s", seconds);
		return;
	}
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

bool worker_late(const struct worker *worker)
{
	return worker->until > 0 && seconds_now() >= worker->until;
}

static double deadline(const struct worker *worker, double seconds)
{
	double at = seconds_now() + seconds;
	return worker->until > 0 ? fmin(at, worker->until) : at;
}

void worker_answer(struct worker *worker, double first_seconds, double seconds,
                   struct answer *answer)
{
	bool late;
	char *line;
	*answer = (struct answer){.at = -1};
	while ((line = worker_line(worker, deadline(worker, first_seconds), &late)) &&
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

enum status worker_greet(struct worker *worker)
{
	enum status status = STATUS_OK;
	bool late;
	char *line = worker_line(worker, seconds_now() + START_SECONDS, &late);
	if (!line) {
		struct answer answer;
		bury(worker, late, START_SECONDS, &answer);
		status = worker->lost
		                 ? lose(worker)
		                 : fail(STATUS_FAILED, "the worker process did not start: %s: %s",
		                        answer.status, answer.reason);
	} else if (!read_info(line, &worker->info)) {
		/* "failed REASON": no such device, or one that cannot be used */
		char reason[256], *tab = strchr(line, '\t');
		snprintf(reason, sizeof reason, "%s", tab ? tab + 1 : line);
		int wait_status = worker_end(worker, STOP_SECONDS);
		bool usage = WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == STATUS_USAGE;
		status = fail(usage ? STATUS_USAGE : STATUS_NO_DEVICE, "%s", reason);
	}
	return status;
}

enum status worker_start(struct worker *worker, const char *device)
{
	enum status status;
	TRY(worker_launch(worker, device));
	TRY(worker_greet(worker));
done:
	return status;
}
