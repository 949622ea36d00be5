/* A worker without a device: every configuration has a known time, a hash of what it is. With
 * main.c and this in place of worker_main.c the whole tuner is deterministic. Environment:
 *	REPLAY_GPU        the whole spaces of this architecture (90 ...)
 *	REPLAY_SMS        multiprocessors (default 1)
 *	REPLAY_LANES      of a warp (default those of the build)
 *	REPLAY_LOG        a file that gets what is measured: tuner or relay, request, task, configurations
 *	REPLAY_SLEEP_US   what a measurement takes
 *	REPLAY_SLEEP      and that many times the time that it finds
 *	REPLAY_DELAY_US   and up to this more, another in each process
 *	REPLAY_SETUP_US   what setting a task up takes
 *	REPLAY_CLOCK      a file with the time, which measurements advance instead of sleeping
 *	REPLAY_INTERRUPT  when the tune is interrupted, by that clock
 *	REPLAY_SPREAD     times are 10 us and up to this more (default 10)
 *	REPLAY_LENGTHS    those of attention depend on splits and length instead
 *	REPLAY_CRASH      text in configurations that end the worker when they are screened
 *	REPLAY_SHIFT      percent that the configuration in REPLAY_SHIFTED takes longer
 *	REPLAY_FAILING    from this length on attention with one split fails in races
 *	REPLAY_BYTE       a kernel source of which the middle byte is another
 *	REPLAY_SPACE      a kernel whose first tunable has one value fewer
 *	REPLAY_NOISE      a file that counts the workers; each has its own noise: 1 % of jitter, drift by up to
 *	                  5 % up and down, one sample of 50 longer by half to three times
 *	REPLAY_DRAWS      0: they are alike, as they are on a GPU
 *	REPLAY_BIAS       percent by which each configuration is off, up or down, from one set-up of a noisy
 *	                  worker to the next */
#define _GNU_SOURCE
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/statistics.h"
#include "core/progress.h"
#include "core/sources.h"
#include "kernels/list.h"
#include "tuner/strategy.h"
#include "tuner/worker.h"

/* The registry with copies of all kernels. */
#define DECLARE(name, NAME) extern const struct kernel name##_kernel;
#define ADDRESS(name, NAME) &name##_kernel,
KERNELS(DECLARE)
static const struct kernel *const originals[] = {KERNELS(ADDRESS) NULL};
enum { N_KERNELS = sizeof originals / sizeof *originals - 1 };
static struct kernel copy[N_KERNELS];
static struct param smaller[MAX_PARAMS]; /* tunables of REPLAY_SPACE */
#define COPY(name, NAME)  &copy[name##_at],
#define PLACE(name, NAME) name##_at,
enum { KERNELS(PLACE) };
const struct kernel *const kernels[] = {KERNELS(COPY) NULL};

const struct kernel *kernel_find(const char *name)
{
	for (int i = 0; i < N_KERNELS; i++)
		if (!strcmp(copy[i].name, name))
			return &copy[i];
	return NULL;
}

__attribute__((constructor)) static void copy_kernels(void)
{
	const char *name = getenv("REPLAY_SPACE");
	for (int i = 0; i < N_KERNELS; i++) {
		copy[i] = *originals[i];
		if (!name || strcmp(name, copy[i].name) != 0)
			continue;
		memcpy(smaller, copy[i].params, (size_t)copy[i].n_params * sizeof *smaller);
		smaller[0].n_values--;
		copy[i].params = smaller;
	}
}

/* In place of source_hash(): of the sources with one byte changed. */
void __wrap_source_hash(const char *kernel, char hash[17]);
void __wrap_source_hash(const char *kernel, char hash[17])
{
	enum { MAX_FILES = 64 };
	struct source changed[MAX_FILES] = {0};
	const char *path = getenv("REPLAY_BYTE");
	char *text = NULL;
	for (int i = 0; sources[i].path && i < MAX_FILES - 1; i++) {
		changed[i] = sources[i];
		if (!path || strcmp(path, sources[i].path) != 0)
			continue;
		text = strdup(sources[i].text);
		text[sources[i].bytes / 2] ^= 1;
		changed[i].text = text;
	}
	if (path && !text)
		abort(); /* no such source */
	source_hash_in(changed, kernel, hash);
	free(text);
}

static double setting(const char *name, double otherwise)
{
	const char *text = getenv(name);
	return text ? atof(text) : otherwise;
}

/* Seconds in the clock's file after these more. Nobody else writes while a measurement does. */
static double advance(const char *path, double more)
{
	double now = 0;
	const int file = open(path, O_RDWR | O_CREAT, 0644);
	if (file < 0 || pread(file, &now, sizeof now, 0) < 0)
		abort();
	now += more;
	if (more > 0 && pwrite(file, &now, sizeof now, 0) != sizeof now)
		abort();
	close(file);
	return now;
}

/* In place of seconds_now(). */
double __real_seconds_now(void);
double __wrap_seconds_now(void);
double __wrap_seconds_now(void)
{
	static bool interrupted;
	const char *path = getenv("REPLAY_CLOCK");
	if (!path)
		return __real_seconds_now();
	const double now = advance(path, 0);
	if (!interrupted && now > setting("REPLAY_INTERRUPT", INFINITY))
		interrupted = !raise(SIGINT);
	return now;
}

/* In place of progress_update(): the note says when it is drawn. */
void __real_progress_update(struct progress *progress, double done, const char *note);
void __wrap_progress_update(struct progress *progress, double done, const char *note);
void __wrap_progress_update(struct progress *progress, double done, const char *note)
{
	char text[64];
	const char *path = getenv("REPLAY_CLOCK");
	if (path)
		snprintf(text, sizeof text, "at %.9g", advance(path, 0));
	__real_progress_update(progress, done, path ? text : note);
}

enum { MAX_CONFIGS = 64, MAX_SWEEPS = 64, DRIFT_SAMPLES = 3000 };
static const double JITTER = 0.01, DRIFT = 0.05, SPIKES = 0.02;

static char task[1024]; /* kernel, case and shape */
static bool noisy;
static uint64_t random_state;
static uint64_t draw; /* of the set-up at hand */
static long n_samples;

/* More splits pay for longer caches. */
static double attention_us(int length, const char *config, uint64_t hash)
{
	const int splits = atoi(strstr(config, "splits=") + strlen("splits="));
	return (5 + 0.4 * splits + 0.004 * length / splits) * (1 + 0.001 * (double)(hash % 5));
}

static double time_of(const char *config)
{
	uint64_t hash = fnv1a(fnv1a(FNV1A_START, task, strlen(task)), config, strlen(config));
	const char *shifted = getenv("REPLAY_SHIFTED"), *at = strchr(task, '@');
	if (at && getenv("REPLAY_LENGTHS"))
		return attention_us(atoi(at + 1), config, hash);
	double us = 10 + setting("REPLAY_SPREAD", 10) * (double)(hash % 1000) / 1000;
	return shifted && !strcmp(shifted, config) ? us * (1 + setting("REPLAY_SHIFT", 0) / 100)
	                                           : us;
}

/* About normal, of deviation 1. */
static double normal(void)
{
	double sum = 0;
	for (int i = 0; i < 12; i++)
		sum += random_unit(&random_state);
	return sum - 6;
}

/* As where the set-up's memory and code happen to be makes it: the same in all its samples. */
static double bias(const char *config)
{
	const uint64_t hash = fnv1a(fnv1a(FNV1A_START, &draw, sizeof draw), config, strlen(config));
	return (hash >> 32 & 1 ? 0.01 : -0.01) * setting("REPLAY_BIAS", 0);
}

static double sample(const char *config)
{
	double us = time_of(config), phase = 2 * M_PI * (double)n_samples++ / DRIFT_SAMPLES;
	if (!noisy)
		return us;
	us *= 1 + bias(config);
	us *= (1 + JITTER * normal()) * (1 + DRIFT * sin(phase));
	if (random_unit(&random_state) < SPIKES)
		us *= 1.5 + 1.5 * random_unit(&random_state);
	return us;
}

/* The next number of the file, so that no two workers have the same noise. */
static void start_noise(const char *path)
{
	FILE *file = fopen(path, "a+");
	if (!file || fputc('.', file) < 0 || fclose(file))
		abort();
	file = fopen(path, "r");
	fseek(file, 0, SEEK_END);
	random_state = (uint64_t)ftell(file) << 32;
	n_samples = (long)random_below(&random_state, DRIFT_SAMPLES);
	noisy = true;
	fclose(file);
}

/* One write per line, so that those of several workers do not mix. */
static void log_request(const char *verb, const char *rest)
{
	char line[WORKER_LINE + 1200];
	const char *path = getenv("REPLAY_LOG");
	int file = path ? open(path, O_WRONLY | O_CREAT | O_APPEND, 0644) : -1;
	if (file < 0)
		return;
	int n = snprintf(line, sizeof line, "%d\t%s\t%s\t%s\n", (int)getppid(), verb, task, rest);
	if (write(file, line, (size_t)n) != n)
		abort();
	close(file);
}

static void spend(double us)
{
	const char *path = getenv("REPLAY_CLOCK");
	if (path)
		advance(path, 1e-6 * us);
	else
		usleep((useconds_t)us);
}

/* Of a measurement. */
static void take_time(double us)
{
	static uint64_t delays;
	if (!delays)
		delays = (uint64_t)getpid();
	spend(setting("REPLAY_SLEEP_US", 0) + setting("REPLAY_SLEEP", 0) * us +
	      setting("REPLAY_DELAY_US", 0) * random_unit(&delays));
}

/* As screening does: from 3 samples to 7, until they are within 1 %. */
static void screen(const char *config)
{
	double us[7];
	int n = 0;
	struct interval interval;
	do {
		us[n++] = sample(config);
		interval = median_interval(us, n, 0.95);
	} while (n < 3 || (n < 7 && interval_half_width(&interval) > 0.01));
	take_time(interval.median);
	printf("ok\t%.6g\t%d\n", interval.median, n);
}

static bool fails(const char *config)
{
	const char *at = strchr(task, '@');
	return at && atoi(at + 1) >= setting("REPLAY_FAILING", INFINITY) &&
	       strstr(config, "splits=1 ");
}

/* Forwards and backwards by turns, as the true worker does. */
static void answer(char *rest, int sweeps)
{
	static double us[MAX_CONFIGS][MAX_SWEEPS];
	char *config[MAX_CONFIGS];
	int n = 0;
	while (n < MAX_CONFIGS && (config[n] = strsep(&rest, "\t")))
		n++;
	for (int s = 0; s < sweeps; s++)
		for (int j = 0; j < n; j++) {
			int i = s % 2 ? n - 1 - j : j;
			us[i][s] = sample(config[i]);
		}
	for (int i = 0; i < n; i++) {
		take_time(median(us[i], sweeps));
		if (fails(config[i]))
			printf("launch\tplanted\n");
		else
			printf("ok\t%.6g\t%d\n", median(us[i], sweeps), sweeps);
	}
}

int worker_main(const char *device)
{
	static char line[WORKER_LINE];
	struct device_info info = {.name = "replay",
	                           .slug = "replay",
	                           .sm_count = (int)setting("REPLAY_SMS", 1),
	                           .target.lanes = (int)setting("REPLAY_LANES", SIMT_WARP),
	                           .target.sm = (int)setting("REPLAY_GPU", 0),
	                           .draws_differ =
	                                   setting("REPLAY_DRAWS", !getenv("REPLAY_GPU")) > 0,
	                           .smem_block_bytes = 1 << 20,
	                           .driver = "none",
	                           .toolkit = "none"};
	const char *driver = getenv("REPLAY_DRIVER"), *crash = getenv("REPLAY_CRASH");
	(void)device;
	if (driver)
		snprintf(info.driver, sizeof info.driver, "%s", driver);
	if (getenv("REPLAY_NOISE"))
		start_noise(getenv("REPLAY_NOISE"));
	worker_print_info(stdout, &info);
	while (fgets(line, sizeof line, stdin)) {
		char *rest = line, *verb;
		line[strcspn(line, "\n")] = 0;
		verb = strsep(&rest, "\t");
		if (!strcmp(verb, "task")) {
			snprintf(task, sizeof task, "%s", rest);
			draw = random_next(&random_state);
			spend(setting("REPLAY_SETUP_US", 0));
		}
		if (!strcmp(verb, "screen")) {
			strsep(&rest, "\t");
			log_request(verb, rest);
			if (crash && strstr(rest, crash))
				raise(SIGSEGV);
			screen(rest);
		} else if (!strcmp(verb, "round")) {
			int sweeps = atoi(strsep(&rest, "\t"));
			log_request(verb, rest);
			answer(rest, sweeps);
		} else {
			if (!strcmp(verb, "ahead") || !strcmp(verb, "prepare") ||
			    !strcmp(verb, "drop"))
				log_request(verb, rest ? rest : "");
			printf("ok\t%d\t0\n", !strcmp(verb, "ceiling") ? 10 : 0);
		}
		fflush(stdout);
	}
	return 0;
}
