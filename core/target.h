/* What a kernel instance is compiled for. Readable by C, C++, nvcc and NVRTC. */
#ifndef CORE_TARGET_H
#define CORE_TARGET_H

struct target {
	int sm;    /* CUDA compute capability, 10 * major + minor; 0 on the host */
	int lanes; /* threads per warp */
};

#endif
