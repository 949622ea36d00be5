/* The decode step of a whole model as captured graphs that differ in the configurations of their
 * launches, and which of two is faster. */
#ifndef TUNER_STEP_H
#define TUNER_STEP_H

#include "bench/timer.h"
#include "model/decoder.h"
#include "tuner/candidates.h"
#include "tuner/instances.h"

enum { MAX_CHOICES = 32 };

struct problem;

/* One kernel, case and shape of the step. */
struct choice {
	struct task task;
	int n_launches;
	struct variant variant; /* of the step captured last */
	struct instances instances;
	struct problem *problem; /* NULL until one of its configurations is checked */
};

struct stepper {
	struct device *device;
	int length; /* of the cache */
	int steps;  /* in a sample */
	struct decoder decoder;
	struct timer timer;
	struct choice choice[MAX_CHOICES];
	int n_choices;
};

/* What a step has of each choice, in their order. */
struct selection {
	struct config config[MAX_CHOICES];
	int left_out; /* the choice whose launches are missing; -1: none */
};

/* A captured step. */
struct step {
	struct stepper *of;
	struct selection selection;
	struct graph *graph;
};

/* The model must outlive the stepper. `source` takes the place of the device's time and sees each
 * struct step as the workload; NULL: none does. */
MUST_CHECK enum status stepper_open(struct device *device, const struct model *model, int length,
                                    bool quiet, const struct timer_source *source,
                                    struct stepper *stepper);
void stepper_close(struct stepper *stepper);

/* Every choice with its default. */
struct selection stepper_defaults(const struct stepper *stepper);
/* Whether the configuration is one for this kernel, shape and device. */
bool choice_can_run(const struct stepper *stepper, const struct choice *choice,
                    const struct config *config);
/* Compares the output of one launch with the reference. STATUS_UNSUPPORTED: no such instance, or
 * one that spills. */
MUST_CHECK enum status choice_check(struct stepper *stepper, struct choice *choice,
                                    const struct config *config);

MUST_CHECK enum status step_open(struct stepper *stepper, const struct selection *selection,
                                 struct step *step);
void step_close(struct step *step);

/* timer_pair() of two steps of one stepper; times are those of one token. */
MUST_CHECK enum status step_pair(struct step *a, struct step *b,
                                 const struct timer_options *options, struct paired_timing *timing);
/* Microseconds of one token, a single sample. */
MUST_CHECK enum status step_sample(struct step *step, double *us);

#endif
