/* One launch of a kernel of prompts, with its default configuration. */
#ifndef MODEL_ROW_LAUNCH_H
#define MODEL_ROW_LAUNCH_H

#include "core/kernel.h"

/* Queues it. `args` is the kernel's argument struct. */
MUST_CHECK enum status row_launch(struct device *device, const char *kernel, struct kase kase,
                                  struct shape shape, const void *args);

#endif
