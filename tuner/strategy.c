#include "tuner/strategy.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const struct strategy strategies[] = {
        {"guided", "local searches that a model of the times orders and starts", guided_open,
         guided_propose, guided_close},
        {"local", "first improvement, neighbours and restarts at random", local_open, local_propose,
         search_free},
        {"evolve", "a population: parents from tournaments, crossed and mutated", evolve_open,
         evolve_propose, search_free},
        {"random", "without replacement", random_open, random_propose, search_free},
        {"exhaustive", "every configuration, in the order of the parameter lists", NULL,
         propose_all, NULL},
        {NULL, NULL, NULL, NULL, NULL},
};

const struct strategy *strategy_find(const char *name)
{
	for (const struct strategy *s = strategies; s->name; s++)
		if (!strcmp(s->name, name))
			return s;
	return NULL;
}

enum status search_open(const struct strategy *strategy, const struct points *points, uint64_t seed,
                        struct search *search)
{
	enum status status = STATUS_OK;
	size_t n = (size_t)points->n;
	*search = (struct search){.points = points, .seed = seed};
	search->us = malloc(n * sizeof *search->us);
	search->taken = calloc(n, sizeof *search->taken);
	search->order = malloc(n * sizeof *search->order);
	if (!search->us || !search->taken || !search->order) {
		status = fail(STATUS_NO_MEMORY, "no memory for a search");
		goto done;
	}
	for (size_t i = 0; i < n; i++)
		search->us[i] = NAN;
	if (strategy->open)
		TRY(strategy->open(search));
done:
	if (status != STATUS_OK)
		search_close(strategy, search);
	return status;
}

void search_close(const struct strategy *strategy, struct search *search)
{
	if (strategy->close)
		strategy->close(search);
	free(search->us);
	free(search->taken);
	free(search->order);
	*search = (struct search){0};
}

void search_take(struct search *search, int point)
{
	search->taken[point] = true;
	search->order[search->n_taken++] = point;
}

void search_tried(struct search *search, double us)
{
	search->us[search->order[search->n_tried++]] = us;
}

void search_free(struct search *search)
{
	free(search->state);
	search->state = NULL;
}

uint64_t random_next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

int random_below(uint64_t *state, int n)
{
	return (int)(((random_next(state) >> 32) * (uint64_t)n) >> 32);
}

double random_unit(uint64_t *state)
{
	return (double)(random_next(state) >> 11) * 0x1p-53;
}

void random_shuffle(uint64_t *state, int *number, int n)
{
	for (int i = n - 1; i > 0; i--) {
		int j = random_below(state, i + 1), swap = number[i];
		number[i] = number[j];
		number[j] = swap;
	}
}
