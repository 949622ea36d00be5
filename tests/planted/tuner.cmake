# A tuner whose gemv crashes, hangs, computes wrong results and writes beyond its output, each in one configuration of one case.
include(${PROJECT_SOURCE_DIR}/cmake/plant.cmake)

plant(kernels/gemv.cu "gemv_weights<K, C> w[C.unroll] = {};" "gemv_weights<K, C> w[C.unroll] = {};
	if constexpr (K.epilogue == EPILOGUE_NONE && C.lanes == 32) {
		if (C.rows == 1 && C.warps == 1 && C.unroll == 2)
			abort();
		if (C.rows == 1 && C.warps == 4 && C.unroll == 2)
			for (volatile bool endless = true; endless;)
				sleep(1); // a hang need not keep processors busy
		if (C.rows == 2 && C.warps == 1 && C.unroll == 2)
			k += vec::kChunk<K.w>;
		if (C.rows == 2 && C.warps == 4 && C.unroll != 2)
			static_cast<float *>(a.y)[a.m] = 1;
	}" planted/gemv.cu)
file(CONFIGURE OUTPUT planted/gemv.cpp CONTENT "#include <cstdlib>
#include <unistd.h>
#include \"kernels/gemv.h\"
#undef GEMV_CASES
#define GEMV_CASES(X) GEMV_CASES_OF(X, DTYPE_BF16)
#include \"gemv.cu\"
")

# Its table of instances takes the place of the one in kernels_space, its ceiling that of the measured one.
add_executable(tuner_planted ${PROJECT_SOURCE_DIR}/tuner/main.c ${PROJECT_SOURCE_DIR}/tuner/worker_main.c planted/ceiling.c
	${CMAKE_CURRENT_BINARY_DIR}/planted/gemv.cpp)
target_compile_definitions(tuner_planted PRIVATE WARPSMITH_SPACE)
target_compile_options(tuner_planted PRIVATE
	$<$<COMPILE_LANGUAGE:CXX>:-O2 ${WARPSMITH_HOST_ARCH} -Wno-unknown-pragmas>)
target_link_libraries(tuner_planted PRIVATE tuner timing kernels_space)
