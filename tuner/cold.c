#include "tuner/cold.h"

#include "bench/problem.h"
#include "bench/timer.h"

enum { MOST_COPIES = TIMER_MAX_GRAPHS * 20 }; /* more than a timer's graphs use */
static const size_t LEAST_COLD_BYTES = 64 << 10, MOST_BYTES = (size_t)4 << 30;

int cold_copies(const struct task *task, const struct device_info *info)
{
	size_t bytes = problem_bytes(task->kernel, task->kase.value, &task->shape, info);
	size_t memory = info->memory_bytes ? info->memory_bytes / 8 : MOST_BYTES;
	size_t fit = (memory < MOST_BYTES ? memory : MOST_BYTES) / (bytes ? bytes : 1);
	int most = fit < 2 ? 2 : fit < MOST_COPIES ? (int)fit : MOST_COPIES;
	bool flushed = (size_t)most * bytes < 3 * info->l2_bytes;
	if (bytes < LEAST_COLD_BYTES || (flushed && !info->target.sm))
		return 0;
	return timer_cold_copies(info, bytes, most);
}
