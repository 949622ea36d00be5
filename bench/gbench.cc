#include "bench/gbench.h"

#include <benchmark/benchmark.h>
#include <string>
#include <unordered_map>

namespace
{

std::unordered_map<std::string, void *> &users()
{
	static std::unordered_map<std::string, void *> map;
	return map;
}

/* The error of a run: `error_occurred` until version 1.7, `skipped` from 1.8 on. */
template <typename Run>
const char *error_of(const Run &run)
{
	if constexpr (requires { run.error_occurred; })
		return run.error_occurred ? run.error_message.c_str() : nullptr;
	else
		return run.skipped ? run.skip_message.c_str() : nullptr;
}

class reporter : public benchmark::BenchmarkReporter
{
	gbench_report *report;

      public:
	int n_run = 0;

	explicit reporter(gbench_report *report) : report(report) {}

	bool ReportContext(const Context &) override { return true; }

	void ReportRuns(const std::vector<Run> &runs) override
	{
		for (const Run &run : runs) {
			n_run++;
			report(users()[run.run_name.function_name], run.real_accumulated_time,
			       error_of(run));
		}
	}
};

} // namespace

void gbench_register(const char *name, gbench_body *body, void *user)
{
	users()[name] = user;
	benchmark::RegisterBenchmark(name,
	                             [body, user](benchmark::State &state) {
		                             for (auto _ : state) {
			                             double seconds = 0;
			                             if (body(user, &seconds) != STATUS_OK) {
				                             state.SkipWithError(fail_message());
				                             break;
			                             }
			                             state.SetIterationTime(seconds);
		                             }
	                             })
	        ->UseManualTime()
	        ->Iterations(1)
	        ->Repetitions(1);
}

enum status gbench_run(const char *filter, gbench_report *report, int *n_run)
{
	reporter all(report);
	/* Also 0 when the expression is malformed, which it then says on stderr. */
	benchmark::RunSpecifiedBenchmarks(&all, filter);
	*n_run = all.n_run;
	return all.n_run ? STATUS_OK : fail(STATUS_USAGE, "no benchmark matches '%s'", filter);
}
