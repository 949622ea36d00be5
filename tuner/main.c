/* warpsmith-tune: searches launch configurations on a device and writes results/tuned.h. */
#define _GNU_SOURCE
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/options.h"
#include "tuner/breakpoints.h"
#include "tuner/compiler.h"
#include "tuner/decode_stage.h"
#include "tuner/emit.h"
#include "tuner/ranks.h"
#include "tuner/replay.h"
#include "tuner/verify.h"

static const char program[] = "warpsmith-tune";

static struct {
	const char *device, *kernels, *shapes, *dtypes, *kv, *strategy, *budget, *journal, *emit,
	        *replay, *explain, *decode, *lengths, *only, *rival;
	unsigned long long seed;
	int seeds, repeat;
	bool verify, nearest, quick, dry_run, quiet;
} options = {.device = "auto", .seed = 1, .seeds = 1, .lengths = "1024"};

static const struct option_row rows[] = {
        {"kernel", 0, OPTION_TEXT, &options.kernels, "NAME,...",
         "kernels to tune or, with --decode, to swap in the step (default: all of a decode step)"},
        {"shape", 0, OPTION_TEXT, &options.shapes, "SHAPE,...",
         "model sizes (qwen2.5-0.5b ...), N, MxK or Q/KV/D[@LENGTH]"},
        {"dtype", 0, OPTION_TEXT, &options.dtypes, "TYPE,...", "weight dtypes (default: bf16)"},
        {"kv", 0, OPTION_TEXT, &options.kv, "TYPE",
         "dtype of the cache: bf16, f16, f32, q8_0 (default: that of plain weights, else bf16)"},
        {"strategy", 0, OPTION_TEXT, &options.strategy, "NAME",
         "how to search: guided (default), local, evolve, random or exhaustive"},
        {"only", 0, OPTION_TEXT, &options.only, "TUNABLE=V/V...,...",
         "the part of the spaces to search, beside the default; its rows stay out of the header"},
        {"budget", 0, OPTION_TEXT, &options.budget, "N|P%|Ns",
         "per launch: N configurations or P % of them; or N seconds in all, at each length with "
         "--decode (default: 512, all when exhaustive, 48 when --quick; 110s when --verify)"},
        {"seed", 0, OPTION_U64, &options.seed, "S", "of the random choices (default 1)"},
        {"journal", 0, OPTION_TEXT, &options.journal, "DIR",
         "folder of the journals, DIR/<device>/journal.csv (default: results)"},
        {"emit", 0, OPTION_MAYBE, &options.emit, "[FILE]",
         "header to write (default: tuned.h in the journals' folder); alone, or with --journal "
         "alone, writes it without tuning"},
        {"decode", 0, OPTION_TEXT, &options.decode, "SIZE[:TYPE]|FILE.gguf",
         "last stage: configurations that raise tokens/s of a whole model (qwen2.5-0.5b ...)"},
        {"at", 0, OPTION_TEXT, &options.lengths, "LENGTH,...",
         "cache lengths of --decode (1024); from the second on for launches that have a row for "
         "each"},
        {"verify", 0, OPTION_FLAG, &options.verify, NULL,
         "times the tuned rows beside their defaults and runners-up again; exit code 3 when one "
         "no longer holds"},
        {"rival", 0, OPTION_TEXT, &options.rival, "DIR",
         "with --verify: beside the winners of the journals in this folder too, --only's included; "
         "a row no longer holds when one is faster by more than 3 %"},
        {"nearest", 0, OPTION_FLAG, &options.nearest, NULL,
         "times the tuned rows beside those that their shapes would be lent if they had none"},
        {"repeat", 0, OPTION_COUNT, &options.repeat, "N",
         "tunes N times from scratch and reports how often winners change and what that costs"},
        {"explain", 0, OPTION_TEXT, &options.explain, "ROW",
         "why a row is what it is; words of its kernel, shape, case and device; needs no GPU"},
        {"replay", 0, OPTION_TEXT, &options.replay, "FILE",
         "searches a recorded landscape instead of a device; see tuner/README.md"},
        {"seeds", 0, OPTION_COUNT, &options.seeds, "N",
         "of --replay: as many searches, from seeds S on (default 1)"},
        {"quick", 0, OPTION_FLAG, &options.quick, NULL,
         "a first table in two minutes: fewer lengths, candidates and rounds"},
        {"dry-run", 0, OPTION_FLAG, &options.dry_run, NULL,
         "prints what would be measured and how long it takes"},
        COMMON_OPTIONS(&options.device, &options.quiet),
};

static const struct command command = {
        .name = program,
        .summary =
                "finds the fastest launch configurations on this device and writes results/tuned.h",
        .examples =
                "  warpsmith-tune --quick                          a first table in two minutes\n"
                "  warpsmith-tune --dry-run                        what a full tune would measure\n"
                "  warpsmith-tune --kernel gemv --shape 896x4864   one kernel, one shape\n"
                "  warpsmith-tune --explain 'gemv 896x4864'        why that row is what it is\n"
                "  warpsmith-tune --verify                         whether the rows still hold\n"
                "  mpirun --enable-recovery --bind-to none -n 4 warpsmith-tune\n"
                "                                                  on four GPUs of one model\n"
                "  warpsmith-tune --emit                           rewrites results/tuned.h from "
                "the journals, needs no GPU\n",
        .rows = rows,
        .n_rows = sizeof rows / sizeof *rows,
};

static volatile sig_atomic_t interrupted;

/* The first Ctrl-C ends the tune after the row being measured, a second one at once. */
static void on_interrupt(int number)
{
	interrupted = 1;
	signal(number, SIG_DFL);
}

static enum status choose_race(struct race *race)
{
	enum status status = STATUS_OK;
	race->plan = options.quick ? &race_quick : &race_full;
	race->seed = options.seed;
	const char *name = options.strategy ? options.strategy : strategies[0].name;
	race->strategy = strategy_find(name);
	if (!race->strategy)
		return fail(STATUS_USAGE, "--strategy: no strategy '%s'", name);
	if (options.budget)
		TRY(budget_parse(options.budget, &race->budget));
	else if (race->strategy->propose != propose_all)
		race->budget.evaluations = options.quick ? 48 : 512;
done:
	return status;
}

/* The header: --emit's FILE, else beside the journals. */
static void header_path(const char *folder, char path[4096])
{
	snprintf(path, 4096, "%s/tuned.h", folder);
	if (options.emit && options.emit[0])
		snprintf(path, 4096, "%s", options.emit);
}

static enum status emit(const char *folder)
{
	enum status status;
	char path[4096];
	int n_rows;
	header_path(folder, path);
	TRY(emit_header(folder, path, &n_rows));
	if (!options.quiet)
		fprintf(stderr, "%s: %d rows\n", path, n_rows);
done:
	return status;
}

static enum status choose(struct tune_options *choice)
{
	*choice = (struct tune_options){
	        .device = options.device,
	        .request = {options.kernels, options.shapes, options.dtypes, options.kv,
	                    options.quick, options.only},
	        .quiet = options.quiet,
	        .out = stdout,
	        .interrupted = &interrupted,
	};
	return choose_race(&choice->race);
}

static enum status tune(const char *folder)
{
	enum status status;
	char path[4096], header[4096];
	struct tune_options choice;
	struct tune t = {.journal.log.file = -1};
	TRY(choose(&choice));
	TRY(tune_open(&choice, &t));
	snprintf(path, sizeof path, "%s/%s/journal.csv", folder, t.worker.info.slug);
	if (options.dry_run) {
		if (!access(path, R_OK))
			TRY(journal_read(path, &t.journal));
		tune_print_plan(&t);
		goto done;
	}
	TRY(journal_open(path, &t.journal));
	header_path(folder, header);
	TRY(check_replaceable(header)); /* before hours of work */
	TRY(tune_run(&t));
	TRY(breakpoints_run(&t));
	TRY(emit(folder));
	if (t.n_untunable)
		status = fail(STATUS_FAILED, "%d of %d launches could not be tuned", t.n_untunable,
		              t.tasks.n);
done:
	tune_close(&t);
	return status;
}

/* A file, or random weights of a named size. */
static enum status open_model(const char *name, struct model *model)
{
	const char *end = strrchr(name, '.');
	return end && !strcmp(end, ".gguf") ? model_open(name, model)
	                                    : model_open_random(name, model);
}

/* Takes the next of --at's lengths; a list neither is empty nor ends in a comma. */
static enum status next_length(const char **list, int *length)
{
	char *end;
	const long value = strtol(*list, &end, 10);
	const bool ends_well = !*end || (*end == ',' && end[1]);
	if (end == *list || !ends_well || value < 1 || value > EMIT_MAX_LENGTH)
		return fail(STATUS_USAGE, "--at: '%s' is no list of lengths from 1 to %d",
		            options.lengths, EMIT_MAX_LENGTH);
	*length = (int)value;
	*list = *end ? end + 1 : end;
	return STATUS_OK;
}

/* --at's lengths, before anything is measured: from the second on only kernels that have rows by
 * length are decided on. */
static enum status check_lengths(void)
{
	enum status status;
	const char *left = options.lengths;
	bool by_length = false;
	int length;
	TRY(next_length(&left, &length));
	for (const struct kernel *const *k = kernels; *k; k++)
		by_length |= (*k)->tells_beside && name_listed(options.kernels, (*k)->name);
	if (*left && !by_length)
		return fail(STATUS_USAGE, "--at: %s has no rows by length, one length is enough",
		            options.kernels);
	while (*left)
		TRY(next_length(&left, &length));
done:
	return status;
}

static enum status decode(const char *folder)
{
	enum status status;
	char path[4096];
	struct device *device = NULL;
	struct journal journal = {.log.file = -1};
	struct csv_log gains = {.file = -1};
	struct model model = {0};
	struct budget budget = {0};
	struct decode_stage_options stage = {.name = options.decode,
	                                     .kernels = options.kernels,
	                                     .seed = options.seed,
	                                     .quiet = options.quiet,
	                                     .interrupted = &interrupted};
	const char *slash = strrchr(options.decode, '/'), *lengths = options.lengths;
	if (slash)
		stage.name = slash + 1;
	if (options.budget)
		TRY(budget_parse(options.budget, &budget));
	if (options.budget && !(budget.seconds > 0))
		return fail(STATUS_USAGE, "--budget: '%s' is no Ns, as --decode takes it",
		            options.budget);
	stage.seconds = budget.seconds;
	TRY(check_lengths());
	TRY(device_open(options.device, options.quiet, &device));
	snprintf(path, sizeof path, "%s/%s/journal.csv", folder, device_info(device)->slug);
	TRY(journal_open(path, &journal));
	TRY(gains_open_log(folder, device_info(device), &gains));
	TRY(open_model(options.decode, &model));
	while (*lengths && !interrupted) {
		TRY(next_length(&lengths, &stage.length));
		TRY(decode_stage(device, &model, &journal, &gains, &stage, stdout));
		TRY(emit(folder));
		stage.by_length = true;
	}
	if (*lengths)
		status = fail(STATUS_FAILED, "interrupted; --at %s is left", lengths);
done:
	model_close(&model);
	csv_log_close(&gains);
	journal_close(&journal);
	device_close(&device);
	return status;
}

/* --emit without a word on what to tune. */
static bool emits_alone(void)
{
	return options.emit && !options.kernels && !options.shapes && !options.dtypes &&
	       !options.kv && !options.strategy && !options.only && !options.budget &&
	       !options.quick && !options.dry_run && !strcmp(options.device, "auto");
}

static enum status retime_rows(const char *folder)
{
	enum status status;
	struct tune_options choice;
	TRY(choose(&choice));
	const double seconds = choice.race.budget.seconds;
	if (options.verify && options.budget && !(seconds > 0))
		return fail(STATUS_USAGE, "--budget: '%s' is no Ns, as --verify takes it",
		            options.budget);
	if (options.verify)
		TRY(verify(folder, options.rival, &choice, seconds));
	else if (options.nearest)
		TRY(lend(folder, &choice));
	else
		TRY(repeat(folder, &choice, options.repeat));
done:
	return status;
}

static enum status check_combination(void)
{
	if (options.only && (options.explain || options.verify || options.nearest ||
	                     options.replay || options.decode))
		return fail(STATUS_USAGE, "--only: goes with a tune alone");
	if (options.rival && !options.verify)
		return fail(STATUS_USAGE, "--rival: goes with --verify alone");
	return STATUS_OK;
}

static enum status replay_file(void)
{
	enum status status;
	struct race race = {0};
	TRY(choose_race(&race));
	TRY(replay(options.replay, race.strategy, &race.budget, race.seed, options.seeds));
done:
	return status;
}

int main(int argc, char **argv)
{
	enum status status;
	bool done;
	compiler_allow();
	if (argc == 2 && !strcmp(argv[1], "--compiler"))
		return compiler_main();
	if (argc == 3 && !strcmp(argv[1], "--worker"))
		return worker_main(argv[2]);
	TRY(ranks_open(argv, &done));
	if (!done)
		TRY(options_parse(&command, argc, argv, &done));
	if (done)
		goto done;
	signal(SIGPIPE, SIG_IGN); /* a worker that died is noticed by its missing answer */
	signal(SIGINT, on_interrupt);
	signal(SIGTERM, on_interrupt);
	signal(SIGUSR1, on_interrupt); /* which mpirun passes on */
	const char *folder = options.journal ? options.journal : "results";
	TRY(check_combination());
	if (options.explain)
		TRY(explain(folder, options.explain));
	else if (options.verify || options.nearest || options.repeat)
		TRY(retime_rows(folder));
	else if (options.replay)
		TRY(replay_file());
	else if (options.decode)
		TRY(decode(folder));
	else
		TRY(emits_alone() ? emit(folder) : tune(folder));
done:
	return ranks_close(status_exit(program, status));
}
