#define _GNU_SOURCE
#include "tuner/gains.h"

#include <math.h>
#include <time.h>

#include "core/sources.h"

static const char *const plan_names[] = {
        [STEP_DEFAULTS] = "defaults", [STEP_WINNERS] = "winners", [STEP_CONFIRMED] = "confirmed"};

struct gain gain_of(const struct comparison *c)
{
	return (struct gain){100 * (1 / c->ratio.median - 1), 100 * (1 / c->ratio.hi - 1),
	                     100 * (1 / c->ratio.lo - 1), c->rounds};
}

#define GAIN_COLUMNS                                                                             \
	"device,model,kv,context,kernel,case,shape,launches,config,verdict,percent,percent_lo,"  \
	"percent_hi,rounds,error_percent,winner,alone_percent,winner_percent,winner_percent_lo," \
	"winner_percent_hi,launch_us,tok_s,source_hash,date"
enum {
	GAIN_device,
	GAIN_model,
	GAIN_kv,
	GAIN_context,
	GAIN_kernel,
	GAIN_case,
	GAIN_shape,
	GAIN_launches,
	GAIN_config,
	GAIN_verdict,
	GAIN_percent, /* three, and the rounds */
	GAIN_rounds = GAIN_percent + 3,
	GAIN_error_percent,
	GAIN_winner,
	GAIN_alone_percent,
	GAIN_winner_percent, /* three */
	GAIN_launch_us = GAIN_winner_percent + 3,
	GAIN_tok_s,
	GAIN_source_hash,
	GAIN_date,
	N_GAIN_COLUMNS
};

enum status gains_open_log(const char *folder, const struct device_info *info, struct csv_log *log)
{
	return csv_log_open_for(folder, info->slug, "gains.csv", GAIN_COLUMNS, log);
}

/* A row's cells; those of numbers are empty until they are set. */
struct cells {
	const char *cell[N_GAIN_COLUMNS];
	char text[N_GAIN_COLUMNS][32];
};

static void set_number(struct cells *c, int column, const char *format, double value)
{
	if (isfinite(value))
		snprintf(c->text[column], sizeof c->text[column], format, value);
}

static void set_gain(struct cells *c, int column, const struct gain *gain)
{
	set_number(c, column, "%.3f", gain->percent);
	set_number(c, column + 1, "%.3f", gain->lo);
	set_number(c, column + 2, "%.3f", gain->hi);
	if (column == GAIN_percent && isfinite(gain->percent))
		set_number(c, GAIN_rounds, "%.0f", gain->rounds);
}

static void begin_row(const struct gains *g, struct cells *c)
{
	time_t now = time(NULL);
	struct tm tm;
	*c = (struct cells){0};
	for (int i = 0; i < N_GAIN_COLUMNS; i++)
		c->cell[i] = c->text[i];
	c->cell[GAIN_device] = device_info(g->stepper->device)->name;
	c->cell[GAIN_model] = g->model;
	c->cell[GAIN_kv] = dtype_name(g->stepper->decoder.state.kv);
	set_number(c, GAIN_context, "%.0f", g->stepper->length);
	strftime(c->text[GAIN_date], sizeof c->text[0], "%Y-%m-%d", gmtime_r(&now, &tm));
}

static enum status write_launch(const struct gains *g, int i, struct csv_log *log)
{
	struct cells c;
	char row[CONFIG_TEXT], winner[CONFIG_TEXT], hash[17];
	const struct choice *choice = &g->stepper->choice[i];
	const struct launch_gain *l = &g->launch[i];
	const struct kernel *kernel = choice->task.kernel;
	begin_row(g, &c);
	source_hash(kernel->name, hash);
	c.cell[GAIN_kernel] = kernel->name;
	c.cell[GAIN_case] = choice->task.case_text;
	c.cell[GAIN_shape] = choice->task.shape_text;
	c.cell[GAIN_config] = params_format(kernel->params, kernel->n_params, l->row.value, row);
	c.cell[GAIN_verdict] = l->verdict;
	c.cell[GAIN_source_hash] = hash;
	if (isfinite(l->alone_percent))
		c.cell[GAIN_winner] =
		        params_format(kernel->params, kernel->n_params, l->winner.value, winner);
	set_number(&c, GAIN_launches, "%.0f", choice->n_launches);
	set_gain(&c, GAIN_percent, &l->confirmed);
	set_number(&c, GAIN_error_percent, "%.3g", 100 * g->error);
	set_number(&c, GAIN_alone_percent, "%.3f", l->alone_percent);
	set_gain(&c, GAIN_winner_percent, &l->in_step);
	set_number(&c, GAIN_launch_us, "%.3f", l->launch_us);
	return csv_log_row(log, c.cell);
}

/* A row of kernel "step"; its configuration is the plan's name. */
static enum status write_plan(const struct gains *g, int plan, struct csv_log *log)
{
	struct cells c;
	begin_row(g, &c);
	c.cell[GAIN_kernel] = "step";
	c.cell[GAIN_config] = plan_names[plan];
	set_gain(&c, GAIN_percent, &g->plan[plan].gain);
	set_number(&c, GAIN_tok_s, "%.6g", g->plan[plan].tok_s);
	return csv_log_row(log, c.cell);
}

enum status gains_write(const struct gains *g, struct csv_log *log)
{
	enum status status = STATUS_OK;
	for (int i = 0; i < g->stepper->n_choices; i++)
		if (g->launch[i].verdict)
			TRY(write_launch(g, i, log));
	for (int plan = 0; plan < N_STEP_PLANS; plan++)
		TRY(write_plan(g, plan, log));
done:
	return status;
}

static void print_percent(double percent, FILE *to)
{
	if (isfinite(percent))
		fprintf(to, " %+8.2f", percent);
	else
		fprintf(to, " %8s", "-");
}

static void print_gain(const struct gain *gain, FILE *to)
{
	char interval[32] = "";
	print_percent(gain->percent, to);
	if (isfinite(gain->percent))
		snprintf(interval, sizeof interval, "(%+.2f %+.2f)", gain->lo, gain->hi);
	fprintf(to, " %-15s", interval);
}

static void print_launch(const struct gains *g, int i, FILE *to)
{
	const struct choice *c = &g->stepper->choice[i];
	const struct launch_gain *l = &g->launch[i];
	char config[CONFIG_TEXT];
	print_percent(l->alone_percent, to);
	print_gain(&l->in_step, to);
	print_gain(&l->confirmed, to);
	fprintf(to, "  %-7s  %3d x %8.2f us  %s %s %s: %s\n", l->verdict, c->n_launches,
	        l->launch_us, c->task.kernel->name, c->task.shape_text, c->task.case_text,
	        params_format(c->task.kernel->params, c->task.kernel->n_params, l->row.value,
	                      config));
}

void gains_print(const struct gains *g, FILE *to)
{
	fprintf(to,
	        "Gain over the default in percent of the speed: the winner alone and in the step, "
	        "the row in the\nstep (intervals; error of a row %.2g %%)\n%9s %24s %24s\n",
	        100 * g->error, "alone", "in the step", "row");
	for (int i = 0; i < g->stepper->n_choices; i++)
		if (g->launch[i].verdict)
			print_launch(g, i, to);
	for (int p = 0; p < N_STEP_PLANS; p++) {
		const struct gain *gain = &g->plan[p].gain;
		fprintf(to, "%s at %d, %s: %.1f tokens/s", g->model, g->stepper->length,
		        plan_names[p], g->plan[p].tok_s);
		if (isfinite(gain->percent))
			fprintf(to, ", %+.2f %% (%+.2f %+.2f) to the defaults", gain->percent,
			        gain->lo, gain->hi);
		if (p == STEP_CONFIRMED)
			fprintf(to, ", %+.2f %% (%+.2f %+.2f) to the winners",
			        g->over_winners.percent, g->over_winners.lo, g->over_winners.hi);
		fprintf(to, "\n");
	}
}
