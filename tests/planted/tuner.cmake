# A tuner whose gemv has faults, each in one configuration of one case (planted/tuner_faults.h).
include(${PROJECT_SOURCE_DIR}/cmake/plant.cmake)

plant(kernels/gemv.cu "gemv(const gemv_args a)
{
	using P = gemv_plan<K, C>;" "gemv(const gemv_args given)
{
	gemv_args a = given;
	planted_fault<K, C>(a);
	using P = gemv_plan<K, C>;" planted/gemv.cu)
file(CONFIGURE OUTPUT planted/gemv.cpp CONTENT "#include \"tests/planted/tuner_faults.h\"
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
