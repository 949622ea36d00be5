#define _POSIX_C_SOURCE 200809L
#include "tests/golden.h"

#include "bench/csv.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define DATA "tests/data/"

/* A computed sum of k terms errs by at most LAMBDA sqrt(k) U relative to its terms, all but surely
 * (Higham and Mary 2019, A new approach to probabilistic rounding error analysis); both sides of a
 * comparison do. */
#define U      0x1p-24
#define LAMBDA 4
#define SIDES  2

/* Where a chunk's products have bf16 operands, x and w of each term are off by up to 2^-8, evenly
 * distributed: the deviation of a product, relative to that of its terms. */
#define OPERANDS (0x1p-8 * 1.4142136 / 1.7320508)

#define QUESTIONS 8 /* of the bundled model's, evenly spread */

static struct csv_table golden;

static const char *cell(int row, const char *column)
{
	int c = csv_column(&golden, column);
	assert_true(c >= 0);
	return csv_cell(&golden, row, c);
}

static char *data_path(int row, const char *column)
{
	static char path[4096];
	snprintf(path, sizeof path, DATA "%s", cell(row, column));
	return path;
}

#define OK(call)                                                   \
	do {                                                       \
		if ((call) != STATUS_OK)                           \
			fail_msg("%s: %s", #call, fail_message()); \
	} while (0)

static int read_ids(const char *path, int **ids)
{
	FILE *file = fopen(path, "r");
	int n = 0, id;
	assert_non_null(file);
	*ids = NULL;
	while (fscanf(file, "%d", &id) == 1) {
		*ids = realloc(*ids, ((size_t)n + 1) * sizeof **ids);
		(*ids)[n++] = id;
	}
	fclose(file);
	assert_true(n > 0);
	return n;
}

static double row_norm(const struct tensor *t, size_t r, float *row)
{
	double squares = 0;
	tensor_rows_f32(t, r, 1, row);
	for (size_t i = 0; i < t->cols; i++)
		squares += (double)row[i] * (double)row[i];
	return sqrt(squares);
}

/* Root mean square of element r of a projection: its bias, and a row times a normalised vector. */
static void magnitudes(const struct tensor *w, const struct tensor *bias, float *row, double *m)
{
	float *b = malloc(bias->cols * sizeof *b);
	tensor_rows_f32(bias, 0, 1, b);
	for (size_t r = 0; r < w->rows; r++)
		m[r] = hypot((double)b[r], row_norm(w, r, row));
	free(b);
}

/* Error of a layer in U, relative to its activations. That of a score is the absolute error of an
 * exponent, so it counts by the magnitude of the score's terms; the oracle's angles are f32
 * products, off by 2 U position frequency. */
static double layer_error(const struct model *model, int layer, int positions, float *row)
{
	const struct hparams *h = &model->hparams;
	const struct tensor *t = model->layers[layer];
	int dim = h->head_dim, group = h->heads / h->kv_heads;
	double *q = malloc(t[ATTN_Q].rows * sizeof *q), *k = malloc(t[ATTN_K].rows * sizeof *k);
	double worst = 0;
	magnitudes(&t[ATTN_Q], &t[ATTN_Q_BIAS], row, q);
	magnitudes(&t[ATTN_K], &t[ATTN_K_BIAS], row, k);
	for (int head = 0; head < h->heads; head++) {
		double score = 0, turned = 0;
		for (int i = 0; i < dim / 2; i++) {
			const double *a = q + head * dim + i, *b = k + head / group * dim + i;
			double pair = hypot(a[0], a[dim / 2]) * hypot(b[0], b[dim / 2]);
			double frequency = pow(h->rope_base, -2.0 * i / dim);
			score = hypot(score, pair);
			turned = hypot(turned, pair * frequency);
		}
		/* times 1 / sqrt(dim), the scale of scores */
		worst = fmax(worst, LAMBDA * score + 2 * positions * turned / sqrt(dim));
	}
	free(q);
	free(k);
	return worst + LAMBDA * (4 * sqrt(h->hidden) + sqrt(h->heads * dim) + sqrt(h->ffn) +
	                         sqrt(positions));
}

/* The longest row of a model's matrices. */
static float *row_of(const struct model *model)
{
	const struct hparams *h = &model->hparams;
	int longest = h->hidden > h->ffn ? h->hidden : h->ffn, q = h->heads * h->head_dim;
	return malloc((size_t)(longest > q ? longest : q) * sizeof(float));
}

/* Elements i and i + dim / 2 of a head, which are turned together. */
static double pair_length(const double *x, int dim)
{
	return hypot(x[0], x[dim / 2]);
}

/* The largest deviation of a head's scores by errors of queries and keys of 1, relative to the
 * products that they are but for their biases. */
static double score_error(const struct model *model, int layer, float *row)
{
	const struct hparams *h = &model->hparams;
	const struct tensor *t = model->layers[layer];
	int dim = h->head_dim, group = h->heads / h->kv_heads;
	size_t n_q = t[ATTN_Q].rows, n_k = t[ATTN_K].rows;
	double *q = malloc(2 * n_q * sizeof *q), *k = malloc(2 * n_k * sizeof *k), worst = 0;
	double *q_product = q + n_q, *k_product = k + n_k;
	magnitudes(&t[ATTN_Q], &t[ATTN_Q_BIAS], row, q);
	magnitudes(&t[ATTN_K], &t[ATTN_K_BIAS], row, k);
	for (size_t r = 0; r < n_q; r++)
		q_product[r] = row_norm(&t[ATTN_Q], r, row);
	for (size_t r = 0; r < n_k; r++)
		k_product[r] = row_norm(&t[ATTN_K], r, row);
	for (int head = 0; head < h->heads; head++) {
		double score = 0;
		for (int i = 0; i < dim / 2; i++) {
			const int a = head * dim + i, b = head / group * dim + i;
			const double of_q =
			        pair_length(q_product + a, dim) * pair_length(k + b, dim);
			const double of_k =
			        pair_length(q + a, dim) * pair_length(k_product + b, dim);
			score = hypot(score, hypot(of_q, of_k));
		}
		worst = fmax(worst, score / sqrt(dim));
	}
	free(q);
	free(k);
	return worst;
}

/* Relative deviation of the activations behind `layers` layers by the bf16 operands of their
 * products: four in each, and those of queries and keys by what they do to scores. Errors are
 * independent, so that their squares add. */
static double operand_error(const struct model *model, int layers, float *row)
{
	double squares = 0;
	for (int l = 0; l < layers; l++)
		squares += 4 + pow(score_error(model, l, row), 2);
	return OPERANDS * sqrt(squares);
}

double golden_cache_tolerance(const struct model *model, int layer, bool is_value, int positions,
                              int product)
{
	const struct tensor *t = model->layers[layer], *w = &t[is_value ? ATTN_V : ATTN_K];
	float *row = row_of(model);
	double error = 0, largest = 0, longest = 0, *m = malloc(w->rows * sizeof *m);
	for (int l = 0; l <= layer; l++)
		error += layer_error(model, l, positions, row);
	magnitudes(w, &t[is_value ? ATTN_V_BIAS : ATTN_K_BIAS], row, m);
	for (size_t r = 0; r < w->rows; r++) {
		largest = fmax(largest, m[r]);
		longest = fmax(longest, row_norm(w, r, row));
	}
	double operands = hypot(operand_error(model, layer, row), OPERANDS);
	free(m);
	free(row);
	return SIDES * U * error * 3 * largest +
	       (product == DTYPE_BF16 ? LAMBDA * operands * longest : 0);
}

/* Error of the final vector, relative, times the largest logit that a vector of its length can have
 * in a random direction, three deviations; that of bf16 operands times the logits' own deviation.
 */
double golden_logit_tolerance(const struct model *model, int positions, int product,
                              const float *logits)
{
	const struct hparams *h = &model->hparams;
	float *row = row_of(model);
	double error = LAMBDA * 2 * sqrt(h->hidden), largest = 0, squares = 0;
	for (int l = 0; l < h->layers; l++)
		error += layer_error(model, l, positions, row);
	for (size_t r = 0; r < model->head.rows; r++)
		largest = fmax(largest, row_norm(&model->head, r, row));
	double scale = row_norm(&model->norm, 0, row) / sqrt(h->hidden);
	double operands = operand_error(model, h->layers, row);
	free(row);
	for (int i = 0; product == DTYPE_BF16 && i < h->vocab; i++)
		squares += (double)logits[i] * (double)logits[i];
	return SIDES * U * error * 3 * largest * scale +
	       LAMBDA * operands * sqrt(squares / h->vocab);
}

/* Golden logits at a few positions. */
struct expected {
	struct csv_table table;
	int row;
};

static double compare_logits(struct expected *e, int position, const float *logits)
{
	double worst = 0, value[3];
	while (e->row < e->table.n_rows) {
		for (int c = 0; c < 3; c++)
			OK(csv_number(&e->table, e->row, c, &value[c]));
		if ((int)value[0] > position)
			break;
		e->row++;
		if ((int)value[0] < position)
			continue; /* of a prompt that went by chunks */
		double error = fabs(value[2] - (double)logits[(int)value[1]]);
		worst = isfinite(error) ? fmax(worst, error) : INFINITY;
	}
	return worst;
}

static bool say(char why[GOLDEN_WHY], const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(why, GOLDEN_WHY, format, args);
	va_end(args);
	return false;
}

int golden_open(void)
{
	if (golden.n_rows)
		return golden.n_rows;
	if (chdir(SOURCE_DIR))
		print_message("%s is elsewhere: reading tests/data here\n", SOURCE_DIR);
	OK(csv_read(DATA "golden.csv", &golden));
	return golden.n_rows;
}

void golden_close(void)
{
	csv_close(&golden);
}

/* All of a prompt but its last token by chunks; returns the position of the first step. */
static int process_prompt(const struct golden_run *run, struct decoder *d, const int *prompt, int n)
{
	struct prefill *prefill;
	if (!run->chunk)
		return d->position;
	OK(prefill_open(d, run->chunk, run->product, &prefill));
	OK(prefill_run(prefill, prompt, (size_t)n - 1));
	prefill_close(&prefill);
	return d->position;
}

bool golden_fixture(const struct golden_run *run, int row, char why[GOLDEN_WHY])
{
	struct model model;
	struct decoder d;
	struct expected expected = {0};
	struct csv_table margins;
	int *prompt, *ids, next;
	double worst = 0, margin, allowed = 0, bias;
	bool right = true;
	OK(model_open(data_path(row, "model"), &model));
	int n_prompt = read_ids(data_path(row, "prompt_file"), &prompt);
	int n_ids = read_ids(data_path(row, "ids_file"), &ids);
	OK(csv_read(data_path(row, "logits_file"), &expected.table));
	OK(csv_read(data_path(row, "margins_file"), &margins));
	OK(csv_number(&golden, row, csv_column(&golden, "bias"), &bias));
	assert_true(expected.table.n_rows > 0);
	struct decoder_options options = {.capacity = n_prompt + n_ids,
	                                  .kv = DTYPE_F32,
	                                  .use_bias = bias != 0,
	                                  .use_tuned = run->use_tuned,
	                                  .graphs = run->graphs,
	                                  .unfused = run->unfused,
	                                  .quiet = true,
	                                  .find = run->find,
	                                  .find_user = run->find_user};
	OK(decoder_open(run->device, &model, &options, &d));
	float *logits = malloc((size_t)model.hparams.vocab * sizeof *logits);
	const int first = process_prompt(run, &d, prompt, n_prompt), n_all = n_prompt + n_ids - 1;
	const int n = run->positions && run->positions < n_all ? run->positions : n_all;
	for (int p = first; right && p < n; p++) {
		int step = p - n_prompt + 1; /* of the greedy ids */
		OK(decoder_step(&d, p < n_prompt ? prompt[p] : ids[p - n_prompt], NULL, 0));
		OK(decoder_logits(&d, logits));
		OK(decoder_token(&d, &next));
		if (p == first || run->product == DTYPE_BF16)
			allowed = golden_logit_tolerance(&model, n_prompt + n_ids, run->product,
			                                 logits);
		worst = fmax(worst, compare_logits(&expected, p, logits));
		if (step < 0)
			continue;
		OK(csv_number(&margins, step, csv_column(&margins, "margin"), &margin));
		if (next != ids[step] && margin > 2 * allowed)
			right = say(why, "%s: step %d chose %d, the oracle %d by %g",
			            cell(row, "name"), step, next, ids[step], margin);
	}
	if (right) {
		assert_true(n < n_all ||
		            expected.row == expected.table.n_rows); /* every position */
		say(why, "%-22s %-7s %-6s largest logit error %.2e, %.3f of the allowed %.2e",
		    cell(row, "name"), run->use_tuned ? "tuned" : "default",
		    run->graphs ? "graph" : "eager", worst, worst / allowed, allowed);
		right = worst <= allowed;
	}
	free(logits);
	free(prompt);
	free(ids);
	csv_close(&expected.table);
	csv_close(&margins);
	decoder_close(&d);
	model_close(&model);
	return right;
}

/* Ids as text, separated by spaces. */
static int parse_ids(const char *text, int *ids, int max)
{
	int n = 0, used;
	while (n < max && sscanf(text, "%d%n", &ids[n], &used) == 1) {
		text += used;
		n++;
	}
	return n;
}

/* The answer to one question, greedily. */
static bool answers(const struct golden_run *run, struct decoder *d,
                    const struct csv_table *questions, int row, char why[GOLDEN_WHY])
{
	int prompt[512], answer[64], next = -1;
	int columns[] = {csv_column(questions, "prompt_ids"), csv_column(questions, "answer_ids")};
	int n_prompt = parse_ids(csv_cell(questions, row, columns[0]), prompt, 512);
	int n_answer = parse_ids(csv_cell(questions, row, columns[1]), answer, 64);
	assert_true(n_prompt > 50 && n_answer > 1);
	OK(decoder_seek(d, 0));
	for (int p = process_prompt(run, d, prompt, n_prompt); p < n_prompt + n_answer - 1; p++) {
		OK(decoder_step(d, p < n_prompt ? prompt[p] : -1, NULL, 0));
		if (p < n_prompt - 1)
			continue;
		OK(decoder_token(d, &next));
		if (next != answer[p - n_prompt + 1])
			return say(why, "question %d: token %d of the answer is %d, expected %d",
			           row, p - n_prompt + 1, next, answer[p - n_prompt + 1]);
	}
	return true;
}

bool golden_answers(const struct golden_run *run, char why[GOLDEN_WHY])
{
	struct decoder_options options = {.capacity = 512,
	                                  .kv = DTYPE_BF16,
	                                  .use_bias = true,
	                                  .use_tuned = run->use_tuned,
	                                  .graphs = run->graphs,
	                                  .unfused = run->unfused,
	                                  .quiet = true,
	                                  .find = run->find,
	                                  .find_user = run->find_user};
	struct csv_table questions;
	struct model model;
	struct decoder d;
	bool right = true;
	OK(csv_read(DATA "tiny_questions.csv", &questions));
	OK(model_open("models/warpsmith-tiny.gguf", &model));
	OK(decoder_open(run->device, &model, &options, &d));
	assert_true(questions.n_rows >= QUESTIONS);
	for (int i = 0; right && i < QUESTIONS; i++)
		right = answers(run, &d, &questions, i * questions.n_rows / QUESTIONS, why);
	decoder_close(&d);
	model_close(&model);
	csv_close(&questions);
	return right;
}

void golden_margins_exceed_tolerance(void)
{
	for (int row = 0; row < golden_open(); row++) {
		struct model model;
		double margin, n;
		OK(model_open(data_path(row, "model"), &model));
		OK(csv_number(&golden, row, csv_column(&golden, "min_margin"), &margin));
		OK(csv_number(&golden, row, csv_column(&golden, "prompt_tokens"), &n));
		assert_true(margin >
		            2 * golden_logit_tolerance(&model, (int)n + 16, DTYPE_F32, NULL));
		model_close(&model);
	}
}
