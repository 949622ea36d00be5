/* Compiled programs on disk, one file each. What is there is used only when it is whole and made
 * from the same key. */
#ifndef DEVICE_JIT_CACHE_H
#define DEVICE_JIT_CACHE_H

#include "device/jit.h"

/* Sets part->image and bytes, and the symbols of the part's instances. False when there is nothing
 * to use. */
bool jit_cache_read(const char *key, struct jit_part *part, struct jit_instance *instances);

/* Best effort: without a place to write to, the next run compiles again. */
void jit_cache_write(const char *key, const struct jit_part *part,
                     const struct jit_instance *instances);

#endif
