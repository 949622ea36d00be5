#define _POSIX_C_SOURCE 200809L
#include "core/progress.h"

#include <stdio.h>
#include <unistd.h>

enum { BAR_WIDTH = 24 };
static const double REDRAW_S = 0.1, LINE_S = 10.0;

void progress_start(struct progress *progress, const char *label, double total, bool quiet)
{
	double now = seconds_now();
	*progress = (struct progress){.label = label,
	                              .total = total > 0 ? total : 1,
	                              .started = now,
	                              .shown = now - REDRAW_S,
	                              .quiet = quiet,
	                              .terminal = isatty(STDERR_FILENO)};
}

static void draw(const struct progress *p, double done, double elapsed, const char *note)
{
	double share = done < p->total ? done / p->total : 1;
	if (p->terminal) {
		char bar[BAR_WIDTH + 1];
		for (int i = 0; i < BAR_WIDTH; i++)
			bar[i] = i < share * BAR_WIDTH ? '#' : '.';
		bar[BAR_WIDTH] = 0;
		fprintf(stderr, "\r\033[K%s [%s] %3.0f %%", p->label, bar, 100 * share);
	} else {
		fprintf(stderr, "%s %3.0f %%", p->label, 100 * share);
	}
	if (share > 0 && share < 1)
		fprintf(stderr, ", %.0f s left", elapsed * (1 - share) / share);
	if (note && note[0])
		fprintf(stderr, ", %s", note);
	fputs(p->terminal ? "" : "\n", stderr);
	fflush(stderr);
}

void progress_update(struct progress *progress, double done, const char *note)
{
	double now = seconds_now();
	if (progress->quiet || now - progress->shown < (progress->terminal ? REDRAW_S : LINE_S))
		return;
	progress->shown = now;
	draw(progress, done, now - progress->started, note);
}

void progress_clear(const struct progress *progress)
{
	if (!progress->quiet && progress->terminal)
		fputs("\r\033[K", stderr);
}

void progress_finish(struct progress *progress, const char *note)
{
	double elapsed = seconds_now() - progress->started;
	if (progress->quiet)
		return;
	progress_clear(progress);
	fprintf(stderr, "%s: %.1f s%s%s\n", progress->label, elapsed, note && note[0] ? ", " : "",
	        note ? note : "");
}
