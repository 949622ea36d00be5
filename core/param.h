/* A kernel states its cases and tunables once, as lists
 *	X(name, default, doc, values...)     a tunable of the launch configuration ("how")
 *	X(name, names, doc, values...)       a field of the case ("what is computed")
 *
 * where `names` is one of the NAMES_ tables of core/space.c that turn a value into text. From them
 * come the config and case structs (template arguments of the kernel), the search space, CSV
 * columns, help and the checks of rows in results/tuned.h. Readable by C, C++, nvcc and NVRTC. */
#ifndef CORE_PARAM_H
#define CORE_PARAM_H

#include "core/target.h"

#if !defined(__cplusplus)
#include <stdbool.h>
#endif

#define MAX_PARAMS 16 /* tunables of a kernel */
#define MAX_FIELDS 6  /* fields of a case */
#define MAX_VALUES 16 /* values of one tunable or field */

/* Member of the config or case struct. */
#define PARAM_MEMBER(name, default_value, doc, ...) int name;

#if defined(__CUDACC__)
#define CONST_FN __host__ __device__ constexpr
#elif defined(__cplusplus)
#define CONST_FN constexpr
#else
#define CONST_FN static inline
#endif

#ifndef __cplusplus
/* Row of a `const struct param[]` (core/space.h). */
#define PARAM_ROW(name, default_value, doc, ...)            \
	{                                                   \
	        #name,                                      \
	        doc,                                        \
	        default_value,                              \
	        NAMES_NUMBER,                               \
	        sizeof((int[]){__VA_ARGS__}) / sizeof(int), \
	        {__VA_ARGS__}},
#define FIELD_ROW(name, names, doc, ...) \
	{#name, doc, 0, names, sizeof((int[]){__VA_ARGS__}) / sizeof(int), {__VA_ARGS__}},
#endif

#endif
