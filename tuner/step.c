#include "tuner/step.h"

#include <math.h>
#include <string.h>

#include "bench/problem.h"

enum { SEED = 1, MOST_STEPS = 256 };
/* A sample is at least this long. */
static const double SAMPLE_US = 5000;

bool choice_can_run(const struct stepper *s, const struct choice *c, const struct config *config)
{
	const struct device_info *info = device_info(s->device);
	const struct task *t = &c->task;
	return t->kernel->legal(t->kase.value, config->value, info->target) &&
	       t->kernel->valid(&t->shape, t->kase.value, config->value, info);
}

/* What table_lookup() is to the runner: a choice's variant, which every capture sets. */
static const struct variant *find_variant(void *user, const struct kernel *kernel,
                                          const struct kase *kase, const struct shape *shape)
{
	struct stepper *s = user;
	for (int i = 0; i < s->n_choices; i++) {
		struct choice *c = &s->choice[i];
		if (c->task.kernel == kernel && !memcmp(&c->task.kase, kase, sizeof *kase) &&
		    !memcmp(&c->task.shape, shape, sizeof *shape)) {
			c->n_launches++;
			return &c->variant;
		}
	}
	if (s->n_choices == MAX_CHOICES)
		return NULL;
	struct choice *c = &s->choice[s->n_choices];
	*c = (struct choice){.task = {.kernel = kernel, .kase = *kase, .shape = *shape},
	                     .n_launches = 1};
	struct shape named = *shape;
	if (named.len)
		named.len = s->length; /* the plan's is an upper bound */
	params_format(kernel->fields, kernel->n_fields, kase->value, c->task.case_text);
	kernel_write_shape(kernel, &named, c->task.shape_text);
	instances_open(s->device, &c->task, &c->instances);
	c->variant = (struct variant){.device = device_info(s->device)->name,
	                              .kase = *kase,
	                              .config = config_default(kernel)};
	if (instances_find(&c->instances, &c->variant.config, &c->variant.entry) != STATUS_OK) {
		instances_close(&c->instances);
		return NULL;
	}
	s->n_choices++;
	return &c->variant;
}

static enum status seek(void *user, int iteration)
{
	struct step *step = user;
	(void)iteration;
	return decoder_seek(&step->of->decoder, step->of->length - 1);
}

static enum status run(void *user, int iteration)
{
	enum status status = STATUS_OK;
	struct step *step = user;
	(void)iteration;
	for (int i = 0; i < step->of->steps; i++)
		TRY(graph_launch(step->graph));
done:
	return status;
}

static struct workload workload_of(struct step *step)
{
	return (struct workload){.run = run, .between = seek, .user = step, .copies = 1};
}

/* As many steps as make a sample. */
static enum status choose_steps(struct stepper *s)
{
	enum status status;
	struct step step = {0};
	struct selection plain = stepper_defaults(s);
	double us;
	s->steps = 1;
	TRY(step_open(s, &plain, &step));
	TRY(step_sample(&step, &us));
	TRY(step_sample(&step, &us));
	if (!s->timer.source.sample)
		s->steps = (int)fmin(ceil(SAMPLE_US / us), MOST_STEPS);
done:
	step_close(&step);
	return status;
}

enum status stepper_open(struct device *device, const struct model *model, int length, bool quiet,
                         const struct timer_source *source, struct stepper *s)
{
	enum status status;
	*s = (struct stepper){.device = device, .length = length};
	const struct decoder_options decoder = {.capacity = length + MOST_STEPS,
	                                        .kv = DTYPE_BF16,
	                                        .use_bias = true,
	                                        .quiet = quiet,
	                                        .find = find_variant,
	                                        .find_user = s};
	const struct timer_options single = {.launches = 1};
	TRY(timer_open(&s->timer, device, &single));
	if (source)
		s->timer.source = *source;
	TRY(decoder_open(device, model, &decoder, &s->decoder));
	TRY(decoder_fill_cache(&s->decoder, decoder.capacity, NULL, NULL));
	TRY(choose_steps(s));
done:
	if (status != STATUS_OK)
		stepper_close(s);
	return status;
}

void stepper_close(struct stepper *s)
{
	decoder_close(&s->decoder);
	timer_close(&s->timer);
	for (int i = 0; i < s->n_choices; i++) {
		problem_close(&s->choice[i].problem);
		instances_close(&s->choice[i].instances);
	}
	*s = (struct stepper){0};
}

struct selection stepper_defaults(const struct stepper *s)
{
	struct selection selection = {.left_out = -1};
	for (int i = 0; i < s->n_choices; i++)
		selection.config[i] = config_default(s->choice[i].task.kernel);
	return selection;
}

/* Such an instance is no row: tests/sass.c asks it of all. */
static enum status check_spills(struct stepper *s, const struct choice *c,
                                const struct config *config, const void *entry)
{
	enum status status;
	const struct device_info *info = device_info(s->device);
	const struct task *t = &c->task;
	const struct grid grid = t->kernel->grid(&t->shape, t->kase.value, config->value, info);
	struct entry_resources has = {0};
	TRY(device_resources(s->device, entry, grid, &has));
	if (has.spill_bytes > 0)
		status = fail(STATUS_UNSUPPORTED, "%d bytes of spills per thread", has.spill_bytes);
done:
	return status;
}

enum status choice_check(struct stepper *s, struct choice *c, const struct config *config)
{
	enum status status;
	const struct task *t = &c->task;
	const void *entry;
	TRY(instances_find(&c->instances, config, &entry));
	TRY(check_spills(s, c, config, entry));
	if (!c->problem)
		TRY(problem_open(s->device, t->kernel, t->kase.value, &t->shape, SEED, 1,
		                 &c->problem));
	TRY(problem_check(c->problem, entry, config->value));
done:
	return status;
}

/* Gives the plan's launches what the selection says. */
static enum status apply(struct stepper *s, const struct selection *selection)
{
	enum status status = STATUS_OK;
	struct plan *plan = &s->decoder.plans[0];
	for (int i = 0; i < s->n_choices; i++) {
		struct choice *c = &s->choice[i];
		TRY(instances_find(&c->instances, &selection->config[i], &c->variant.entry));
		c->variant.config = selection->config[i];
	}
	for (int i = 0; i < plan->n; i++) {
		struct launch *l = &plan->launches[i];
		launch_regrid(l, device_info(s->device));
		l->left_out = selection->left_out >= 0 &&
		              l->variant == &s->choice[selection->left_out].variant;
	}
	plan_look_ahead(plan);
done:
	return status;
}

enum status step_open(struct stepper *s, const struct selection *selection, struct step *step)
{
	enum status status;
	*step = (struct step){.of = s, .selection = *selection};
	TRY(apply(s, selection));
	TRY(decoder_capture(&s->decoder, &s->decoder.plans[0], &step->graph));
	TRY(seek(step, 0));
	TRY(graph_launch(step->graph)); /* the first launch of a graph takes longer */
done:
	if (status != STATUS_OK)
		step_close(step);
	return status;
}

void step_close(struct step *step)
{
	graph_close(&step->graph);
	*step = (struct step){0};
}

static void divide(struct timing *timing, int by)
{
	timing->us /= by;
	timing->us_lo /= by;
	timing->us_hi /= by;
}

enum status step_pair(struct step *a, struct step *b, const struct timer_options *options,
                      struct paired_timing *timing)
{
	enum status status;
	struct timer *timer = &a->of->timer;
	struct workload wa = workload_of(a), wb = workload_of(b);
	timer->options = *options;
	timer->options.launches = 1;
	TRY(timer_pair(timer, &wa, &wb, timing));
	divide(&timing->a, a->of->steps);
	divide(&timing->b, a->of->steps);
done:
	return status;
}

enum status step_sample(struct step *step, double *us)
{
	enum status status;
	struct timer *timer = &step->of->timer;
	struct prepared prepared = {.timer = timer, .workload = workload_of(step), .launches = 1};
	TRY(prepared_sample(&prepared, us));
	*us /= step->of->steps;
done:
	return status;
}
