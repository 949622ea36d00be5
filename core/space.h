/* Cases, configurations and shapes as arrays of int, so that bench, tuner, CSV and emitter are
 * generic. */
#ifndef CORE_SPACE_H
#define CORE_SPACE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/param.h"
#include "core/status.h"

/* How a value is written: as a number, or by a name. */
enum value_names { NAMES_NUMBER, NAMES_DTYPE, NAMES_EPILOGUE };

/* A tunable or a field of a case. */
struct param {
	const char *name, *doc;
	int default_value;
	enum value_names names;
	int n_values;
	int values[MAX_VALUES];
};

/* gemv: m rows, k columns. gqa_attention and rope: m query heads, k key/value heads of head_dim,
 * len keys in the cache. The rest: m elements. Of prompts: m rows, k columns; gemm as gemv, of len
 * tokens; rope_rows and causal_attention as gqa_attention, of len tokens. Unused fields are 0.
 * beside: enum beside, of launches of a decode step whose kernel `tells_beside`. */
struct shape {
	int m, k, len, head_dim, beside;
};

#define CONFIG_TEXT 256 /* bytes that hold any configuration or case as text */

/* "warps=4 unroll=2": n values written by their params. Returns text. */
char *params_format(const struct param *params, int n, const int *values, char text[CONFIG_TEXT]);

/* The inverse, in any order; tunables that the text lacks keep their value in `values`. Fails on an
 * unknown name or on a value that the param does not list. */
MUST_CHECK enum status params_parse(const struct param *params, int n, const char *text,
                                    int *values);

/* Text of one value, into buffer. */
const char *value_format(enum value_names names, int value, char buffer[16]);

bool param_allows(const struct param *param, int value);

#endif
