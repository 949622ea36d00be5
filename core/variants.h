// Tables of kernel instances (C++20). A kernel file ends with DEFINE_VARIANTS(name, NAME), which
//	const struct variant *name_host_variants(int *n)
//	const struct variant *name_cuda_variants(int *n)	with WARPSMITH_CUDA_TABLE
// from NAME_CASES with the default configuration and the rows of results/tuned.h for devices of
// that kind, or, with WARPSMITH_SPACE defined, from every legal point of NAME_CASES x NAME_SUBSET;
// with WARPSMITH_SPACE_PAIRS from the defaults and as many points as hold every pair of values.
// The host compiler makes all tables. That of CUDA is a list of what is to be compiled: its code is
// NVRTC's (kernels/images.h), for which nothing here counts, so this file is not in source_hash().
#pragma once

#include "device/simt.h"

#ifdef __CUDACC_RTC__
#define DEFINE_VARIANTS(kernel, KERNEL)
#define DEFINE_VARIANTS_TRACED(kernel, KERNEL, TRACED)
#define DEFINE_DEFAULTS(kernel, KERNEL)
#else

#include <array>
#include <cstddef>
#include <initializer_list>
#include <utility>

#include "core/variant.h"

// A program links the host's tables and CUDA's: names that differ keep their instances of the
// templates below apart. CUDA's has no entries yet.
#ifdef WARPSMITH_CUDA_TABLE
#define KERNEL_ENTRY(...)  nullptr
#define VARIANTS_OF(name)  name##_cuda_variants
#define TRAITS_OF(name)    name##_cuda_traits
#define TUNED_DEVICES_HERE TUNED_DEVICES_CUDA
#else
#define KERNEL_ENTRY(...) ((const void *)simt::host_entry_of<__VA_ARGS__>)
#define VARIANTS_OF(name) name##_host_variants
#define TRAITS_OF(name)   name##_host_traits
#if SIMT_WARP == 1
#define TUNED_DEVICES_HERE TUNED_DEVICES_HOST
#else
#define TUNED_DEVICES_HERE TUNED_DEVICES_HOST32
#endif
#endif

namespace variants
{

struct value_list {
	int n, value[MAX_VALUES];
};

template <typename... T>
constexpr value_list list(T... v)
{
	return {int(sizeof...(v)), {v...}};
}

// A row of results/tuned.h.
struct row {
	std::array<int, MAX_FIELDS> kase;
	int m, k, len_min, len_max, beside;
	std::array<int, MAX_PARAMS> config;
};

template <std::size_t N>
constexpr std::array<int, N> pad(std::initializer_list<int> from)
{
	std::array<int, N> to = {};
	std::size_t i = 0;
	for (int v : from)
		if (i < N)
			to[i++] = v;
	return to;
}

// The case or config struct with these values; `Struct` has N int members.
template <typename Struct, std::size_t N, typename Array>
constexpr Struct make(const Array &v)
{
	return [&]<std::size_t... I>(std::index_sequence<I...>)
	{
		return Struct{v[I]...};
	}
	(std::make_index_sequence<N>());
}

// Whether a row has one listed value per tunable.
template <std::size_t N>
constexpr bool listed(const value_list (&space)[N], std::initializer_list<int> values)
{
	if (values.size() != N)
		return false;
	std::size_t p = 0;
	for (int v : values) {
		bool found = false;
		for (int i = 0; i < space[p].n; i++)
			found |= space[p].value[i] == v;
		if (!found)
			return false;
		p++;
	}
	return true;
}

template <std::size_t N>
constexpr std::size_t size(const value_list (&space)[N])
{
	std::size_t n = 1;
	for (const value_list &p : space)
		n *= std::size_t(p.n);
	return n;
}

// Configuration number i of a space, counting with the last tunable fastest.
template <std::size_t N>
constexpr std::array<int, MAX_PARAMS> point(const value_list (&space)[N], std::size_t i)
{
	std::array<int, MAX_PARAMS> v = {};
	for (std::size_t p = N; p-- > 0; i /= std::size_t(space[p].n))
		v[p] = space[p].value[i % std::size_t(space[p].n)];
	return v;
}

template <typename Traits, auto K, auto C>
variant instance(const char *device, const std::array<int, MAX_FIELDS> &kase,
                 const std::array<int, MAX_PARAMS> &config)
{
	variant v = {};
	v.device = device;
	for (int i = 0; i < MAX_FIELDS; i++)
		v.kase.value[i] = kase[std::size_t(i)];
	for (int i = 0; i < MAX_PARAMS; i++)
		v.config.value[i] = config[std::size_t(i)];
	v.entry = Traits::template plain<K, C>();
	v.traced = Traits::template traced<K, C>();
	return v;
}

// Points of a space by case and number.
template <typename Traits>
struct points {
	static constexpr std::size_t n_cases = std::size(Traits::cases);
	static constexpr std::size_t n_points = size(Traits::subset);
	bool is[n_cases][n_points] = {};
};

// Whether a point is one of the host's space: legal, and of a case that has the whole subset.
template <typename Traits>
constexpr bool is_declared(std::size_t kase, std::size_t at)
{
	using t = Traits;
	const auto K = make<typename t::case_type, t::n_fields>(t::cases[kase]);
	const auto C = make<typename t::config_type, t::n_params>(point(t::subset, at));
	return t::whole(K) && t::legal(K, C, simt::kTarget);
}

template <typename Traits>
constexpr points<Traits> choose_all()
{
	using all = points<Traits>;
	all chosen = {};
	for (std::size_t k = 0; k < all::n_cases; k++)
		for (std::size_t p = 0; p < all::n_points; p++)
			chosen.is[k][p] = is_declared<Traits>(k, p);
	return chosen;
}

// Which pairs of values of two fields or tunables have occurred. Not of two fields: every case has
// its default.
template <typename Traits>
struct pairs {
	static constexpr std::size_t n_fields = Traits::n_fields;
	static constexpr std::size_t n_factors = n_fields + Traits::n_params;
	bool seen[n_factors][MAX_VALUES][n_factors][MAX_VALUES] = {};

	static constexpr const value_list &values_of(std::size_t factor)
	{
		return factor < n_fields ? Traits::field_values[factor]
		                         : Traits::subset[factor - n_fields];
	}

	// How many pairs of this point are new; marks them when asked.
	constexpr int add(std::size_t kase, std::size_t at, bool mark)
	{
		const auto config = point(Traits::subset, at);
		std::size_t n_varied = 0, varied[n_factors] = {}, index[n_factors] = {};
		int n = 0;
		for (std::size_t f = 0; f < n_factors; f++) {
			const value_list &values = values_of(f);
			const int value =
			        f < n_fields ? Traits::cases[kase][f] : config[f - n_fields];
			for (int i = 0; i < values.n; i++)
				if (values.value[i] == value)
					index[f] = std::size_t(i);
			if (values.n > 1)
				varied[n_varied++] = f;
		}
		for (std::size_t i = 0; i < n_varied; i++)
			for (std::size_t j = i + 1; j < n_varied; j++) {
				const std::size_t a = varied[i], b = varied[j];
				if (b < n_fields)
					continue;
				bool &pair = seen[a][index[a]][b][index[b]];
				n += !pair;
				pair |= mark;
			}
		return n;
	}
};

// The declared point with most new pairs, again and again. What a point adds only shrinks, so one
// that once added less than the best so far needs no second look.
template <typename Traits>
constexpr points<Traits> choose_pairs()
{
	using all = points<Traits>;
	all chosen = {};
	pairs<Traits> covered = {};
	int at_most[all::n_cases][all::n_points] = {};
	for (std::size_t k = 0; k < all::n_cases; k++)
		for (std::size_t p = 0; p < all::n_points; p++)
			at_most[k][p] = is_declared<Traits>(k, p) ? 1 << 16 : 0;
	for (int most = 1; most;) {
		std::size_t best_case = 0, best_point = 0;
		most = 0;
		for (std::size_t k = 0; k < all::n_cases; k++)
			for (std::size_t p = 0; p < all::n_points; p++) {
				if (at_most[k][p] <= most)
					continue;
				at_most[k][p] = covered.add(k, p, false);
				if (at_most[k][p] > most) {
					most = at_most[k][p];
					best_case = k;
					best_point = p;
				}
			}
		if (most) {
			chosen.is[best_case][best_point] = true;
			covered.add(best_case, best_point, true);
		}
	}
	return chosen;
}

#ifdef WARPSMITH_SPACE_PAIRS
template <typename Traits>
constexpr points<Traits> chosen_points = choose_pairs<Traits>();
#else
template <typename Traits>
constexpr points<Traits> chosen_points = choose_all<Traits>();
#endif

// One case with one configuration, written to *out when it is among the chosen. Returns how many
// were written.
template <typename Traits, std::size_t Case, std::size_t Point>
int add_point(variant *out)
{
	if constexpr (chosen_points<Traits>.is[Case][Point]) {
		constexpr auto kase = Traits::cases[Case];
		constexpr auto config = point(Traits::subset, Point);
		constexpr auto K = make<typename Traits::case_type, Traits::n_fields>(kase);
		constexpr auto C = make<typename Traits::config_type, Traits::n_params>(config);
		*out = instance<Traits, K, C>(nullptr, kase, config);
		return 1;
	}
	return 0;
}

// Whether the default of a case is among the chosen points.
template <typename Traits>
constexpr bool default_is_chosen(std::size_t kase)
{
	for (std::size_t p = 0; p < points<Traits>::n_points; p++)
		if (chosen_points<Traits>.is[kase][p] &&
		    point(Traits::subset, p) == Traits::defaults)
			return true;
	return false;
}

template <typename Traits, std::size_t Case>
variant default_instance()
{
	constexpr auto kase = Traits::cases[Case];
	return instance<Traits, make<typename Traits::case_type, Traits::n_fields>(kase),
	                make<typename Traits::config_type, Traits::n_params>(Traits::defaults)>(
	        nullptr, kase, Traits::defaults);
}

template <typename Traits, std::size_t Case, std::size_t... Point>
int add_points(variant *out, std::index_sequence<Point...>)
{
	int n = 0;
	((n += add_point<Traits, Case, Point>(out + n)), ...);
	return n;
}

// The default and the chosen points.
template <typename Traits, std::size_t Case>
int add_case(variant *out)
{
	constexpr std::size_t n_points = points<Traits>::n_points;
	int n = add_points<Traits, Case>(out, std::make_index_sequence<n_points>());
	if constexpr (!default_is_chosen<Traits>(Case))
		out[n++] = default_instance<Traits, Case>();
	return n;
}

template <typename Traits, std::size_t... Case>
int add_space(variant *out, std::index_sequence<Case...>)
{
	int n = 0;
	((n += add_case<Traits, Case>(out + n)), ...);
	return n;
}

template <typename Traits, std::size_t... Case>
int add_defaults(variant *out, std::index_sequence<Case...>)
{
	int n = 0;
	((out[n++] = default_instance<Traits, Case>()), ...);
	return n;
}

template <typename Traits, typename Rows, std::size_t Row>
variant row_instance(const char *device)
{
	constexpr row r = Rows::rows[Row];
	variant v = instance<Traits, make<typename Traits::case_type, Traits::n_fields>(r.kase),
	                     make<typename Traits::config_type, Traits::n_params>(r.config)>(
	        device, r.kase, r.config);
	v.m = r.m;
	v.k = r.k;
	v.len_min = r.len_min;
	v.len_max = r.len_max;
	v.beside = r.beside;
	return v;
}

// The last of Rows::rows is a terminator, because an array cannot be empty.
template <typename Traits, typename Rows, std::size_t... Row>
int add_rows(variant *out, const char *device, std::index_sequence<Row...>)
{
	int n = 0;
	((out[n++] = row_instance<Traits, Rows, Row>(device)), ...);
	(void)device;
	return n;
}

} // namespace variants

#define VARIANT_VALUES(name, first, doc, ...) variants::list(__VA_ARGS__),
#define VARIANT_SUBSET(name, ...)             variants::list(__VA_ARGS__),
#define VARIANT_DEFAULT(name, value, ...)     value,
#define VARIANT_COUNT(...)                    +1
#define VARIANT_CASE(...)                     variants::pad<MAX_FIELDS>({__VA_ARGS__}),
#define TRACED_NONE(...)                      nullptr

#define DEFINE_TRAITS(kernel, KERNEL, TRACED, SUBSET, WHOLE)                                       \
	struct TRAITS_OF(kernel) {                                                                 \
		using case_type = kernel##_case;                                                   \
		using config_type = kernel##_config;                                               \
		static constexpr std::size_t n_fields = 0 KERNEL##_FIELDS(VARIANT_COUNT);          \
		static constexpr std::size_t n_params = 0 KERNEL##_PARAMS(VARIANT_COUNT);          \
		static constexpr std::array<int, MAX_FIELDS> cases[] = {                           \
		        KERNEL##_CASES(VARIANT_CASE)};                                             \
		static constexpr auto defaults =                                                   \
		        variants::pad<MAX_PARAMS>({KERNEL##_PARAMS(VARIANT_DEFAULT)});             \
		static constexpr variants::value_list space[] = {KERNEL##_PARAMS(VARIANT_VALUES)}; \
		static constexpr variants::value_list subset[] = {SUBSET};                         \
		static constexpr variants::value_list field_values[] = {                           \
		        KERNEL##_FIELDS(VARIANT_VALUES)};                                          \
		static_assert(n_params <= MAX_PARAMS && n_fields <= MAX_FIELDS);                   \
		static_assert(std::size(subset) == n_params,                                       \
		              #KERNEL "_SUBSET lists every tunable");                              \
		static constexpr bool legal(case_type kase, config_type config, target t)          \
		{                                                                                  \
			return kernel##_legal(kase, config, t);                                    \
		}                                                                                  \
		static constexpr bool whole([[maybe_unused]] case_type K) { return WHOLE; }        \
		template <case_type K, config_type C>                                              \
		static const void *plain()                                                         \
		{                                                                                  \
			return KERNEL_ENTRY(kernel<K, C>);                                         \
		}                                                                                  \
		template <case_type K, config_type C>                                              \
		static const void *traced()                                                        \
		{                                                                                  \
			return TRACED(K, C);                                                       \
		}                                                                                  \
	};

#ifdef WARPSMITH_SPACE

#include "kernels/subsets.h"

/* Twins that report are not timed. */
#define DEFINE_VARIANTS_TRACED(kernel, KERNEL, TRACED)                                          \
	DEFINE_TRAITS(kernel, KERNEL, TRACED_NONE, KERNEL##_SUBSET(VARIANT_SUBSET),             \
	              KERNEL##_WHOLE(K))                                                        \
	extern "C" const struct variant *VARIANTS_OF(kernel)(int *n)                            \
	{                                                                                       \
		using traits = TRAITS_OF(kernel);                                               \
		static variant                                                                  \
		        table[std::size(traits::cases) * (variants::size(traits::subset) + 1)]; \
		static const int count = variants::add_space<traits>(                           \
		        table, std::make_index_sequence<std::size(traits::cases)>());           \
		*n = count;                                                                     \
		return table;                                                                   \
	}

#else

#include "results/tuned.h"

#define ROW_UNWRAP(...) __VA_ARGS__
#define ROW_COUNT(...)  +1

// A row must fit the kernel's list of tunables and be legal on its device, else the build names it.
#define ROW_CHECK(kernel, kase, m, k, len_min, len_max, beside, ...)                          \
	static_assert(                                                                        \
	        variants::listed(TRAITS_OF(kernel)::space, {__VA_ARGS__}) &&                  \
	                kernel##_legal(                                                       \
	                        kernel##_case{ROW_UNWRAP kase},                               \
	                        variants::make<kernel##_config, TRAITS_OF(kernel)::n_params>( \
	                                variants::pad<MAX_PARAMS>({__VA_ARGS__})),            \
	                        row_target),                                                  \
	        "stale row in results/tuned.h, run 'warpsmith-tune --emit': ROW(" #kernel     \
	        ", " #kase ", " #m ", " #k ", " #len_min ", " #len_max ", " #beside           \
	        ", " #__VA_ARGS__ ")");

#define ROW_ENTRY(kernel, kase, m, k, len_min, len_max, beside, ...) \
	{variants::pad<MAX_FIELDS>({ROW_UNWRAP kase}),               \
	 m,                                                          \
	 k,                                                          \
	 len_min,                                                    \
	 len_max,                                                    \
	 beside,                                                     \
	 variants::listed(TRAITS_OF(kernel)::space, {__VA_ARGS__})   \
	         ? variants::pad<MAX_PARAMS>({__VA_ARGS__})          \
	         : TRAITS_OF(kernel)::defaults},

#define TUNED_ROWS_OF(device, KERNEL) TUNED_##device##_##KERNEL

#define DEVICE_ROWS(KERNEL, device, name, sm, lanes, ...)             \
	struct KERNEL##_rows_##device {                               \
		static constexpr target row_target = {sm, lanes};     \
		TUNED_ROWS_OF(device, KERNEL)                         \
		(ROW_CHECK) static constexpr variants::row rows[] = { \
		        TUNED_ROWS_OF(device, KERNEL)(ROW_ENTRY){}};  \
	};

#define DEVICE_ROW_COUNT(KERNEL, device, ...) +std::size(KERNEL##_rows_##device::rows)

#define DEVICE_ADD_ROWS(KERNEL, device, name, ...)                    \
	n_rows += variants::add_rows<traits, KERNEL##_rows_##device>( \
	        table + n_rows, name,                                 \
	        std::make_index_sequence<std::size(KERNEL##_rows_##device::rows) - 1>());

#define DEFINE_VARIANTS_TRACED(kernel, KERNEL, TRACED)                                        \
	DEFINE_TRAITS(kernel, KERNEL, TRACED, KERNEL##_PARAMS(VARIANT_VALUES), false)         \
	TUNED_DEVICES_HERE(DEVICE_ROWS, KERNEL)                                               \
	extern "C" const struct variant *VARIANTS_OF(kernel)(int *n)                          \
	{                                                                                     \
		using traits = TRAITS_OF(kernel);                                             \
		static variant table[std::size(traits::cases)                                 \
		                             TUNED_DEVICES_HERE(DEVICE_ROW_COUNT, KERNEL)];   \
		static const int count = [] {                                                 \
			int n_rows = variants::add_defaults<traits>(                          \
			        table, std::make_index_sequence<std::size(traits::cases)>()); \
			TUNED_DEVICES_HERE(DEVICE_ADD_ROWS, KERNEL)                           \
			return n_rows;                                                        \
		}();                                                                          \
		*n = count;                                                                   \
		return table;                                                                 \
	}

#endif

#define DEFINE_VARIANTS(kernel, KERNEL) DEFINE_VARIANTS_TRACED(kernel, KERNEL, TRACED_NONE)

/* Of kernels that have no rows in results/tuned.h. */
#ifdef WARPSMITH_SPACE
#define DEFINE_DEFAULTS(kernel, KERNEL) DEFINE_VARIANTS(kernel, KERNEL)
#else
#define DEFINE_DEFAULTS(kernel, KERNEL)                                                    \
	DEFINE_TRAITS(kernel, KERNEL, TRACED_NONE, KERNEL##_PARAMS(VARIANT_VALUES), false) \
	extern "C" const struct variant *VARIANTS_OF(kernel)(int *n)                       \
	{                                                                                  \
		using traits = TRAITS_OF(kernel);                                          \
		static variant table[std::size(traits::cases)];                            \
		static const int count = variants::add_defaults<traits>(                   \
		        table, std::make_index_sequence<std::size(traits::cases)>());      \
		*n = count;                                                                \
		return table;                                                              \
	}
#endif

#endif
