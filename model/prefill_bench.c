#include "model/prefill_bench.h"

#include <math.h>
#include <stdlib.h>

#include "bench/csv.h"
#include "bench/statistics.h"
#include "core/progress.h"
#include "core/table.h"

enum { MIN_SAMPLES = 5, MAX_PROMPTS = 31 };
static const double LIMIT_S = 20, HALF_WIDTH = 0.005;

struct result {
	double tok_s, tok_s_lo, tok_s_hi;
	double flops; /* of a prompt */
	double tflops, joule;
	int samples;
};

static double count(const struct matrix *w)
{
	return w ? (double)w->m * w->k + count(w->next) : 0;
}

/* Two per weight of the layers and token, four per visible key and element of a query; the head is
 * of the last token alone. */
static double prompt_flops(const struct decoder *d, int length)
{
	const struct hparams *h = &d->model->hparams;
	const double n = length, keys = n * (n + 1) / 2;
	double weights = 0;
	for (int l = 0; l < d->weights.n_layers; l++) {
		const struct layer_weights *lw = &d->weights.layers[l];
		weights += count(&lw->qkv) + count(&lw->o) + count(&lw->gate_up) + count(&lw->down);
	}
	return 2 * weights * n + 4.0 * h->layers * h->heads * h->head_dim * keys +
	       2 * count(&d->weights.head);
}

/* Seconds of one prompt by the host's clock, until its last step has chosen a token. */
static enum status sample(struct decoder *d, struct prefill *p, const int32_t *ids, int n,
                          double *seconds)
{
	enum status status;
	int token, first = 0;
	TRY(decoder_seek(d, 0));
	TRY(device_sync(d->device));
	double start = seconds_now();
	if (p) {
		TRY(prefill_run(p, ids, (size_t)n - 1));
		first = n - 1;
	}
	for (int i = first; i < n; i++)
		TRY(decoder_step(d, ids[i], NULL, 0));
	TRY(decoder_token(d, &token));
	*seconds = seconds_now() - start;
done:
	return status;
}

static enum status measure(struct decoder *d, struct prefill *p, const int32_t *ids, int n,
                           bool quiet, struct result *r)
{
	enum status status;
	struct progress progress;
	struct device_health health;
	double seconds[MAX_PROMPTS], one;
	TRY(sample(d, p, ids, n, &one));
	double start = seconds_now();
	progress_start(&progress, "prompts", LIMIT_S, quiet);
	while (r->samples < MAX_PROMPTS) {
		TRY(sample(d, p, ids, n, &seconds[r->samples++]));
		progress_update(&progress, seconds_now() - start, NULL);
		struct interval t = median_interval(seconds, r->samples, 0.95);
		r->tok_s = n / t.median;
		r->tok_s_lo = n / t.hi;
		r->tok_s_hi = n / t.lo;
		if (r->samples >= MIN_SAMPLES &&
		    (interval_half_width(&t) < HALF_WIDTH || seconds_now() - start > LIMIT_S))
			break;
	}
	progress_finish(&progress, NULL);
	device_read_health(d->device, &health);
	r->joule = health.watt / r->tok_s;
	r->tflops = r->flops / n * r->tok_s / 1e12;
done:
	return status;
}

/* folder/<device>/prefill.csv, opened before anything is measured. */
static enum status open_log(const char *folder, const struct device_info *info, struct csv_log *log)
{
	return csv_log_open_for(
	        folder, info->slug, "prefill.csv",
	        "device,model,dtype,kv,prompt,chunk,product,tok_s,tok_s_lo,tok_s_hi,flops,"
	        "tflops,joule,source_hash",
	        log);
}

/* "cublas 13.0.2 bf16"; "steps" */
static void name_product(const struct prefill *p, char text[64])
{
	snprintf(text, 64, "steps");
	if (p)
		snprintf(text, 64, "%s %s", prefill_product(p), dtype_name(prefill_dtype(p)));
}

static enum status write_row(const struct decoder *d, const struct prefill *p, int length,
                             const struct result *r, struct csv_log *log)
{
	char number[6][32], prompt[16], chunk[16], product[64], hash[17];
	const double values[] = {r->tok_s, r->tok_s_lo, r->tok_s_hi, r->flops, r->tflops, r->joule};
	for (int i = 0; i < 6; i++)
		snprintf(number[i], sizeof number[i], isnan(values[i]) ? "" : "%.6g", values[i]);
	snprintf(prompt, sizeof prompt, "%d", length);
	snprintf(chunk, sizeof chunk, "%d", p ? prefill_chunk(p) : 1);
	name_product(p, product);
	table_prompt_hash(hash);
	const char *fields[] = {device_info(d->device)->name,
	                        d->model->hparams.name,
	                        d->model->types,
	                        dtype_name(d->state.kv),
	                        prompt,
	                        chunk,
	                        product,
	                        number[0],
	                        number[1],
	                        number[2],
	                        number[3],
	                        number[4],
	                        number[5],
	                        hash};
	return csv_log_row(log, fields);
}

enum status prefill_bench(struct decoder *d, struct prefill *p, int length, bool quiet,
                          const char *csv, FILE *to)
{
	enum status status = STATUS_OK;
	struct result r = {.flops = prompt_flops(d, length)};
	struct csv_log log = {.file = -1};
	char product[64];
	int32_t *ids = malloc((size_t)length * sizeof *ids);
	if (!ids)
		return fail(STATUS_NO_MEMORY, "out of host memory");
	for (int i = 0; i < length; i++)
		ids[i] = (int32_t)((unsigned)i * 7919u % (unsigned)d->model->hparams.vocab);
	if (csv)
		TRY(open_log(csv, device_info(d->device), &log));
	TRY(measure(d, p, ids, length, quiet, &r));
	name_product(p, product);
	fprintf(to,
	        "%s %s, cache %s, prompt of %d tokens, %d at a time, %s: %.2f tokens/s (95 %%: "
	        "%.2f "
	        "to %.2f, %d samples), %.1f ms, %.3f TFLOP/s, on %s\n",
	        d->model->hparams.name, d->model->types, dtype_name(d->state.kv), length,
	        p ? prefill_chunk(p) : 1, product, r.tok_s, r.tok_s_lo, r.tok_s_hi, r.samples,
	        1e3 * length / r.tok_s, r.tflops, device_info(d->device)->name);
	if (csv)
		TRY(write_row(d, p, length, &r, &log));
done:
	csv_log_close(&log);
	free(ids);
	return status;
}
