/* A process that compiles: NVRTC lets one thread of a process at a time through its front end,
 * which of a program with one instance is a seventh of the work. */
#ifndef TUNER_COMPILER_H
#define TUNER_COMPILER_H

#include <sys/types.h>

#include "device/jit.h"

struct compiler {
	pid_t pid; /* 0: none */
	int link;
};

/* Says that this program is one that has compiler_main(): `program --compiler`. */
void compiler_allow(void);
/* As jit_compile(): in the process, which is started when there is none, or here when this program
 * is none of these or the process ends before it answers. */
MUST_CHECK enum status compiler_compile(struct compiler *compiler,
                                        const struct jit_request *request,
                                        struct jit_module *module);
void compiler_stop(struct compiler *compiler);

/* The process's side. Returns its exit code. */
int compiler_main(void);

#endif
