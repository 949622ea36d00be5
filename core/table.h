/* The tuned table as programs see it: which instance runs a shape on a device, and where it comes
 * from. */
#ifndef CORE_TABLE_H
#define CORE_TABLE_H

#include "core/kernel.h"

/* Provenance of one device's rows of results/tuned.h. */
struct tuned_device {
	const char *name;
	int sm, lanes, sm_count;
	double bus_gbps;
	const char *driver, *toolkit, *source_hash, *space_hash, *date, *method;
};

/* All devices of the header of this device's kind; returns their number. */
int table_devices(const struct device_info *info, const struct tuned_device **devices);

/* The instance for a shape: a row of exactly this device or, where the table has none of it, of the
 * nearest device of its kind by architecture and bandwidth (one warning), with the same case, m and
 * k, and len within [len_min, len_max] (len 0 matches all), that is valid for the shape: of
 * several the one that was confirmed beside the same weights, else beside those with the most
 * similar number of bytes, else one that says nothing of it; for a shape that says nothing, a row
 * that does not either, else the first. Else, where the kernel lends rows, the row of the case that
 * is valid for the shape and nearest to it; else the default of the case. NULL when the program
 * holds no instance of the case. With `use_tuned` false: the default. */
const struct variant *table_lookup(const struct kernel *kernel, const struct device_info *info,
                                   const int *kase, const struct shape *shape, bool use_tuned);

/* How far a matrix is from another: the sum of |log| of the quotients of m and of k. */
double table_distance(int m, int k, int other_m, int other_k);
/* Whether the variant is a row of another shape. */
bool table_is_lent(const struct variant *variant, const struct shape *shape);

/* The hash that stands in a header tuned with the present kernel sources: over source_hash() of
 * every kernel but those of prompts. */
void table_source_hash(char hash[17]);
/* The same over those of prompts. */
void table_prompt_hash(char hash[17]);

/* Likewise of the spaces: over space_hash() of every kernel that the table is about. */
void table_space_hash(char hash[17]);

/* One warning each when the rows in use were tuned with other kernel sources, spaces, driver or on
 * another device. */
void table_warn_stale(const struct device_info *info);

/* Upper bounds of the length ranges in which table_lookup's answers for some attention shapes have
 * the same configurations: ascending, the last is max_len. Returns their number, at most max. */
int table_ranges(const struct kernel *kernel, const struct device_info *info, const int *kase,
                 const struct shape *shapes, int n_shapes, int max_len, int *upper, int max);

#endif
