# A tuner whose gemv crashes, hangs, computes wrong results and writes beyond its output, each in one configuration of one case.
include(${PROJECT_SOURCE_DIR}/cmake/plant.cmake)

# Numbers of configurations that the subset of this number of lanes has; none is the default.
plant(kernels/gemv.cu "	if constexpr (C.trigger == 2)" "	if constexpr (K.epilogue == EPILOGUE_NONE) {
		constexpr int fault =
			simt::kWarp == 1 ? (C.rows != 2) * (1 + (C.tiles == 4) + 2 * (C.rows == 4))
			                 : (C.math == GEMV_FMA && C.blocks == 0) *
			                           (1 + (C.lanes == 32) + 2 * (C.slices == 7));
		if (fault == 1)
			abort();
		if (fault == 2)
			for (volatile bool endless = true; endless;)
				sleep(1); // a hang need not keep processors busy
		if (fault == 3 && threadIdx.x == 0)
			part[0] += 1;
		if (fault == 4)
			static_cast<float *>(a.y)[a.m] = 1;
	}
	if constexpr (C.trigger == 2)" planted/gemv.cu)
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
