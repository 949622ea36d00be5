/* A build with sanitizers ends at what they find: a message alone would fail no test. */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static volatile int one = 1, values[1];

static int overflow(void)
{
	return INT_MAX + one;
}

static int shift(void)
{
	return one << (31 + one);
}

static int beyond_an_array(void)
{
	return values[one];
}

static int (*const undefined[])(void) = {overflow, shift, beyond_an_array};

static void what_is_undefined_ends_the_process(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof undefined / sizeof *undefined; i++) {
		int wait_status = 0;
		const pid_t pid = fork();
		assert_true(pid >= 0);
		if (!pid) {
			if (!freopen("/dev/null", "w", stderr))
				_exit(0);
			values[0] = undefined[i]();
			_exit(0);
		}
		assert_int_equal(waitpid(pid, &wait_status, 0), pid);
		assert_int_not_equal(wait_status, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(what_is_undefined_ends_the_process),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
