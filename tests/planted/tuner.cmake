# A tuner whose gemv crashes, hangs, computes wrong results and writes beyond its output, each in one configuration of one case.
include(${PROJECT_SOURCE_DIR}/cmake/plant.cmake)

plant(kernels/gemv.cu
	"finish_rows<K, C>(a, t, part, stride, K.norm ? norm_scale<K, C>(a, squares) : 1.0f, mine);"
	"float scale = K.norm ? norm_scale<K, C>(a, squares) : 1.0f;
	if constexpr (K.epilogue == EPILOGUE_NONE) {
		constexpr int fault = planted_fault(C);
		if (fault == 1)
			abort();
		if (fault == 2)
			for (volatile bool endless = true; endless;)
				sleep(1); // a hang need not keep processors busy
		if (fault == 3)
			scale = 1.5f;
		if (fault == 4)
			static_cast<float *>(a.y)[a.m] = 1;
	}
	finish_rows<K, C>(a, t, part, stride, scale, mine);" planted/gemv.cu)
file(CONFIGURE OUTPUT planted/gemv.cpp CONTENT "#include <cstdlib>
#include <unistd.h>
#include \"kernels/gemv.h\"

// 1 to 4 in one point each of the subset for this lane count, else 0; no fault in the default.
constexpr int planted_fault(gemv_config c)
{
#if SIMT_WARP == 1
	return c.rows == 1 ? (c.tiles == 1 ? 1 : 2) : c.rows == 2 && c.tiles == 1 ? 3 : c.rows == 4 && c.tiles == 4 ? 4 : 0;
#else
	return c.math || c.rows != 4 || c.blocks != 4 ? 0 : (c.lanes == 8 ? 1 : 3) + (c.slices == 7);
#endif
}

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
