#include "tuner/forest.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "tuner/strategy.h"

enum {
	TREES = 32,
	SPLITS = 8,      /* random splits of a node, the best of which is taken */
	LEAST_SPLIT = 4, /* points of a leaf that is split */
	MAX_DEPTH = 60,
	ALL_POINTS = 1500 /* a tree is grown from about as many when there are more */
};
static const float NEAR = 0.1f;                  /* above the lowest y */
static const double PAIRS = 0.4, PRODUCTS = 0.7; /* share of splits; of those on pairs */
/* As long as there are few points, all trees are grown anew now and then: their first splits were
 * chosen from next to nothing. */
enum { YOUNG = 200, YOUNG_PERIOD = 8 };
/* Later one tree is grown anew for every point added, and ever less often from here on. */
enum { OLD = 512 };

/* place[a] + w * place[b] <= limit goes to `left`, the rest to left + 1. */
struct node {
	float limit, w;
	int a, b;
	int left; /* -1: a leaf */
	int n;
	float sum, squares; /* of y */
	int first;          /* of a leaf's points, which `next` chains */
};

struct tree {
	struct node *node;
	int n, capacity;
	int *next; /* by point; -1 ends */
};

struct forest {
	const struct points *points;
	float *place; /* (points, parameters) */
	float *y;     /* by point */
	float lowest; /* of the y */
	int *added, n_added;
	struct tree tree[TREES];
	int turn; /* tree to grow anew next */
	int *scratch;
	uint64_t random;
};

static float projection(const struct forest *f, int point, const struct node *node)
{
	const float *place = f->place + (size_t)point * (size_t)f->points->n_params;
	return place[node->a] + node->w * place[node->b];
}

static bool goes_left(const struct forest *f, int point, const struct node *node)
{
	return projection(f, point, node) <= node->limit;
}

/* A random question about the points: one parameter, or a pair. */
static struct node random_question(struct forest *f)
{
	int n_params = f->points->n_params;
	struct node node = {.a = random_below(&f->random, n_params)};
	node.b = node.a;
	if (n_params > 1 && random_unit(&f->random) < PAIRS) {
		while (node.b == node.a)
			node.b = random_below(&f->random, n_params);
		node.w = random_unit(&f->random) < PRODUCTS ? 1 : -1;
	}
	return node;
}

/* A random limit that has points on both sides; false when all are in one place. */
static bool random_limit(struct forest *f, const int *point, int n, struct node *node)
{
	static const float SAME = 1e-5f;
	float lo = FLT_MAX, hi = -FLT_MAX;
	for (int i = 0; i < n; i++) {
		float at = projection(f, point[i], node);
		lo = at < lo ? at : lo;
		hi = at > hi ? at : hi;
	}
	node->limit = lo + (hi - lo) * (float)random_unit(&f->random);
	if (node->limit >= hi - SAME)
		node->limit = lo;
	return hi - lo > SAME;
}

/* Of some random splits the one that takes most of the variance; false when there is none. */
static bool choose_split(struct forest *f, const int *point, int n, struct node *split)
{
	double best = -1, sum = split->sum;
	struct node chosen = {0};
	for (int s = 0; s < SPLITS; s++) {
		struct node node = random_question(f);
		double left = 0;
		int n_left = 0;
		if (!random_limit(f, point, n, &node))
			continue;
		for (int i = 0; i < n; i++)
			if (goes_left(f, point[i], &node)) {
				left += f->y[point[i]];
				n_left++;
			}
		if (!n_left || n_left == n)
			continue;
		double right = sum - left;
		double gain = left * left / n_left + right * right / (n - n_left) - sum * sum / n;
		if (gain > best) {
			best = gain;
			chosen = node;
		}
	}
	if (best < 0)
		return false;
	split->a = chosen.a;
	split->b = chosen.b;
	split->w = chosen.w;
	split->limit = chosen.limit;
	return true;
}

/* Room for two more nodes; false when memory ends. */
static bool reserve(struct tree *tree)
{
	if (tree->n + 2 <= tree->capacity)
		return true;
	int capacity = tree->capacity ? 2 * tree->capacity : 256;
	void *node = realloc(tree->node, (size_t)capacity * sizeof *tree->node);
	if (!node)
		return false;
	tree->node = node;
	tree->capacity = capacity;
	return true;
}

/* Points that go left come first; returns their number. */
static int partition(const struct forest *f, const struct node *node, int *point, int n)
{
	int n_left = 0;
	for (int i = 0; i < n; i++)
		if (goes_left(f, point[i], node)) {
			int swap = point[i];
			point[i] = point[n_left];
			point[n_left++] = swap;
		}
	return n_left;
}

/* Makes `at` the root of a subtree of these points. */
static bool grow(struct forest *f, struct tree *tree, int at, int *point, int n, int depth)
{
	struct node node = {.left = -1, .n = n, .first = -1};
	for (int i = 0; i < n; i++) {
		node.sum += f->y[point[i]];
		node.squares += f->y[point[i]] * f->y[point[i]];
	}
	float mean = node.sum / (float)n;
	bool even = node.squares / (float)n - mean * mean <= 1e-10f;
	if (n < LEAST_SPLIT || even || depth == MAX_DEPTH || !choose_split(f, point, n, &node)) {
		for (int i = 0; i < n; i++) {
			tree->next[point[i]] = node.first;
			node.first = point[i];
		}
		tree->node[at] = node;
		return true;
	}
	int n_left = partition(f, &node, point, n);
	if (!reserve(tree))
		return false;
	int left = node.left = tree->n;
	tree->n += 2;
	tree->node[at] = node;
	return grow(f, tree, left, point, n_left, depth + 1) &&
	       grow(f, tree, left + 1, point + n_left, n - n_left, depth + 1);
}

/* From all points; where there are too many, half as many as may be from those near the best and
 * half from the rest. */
static bool grow_anew(struct forest *f, struct tree *tree)
{
	int n = 0, n_near = 0;
	for (int i = 0; i < f->n_added; i++)
		n_near += f->y[f->added[i]] <= f->lowest + NEAR;
	double near_share = 0.5 * ALL_POINTS / n_near;
	double far_share = 0.5 * ALL_POINTS / (f->n_added - n_near + 1);
	for (int i = 0; i < f->n_added; i++) {
		bool near = f->y[f->added[i]] <= f->lowest + NEAR;
		if (f->n_added <= ALL_POINTS ||
		    random_unit(&f->random) < (near ? near_share : far_share))
			f->scratch[n++] = f->added[i];
	}
	tree->n = 1;
	return grow(f, tree, 0, f->scratch, n, 0);
}

/* Brings a point to its leaf, and splits that. */
static bool insert(struct forest *f, struct tree *tree, int point)
{
	float y = f->y[point];
	int at = 0, n = 0;
	for (;;) {
		struct node *node = &tree->node[at];
		node->n++;
		node->sum += y;
		node->squares += y * y;
		if (node->left < 0)
			break;
		at = node->left + !goes_left(f, point, node);
	}
	struct node *leaf = &tree->node[at];
	tree->next[point] = leaf->first;
	leaf->first = point;
	if (leaf->n < LEAST_SPLIT)
		return true;
	for (int i = leaf->first; i >= 0; i = tree->next[i])
		f->scratch[n++] = i;
	return grow(f, tree, at, f->scratch, n, 0);
}

enum status forest_add(struct forest *f, int point, double y)
{
	bool ok = true, young = f->n_added < YOUNG && f->n_added % YOUNG_PERIOD == 0;
	f->y[point] = (float)y;
	f->lowest = fminf(f->lowest, f->y[point]);
	f->added[f->n_added++] = point;
	bool renews = f->n_added % (1 + f->n_added / OLD) == 0;
	for (int t = 0; t < TREES; t++)
		ok &= young || (renews && t == f->turn) ? grow_anew(f, &f->tree[t])
		                                        : insert(f, &f->tree[t], point);
	f->turn = renews ? (f->turn + 1) % TREES : f->turn;
	return ok ? STATUS_OK : fail(STATUS_NO_MEMORY, "no memory for a model of the search");
}

void forest_predict(const struct forest *f, int point, double *mean, double *deviation)
{
	double sum = 0, squares = 0, within = 0;
	for (int t = 0; t < TREES; t++) {
		const struct node *nodes = f->tree[t].node, *node = nodes;
		while (node->left >= 0)
			node = &nodes[node->left + !goes_left(f, point, node)];
		double y = node->n ? node->sum / node->n : 0;
		sum += y;
		squares += y * y;
		if (node->n > 1)
			within += fmax(0, node->squares / node->n - y * y);
	}
	*mean = sum / TREES;
	*deviation = sqrt(fmax(0, squares / TREES - *mean * *mean) + within / TREES);
}

static void copy_places(struct forest *f)
{
	const struct points *points = f->points;
	size_t n = (size_t)points->n, n_params = (size_t)points->n_params;
	for (size_t i = 0; i < n; i++)
		for (size_t p = 0; p < n_params; p++)
			f->place[i * n_params + p] =
			        points->place[p][points->level[i * n_params + p]];
}

enum status forest_open(const struct points *points, uint64_t seed, struct forest **forest)
{
	size_t n = (size_t)points->n;
	struct forest *f = *forest = calloc(1, sizeof *f);
	if (!f)
		return fail(STATUS_NO_MEMORY, "no memory for a model of the search");
	f->points = points;
	f->random = seed;
	f->lowest = INFINITY;
	f->place = malloc((n * (size_t)points->n_params + 1) * sizeof *f->place);
	f->y = malloc(n * sizeof *f->y);
	f->added = malloc(n * sizeof *f->added);
	f->scratch = malloc(n * sizeof *f->scratch);
	bool ok = f->place && f->y && f->added && f->scratch;
	for (int t = 0; t < TREES; t++) {
		struct tree *tree = &f->tree[t];
		tree->next = malloc(n * sizeof *tree->next);
		ok &= tree->next && reserve(tree);
		if (!ok)
			break;
		tree->n = 1;
		tree->node[0] = (struct node){.left = -1, .first = -1};
	}
	if (!ok) {
		forest_close(forest);
		return fail(STATUS_NO_MEMORY, "no memory for a model of the search");
	}
	copy_places(f);
	return STATUS_OK;
}

void forest_close(struct forest **forest)
{
	struct forest *f = *forest;
	for (int t = 0; f && t < TREES; t++) {
		free(f->tree[t].node);
		free(f->tree[t].next);
	}
	if (f) {
		free(f->place);
		free(f->y);
		free(f->added);
		free(f->scratch);
	}
	free(f);
	*forest = NULL;
}
