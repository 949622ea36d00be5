#include "tuner/strategy.h"

#include <string.h>

const struct strategy strategies[] = {
        {"exhaustive", "every configuration, in the order of the parameter lists", propose_all},
        {"random", "without replacement, from --seed", propose_random},
        {NULL, NULL, NULL},
};

const struct strategy *strategy_find(const char *name)
{
	for (const struct strategy *s = strategies; s->name; s++)
		if (!strcmp(s->name, name))
			return s;
	return NULL;
}

uint64_t strategy_random(uint64_t seed, uint64_t i)
{
	uint64_t z = seed + (i + 1) * 0x9e3779b97f4a7c15u;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}
