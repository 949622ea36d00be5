/* The instances in builds that verify (core/variants.h): few, yet with the default of every case
 * and, of the points that are declared, every pair of values of two fields or tunables. */
#define WARPSMITH_SPACE
#define WARPSMITH_SPACE_PAIRS
#include "core/variants.h"

#include <csetjmp>
#include <cstdarg>
#include <cstdint>

extern "C" {
#include <cmocka.h>
}

namespace
{

struct toy_case {
	int type, size;
};

struct toy_config {
	int rows, warps, unroll, hint;
};

struct toy {
	using case_type = toy_case;
	using config_type = toy_config;
	static constexpr std::size_t n_fields = 2, n_params = 4;
	static constexpr std::array<int, MAX_FIELDS> cases[] = {
	        {0, 0}, {0, 64}, {1, 64}, {1, 128}, {7, 128}};
	static constexpr variants::value_list field_values[] = {variants::list(0, 1, 7),
	                                                        variants::list(0, 64, 128)};
	static constexpr variants::value_list subset[] = {
	        variants::list(1, 2, 4), variants::list(1, 4, 8), variants::list(1, 2),
	        variants::list(0, 1, 5, 6)};
	static constexpr std::array<int, MAX_PARAMS> defaults = {2, 4, 1, 9};
	static constexpr bool whole(toy_case k) { return k.size != 64 || k.type == 0; }
	static constexpr bool legal(toy_case k, toy_config c, target)
	{
		return (k.type != 7 || c.rows != 4) && c.rows * c.unroll <= 4 &&
		       (c.hint != 6 || c.warps == 8);
	}
	template <case_type K, config_type C>
	static const void *plain()
	{
		return &cases;
	}
	template <case_type K, config_type C>
	static const void *traced()
	{
		return nullptr;
	}
};

constexpr std::size_t n_cases = std::size(toy::cases);
constexpr std::size_t n_factors = toy::n_fields + toy::n_params;
constexpr variants::points<toy> all = variants::choose_all<toy>();
variant table[n_cases * (variants::size(toy::subset) + 1)];
int n_table;

int value(const variant &v, std::size_t factor)
{
	return factor < toy::n_fields ? v.kase.value[factor]
	                              : v.config.value[factor - toy::n_fields];
}

int value(std::size_t kase, std::size_t at, std::size_t factor)
{
	return factor < toy::n_fields ? toy::cases[kase][factor]
	                              : variants::point(toy::subset, at)[factor - toy::n_fields];
}

/* Whether an instance has these values of factors a and b, by looking at all of them. */
bool occurs(std::size_t a, int value_a, std::size_t b, int value_b)
{
	bool found = false;
	for (int i = 0; i < n_table; i++)
		found |= value(table[i], a) == value_a && value(table[i], b) == value_b;
	return found;
}

template <typename Visit>
void each_declared(Visit visit)
{
	for (std::size_t k = 0; k < n_cases; k++)
		for (std::size_t p = 0; p < all.n_points; p++)
			if (all.is[k][p])
				visit(k, p);
}

void every_pair_has_an_instance(void **)
{
	each_declared([](std::size_t k, std::size_t p) {
		for (std::size_t a = 0; a < n_factors; a++)
			for (std::size_t b = a + 1; b < n_factors; b++)
				if (!occurs(a, value(k, p, a), b, value(k, p, b)))
					fail_msg("factors %zu and %zu: no instance has %d with %d",
					         a, b, value(k, p, a), value(k, p, b));
	});
}

/* Of the table those that are no default. */
void few_are_chosen_and_all_are_declared(void **)
{
	int n_all = 0, n_chosen = 0;
	each_declared([&](std::size_t, std::size_t) { n_all++; });
	for (int i = 0; i < n_table; i++) {
		bool declared = false;
		each_declared([&](std::size_t k, std::size_t p) {
			bool same = true;
			for (std::size_t f = 0; f < n_factors; f++)
				same &= value(table[i], f) == value(k, p, f);
			declared |= same;
		});
		n_chosen += declared;
	}
	print_message("%d of %d points\n", n_chosen, n_all);
	assert_int_equal(n_chosen, n_table - (int)n_cases);
	/* 3 types with 4 hints at least; more where what is legal forces them */
	assert_in_range(n_chosen, 12, 20);
	assert_true(n_all > 5 * n_chosen);
}

void every_case_has_its_default(void **)
{
	for (std::size_t k = 0; k < n_cases; k++) {
		int n = 0;
		for (int i = 0; i < n_table; i++) {
			bool same = true;
			for (std::size_t f = 0; f < n_factors; f++)
				same &= value(table[i], f) ==
				        (f < toy::n_fields ? toy::cases[k][f]
				                           : toy::defaults[f - toy::n_fields]);
			n += same;
		}
		assert_int_equal(n, 1);
	}
}

} // namespace

int main()
{
	n_table = variants::add_space<toy>(table, std::make_index_sequence<n_cases>());
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(every_pair_has_an_instance),
	        cmocka_unit_test(few_are_chosen_and_all_are_declared),
	        cmocka_unit_test(every_case_has_its_default),
	};
	return cmocka_run_group_tests(tests, nullptr, nullptr);
}
