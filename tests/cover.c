#include "tests/cover.h"

#include <stdlib.h>
#include <string.h>

#define MAX_FACTORS (MAX_FIELDS + MAX_PARAMS)
#define TRIES       64  /* random instances, of which the one with most new pairs is taken */
#define MAX_DRAWS   400 /* until a legal one is drawn */

/* The fields and tunables of a kernel as one list; an instance is one value index per factor. */
struct space {
	const struct kernel *kernel;
	struct target target;
	int n;
	const struct param *factor[MAX_FACTORS];
	unsigned random;
};

struct instance {
	int index[MAX_FACTORS];
};

/* covered[a][i][b][j]: value i of factor a has occurred with value j of factor b > a; of a itself,
 * i = j: has occurred at all. */
typedef bool covered_pairs[MAX_FACTORS][MAX_VALUES][MAX_FACTORS][MAX_VALUES];

static int draw(struct space *space, int n)
{
	space->random = space->random * 1664525u + 1013904223u;
	return (int)((space->random >> 8) % (unsigned)n);
}

static void values_of(const struct space *space, const struct instance *instance, struct kase *kase,
                      struct config *config)
{
	const int n_fields = space->kernel->n_fields;
	*kase = (struct kase){0};
	*config = (struct config){0};
	for (int f = 0; f < space->n; f++) {
		const int value = space->factor[f]->values[instance->index[f]];
		if (f < n_fields)
			kase->value[f] = value;
		else
			config->value[f - n_fields] = value;
	}
}

/* A random legal instance with value i of factor a and value j of factor b. */
static bool draw_instance(struct space *space, int a, int i, int b, int j,
                          struct instance *instance)
{
	struct kase kase;
	struct config config;
	for (int draws = 0; draws < MAX_DRAWS; draws++) {
		for (int f = 0; f < space->n; f++)
			instance->index[f] = draw(space, space->factor[f]->n_values);
		instance->index[a] = i;
		instance->index[b] = j;
		values_of(space, instance, &kase, &config);
		if (space->kernel->legal(kase.value, config.value, space->target))
			return true;
	}
	return false;
}

static int count_new(const struct space *space, const covered_pairs covered,
                     const struct instance *instance)
{
	int n = 0;
	for (int a = 0; a < space->n; a++)
		for (int b = a; b < space->n; b++)
			n += !covered[a][instance->index[a]][b][instance->index[b]];
	return n;
}

/* Of several random instances with this pair the one with most new pairs; false when none is legal.
 */
static bool best_instance(struct space *space, const covered_pairs covered, int a, int i, int b,
                          int j, struct instance *best)
{
	struct instance instance;
	int most = 0;
	for (int t = 0; t < TRIES; t++) {
		if (!draw_instance(space, a, i, b, j, &instance))
			break;
		const int n = count_new(space, covered, &instance);
		if (n > most) {
			most = n;
			*best = instance;
		}
	}
	return most > 0;
}

static void take(struct space *space, covered_pairs covered, const struct instance *instance,
                 struct cover *cover)
{
	const size_t n = (size_t)cover->n + 1;
	cover->kases = realloc(cover->kases, n * sizeof *cover->kases);
	cover->configs = realloc(cover->configs, n * sizeof *cover->configs);
	if (!cover->kases || !cover->configs)
		abort();
	values_of(space, instance, &cover->kases[cover->n], &cover->configs[cover->n]);
	cover->n++;
	for (int a = 0; a < space->n; a++)
		for (int b = a; b < space->n; b++)
			covered[a][instance->index[a]][b][instance->index[b]] = true;
}

static void cover_factors(struct space *space, covered_pairs covered, int a, int b,
                          struct cover *cover)
{
	struct instance instance;
	for (int i = 0; i < space->factor[a]->n_values; i++)
		for (int j = 0; j < space->factor[b]->n_values; j++)
			if ((a != b || i == j) && !covered[a][i][b][j] &&
			    best_instance(
			            space,
			            (const bool(*)[MAX_VALUES][MAX_FACTORS][MAX_VALUES])covered, a,
			            i, b, j, &instance))
				take(space, covered, &instance, cover);
}

static struct cover cover_all(const struct kernel *kernel, struct target target, bool pairs)
{
	struct space space = {.kernel = kernel, .target = target, .random = 1};
	struct cover cover = {0};
	covered_pairs *covered = calloc(1, sizeof *covered);
	if (!covered)
		abort();
	for (int f = 0; f < kernel->n_fields; f++)
		space.factor[space.n++] = &kernel->fields[f];
	for (int p = 0; p < kernel->n_params; p++)
		space.factor[space.n++] = &kernel->params[p];
	for (int a = 0; a < space.n; a++)
		for (int b = a; b < (pairs ? space.n : a + 1); b++)
			cover_factors(&space, *covered, a, b, &cover);
	free(covered);
	return cover;
}

struct cover cover_values(const struct kernel *kernel, struct target target)
{
	return cover_all(kernel, target, false);
}

struct cover cover_pairs(const struct kernel *kernel, struct target target)
{
	return cover_all(kernel, target, true);
}

void cover_close(struct cover *cover)
{
	free(cover->kases);
	free(cover->configs);
	*cover = (struct cover){0};
}
