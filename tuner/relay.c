#include "tuner/ranks.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "tuner/worker.h"

static const double STOP_SECONDS = 2, AT_ONCE = 0;

struct relay {
	struct lines link;
	struct worker worker;
	char device[64];
	int local_rank;
};

static void reply(const struct relay *r, const char *line)
{
	char text[MAX_LINE + 1];
	int n = snprintf(text, sizeof text, "%s\n", line);
	send(r->link.fd, text, (size_t)n, MSG_NOSIGNAL);
}

static void end_worker(struct relay *r, double seconds)
{
	char line[32];
	if (!worker_alive(&r->worker))
		return;
	snprintf(line, sizeof line, "!end\t%d", worker_end(&r->worker, seconds));
	reply(r, line);
}

static void start_worker(struct relay *r, const char *device)
{
	if (strcmp(device, "cuda"))
		snprintf(r->device, sizeof r->device, "%s", device);
	else
		snprintf(r->device, sizeof r->device, "cuda%%%d", r->local_rank);
	if (worker_launch(&r->worker, r->device) != STATUS_OK)
		reply(r, "!end\t0");
}

static void obey(struct relay *r, char *line)
{
	static const char start[] = "!start\t";
	if (!strncmp(line, start, sizeof start - 1)) {
		start_worker(r, line + sizeof start - 1);
	} else if (!strcmp(line, "!stop") || !strcmp(line, "!kill")) {
		end_worker(r, line[1] == 's' ? STOP_SECONDS : 0);
	} else if (worker_alive(&r->worker)) {
		strcat(line, "\n"); /* where its end was */
		worker_ask(&r->worker, line);
	}
}

static void pass_answers(struct relay *r)
{
	bool late;
	char *line;
	while ((line = worker_line(&r->worker, AT_ONCE, &late)))
		reply(r, line);
	if (!late)
		end_worker(r, STOP_SECONDS);
}

void relay_run(int link, int local_rank)
{
	static struct relay r;
	bool late = true;
	r.link.fd = link;
	r.local_rank = local_rank;
	while (late) {
		char *line;
		struct pollfd ready[] = {{.fd = link, .events = POLLIN},
		                         {.fd = r.worker.from.fd, .events = POLLIN}};
		if (poll(ready, worker_alive(&r.worker) ? 2 : 1, -1) < 0)
			continue;
		if (ready[1].revents)
			pass_answers(&r);
		if (!ready[0].revents)
			continue;
		while ((line = lines_next(&r.link, AT_ONCE, &late)))
			obey(&r, line);
	}
	worker_stop(&r.worker);
}
