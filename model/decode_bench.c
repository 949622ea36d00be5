#include "model/decode_bench.h"

#include <math.h>

#include "bench/ceiling.h"
#include "bench/csv.h"
#include "bench/statistics.h"
#include "core/progress.h"
#include "core/table.h"

enum {
	MIN_SAMPLES = 15,
	MAX_DECODE_SAMPLES = 101,
	MAX_STEPS = 256,
	WARMUP_STEPS = 4,
	READINGS = 5
};
static const double SAMPLE_S = 0.2, LIMIT_S = 10, HALF_WIDTH = 0.005;

struct result {
	double tok_s, tok_s_lo, tok_s_hi;
	double bytes; /* of a token */
	double ceiling_gbps, percent, joule;
	int samples;
	struct device_health health; /* while it decodes */
};

int decode_bench_capacity(int length)
{
	return length - 1 + MAX_STEPS;
}

/* The next step has `length` keys, and nothing is queued before it. */
static enum status prepare(struct decoder *d, int length)
{
	enum status status;
	TRY(decoder_seek(d, length - 1));
	TRY(device_sync(d->device));
done:
	return status;
}

/* Each token is the one that the step before chose. */
static enum status queue(struct decoder *d, int steps)
{
	enum status status = STATUS_OK;
	for (int i = 0; i < steps; i++)
		TRY(decoder_step(d, -1, NULL, 0));
done:
	return status;
}

/* Seconds per token by the host's clock; the device is kept busy and the last token read at the
 * end. */
static enum status sample(struct decoder *d, int length, int steps, double *seconds)
{
	enum status status;
	int token;
	TRY(prepare(d, length));
	double start = seconds_now();
	TRY(queue(d, steps));
	TRY(decoder_token(d, &token));
	*seconds = (seconds_now() - start) / steps;
done:
	return status;
}

/* How a GPU does while it decodes what the host has queued: of a few readings the slowest clock. */
static enum status read_health(struct decoder *d, int length, int steps,
                               struct device_health *health)
{
	enum status status;
	int token;
	TRY(prepare(d, length));
	TRY(queue(d, steps));
	device_read_health(d->device, health);
	for (int i = 1; i < READINGS; i++) {
		struct device_health now;
		device_read_health(d->device, &now);
		if (now.sm_mhz < health->sm_mhz || (now.throttle[0] && !health->throttle[0]))
			*health = now;
	}
	TRY(decoder_token(d, &token));
done:
	return status;
}

static enum status measure(struct decoder *d, int length, bool quiet, struct result *r)
{
	enum status status;
	struct progress progress;
	double seconds[MAX_DECODE_SAMPLES], one;
	TRY(sample(d, length, WARMUP_STEPS, &one));
	TRY(sample(d, length, WARMUP_STEPS, &one));
	int steps = (int)fmin(fmax(SAMPLE_S / one, 1), MAX_STEPS);
	double start = seconds_now();
	progress_start(&progress, "decoding", LIMIT_S, quiet);
	while (r->samples < MAX_DECODE_SAMPLES) {
		TRY(sample(d, length, steps, &seconds[r->samples++]));
		progress_update(&progress, seconds_now() - start, NULL);
		struct interval t = median_interval(seconds, r->samples, 0.95);
		r->tok_s = 1 / t.median;
		r->tok_s_lo = 1 / t.hi;
		r->tok_s_hi = 1 / t.lo;
		if (r->samples >= MIN_SAMPLES &&
		    (interval_half_width(&t) < HALF_WIDTH || seconds_now() - start > LIMIT_S))
			break;
	}
	progress_finish(&progress, NULL);
	TRY(read_health(d, length, steps, &r->health));
	r->joule = r->health.watt / r->tok_s;
done:
	return status;
}

/* folder/<device>/decode.csv, opened before anything is measured. */
static enum status open_log(const char *folder, const struct device_info *info, struct csv_log *log)
{
	return csv_log_open_for(folder, info->slug, "decode.csv",
	                        "device,model,dtype,kv,context,plan,tok_s,tok_s_lo,tok_s_hi,bytes,"
	                        "ceiling_gbps,percent,joule,source_hash,sm_mhz,watt,throttle",
	                        log);
}

static enum status write_row(const struct decoder *d, int length, const struct result *r,
                             struct csv_log *log)
{
	char number[9][32], context[16], hash[17], way[DECODER_WAY];
	const double values[] = {r->tok_s, r->tok_s_lo,      r->tok_s_hi,
	                         r->bytes, r->ceiling_gbps,  r->percent,
	                         r->joule, r->health.sm_mhz, r->health.watt};
	for (int i = 0; i < 9; i++)
		snprintf(number[i], sizeof number[i], isnan(values[i]) ? "" : "%.6g", values[i]);
	snprintf(number[3], sizeof number[3], "%.0f", r->bytes);
	snprintf(context, sizeof context, "%d", length);
	table_source_hash(hash);
	const char *fields[] = {device_info(d->device)->name,
	                        d->model->hparams.name,
	                        d->model->types,
	                        dtype_name(d->state.kv),
	                        context,
	                        decoder_way(d, way),
	                        number[0],
	                        number[1],
	                        number[2],
	                        number[3],
	                        number[4],
	                        number[5],
	                        number[6],
	                        hash,
	                        number[7],
	                        number[8],
	                        r->health.throttle};
	return csv_log_row(log, fields);
}

/* ", 1755 MHz, 697 W, clock held down by power_cap" */
static void print_health(const struct device_health *health, FILE *to)
{
	if (isfinite(health->sm_mhz))
		fprintf(to, ", %.0f MHz", health->sm_mhz);
	if (isfinite(health->watt))
		fprintf(to, ", %.0f W", health->watt);
	if (health->throttle[0])
		fprintf(to, ", clock held down by %s", health->throttle);
	fprintf(to, "\n");
}

static int count_tuned(const struct plan *plan)
{
	int n = 0;
	for (int i = 0; i < plan->n; i++)
		n += launch_is_tuned(&plan->launches[i]);
	return n;
}

enum status decode_bench(struct decoder *d, int length, bool quiet, const char *csv, FILE *to)
{
	enum status status;
	struct result r = {0};
	struct ceilings ceilings;
	struct csv_log log = {.file = -1};
	char way[DECODER_WAY];
	const struct plan *plan = decoder_plan(d, length - 1);
	if (csv)
		TRY(open_log(csv, device_info(d->device), &log));
	TRY(decoder_fill_cache(d, d->state.capacity, NULL, NULL));
	r.bytes = plan_bytes(plan, length);
	TRY(measure(d, length, quiet, &r));
	TRY(ceilings_measure(d->device, quiet, &ceilings));
	r.ceiling_gbps = ceilings.read.gbps;
	r.percent = 100 * r.bytes * r.tok_s / 1e9 / r.ceiling_gbps;
	fprintf(to,
	        "%s %s, cache %s, context %d, %s rows (%d of %d launches tuned): %.2f tokens/s "
	        "(95 %%: %.2f to %.2f, %d samples), %.2f MB per token, %.2f GB/s = %.1f %% of the "
	        "measured read ceiling of %.2f GB/s, on %s",
	        d->model->hparams.name, d->model->types, dtype_name(d->state.kv), length,
	        decoder_way(d, way), count_tuned(plan), plan->n, r.tok_s, r.tok_s_lo, r.tok_s_hi,
	        r.samples, r.bytes / 1e6, r.bytes * r.tok_s / 1e9, r.percent, r.ceiling_gbps,
	        device_info(d->device)->name);
	print_health(&r.health, to);
	if (csv)
		TRY(write_row(d, length, &r, &log));
done:
	csv_log_close(&log);
	return status;
}
