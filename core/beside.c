#include "core/beside.h"

#include <math.h>

enum { WEIGHTS = 256 }; /* whole blocks of any type */

int beside_weights(int dtype)
{
	return dtype + 1;
}

static int dtype_of(int beside)
{
	return beside - 1;
}

const char *beside_name(int beside)
{
	return beside == BESIDE_NONE ? "" : dtype_name(dtype_of(beside));
}

int beside_parse(const char *name)
{
	const int dtype = dtype_parse(name);
	return dtype_is_real(dtype) ? beside_weights(dtype) : BESIDE_NONE;
}

static double bytes(int beside)
{
	return (double)dtype_bytes(dtype_of(beside), WEIGHTS);
}

double beside_distance(int row, int launch)
{
	if (row == launch)
		return 0;
	if (row == BESIDE_NONE || launch == BESIDE_NONE)
		return INFINITY;
	return 1 + fabs(log(bytes(row) / bytes(launch)));
}
