/* Shared libraries of the CUDA toolkit that a program can do without. */
#ifndef DEVICE_LIBRARY_H
#define DEVICE_LIBRARY_H

#include <stddef.h>

struct library_function {
	const char *name;
	void *pointer; /* address of the function pointer to set */
};

/* Loads "libSTEM.so.13", ".12" or plain, from where the system looks or from the toolkit's folder
 * (CUDA_PATH, else its usual place). NULL when there is none or it lacks one of the functions. */
void *library_open(const char *stem, const struct library_function *functions, size_t n);
void library_close(void *library);

#endif
